"""Anchored and smoothed selectors over series with histograms.

As ``promql/extended.py`` has it for floats: the histograms at the edges of a window are samples, or
lie on the line between two samples. Source: Prometheus, ``promql/functions.go``
(``extendedHistogramRate``, ``interpolateHistograms``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import I64, Mask
from vedette.model.histograms import Histograms, joined
from vedette.query.promql.extended import Edges
from vedette.query.promql.native.combine import Terms, combine_within
from vedette.query.promql.native.compare import detect_resets
from vedette.query.promql.native.flat import Cells, Sampled, counted, listed
from vedette.query.promql.native.hints import GAUGE, forgetful
from vedette.query.promql.native.notes import MIXED_KINDS, NOT_COUNTER, NOT_GAUGE
from vedette.query.promql.native.ranges import (
    Found,
    OfFloats,
    as_gauges,
    finished,
    kinds,
    mask_at,
    remark,
    split,
)
from vedette.query.promql.values import Part


def rates(sampled: Sampled, function: OfFloats, edges: Edges, counter: bool, rate: bool) -> Found:
    """Evaluate rate, increase or delta between the edges; nothing is extrapolated."""
    values, present, natives = split(sampled, function)
    cells, starts, ends = _inside(sampled, Cells.of(sampled, natives), edges)
    if not len(cells):
        return values, present, None
    custom = counted(kinds(sampled), cells.first, cells.last)
    mixed = (custom > 0) & (custom <= cells.last - cells.first)
    sampled.notes.warn(MIXED_KINDS, cells.series[mixed])
    cells, starts, ends = _taken(cells, ~mixed), starts[~mixed], ends[~mixed]
    resets = sampled.resets() if counter else np.zeros(len(sampled.windows.ts), np.bool_)
    ts = sampled.windows.ts
    left_on = edges.smoothed & (ts[cells.first] < starts)
    right_on = edges.smoothed & (ts[cells.last] > ends) & (cells.last > cells.first)
    after = np.where(left_on, np.minimum(cells.first + 1, cells.last), cells.first)
    before = np.where(right_on, cells.last - 1, cells.last)
    left = _between(sampled, (cells.first, after), starts, resets)
    right = _between(sampled, (before, cells.last), ends, resets)
    _hints(sampled, cells, counter)
    joint = joined([sampled.histograms, left, right], np.zeros(0, np.int32))
    terms = _Corrected(sampled, cells, joint, left_on, resets).terms(counter)
    weight = terms.weight / (edges.span / 1000.0) if rate else terms.weight
    weighted = Terms(terms.group, terms.row, weight)
    result = combine_within(sampled.windows.budget, joint, weighted, len(cells))
    sound = remark(sampled, cells.series, result, "subtraction")
    return finished(cells, (values, present), as_gauges(result.histograms), sound)


def _inside(sampled: Sampled, cells: Cells, edges: Edges) -> tuple[Cells, I64, I64]:
    """Return the windows that have a sample past their start, cut to what their edges need.

    Also the edges of each, int64[M] both.
    """
    ts = sampled.windows.ts
    ends = np.broadcast_to(edges.ends[:, None], cells.mask.shape)[cells.mask]
    starts = ends - edges.span
    after = _search(ts, cells, starts, equal=False)
    first = np.maximum(cells.first, np.minimum(after, cells.last) - 1)
    last = cells.last
    if edges.smoothed:
        last = np.minimum(_search(ts, cells, ends, equal=True), last)
    some = ts[last] > starts
    if edges.smoothed:
        some &= ts[first] <= ends
    cut = Cells(cells.mask, first, last, cells.series)
    return _taken(cut, some), starts[some], ends[some]


def _search(ts: I64, cells: Cells, edge: I64, equal: bool) -> I64:
    """Return the first sample of each window past its edge (``equal``: at it)."""
    low, high = cells.first.copy(), cells.last + 1
    while (low < high).any():
        middle = np.minimum((low + high) // 2, len(ts) - 1)
        open_ = low < high
        early = (ts[middle] < edge) if equal else (ts[middle] <= edge)
        low = np.where(open_ & early, middle + 1, low)
        high = np.where(open_ & ~early, middle, high)
    return low


def _taken(cells: Cells, kept: Mask) -> Cells:
    mask = mask_at(cells.mask, kept)
    return Cells(mask, cells.first[kept], cells.last[kept], cells.series[kept])


def _between(sampled: Sampled, pair: tuple[I64, I64], at: I64, resets: Mask) -> Histograms:
    """Return histograms on the line between two samples, from zero where the second is a reset.

    Where both are the same sample, it is that one.
    """
    older, newer = pair
    ts, rows = sampled.windows.ts, sampled.rows
    length = np.maximum(ts[newer] - ts[older], 1)
    share = np.where(older == newer, 1.0, (at - ts[older]) / length)
    own = np.arange(len(at))
    rest = np.flatnonzero((older != newer) & ~resets[newer])
    terms = Terms(
        np.concatenate([own, rest]),
        np.concatenate([rows[newer], rows[older[rest]]]),
        np.concatenate([share, 1.0 - share[rest]]),
    )
    budget = sampled.windows.budget
    found = combine_within(budget, sampled.histograms, terms, len(at))
    if found.reconciled.any():
        # Prometheus subtracts the older from the newer one, then adds it to what it has of that.
        sampled.notes.reconciled("subtraction")
        lengths = np.diff(sampled.histograms.custom_offsets)[rows[older]]
        if (found.reconciled & (lengths != np.diff(found.histograms.custom_offsets))).any():
            sampled.notes.reconciled("addition")
    return found.histograms


def _hints(sampled: Sampled, cells: Cells, counter: bool) -> None:
    gauge = (sampled.histograms.reset_hint == GAUGE)[sampled.rows] & sampled.native
    if counter:
        seen = counted(gauge, cells.first, cells.last) > 0
        sampled.notes.warn(NOT_COUNTER, cells.series[seen])
    else:
        ends = gauge[cells.first] & gauge[cells.last]
        sampled.notes.warn(NOT_GAUGE, cells.series[~ends])


@dataclass(frozen=True, slots=True)
class _Corrected:
    """The difference between the edges, with what was reached before each reset.

    ``joint`` holds the samples' histograms, then those at the left edges, then at the right ones.
    """

    sampled: Sampled
    cells: Cells
    joint: Histograms
    interpolated: Mask
    resets: Mask

    def terms(self, counter: bool) -> Terms:
        """Return right − left, and for counters the corrections."""
        own = np.arange(len(self.cells))
        left = self.sampled.histograms.rows + own
        right = left + len(own)
        parts = [(own, right, 1.0), (own, left, -1.0)]
        if counter:
            parts += [(group, row, 1.0) for group, row in self._corrections(left, right)]
        return Terms(
            np.concatenate([group for group, _, _ in parts]),
            np.concatenate([row for _, row, _ in parts]),
            np.concatenate([np.full(len(group), weight) for group, _, weight in parts]),
        )

    def _corrections(self, left: I64, right: I64) -> list[tuple[I64, I64]]:
        cells, rows = self.cells, self.sampled.rows
        # What lies between the edges: after the first sample, or after the one that follows it
        # where the line to the left edge already took account of a reset between these two.
        second = np.minimum(cells.first + 1, cells.last)
        skipped = self.interpolated & self.resets[second] & (cells.last > cells.first)
        begin = cells.first + 1 + skipped
        stop = cells.last - 1
        anchor = np.where(skipped, rows[second], left)
        open_ = begin <= stop + 1
        window, at = listed(np.flatnonzero(self.resets), begin + 1, stop)
        found = [(window, rows[at - 1])]
        some = np.flatnonzero(open_ & (begin <= stop))
        if len(some):
            fell = detect_resets(self.joint, rows[begin[some]], anchor[some])
            found.append((some[fell], anchor[some[fell]]))
        newest = np.where(begin <= stop, rows[np.maximum(stop, 0)], anchor)
        ends = np.flatnonzero(open_)
        fell = detect_resets(self.joint, right[ends], newest[ends])
        found.append((ends[fell], newest[ends[fell]]))
        return found


def smoothed_instants(sampled: Sampled, floats: OfFloats, ends: I64) -> Part:
    """Return the histogram at each of ``ends``: the sample, what lies between two, or the newest.

    ``floats`` does so for floats; the windows reach around the ends.
    """
    values, present, natives = split(sampled, floats)
    cells = Cells.of(sampled, natives)
    ts = sampled.windows.ts
    at = np.broadcast_to(ends[:, None], natives.shape)[natives]
    here = _search(ts, cells, at, equal=True)
    there = (here > cells.first) | (ts[np.minimum(here, cells.last)] == at)
    cells, here, at = _taken(cells, there), here[there], at[there]
    if not len(cells):
        return Part(sampled.columns, values, present)
    newer = np.minimum(here, cells.last)
    exact = (here <= cells.last) & (ts[newer] == at)
    older = np.where(exact | (here > cells.last), newer, newer - 1)
    gauge = (sampled.histograms.reset_hint == GAUGE)[sampled.rows]
    resets = sampled.resets()
    resets[np.flatnonzero(gauge[1:] & gauge[:-1]) + 1] = False
    mixed = kinds(sampled)[older] != kinds(sampled)[newer]
    sampled.notes.warn(MIXED_KINDS, cells.series[mixed])
    found = _between(sampled, (older, newer), at, resets)
    carried = _instant_hints(found, here > cells.last)
    values, present, histograms = finished(cells, (values, present), carried, ~mixed)
    return Part(sampled.columns, values, present, histograms)


def _instant_hints(histograms: Histograms, carried: Mask) -> Histograms:
    """Return ``histograms``; those carried forward no longer know of what was before them."""
    known = forgetful(histograms).reset_hint
    hints = np.where(carried, known, histograms.reset_hint).astype(np.int8)
    return replace(histograms, reset_hint=hints)
