"""Encodes remote-write 1.0 requests, as a Prometheus server sends them.

Source: Prometheus' "Remote-Write 1.0 specification" (protobuf message WriteRequest, snappy block
format). Labels are encoded once per series; a request only packs values and timestamps.
"""

from __future__ import annotations

import struct

import cramjam

from bench.dataset import Dataset, Target

HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}


def requests(data: Dataset) -> list[bytes]:
    """Return one compressed request per tick."""
    encoded = {id(target): [_labels(row) for row in target.labels] for target in data.targets}
    return [
        compress(b"".join(_row(target, row, encoded[id(target)]) for target, row in rows))
        for rows in data.ticks()
        if rows
    ]


def compress(body: bytes) -> bytes:
    """Return ``body`` in snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(body))


def series(labels: dict[str, str], value: float, ts: int) -> bytes:
    """Return one TimeSeries field with one sample."""
    return _series(_labels(labels), value, ts)


def _row(target: Target, row: int, labels: list[bytes]) -> bytes:
    ts = int(target.ts[row])
    values = target.values[row].tolist()
    return b"".join(_series(k, v, ts) for k, v in zip(labels, values, strict=True))


def _labels(labels: dict[str, str]) -> bytes:
    parts = []
    for name, value in sorted(labels.items()):
        pair = _field(1, name.encode()) + _field(2, value.encode())
        parts.append(_field(1, pair))
    return b"".join(parts)


def _series(labels: bytes, value: float, ts: int) -> bytes:
    # gogo-proto leaves out fields that hold zero.
    number = b"\x09" + struct.pack("<d", value) if value else b""
    sample = number + b"\x10" + _varint(ts)
    return _field(1, labels + _field(2, sample))


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
