"""Typed envelopes ``{"type": …, "data": {…}}`` (ING-01): bytes to events' parts.

A body is one JSON object, a JSON array of objects, or NDJSON, one object a line.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from vedette.receive.wire.errors import TooLargeError, WireError

EARLIEST_TS = 100_000_000_000
"""1973: a smaller timestamp is one in seconds."""
LATEST_TS = 4_102_444_800_000
"""The year 2100: a larger timestamp is one in micro- or nanoseconds."""

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class EventLimits:
    """Bounds of one request.

    Attributes:
        body_bytes: after decompression.
        items: envelopes in one request.
        type_length: characters.
        data_bytes: of one envelope's data as compact JSON.
        depth: levels of objects and arrays within data, itself included.
    """

    body_bytes: int = 5 * 1024 * 1024
    items: int = 10_000
    type_length: int = 128
    data_bytes: int = 64 * 1024
    depth: int = 16


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed envelope: its type, timestamp (ms, ``None``: none given) and compact data."""

    type: str
    ts: int | None
    data: bytes


class EnvelopeError(Exception):
    """One envelope cannot be taken; ``reason`` is a metric label."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def gunzip(body: bytes, limit: int) -> bytes:
    """Return the content of a gzip ``body``.

    Raises:
        TooLargeError: it holds more than ``limit`` bytes; no more than that was decompressed.
        WireError: it is damaged or ends too early.
    """
    inflate = zlib.decompressobj(_GZIP)
    try:
        data = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise WireError("gzip", f"the body is not gzip: {error}") from None
    if len(data) > limit:
        raise TooLargeError("body_size", f"the body holds more than {limit} bytes")
    if not inflate.eof:
        raise WireError("gzip", "the gzip body ends too early")
    return data


def split_items(body: bytes, ndjson: bool, limits: EventLimits) -> list[object]:
    """Return the items of ``body``; one that cannot be read is an :class:`EnvelopeError`.

    Raises:
        WireError: nothing can be read; the message says where it breaks.
        TooLargeError: there are too many.
    """
    if len(body) > limits.body_bytes:
        raise TooLargeError("body_size", f"the body holds more than {limits.body_bytes} bytes")
    if not body.strip():
        raise WireError("json", 'the body is empty; send {"type": …, "data": {…}}')
    if not ndjson:
        try:
            whole = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            if not _looks_like_lines(body):
                message = f"the body is not JSON: {error.msg}"
                where = f"line {error.lineno}, column {error.colno}"
                raise WireError("json", f"{message} ({where})") from None
        else:
            return _bounded(whole if isinstance(whole, list) else [whole], limits)
    lines = [line for line in body.split(b"\n") if line.strip()]
    return [_line(line) for line in _bounded(lines, limits)]


def _looks_like_lines(body: bytes) -> bool:
    """Whether the first line is a whole object, and something follows it."""
    first, newline, rest = body.lstrip().partition(b"\n")
    return bool(newline and rest.strip()) and isinstance(_line(first), dict)


def _line(line: bytes) -> object:
    try:
        item: object = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return EnvelopeError("json", f"the line is not JSON: {error.msg} (column {error.colno})")
    return item


def _bounded(items: list[Any], limits: EventLimits) -> list[Any]:
    if len(items) > limits.items:
        message = f"the request holds {len(items)} events, more than {limits.items}"
        raise TooLargeError("too_many_events", message)
    return items


def read_envelope(item: object, limits: EventLimits) -> Envelope:
    """Return the envelope in ``item``.

    Raises:
        EnvelopeError: it is none; the message says what to mend.
    """
    if isinstance(item, EnvelopeError):
        raise item
    if not isinstance(item, dict):
        raise EnvelopeError("envelope", f"an event is a JSON object, not {_kind(item)}")
    if item.keys() != {"type", "data"}:
        raise EnvelopeError("envelope", _members_fault(item))
    kind, data = item["type"], item["data"]
    if not isinstance(kind, str):
        raise EnvelopeError("type", f'"type" must be a string, not {_kind(kind)}')
    if not 0 < len(kind) <= limits.type_length or not kind.isprintable():
        message = f'"type" must be 1 to {limits.type_length} printable characters'
        raise EnvelopeError("type", message)
    if not isinstance(data, dict):
        raise EnvelopeError("data", f'"data" must be an object, not {_kind(data)}')
    if _deeper(data, limits.depth):
        raise EnvelopeError("data", f'"data" is nested more than {limits.depth} levels deep')
    compact = orjson.dumps(data)
    if len(compact) > limits.data_bytes:
        message = f'"data" takes {len(compact)} bytes, more than {limits.data_bytes}'
        raise EnvelopeError("data_size", message)
    return Envelope(kind, read_timestamp(data), compact)


def _members_fault(item: Mapping[str, object]) -> str:
    missing = [name for name in ("type", "data") if name not in item]
    if missing:
        return f'an event has the members "type" and "data"; this one lacks {" and ".join(missing)}'
    extra = ", ".join(sorted(item.keys() - {"type", "data"})[:5])[:200]
    return f'an event has no members but "type" and "data"; put these into data: {extra}'


def read_timestamp(data: Mapping[str, object]) -> int | None:
    """Return the ms of the member ``timestamp``, or ``None`` where there is none.

    Raises:
        EnvelopeError: it is neither milliseconds since 1970 nor ISO-8601.
    """
    value = data.get("timestamp")
    if value is None:
        return None
    if isinstance(value, str):
        ts = _iso_ms(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        ts = int(value) if abs(value) < 2**63 else LATEST_TS
    else:
        raise EnvelopeError("timestamp", f'"timestamp" must be a number, not {_kind(value)}')
    if not EARLIEST_TS <= ts < LATEST_TS:
        unit = "seconds" if 0 < ts < EARLIEST_TS else "another unit"
        message = f'"timestamp" must be milliseconds since 1970; {value} looks like {unit}'
        raise EnvelopeError("timestamp", message[:200])
    return ts


def _iso_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f'"timestamp" is neither milliseconds nor ISO-8601: "{text[:80]}"'
        raise EnvelopeError("timestamp", message) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1000)
    except OverflowError:
        return 0


def _deeper(value: object, levels: int) -> bool:
    """Whether ``value`` nests objects and arrays more than ``levels`` deep."""
    level: list[object] = [value]
    for _ in range(levels):
        inner: list[object] = []
        for node in level:
            if isinstance(node, dict):
                inner += node.values()
            elif isinstance(node, list):
                inner += node
        level = [node for node in inner if isinstance(node, (dict, list))]
        if not level:
            return False
    return True


_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), "a number")
