"""Finds, among series that each bring their own timestamps, those whose timestamps are equal.

A sender that scrapes writes all series of a target with the time of the scrape. Put together
again they cost what a block costs: one binary search for all, not one count for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vedette.model.arrays import I64, Mask
from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.query.promql.budget import Budget

_WORTH = 8
"""Fewest series that are worth a block of their own."""

_REGROUP_BYTES = 40
"""Memory for a sample that is regrouped: its place, a copy, and the copy turned round."""


def cut_block(block: RaggedBlock, low: int, high: int) -> RaggedBlock:
    """Return the samples of ``low <= ts <= high`` (ms)."""
    inside = (block.ts >= low) & (block.ts <= high)
    if inside.all():
        return block
    return samples_of(block, inside)


def samples_of(block: RaggedBlock, which: Mask) -> RaggedBlock:
    """Return ``block`` with the samples bool[N] ``which`` alone."""
    passed = np.concatenate([[0], np.cumsum(which)])
    return _samples(replace(block, offsets=passed[block.offsets]), which)


def _samples(block: RaggedBlock, which: Mask) -> RaggedBlock:
    """Return ``block``, whose offsets fit already, with the samples bool[N] ``which`` alone."""
    histograms = block.histograms
    return replace(
        block,
        ts=block.ts[which],
        values=block.values[which],
        start=None if block.start is None else block.start[which],
        histograms=None if histograms is None else histograms.at(histograms.index[which]),
    )


def regrouped(block: RaggedBlock, budget: Budget) -> Iterator[AnyBlock]:
    """Yield blocks of series with equal timestamps, and a ragged one of the series that are left.

    Series without samples are left out.
    """
    lengths = np.diff(block.offsets)
    left = lengths > 0
    for series in _candidates(block, lengths):
        budget.check()
        length = int(lengths[series[0]])
        budget.need(_REGROUP_BYTES * length * len(series))
        rows = _rows(block.offsets, series, length)
        ts = block.ts[rows].reshape(len(series), length)
        same = (ts == ts[0]).all(axis=1)
        if int(same.sum()) < _WORTH:
            continue
        left[series[same]] = False
        values = block.values[rows].reshape(len(series), length)
        values = values if same.all() else values[same]
        start, histograms = block.start, block.histograms
        if start is not None:
            start = start[rows].reshape(len(series), length)[same].T
        if histograms is not None:
            index = histograms.index[rows].reshape(len(series), length)[same].T
            histograms = histograms.at(index) if (index >= 0).any() else None
        shared = np.ascontiguousarray(values.T)
        yield Block(block.columns[series[same]], ts[0], shared, start, histograms)
    if left.any():
        yield _kept(block, left, lengths)


def _candidates(block: RaggedBlock, lengths: I64) -> Iterator[I64]:
    """Yield series (ascending) that agree in number, first and last of their timestamps."""
    series = np.flatnonzero(lengths)
    if len(series) < _WORTH:
        return
    first = block.ts[block.offsets[series]]
    last = block.ts[block.offsets[series + 1] - 1]
    order = np.lexsort((last, first, lengths[series]))
    keys = np.stack([lengths[series], first, last])[:, order]
    fresh = np.concatenate([[True], (keys[:, 1:] != keys[:, :-1]).any(axis=0)])
    starts = np.append(np.flatnonzero(fresh), len(order))
    for k in np.flatnonzero(np.diff(starts) >= _WORTH):
        yield series[order[starts[k] : starts[k + 1]]]


def _rows(offsets: I64, series: I64, length: int) -> I64 | slice:
    """Return where the samples of ``series`` stand: a slice where they follow each other."""
    first = offsets[series]
    if (np.diff(first) == length).all():
        return slice(int(first[0]), int(first[0]) + length * len(series))
    return np.asarray((first[:, None] + np.arange(length)).ravel())


def _kept(block: RaggedBlock, left: Mask, lengths: I64) -> RaggedBlock:
    if left.all():
        return block
    samples = np.repeat(left, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths[left])])
    return _samples(replace(block, columns=block.columns[left], offsets=offsets), samples)
