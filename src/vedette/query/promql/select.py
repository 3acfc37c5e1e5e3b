"""From blocks to parts: what a selector sees at each step, and the windows of a range selector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.blocks import AnyBlock, Block, LabelTable, RaggedBlock, Selection
from vedette.model.histograms import Histograms
from vedette.model.samples import is_absent, is_stale
from vedette.query.promql.budget import Budget
from vedette.query.promql.kernels import compiled
from vedette.query.promql.labeling import concat
from vedette.query.promql.options import NO_STARTS, Starts
from vedette.query.promql.regroup import cut_block, regrouped, samples_of
from vedette.query.promql.values import Part
from vedette.query.promql.windows import Windows, bounds, flat_bounds

_CHUNK_CELLS = 1 << 17
"""Cells that are worked on at once: 1 MB a column array, so that temporaries stay in cache."""

_LARGEST_CHUNK = 1 << 20
"""Cells of a chunk that has many series though its columns are long."""

_CHUNK_BYTES = 128
"""Memory for a cell of a chunk: samples, bounds of windows, and what a function makes of them."""

_CUT_BYTES = 26
"""Memory for a sample while a ragged block is cut: its copy, its running number, two masks."""


@dataclass(frozen=True, slots=True)
class Found:
    """Series of one or several metrics: their labels (with ``__name__``) and placed blocks.

    ``blocks`` pairs each block with what must be added to its columns to number the joint table;
    ``unnamed`` is as in a vector.
    """

    labels: LabelTable
    blocks: tuple[tuple[int, AnyBlock], ...]
    unnamed: Mask | None = None


def unite(selections: Sequence[Selection]) -> Found:
    """Return the series of all ``selections`` under one label table."""
    if not selections:
        return Found(LabelTable((), np.zeros((0, 0), np.int32), ()), ())
    blocks = []
    base = 0
    for selection in selections:
        blocks += [(base, block) for block in selection.blocks]
        base += len(selection.labels)
    return Found(concat([s.labels.with_name(s.metric) for s in selections]), tuple(blocks))


@dataclass(frozen=True, slots=True)
class Reach:
    """Which samples count at a step: ``(end − span, end]``, the left edge too where ``closed``.

    Attributes:
        ends: int64[K], right edges in ms, not descending.
        span: length in ms.
        budget: what the query may spend; is told what is about to be read.
        starts: which start timestamps come with the windows.
    """

    ends: I64
    span: int
    closed: bool
    budget: Budget
    starts: Starts = NO_STARTS


def window_parts(found: Found, reach: Reach) -> Iterator[tuple[I64, Windows]]:
    """Yield columns int64[s] of the joint table and their windows, piece by piece.

    Staleness markers and holes are gone; series without a sample in reach are not yielded.
    Series with histograms come in the flat layout.
    """
    for base, block in found.blocks:
        for piece in _pieces(block, reach):
            if isinstance(piece, RaggedBlock):
                yield from _ragged_windows(piece, base, reach)
            else:
                yield from _block_windows(piece, base, reach)


def instant_parts(found: Found, reach: Reach, times: bool) -> Iterator[Part]:
    """Yield the newest sample within reach of each step, or its time in seconds if ``times``."""
    for base, block in found.blocks:
        for piece in _pieces(block, reach):
            if isinstance(piece, RaggedBlock):
                yield from _ragged_instants(piece, base, reach, times)
            else:
                yield from _block_instants(piece, base, reach, times)


def _pieces(block: AnyBlock, reach: Reach) -> Iterator[AnyBlock]:
    """Yield blocks of the samples in reach, those with equal timestamps together."""
    if not len(reach.ends):
        return
    low, high = int(reach.ends[0]) - reach.span, int(reach.ends[-1])
    if isinstance(block, Block):
        a, b = _rows(block, reach)
        reach.budget.spend((b - a) * block.values.shape[1])
        yield block
        return
    budget = reach.budget
    budget.need(_CUT_BYTES * len(block.ts))
    cut = cut_block(block, low, high)
    if cut is not block:
        budget.hold(cut.ts, cut.values)
    budget.spend(len(cut.ts))
    yield from regrouped(cut, budget)


# ---- blocks on a shared timestamp vector


def _rows(block: Block, reach: Reach) -> tuple[int, int]:
    """Return the rows of ``block`` that any step can see."""
    if not len(reach.ends):
        return 0, 0
    side: Literal["left", "right"] = "left" if reach.closed else "right"
    first = block.ts.searchsorted(int(reach.ends[0]) - reach.span, side)
    return int(first), int(block.ts.searchsorted(int(reach.ends[-1]), "right"))


def _width(rows: int, least: int) -> int:
    """Return how many columns of ``rows`` make a chunk, ``least`` unless they are very long."""
    wide = _CHUNK_CELLS // max(rows, 1)
    return max(wide, min(least, _LARGEST_CHUNK // max(rows, 1)), 1)


def _chunks(block: Block, reach: Reach) -> Iterator[Block]:
    """Yield the rows in reach with contiguous values, some columns at a time, cache-sized."""
    a, b = _rows(block, reach)
    if a >= b:
        return
    size = block.values.shape[1]
    wide = min(size, _width(max(b - a, len(reach.ends)), 64))
    reach.budget.need(max(b - a, len(reach.ends)) * wide * _CHUNK_BYTES)
    for at in range(0, size, wide):
        reach.budget.check()
        some = slice(at, at + wide)
        values = np.ascontiguousarray(block.values[a:b, some])
        start = None if block.start is None else reach.starts.seen(block.start[a:b, some])
        index = None if block.histograms is None else block.histograms.index[a:b, some]
        natives = _through(block.histograms, index)
        yield Block(block.columns[some], block.ts[a:b], values, start, natives)


def _through(histograms: Histograms | None, index: I32 | None) -> Histograms | None:
    """Return ``histograms`` seen through ``index``, ``None`` where none is seen."""
    if histograms is None or index is None or not (index >= 0).any():
        return None
    return histograms.at(index)


def _special(values: F64, histograms: Histograms | None) -> tuple[Mask, I64]:
    """Return bool[n, c] (hole or staleness marker) and int64[c], the columns that it is about.

    Columns with ``histograms`` are among them, with or without such a sample.
    """
    # One cheap pass finds the columns with any NaN (or Inf − Inf); only these are looked into.
    with np.errstate(invalid="ignore", over="ignore"):
        suspects = np.flatnonzero(np.isnan(np.add.reduce(values, axis=0)))
    suspicious = np.ascontiguousarray(values[:, suspects])
    marks = is_absent(suspicious) | is_stale(suspicious)
    touched = marks.any(axis=0)
    if histograms is not None:
        touched |= (histograms.index[:, suspects] >= 0).any(axis=0)
    return marks[:, touched], suspects[touched]


def _block_windows(block: Block, base: int, reach: Reach) -> Iterator[tuple[I64, Windows]]:
    for chunk in _chunks(block, reach):
        marks, odd = _special(chunk.values, chunk.histograms)
        if len(odd) and chunk.histograms is None:
            chunk, marks, odd = _without_empty_rows(chunk, marks, odd)
        ts, values, start = chunk.ts, chunk.values, chunk.start
        clean = np.ones(values.shape[1], np.bool_)
        clean[odd] = False
        if clean.any() and len(ts):
            lo, hi = bounds(ts, reach.ends, reach.span, reach.closed)
            if not clean.all():
                values = np.ascontiguousarray(values[:, clean])
                start = None if start is None else start[:, clean]
            windows = Windows(
                ts,
                values,
                lo[:, None],
                hi[:, None],
                reach.ends,
                reach.span,
                True,
                reach.budget,
                start=start,
            )
            yield base + chunk.columns[clean].astype(np.int64), windows
        if len(odd):
            yield from _flat_windows(_flattened(chunk, odd, ~marks), base, reach)


def _flattened(block: Block, columns: I64, kept: Mask) -> RaggedBlock:
    """Return ``columns`` of ``block`` behind each other, the samples bool[n, c] ``kept`` alone."""
    samples = kept.T
    start, histograms = block.start, block.histograms
    if histograms is not None:
        histograms = _through(histograms, histograms.index[:, columns].T[samples])
    return RaggedBlock(
        block.columns[columns],
        np.concatenate([[0], np.cumsum(samples.sum(axis=1))]),
        np.broadcast_to(block.ts, samples.shape)[samples],
        block.values[:, columns].T[samples],
        None if start is None else start[:, columns].T[samples],
        histograms,
    )


def _without_empty_rows(block: Block, marks: Mask, odd: I64) -> tuple[Block, Mask, I64]:
    """Drop rows that hold no sample at all: a target that was down leaves one such row."""
    if len(odd) < block.values.shape[1]:
        return block, marks, odd
    some = ~marks.all(axis=1)
    if some.all():
        return block, marks, odd
    marks = marks[some]
    touched = marks.any(axis=0)
    start = None if block.start is None else block.start[some]
    left = Block(block.columns, block.ts[some], block.values[some], start, block.histograms)
    return left, marks[:, touched], odd[touched]


def _block_instants(block: Block, base: int, reach: Reach, times: bool) -> Iterator[Part]:
    if len(reach.ends) == 1 and block.histograms is None:
        part = _newest_row(block, base, reach, times)
        if part is not None:
            yield part
            return
    for chunk in _chunks(block, reach):
        ts, values, columns = chunk.ts, chunk.values, chunk.columns.astype(np.int64)
        newest = np.searchsorted(ts, reach.ends, "right") - 1
        row = np.maximum(newest, 0)
        ok = ((newest >= 0) & _fresh(ts[row], reach.ends, reach))[:, None]
        _, odd = _special(values, chunk.histograms)
        clean = np.ones(values.shape[1], np.bool_)
        clean[odd] = False
        if clean.any():
            dense = values if clean.all() else values[:, clean]
            seen = _seconds(ts[row], dense.shape[1]) if times else dense[row]
            yield Part(base + columns[clean], seen, None if ok.all() else ok)
        if len(odd):
            yield _holey_instants(base + columns[odd], chunk, odd, row, reach, times)


def _newest_row(block: Block, base: int, reach: Reach, times: bool) -> Part | None:
    """Return what one step sees where every series has its newest sample in the same row.

    ``None`` where some series may not: there is a NaN in the row, or no row in reach.
    """
    end = int(reach.ends[0])
    row = int(block.ts.searchsorted(end, "right")) - 1
    if row < 0:
        return None
    ts = int(block.ts[row])
    age = end - ts
    if age > reach.span or (age == reach.span and not reach.closed):
        return None
    values = block.values[row]
    reach.budget.need(values.size * _CHUNK_BYTES)
    if np.isnan(values).any():
        return None
    seen = np.full(values.shape, ts / 1000.0) if times else values
    return Part(base + block.columns.astype(np.int64), seen[None, :], None)


def _holey_instants(
    columns: I64, chunk: Block, odd: I64, row: I64, reach: Reach, times: bool
) -> Part:
    """Look back over holes, column by column, by carrying the newest row with a sample forward."""
    ts, values = chunk.ts, chunk.values[:, odd]
    held = np.where(is_absent(values), -1, np.arange(len(ts))[:, None])
    newest = np.maximum.accumulate(held, axis=0)[row]
    newest[ts[row] > reach.ends] = -1
    at = np.maximum(newest, 0)
    seen = np.take_along_axis(values, at, axis=0)
    ok = (newest >= 0) & ~is_stale(seen) & _fresh(ts[at], reach.ends[:, None], reach)
    if times:
        return Part(columns, ts[at] / 1000.0, ok)
    if chunk.histograms is None:
        return Part(columns, seen, ok)
    index = np.take_along_axis(chunk.histograms.index[:, odd], at, axis=0)
    return Part(columns, seen, ok, _through(chunk.histograms, np.where(ok, index, np.int32(-1))))


def _fresh(ts: I64, ends: I64, reach: Reach) -> Mask:
    """Return whether samples at ``ts`` still count at ``ends``."""
    age: I64 = ends - ts
    return (age >= 0) & ((age <= reach.span) if reach.closed else (age < reach.span))


def _seconds(ts: I64, size: int) -> F64:
    return np.repeat((ts / 1000.0)[:, None], size, axis=1)


# ---- blocks of series with their own timestamps


def _series_chunks(offsets: I64, reach: Reach) -> Iterator[tuple[int, int]]:
    """Yield ranges of series that hold about a chunk of samples or result cells."""
    size = len(offsets) - 1
    mean = int(offsets[-1] - offsets[0]) // max(size, 1)
    rows = max(mean, len(reach.ends), 1)
    wide = min(size, _width(rows, 1))
    reach.budget.need(rows * wide * _CHUNK_BYTES)
    for at in range(0, size, max(wide, 1)):
        reach.budget.check()
        yield at, min(at + wide, size)


def _ragged_chunks(block: RaggedBlock, reach: Reach) -> Iterator[RaggedBlock]:
    """Yield the block, some series at a time."""
    for a, b in _series_chunks(block.offsets, reach):
        piece = _series(block, a, b)
        if len(piece.ts):
            start = None if piece.start is None else reach.starts.seen(piece.start)
            yield replace(piece, start=start)


def _series(block: RaggedBlock, a: int, b: int) -> RaggedBlock:
    """Return the series ``a:b`` of ``block``."""
    first, last = int(block.offsets[a]), int(block.offsets[b])
    some = slice(first, last)
    index = None if block.histograms is None else block.histograms.index[some]
    return RaggedBlock(
        block.columns[a:b],
        block.offsets[a : b + 1] - first,
        block.ts[some],
        block.values[some],
        None if block.start is None else block.start[some],
        _through(block.histograms, index),
    )


def _ragged_windows(block: RaggedBlock, base: int, reach: Reach) -> Iterator[tuple[I64, Windows]]:
    for chunk in _ragged_chunks(block, reach):
        stale = is_stale(np.ascontiguousarray(chunk.values))
        yield from _flat_windows(samples_of(chunk, ~stale) if stale.any() else chunk, base, reach)


def _flat_windows(block: RaggedBlock, base: int, reach: Reach) -> Iterator[tuple[I64, Windows]]:
    for a, b in _series_chunks(block.offsets, reach):
        piece = _series(block, a, b)
        if not len(piece.ts):
            continue
        lo, hi = flat_bounds(piece.ts, piece.offsets, reach.ends, reach.span, reach.closed)
        windows = Windows(
            piece.ts,
            piece.values,
            lo,
            hi,
            reach.ends,
            reach.span,
            False,
            reach.budget,
            piece.histograms,
            piece.start,
        )
        yield base + piece.columns.astype(np.int64), windows


def _looped_instants(chunk: RaggedBlock, reach: Reach) -> tuple[F64, Mask] | None:
    """Return what each series shows at each step, float64[K, S], and where it shows something.

    ``None`` where the loop for it is not there, or the chunk holds histograms.
    """
    shape = len(reach.ends), len(chunk.offsets) - 1
    loops = compiled(shape[0] * shape[1])
    if loops is None or chunk.histograms is not None:
        return None
    ts, offsets, ends = (np.ascontiguousarray(a) for a in (chunk.ts, chunk.offsets, reach.ends))
    seen, ok = np.empty(shape), np.empty(shape, np.bool_)
    values = np.ascontiguousarray(chunk.values)
    loops.newest(ts, values, offsets, ends, reach.span, reach.closed, seen, ok)
    ok &= ~is_stale(seen)
    return seen, ok


def _ragged_instants(block: RaggedBlock, base: int, reach: Reach, times: bool) -> Iterator[Part]:
    for chunk in _ragged_chunks(block, reach):
        ts, columns = chunk.ts, base + chunk.columns.astype(np.int64)
        looped = None if times else _looped_instants(chunk, reach)
        if looped is not None:
            yield Part(columns, *looped)
            continue
        lo, hi = flat_bounds(ts, chunk.offsets, reach.ends, reach.span, reach.closed)
        at = np.maximum(hi - 1, 0)
        seen = np.ascontiguousarray(chunk.values[at])
        ok = (hi > lo) & ~is_stale(seen)
        natives = None
        if chunk.histograms is not None and not times:
            index = np.where(ok, chunk.histograms.index[at], np.int32(-1))
            natives = _through(chunk.histograms, index)
        yield Part(columns, ts[at] / 1000.0 if times else seen, ok, natives)
