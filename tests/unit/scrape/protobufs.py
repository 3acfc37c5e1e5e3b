"""Writes protobuf expositions byte by byte, apart from the product's own description."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping


def varint(number: int) -> bytes:
    """Return ``number`` (two's complement when negative) in variable length."""
    number &= 2**64 - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def whole(field: int, number: int) -> bytes:
    """Return an integer field."""
    return varint(field << 3) + varint(number)


def zigzag(field: int, number: int) -> bytes:
    """Return a signed field of the kinds sint32 and sint64."""
    return whole(field, (number << 1) ^ (number >> 63))


def double(field: int, value: float) -> bytes:
    """Return a float field."""
    return varint(field << 3 | 1) + struct.pack("<d", value)


def part(field: int, content: bytes | str) -> bytes:
    """Return a field of bytes, text or a message."""
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def labels(pairs: Mapping[str, str], field: int = 1) -> bytes:
    """Return label pairs."""
    return b"".join(part(field, part(1, k) + part(2, v)) for k, v in pairs.items())


def stamp(field: int, ms: int) -> bytes:
    """Return a timestamp message."""
    return part(field, whole(1, ms // 1000) + whole(2, ms % 1000 * 1_000_000))


def exemplar(field: int, pairs: Mapping[str, str], value: float, ms: int = -1) -> bytes:
    """Return an exemplar."""
    return part(field, labels(pairs) + double(2, value) + (stamp(3, ms) if ms >= 0 else b""))


def metric(pairs: Mapping[str, str], field: int, content: bytes, ts: int = 0) -> bytes:
    """Return a metric whose message of kind ``field`` is ``content``."""
    return part(4, labels(pairs) + part(field, content) + (whole(6, ts) if ts else b""))


def spans(field: int, found: Iterable[tuple[int, int]]) -> bytes:
    """Return bucket spans."""
    return b"".join(part(field, zigzag(1, offset) + whole(2, size)) for offset, size in found)


def family(name: str, kind: int, *metrics: bytes, help: str = "", unit: str = "") -> bytes:
    """Return a delimited family."""
    head = part(1, name) + (part(2, help) if help else b"") + whole(3, kind)
    body = head + b"".join(metrics) + (part(5, unit) if unit else b"")
    return varint(len(body)) + body
