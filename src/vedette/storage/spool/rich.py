"""What follows the samples in a frame of type 4: histograms, then exemplars; little-endian.

Histograms: count H u32, numbers of positive and of negative buckets and of custom bounds u32 each;
then which sample each is u32[H], schema i16[H], reset hint i8[H], count, sum, zero threshold and
zero count f64[H] each; lengths u32[H] of the three lists, then positive numbers i32 and counts f64,
negative numbers i32 and counts f64, custom bounds f64.

Exemplars: count E u32, refs i32[E], timestamps i64[E], values f64[E], lengths u32[E] of the
canonical labels, then these.
"""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms
from vedette.model.labels import parse_canonical
from vedette.model.samples import Exemplar, SampleBatch
from vedette.storage.histogram_rows import named_rows
from vedette.storage.spool.reader import Reader


def encode_rich(batch: SampleBatch) -> list[bytes]:
    """Return the parts of the histograms and exemplars of ``batch``."""
    parts = [_NO_HISTOGRAMS] if batch.histograms is None else _histograms(batch.histograms)
    return [*parts, *_exemplars(batch.exemplars)]


def decode_rich(reader: Reader, batch: SampleBatch) -> SampleBatch:
    """Return ``batch`` with what follows its samples in the payload."""
    histograms = _read_histograms(reader, len(batch))
    return replace(batch, histograms=histograms, exemplars=_read_exemplars(reader))


_NO_HISTOGRAMS = struct.pack("<IIII", 0, 0, 0, 0)


def _histograms(found: Histograms) -> list[bytes]:
    rows = named_rows(found)
    counts = rows.rows, len(rows.positive_index), len(rows.negative_index), len(rows.custom_bounds)
    offsets = rows.positive_offsets, rows.negative_offsets, rows.custom_offsets
    return [
        struct.pack("<IIII", *counts),
        np.flatnonzero(rows.index >= 0).astype(np.uint32).tobytes(),
        rows.schema.tobytes(),
        rows.reset_hint.tobytes(),
        rows.count.tobytes(),
        rows.sum.tobytes(),
        rows.zero_threshold.tobytes(),
        rows.zero_count.tobytes(),
        *(np.diff(each).astype(np.uint32).tobytes() for each in offsets),
        rows.positive_index.tobytes(),
        rows.positive_count.tobytes(),
        rows.negative_index.tobytes(),
        rows.negative_count.tobytes(),
        rows.custom_bounds.tobytes(),
    ]


def _read_histograms(reader: Reader, samples: int) -> Histograms | None:
    rows, positive, negative, custom = (int(n) for n in reader.array("<u4", 4).tolist())
    if not rows:
        return None
    index = np.full(samples, -1, np.int32)
    index[reader.array("<u4", rows).astype(np.int64)] = np.arange(rows)
    schema = reader.array("<i2", rows).astype(np.int16)
    hint = reader.array("<i1", rows).astype(np.int8)
    count, total, threshold, zeros = (_floats(reader, rows) for _ in range(4))
    offsets = [_offsets(reader, rows) for _ in range(3)]
    return Histograms(
        index,
        schema,
        count,
        total,
        threshold,
        zeros,
        hint,
        offsets[0],
        _integers(reader, positive),
        _floats(reader, positive),
        offsets[1],
        _integers(reader, negative),
        _floats(reader, negative),
        offsets[2],
        _floats(reader, custom),
    )


def _floats(reader: Reader, count: int) -> F64:
    return reader.array("<f8", count).astype(np.float64)


def _integers(reader: Reader, count: int) -> I32:
    return reader.array("<i4", count).astype(np.int32)


def _offsets(reader: Reader, rows: int) -> I64:
    out = np.zeros(rows + 1, np.int64)
    np.cumsum(reader.array("<u4", rows).astype(np.int64), out=out[1:])
    return out


def _exemplars(found: tuple[Exemplar, ...]) -> list[bytes]:
    labels = [each.labels.canonical() for each in found]
    n = len(found)
    return [
        struct.pack("<I", n),
        np.fromiter((each.series for each in found), np.int32, n).tobytes(),
        np.fromiter((each.ts for each in found), np.int64, n).tobytes(),
        np.fromiter((each.value for each in found), np.float64, n).tobytes(),
        np.fromiter(map(len, labels), np.uint32, n).tobytes(),
        *labels,
    ]


def _read_exemplars(reader: Reader) -> tuple[Exemplar, ...]:
    (count,) = (int(n) for n in reader.array("<u4", 1).tolist())
    refs = reader.array("<i4", count).tolist()
    ts = reader.array("<i8", count).tolist()
    values = reader.array("<f8", count).tolist()
    lengths = reader.array("<u4", count).tolist()
    labels = [parse_canonical(reader.bytes(int(length))) for length in lengths]
    return tuple(map(Exemplar, refs, ts, values, labels))
