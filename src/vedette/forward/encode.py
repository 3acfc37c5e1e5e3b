"""Samples → the body of a remote-write request, version 1.0, and what version 2.0 shares with it.

Source: "Prometheus Remote-Write 1.0 specification" and its ``types.proto``/``remote.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cramjam
import numpy as np
from numpy.typing import NDArray

from vedette.kit.varint import varint
from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import (
    Histograms,
    HistogramValue,
    histogram_value,
    numbers_to_spans,
)
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import Exemplar, is_histogram

# Numbers of fields and wire types: 0 varint, 1 eight bytes, 2 length and bytes.
_SERIES, _METADATA = 0x0A, 0x1A
_LABEL, _SAMPLE, _EXEMPLAR, _HISTOGRAM = 0x0A, 0x12, 0x1A, 0x22
_SIX_BYTES = 1 << 35, 1 << 42
"""Times whose varint takes six bytes: 1971 to 2109."""
_SAMPLE_SIZE, _START_SIZE = 18, 7
METRIC_TYPES = {
    name: number
    for number, name in enumerate(
        (
            *("unknown", "counter", "gauge", "histogram", "gaugehistogram"),
            *("summary", "info", "stateset"),
        )
    )
}
"""Numbers of the types of metrics; both versions have the same."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Samples of one request.

    Attributes:
        labels: labels of each of S series, as the encoder takes them: for version 1.0 fields of
            :func:`encode_labels`, for version 2.0 canonical bytes (``Labels.canonical``).
        rows: int32[n], the series of each sample, ascending; times ascend within a series.
        ts: int64[n] milliseconds.
        values: float64[n]; ``HISTOGRAM`` where ``histograms`` holds the sample.
        histograms: with ``index`` int32[n], or ``None``.
        exemplars: with ``series`` a row of ``labels``.
        start: int64[n] start timestamps as in ``SampleBatch``, or ``None``; 1.0 has none.
    """

    labels: Sequence[bytes]
    rows: I32
    ts: I64
    values: F64
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()
    start: I64 | None = None


def encode_labels(labels: Labels) -> bytes:
    """Return the ``labels`` fields of a ``TimeSeries``."""
    return b"".join(part(_LABEL, _pair(name, value)) for name, value in labels)


def encode_request(outgoing: Outgoing) -> bytes:
    """Return a ``WriteRequest``, compressed with Snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(encode_series(outgoing)))


def encode_metadata(metadata: Iterable[MetricMetadata]) -> bytes:
    """Return a ``WriteRequest`` that describes metrics and holds no samples, compressed."""
    body = b"".join(part(_METADATA, _described(each)) for each in metadata)
    return bytes(cramjam.snappy.compress_raw(body))


def _described(metadata: MetricMetadata) -> bytes:
    return (
        b"\x08"
        + varint(METRIC_TYPES.get(metadata.type, 0))
        + part(0x12, metadata.metric.encode())
        + part(0x22, metadata.help.encode())
        + part(0x2A, metadata.unit.encode())
    )


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
        parts += (bytes([_SERIES]), varint(len(labels) + int(lengths[row])), labels)
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
    data, sizes = encode_floats(outgoing.ts[chosen], outgoing.values[chosen])
    rows = outgoing.rows[chosen]
    lengths = np.bincount(rows, weights=sizes, minlength=len(outgoing.labels))
    return _Encoded(data, lengths.astype(np.int64))


def encode_floats(ts: I64, values: F64, start: I64 | None = None) -> tuple[bytes, I64]:
    """Return fields 2 of a ``TimeSeries``, one after another, and how many bytes each has.

    ``start`` is int64[n], 0 or less where the field is left out; only version 2.0 has it.
    """
    begun = np.zeros(len(ts), np.int64) if start is None else np.maximum(start, 0)
    known = begun > 0
    if not (_usual(ts) and _usual(begun[known])):
        parts = [
            part(_SAMPLE, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time) + _start(at))
            for time, value, at in zip(ts.tolist(), values.tolist(), begun.tolist(), strict=True)
        ]
        return b"".join(parts), np.array([len(each) for each in parts], np.int64)
    out = np.empty((len(ts), _SAMPLE_SIZE + _START_SIZE), np.uint8)
    out[:, 0], out[:, 2] = _SAMPLE, 0x09
    out[:, 1] = _SAMPLE_SIZE - 2 + _START_SIZE * known
    out[:, 3:11] = values.astype("<f8").view(np.uint8).reshape(-1, 8)
    out[:, 11], out[:, _SAMPLE_SIZE] = 0x10, 0x18
    for k in range(6):
        more = 0x80 if k < 5 else 0
        out[:, 12 + k] = (ts >> (7 * k)) & 0x7F | more
        out[:, _SAMPLE_SIZE + 1 + k] = (begun >> (7 * k)) & 0x7F | more
    sizes = _SAMPLE_SIZE + _START_SIZE * known.astype(np.int64)
    if not known.any():
        return out[:, :_SAMPLE_SIZE].tobytes(), sizes
    used = np.ones(out.shape, bool)
    used[:, _SAMPLE_SIZE:] = known[:, None]
    return out[used].tobytes(), sizes


def _usual(ts: I64) -> bool:
    return not len(ts) or (int(ts.min()) >= _SIX_BYTES[0] and int(ts.max()) < _SIX_BYTES[1])


def _start(ts: int) -> bytes:
    return b"\x18" + varint(ts) if ts else b""


def _others(outgoing: Outgoing) -> list[_Encoded]:
    """Return exemplars and histograms, where there are any; both are rare beside floats."""
    out = []
    series = len(outgoing.labels)
    if outgoing.exemplars:
        found = sorted(outgoing.exemplars, key=lambda each: (each.series, each.ts))
        rows = np.array([each.series for each in found], np.int32)
        out.append(_collected([part(_EXEMPLAR, _exemplar(e)) for e in found], rows, series))
    if outgoing.histograms is not None:
        at = np.flatnonzero(is_histogram(outgoing.values))
        index = outgoing.histograms.index[at].tolist()
        parts = [
            part(_HISTOGRAM, encode_histogram(histogram_value(outgoing.histograms, row), time))
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
    return labels + b"\x11" + value + b"\x18" + varint(exemplar.ts)


def encode_histogram(value: HistogramValue, ts: int, start: int = 0) -> bytes:
    """Return a ``Histogram`` message with float counts, which every receiver takes.

    ``start`` is left out unless it is above 0; only version 2.0 has it.
    """
    parts = [
        b"\x11" + struct.pack("<d", value.count),
        b"\x19" + struct.pack("<d", value.sum),
        b"\x20" + _zigzag(value.schema),
        b"\x29" + struct.pack("<d", value.zero_threshold),
        b"\x39" + struct.pack("<d", value.zero_count),
        *_buckets(value.negative, 0x42, 0x52),
        *_buckets(value.positive, 0x5A, 0x6A),
        b"\x70" + varint(value.reset_hint),
        b"\x78" + varint(ts),
    ]
    if value.custom_bounds:
        bounds = struct.pack(f"<{len(value.custom_bounds)}d", *value.custom_bounds)
        parts.append(b"\x82\x01" + varint(len(bounds)) + bounds)
    if start > 0:
        parts.append(b"\x88\x01" + varint(start))
    return b"".join(parts)


def _buckets(pairs: tuple[tuple[int, float], ...], spans: int, counts: int) -> list[bytes]:
    if not pairs:
        return []
    parts = [
        part(spans, b"\x08" + _zigzag(offset) + b"\x10" + varint(length))
        for offset, length in numbers_to_spans([number for number, _ in pairs])
    ]
    return [*parts, part(counts, struct.pack(f"<{len(pairs)}d", *(count for _, count in pairs)))]


def _pair(name: str, value: str) -> bytes:
    return part(0x0A, name.encode()) + part(0x12, value.encode())


def part(tag: int, body: bytes) -> bytes:
    """Return a field of bytes, or a message, behind its ``tag``."""
    return bytes([tag]) + varint(len(body)) + body


def _zigzag(number: int) -> bytes:
    return varint((number << 1) ^ (number >> 63))
