"""Samples of every kind for the storage suites, and how to compare them bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from vedette.model.blocks import Block, Selection
from vedette.model.histograms import (
    CUSTOM_BUCKETS,
    Histograms,
    HistogramValue,
    histogram_value,
    histograms_of,
)
from vedette.model.labels import Labels
from vedette.model.samples import HISTOGRAM, NAN_BITS, STALE_BITS, SampleBatch, is_absent
from vedette.storage.regroup import block_runs

Exact = tuple[int, int, bytes]
"""Bits of the value, start timestamp, and the histogram as bytes (none: empty)."""

ODD = [STALE_BITS, NAN_BITS, NAN_BITS + 5, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 2**62 + 12345, 0]


def as_float(pattern: int) -> float:
    """Return the float with these bits."""
    return float(np.uint64(pattern).view(np.float64))


_number = st.one_of(
    st.floats(0, 1e6), st.sampled_from([as_float(p) for p in ODD]), st.integers(0, 9).map(float)
)
_start = st.sampled_from([0, 0, 5, -5, 1_700_000_000_000, -1_700_000_000_000])


@st.composite
def histogram_values(draw: st.DrawFn) -> HistogramValue:
    """Draw a histogram, with odd floats too; exponential or of custom buckets."""

    def buckets() -> tuple[tuple[int, float], ...]:
        numbers = draw(st.lists(st.integers(-20, 20), max_size=4, unique=True).map(sorted))
        return tuple((number, draw(_number)) for number in numbers)

    custom = draw(st.booleans())
    bounds = draw(st.lists(st.floats(-9, 9), max_size=3, unique=True).map(sorted))
    return HistogramValue(
        CUSTOM_BUCKETS if custom else draw(st.integers(-4, 8)),
        draw(_number),
        draw(_number),
        draw(_number),
        draw(_number),
        draw(st.integers(0, 3)),
        buckets(),
        () if custom else buckets(),
        tuple(bounds) if custom else (),
    )


Drawn = tuple[float | HistogramValue, int]
drawn: st.SearchStrategy[Drawn] = st.tuples(_number | histogram_values(), _start)
"""A value and its start timestamp."""


def sample_batch(
    refs: Sequence[int], ts: Sequence[int], samples: Sequence[Drawn], target: str = ""
) -> SampleBatch:
    """Return a batch of drawn samples."""
    held = [value for value, _ in samples if isinstance(value, HistogramValue)]
    marked = np.array([isinstance(value, HistogramValue) for value, _ in samples], bool)
    index = np.where(marked, np.cumsum(marked) - 1, -1).astype(np.int32)
    starts = np.array([start for _, start in samples], np.int64)
    return SampleBatch(
        "a",
        np.array(refs, np.int32),
        np.array(ts, np.int64),
        np.array([HISTOGRAM if isinstance(v, HistogramValue) else v for v, _ in samples]),
        target,
        starts if starts.any() else None,
        histograms_of(held, index) if held else None,
    )


def exact(value: float | HistogramValue, start: int = 0) -> Exact:
    """Return what must come back of a sample."""
    if not isinstance(value, HistogramValue):
        return int(np.float64(value).view(np.uint64)), start, b""
    return int(np.float64(HISTOGRAM).view(np.uint64)), start, packed(value)


def packed(value: HistogramValue) -> bytes:
    """Return every bit of a histogram."""
    parts = [struct.pack("<hb", value.schema, value.reset_hint)]
    parts.append(
        np.array([value.count, value.sum, value.zero_threshold, value.zero_count]).tobytes()
    )
    for pairs in (value.positive, value.negative):
        parts.append(struct.pack("<i", len(pairs)))
        parts += [
            struct.pack("<i", number) + np.float64(count).tobytes() for number, count in pairs
        ]
    return b"".join([*parts, np.array(value.custom_bounds, np.float64).tobytes()])


def batch_samples(batch: SampleBatch) -> dict[tuple[int, int], Exact]:
    """Return the samples of a batch by ref and timestamp."""
    runs = zip(batch.refs.tolist(), batch.ts.tolist(), strict=True)
    return {
        key: _exact(batch.values, batch.start, batch.histograms, k) for k, key in enumerate(runs)
    }


def _exact(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    start: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None,
    histograms: Histograms | None,
    k: int,
) -> Exact:
    row = int(histograms.index[k]) if histograms is not None else -1
    held = packed(histogram_value(histograms, row)) if histograms is not None and row >= 0 else b""
    return int(values[k : k + 1].view(np.uint64)[0]), 0 if start is None else int(start[k]), held


def rich_points(selections: Iterable[Selection]) -> dict[Labels, dict[int, Exact]]:
    """Return every sample of the selections in every bit; a series stands in one block."""
    found: dict[Labels, dict[int, Exact]] = {}
    for selection in selections:
        names = selection.labels.with_name(selection.metric).rows()
        for block in selection.blocks:
            if isinstance(block, Block) and block.histograms is not None:
                assert block.histograms.index.shape == block.values.shape
                assert not (block.histograms.index[is_absent(block.values)] >= 0).any()
            runs = block_runs(block)
            for k, column in enumerate(runs.series.tolist()):
                assert names[column] not in found
                at = range(int(runs.offsets[k]), int(runs.offsets[k + 1]))
                found[names[column]] = {
                    int(runs.ts[i]): _exact(runs.values, runs.start, runs.histograms, i) for i in at
                }
    return found


def within(
    found: dict[Labels, dict[int, Exact]], start: int, end: int
) -> dict[Labels, dict[int, Exact]]:
    """Return the samples of ``start <= ts <= end``, series without any left out."""
    cut = {s: {t: v for t, v in p.items() if start <= t <= end} for s, p in found.items()}
    return {series: points for series, points in cut.items() if points}
