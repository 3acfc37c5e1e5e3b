"""Samples → the body of a remote-write request, version 1.0.

Source: "Prometheus Remote-Write 1.0 specification" and its ``types.proto``/``remote.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import cramjam
import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import (
    Histograms,
    HistogramValue,
    histogram_value,
    numbers_to_spans,
)
from vedette.model.labels import Labels
from vedette.model.samples import Exemplar, is_histogram

# Numbers of fields and wire types: 0 varint, 1 eight bytes, 2 length and bytes.
_SERIES = 0x0A
_LABEL, _SAMPLE, _EXEMPLAR, _HISTOGRAM = 0x0A, 0x12, 0x1A, 0x22
_SIX_BYTES = 1 << 35, 1 << 42
"""Times whose varint takes six bytes: 1971 to 2109."""
_SAMPLE_SIZE = 18


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Samples of one request.

    Attributes:
        labels: encoded labels (see :func:`encode_labels`) of each of S series.
        rows: int32[n], the series of each sample, ascending; times ascend within a series.
        ts: int64[n] milliseconds.
        values: float64[n]; ``HISTOGRAM`` where ``histograms`` holds the sample.
        histograms: with ``index`` int32[n], or ``None``.
        exemplars: with ``series`` a row of ``labels``.
    """

    labels: Sequence[bytes]
    rows: I32
    ts: I64
    values: F64
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()


def encode_labels(labels: Labels) -> bytes:
    """Return the ``labels`` fields of a ``TimeSeries``."""
    return b"".join(_part(_LABEL, _pair(name, value)) for name, value in labels)


def encode_request(outgoing: Outgoing) -> bytes:
    """Return a ``WriteRequest``, compressed with Snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(encode_series(outgoing)))


def encode_series(outgoing: Outgoing) -> bytes:
    """Return the series that have samples as fields 1 of a ``WriteRequest``.

    The ``QueryResult`` of remote read has them under the same number.
    """
    samples = [_floats(outgoing), *_others(outgoing)]
    parts: list[bytes] = []
    lengths = np.zeros(len(outgoing.labels), np.int64)
    for each in samples:
        lengths += each.lengths
    offsets = [each.offsets() for each in samples]
    for row, labels in enumerate(outgoing.labels):
        if not lengths[row]:
            continue
        parts += (bytes([_SERIES]), _varint(len(labels) + int(lengths[row])), labels)
        for each, at in zip(samples, offsets, strict=True):
            if at[row] < at[row + 1]:
                parts.append(each.data[at[row] : at[row + 1]])
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Encoded fields of all series one after another, int64[S] bytes of each."""

    data: bytes
    lengths: I64

    def offsets(self) -> list[int]:
        return [0, *np.cumsum(self.lengths).tolist()]


def _floats(outgoing: Outgoing) -> _Encoded:
    chosen = ~is_histogram(outgoing.values)
    rows, ts = outgoing.rows[chosen], outgoing.ts[chosen]
    values = outgoing.values[chosen]
    counts = np.bincount(rows, minlength=len(outgoing.labels))
    if len(ts) and not (int(ts.min()) >= _SIX_BYTES[0] and int(ts.max()) < _SIX_BYTES[1]):
        return _rare_times(rows, ts, values, len(outgoing.labels))
    out = np.empty((len(ts), _SAMPLE_SIZE), np.uint8)
    out[:, :3] = _SAMPLE, _SAMPLE_SIZE - 2, 0x09
    out[:, 3:11] = values.astype("<f8").view(np.uint8).reshape(-1, 8)
    out[:, 11] = 0x10
    for k in range(6):
        out[:, 12 + k] = (ts >> (7 * k)) & 0x7F | (0x80 if k < 5 else 0)
    return _Encoded(out.tobytes(), counts * _SAMPLE_SIZE)


def _rare_times(rows: I32, ts: I64, values: F64, series: int) -> _Encoded:
    parts = [
        _part(_SAMPLE, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time))
        for time, value in zip(ts.tolist(), values, strict=True)
    ]
    return _collected(parts, rows, series)


def _others(outgoing: Outgoing) -> list[_Encoded]:
    """Return exemplars and histograms, where there are any; both are rare beside floats."""
    out = []
    series = len(outgoing.labels)
    if outgoing.exemplars:
        found = sorted(outgoing.exemplars, key=lambda each: (each.series, each.ts))
        rows = np.array([each.series for each in found], np.int32)
        out.append(_collected([_part(_EXEMPLAR, _exemplar(e)) for e in found], rows, series))
    if outgoing.histograms is not None:
        at = np.flatnonzero(is_histogram(outgoing.values))
        index = outgoing.histograms.index[at].tolist()
        parts = [
            _part(_HISTOGRAM, _histogram(histogram_value(outgoing.histograms, row), time))
            for row, time in zip(index, outgoing.ts[at].tolist(), strict=True)
        ]
        out.append(_collected(parts, outgoing.rows[at], series))
    return out


def _collected(parts: list[bytes], rows: NDArray[np.int32], series: int) -> _Encoded:
    lengths = np.bincount(rows, weights=[len(part) for part in parts], minlength=series)
    return _Encoded(b"".join(parts), lengths.astype(np.int64))


def _exemplar(exemplar: Exemplar) -> bytes:
    labels = encode_labels(exemplar.labels)
    value = struct.pack("<d", exemplar.value)
    return labels + b"\x11" + value + b"\x18" + _varint(exemplar.ts)


def _histogram(value: HistogramValue, ts: int) -> bytes:
    """Return a ``Histogram`` message with float counts, which every receiver of 1.0 takes."""
    parts = [
        b"\x11" + struct.pack("<d", value.count),
        b"\x19" + struct.pack("<d", value.sum),
        b"\x20" + _zigzag(value.schema),
        b"\x29" + struct.pack("<d", value.zero_threshold),
        b"\x39" + struct.pack("<d", value.zero_count),
        *_buckets(value.negative, 0x42, 0x52),
        *_buckets(value.positive, 0x5A, 0x6A),
        b"\x70" + _varint(value.reset_hint),
        b"\x78" + _varint(ts),
    ]
    if value.custom_bounds:
        bounds = struct.pack(f"<{len(value.custom_bounds)}d", *value.custom_bounds)
        parts.append(b"\x82\x01" + _varint(len(bounds)) + bounds)
    return b"".join(parts)


def _buckets(pairs: tuple[tuple[int, float], ...], spans: int, counts: int) -> list[bytes]:
    if not pairs:
        return []
    parts = [
        _part(spans, b"\x08" + _zigzag(offset) + b"\x10" + _varint(length))
        for offset, length in numbers_to_spans([number for number, _ in pairs])
    ]
    return [*parts, _part(counts, struct.pack(f"<{len(pairs)}d", *(count for _, count in pairs)))]


def _pair(name: str, value: str) -> bytes:
    return _part(0x0A, name.encode()) + _part(0x12, value.encode())


def _part(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + _varint(len(body)) + body


def _zigzag(number: int) -> bytes:
    return _varint((number << 1) ^ (number >> 63))


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
