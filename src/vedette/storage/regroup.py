"""From samples per series to blocks of series that share their timestamps, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask, offsets_of, spread
from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.model.histograms import Histograms, joined
from vedette.model.samples import ABSENT, is_absent
from vedette.storage.histogram_rows import picked, shifted, side_by_side, through

MIN_SHARED = 4
"""Fewer series than this with the same timestamps stay in the ragged block: each block costs the
engine a fixed amount, whatever it holds."""

_WEIGHTS_SEED = 0x5EED


@dataclass(frozen=True, slots=True)
class Runs:
    """Samples of S series one after another.

    ``series`` int32[S] numbers, each once; ``offsets`` int64[S + 1]; ``ts`` int64[N] strictly
    ascending within a series; ``values`` float64[N]; ``start`` int64[N] or ``None``;
    ``histograms`` with ``index`` int32[N], or ``None``.
    """

    series: I32
    offsets: I64
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None


def take_runs(runs: Runs, rows: NDArray[np.integer]) -> Runs:
    """Return ``rows`` of ``runs``, in that order."""
    at = spread(runs.offsets, rows)
    lengths = runs.offsets[rows + 1] - runs.offsets[rows]
    start = runs.start[at] if runs.start is not None else None
    return Runs(
        runs.series[rows],
        offsets_of(lengths),
        runs.ts[at],
        runs.values[at],
        start,
        picked(runs.histograms, at),
    )


def regroup(runs: Runs, min_shared: int = MIN_SHARED) -> tuple[AnyBlock, ...]:
    """Return blocks of the series of ``runs`` whose timestamps are equal, and one of the rest.

    Series without samples are left out. Timestamp vectors are compared by hash first and then in
    full, so that a collision costs time, never truth.
    """
    lengths = np.diff(runs.offsets)
    filled = np.flatnonzero(lengths)
    if not len(filled):
        return ()
    likely = _likely_shared(runs, filled, lengths, min_shared)
    blocks: list[AnyBlock] = []
    alone: list[I64] = [filled[~likely]]
    for rows in _equal_hash(runs, filled[likely], lengths):
        if len(rows) < min_shared:
            alone.append(rows)
            continue
        n = int(lengths[rows[0]])
        at = runs.offsets[rows][:, None] + np.arange(n)
        ts = runs.ts[at]
        same = (ts == ts[0]).all(axis=1)
        if not same.all():
            alone.append(rows[~same])
            rows, at = rows[same], at[same]
        start = None
        if runs.start is not None and (found := runs.start[at]).any():
            start = np.ascontiguousarray(found.T)
        values = np.ascontiguousarray(runs.values[at].T)
        histograms = picked(runs.histograms, at.T)
        blocks.append(Block(runs.series[rows], ts[0].copy(), values, start, histograms))
    left = np.sort(np.concatenate(alone))
    if len(left):
        rest = runs if len(left) == len(lengths) else take_runs(runs, left)
        blocks.append(
            RaggedBlock(
                rest.series, rest.offsets, rest.ts, rest.values, rest.start, rest.histograms
            )
        )
    return tuple(blocks)


def _likely_shared(runs: Runs, filled: I64, lengths: I64, least: int) -> Mask:
    """Return which of the rows ``filled`` agree with at least ``least`` − 1 others in the number,
    the first and the last of their timestamps: only these are worth a look at all of them."""
    first, last = runs.ts[runs.offsets[filled]], runs.ts[runs.offsets[filled + 1] - 1]
    key = np.stack([lengths[filled], first, last])
    order = np.lexsort(key)
    fresh = np.ones(len(filled), np.bool_)
    fresh[1:] = (np.diff(key[:, order], axis=1) != 0).any(axis=0)
    group = np.cumsum(fresh) - 1
    likely = np.empty(len(filled), np.bool_)
    likely[order] = np.bincount(group)[group] >= least
    return likely


def _equal_hash(runs: Runs, rows: I64, lengths: I64) -> list[I64]:
    """Return ``rows`` in lists of equal length and equal hash of the timestamps."""
    if not len(rows):
        return []
    own = lengths[rows]
    longest = int(own.max())
    weights = np.random.default_rng(_WEIGHTS_SEED).integers(1, 2**62, longest, np.int64) | 1
    whole = len(rows) == len(lengths)
    ts = runs.ts if whole else runs.ts[spread(runs.offsets, rows)]
    with np.errstate(over="ignore"):
        if (own == longest).all():
            hashes = ts.reshape(-1, longest) @ weights
        else:
            begins = offsets_of(own)[:-1]
            position = np.arange(len(ts)) - np.repeat(begins, own)
            hashes = np.add.reduceat(ts * weights[position], begins)
    order = np.lexsort((hashes, own))
    key = hashes[order], own[order]
    edges = np.flatnonzero((np.diff(key[0]) != 0) | (np.diff(key[1]) != 0)) + 1
    return np.split(rows[order], edges)


def block_runs(block: AnyBlock) -> Runs:
    """Return the samples of ``block`` per series; absent ones are left out."""
    if isinstance(block, RaggedBlock):
        return Runs(
            block.columns, block.offsets, block.ts, block.values, block.start, block.histograms
        )
    values = np.ascontiguousarray(block.values.T)
    present = ~is_absent(values)
    offsets = offsets_of(present.sum(axis=1))
    ts = np.broadcast_to(block.ts, values.shape)[present]
    start = block.start.T[present] if block.start is not None else None
    histograms = block.histograms
    if histograms is not None:
        histograms = through(histograms, histograms.index.T[present])
    return Runs(block.columns, offsets, ts, values[present], start, histograms)


def join_runs(parts: list[Runs]) -> Runs:
    """Return one run per series of any of ``parts``; at equal timestamps the earliest part wins.

    ``start`` is kept where any part has it.
    """
    series = np.concatenate([np.repeat(p.series, np.diff(p.offsets)) for p in parts])
    ts = np.concatenate([p.ts for p in parts])
    values = np.concatenate([p.values for p in parts])
    start: I64 | None = None
    if any(p.start is not None for p in parts):
        none = [p.start if p.start is not None else np.zeros(len(p.ts), np.int64) for p in parts]
        start = np.concatenate(none)
    histograms = side_by_side([(p.histograms, len(p.ts)) for p in parts])
    order = _order(parts, series, ts)
    series, ts = series[order], ts[order]
    keep = np.ones(len(ts), bool)
    keep[1:] = (series[1:] != series[:-1]) | (ts[1:] != ts[:-1])
    order, series, ts = order[keep], series[keep], ts[keep]
    numbers, lengths = np.unique(series, return_counts=True)
    return Runs(
        numbers.astype(np.int32),
        offsets_of(lengths),
        ts,
        values[order],
        start[order] if start is not None else None,
        picked(histograms, order),
    )


def _order(parts: list[Runs], series: I32, ts: I64) -> I64:
    """Return the stable order by (series, ts) of the samples of ``parts`` behind each other."""
    low = int(ts.min(initial=0))
    span = int(ts.max(initial=0)) - low + 1
    highest = int(series.max(initial=0))
    if span * (highest + 1) >= 2**63:
        # lexsort is stable: of equal (series, ts) the one of the earlier part comes first.
        return np.lexsort((ts, series))
    begin, moved = 0, []
    for part in parts:
        rows = np.argsort(part.series, kind="stable")
        moved.append(begin + spread(part.offsets, rows))
        begin += len(part.ts)
    at = np.concatenate(moved)
    # Each part ascends now, and a stable sort is a merge of what ascends already.
    keys = series[at] * np.int64(span) + (ts[at] - low)
    return at[np.argsort(keys, kind="stable")]


def combine(parts: list[AnyBlock]) -> tuple[AnyBlock, ...]:
    """Return blocks in which every series of ``parts`` stands once.

    At equal timestamps the earlier part wins. A series that only one part has stays in a block as
    it is; series that the same two dense blocks hold are joined without taking them apart.
    """
    if len(parts) < 2:
        return tuple(parts)
    columns = np.concatenate([p.columns for p in parts])
    if not len(columns) or np.bincount(columns).max() == 1:
        return tuple(parts)
    owner = np.repeat(np.arange(len(parts)), [len(p.columns) for p in parts])
    numbers, inverse, counts = np.unique(columns, return_inverse=True, return_counts=True)
    # Series that the same parts hold are joined together.
    order = np.lexsort((owner, inverse))
    owners = owner[order].tolist()
    ends = np.cumsum(counts).tolist()
    sets: dict[tuple[int, ...], list[int]] = {}
    begin = 0
    for number, end in zip(numbers.tolist(), ends, strict=True):
        sets.setdefault(tuple(owners[begin:end]), []).append(number)
        begin = end
    out: list[AnyBlock] = []
    for holders, members in sets.items():
        chosen = np.array(members, np.int32)
        pieces = [take_columns(parts[k], chosen) for k in holders]
        out.extend(_join(pieces))
    return tuple(out)


def _join(pieces: list[AnyBlock]) -> tuple[AnyBlock, ...]:
    """Join pieces that hold the same series in the same order."""
    if len(pieces) == 1:
        return (pieces[0],)
    dense = [p for p in pieces if isinstance(p, Block)]
    if len(dense) < len(pieces):
        return regroup(join_runs([block_runs(p) for p in pieces]))
    ts = np.unique(np.concatenate([p.ts for p in dense]))
    shape = (len(ts), len(dense[0].columns))
    values = np.full(shape, ABSENT)
    start = np.zeros(shape, np.int64) if any(p.start is not None for p in dense) else None
    held = [p.histograms for p in dense if p.histograms is not None]
    index = np.full(shape, -1, np.int32) if held else None
    base = sum(histograms.rows for histograms in held)
    for piece in reversed(dense):
        base -= piece.histograms.rows if piece.histograms is not None else 0
        rows = np.searchsorted(ts, piece.ts)
        absent = is_absent(piece.values)
        if not absent.any():
            values[rows] = piece.values
            if start is not None:
                start[rows] = piece.start if piece.start is not None else 0
            if index is not None:
                index[rows] = -1 if piece.histograms is None else _moved(piece.histograms, base)
            continue
        at = np.nonzero(~absent)
        values[rows[at[0]], at[1]] = piece.values[at]
        if start is not None:
            start[rows[at[0]], at[1]] = piece.start[at] if piece.start is not None else 0
        if index is not None:
            own = piece.histograms
            index[rows[at[0]], at[1]] = -1 if own is None else _moved(own, base)[at]
    histograms = through(joined(held, index), index) if index is not None else None
    return (Block(dense[0].columns, ts, values, start, histograms),)


def _moved(histograms: Histograms, base: int) -> I32:
    return shifted(histograms.index, base)


def take_columns(block: AnyBlock, numbers: I32) -> AnyBlock:
    """Return ``block`` with only the series ``numbers``, all of which it holds, in that order."""
    if len(numbers) == len(block.columns) and (numbers == block.columns).all():
        return block
    order = np.argsort(block.columns, kind="stable")
    rows = order[np.searchsorted(block.columns, numbers, sorter=order)]
    if isinstance(block, RaggedBlock):
        runs = take_runs(block_runs(block), rows)
        return RaggedBlock(
            runs.series, runs.offsets, runs.ts, runs.values, runs.start, runs.histograms
        )
    start = block.start[:, rows] if block.start is not None else None
    histograms = block.histograms
    if histograms is not None:
        histograms = through(histograms, histograms.index[:, rows])
    return Block(numbers, block.ts, block.values[:, rows], start, histograms)


def renumber(block: AnyBlock, numbers: I32) -> AnyBlock:
    """Return ``block`` with column k of the old numbering called ``numbers[k]``."""
    columns: I32 = numbers[block.columns]
    return replace(block, columns=columns)


def crop(block: AnyBlock, start: int, end: int) -> AnyBlock | None:
    """Return ``block`` with only ``start <= ts <= end``; ``None`` when nothing is left."""
    if isinstance(block, Block):
        lo, hi = np.searchsorted(block.ts, [start, end + 1])
        if lo == hi:
            return None
        begin = block.start[lo:hi] if block.start is not None else None
        histograms = picked(block.histograms, slice(lo, hi))
        return Block(block.columns, block.ts[lo:hi], block.values[lo:hi], begin, histograms)
    inside: Mask = (block.ts >= start) & (block.ts <= end)
    if inside.all():
        return block
    lengths = np.add.reduceat(np.append(inside, False).astype(np.int64), block.offsets[:-1])
    lengths[np.diff(block.offsets) == 0] = 0
    keep = np.flatnonzero(lengths)
    if not len(keep):
        return None
    begin = block.start[inside] if block.start is not None else None
    columns, offsets = block.columns[keep], offsets_of(lengths[keep])
    histograms = picked(block.histograms, inside)
    return RaggedBlock(columns, offsets, block.ts[inside], block.values[inside], begin, histograms)
