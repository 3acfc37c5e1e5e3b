"""rate, increase and delta of histograms, extrapolated to the edges of their windows.

The extrapolation is that of floats (``promql/counters.py``), by the count of observations. Source:
Prometheus, ``promql/functions.go`` (``histogramRate``, ``extrapolatedRate``).
"""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.query.promql.native.buckets import CustomLayouts
from vedette.query.promql.native.combine import Terms, combine_within
from vedette.query.promql.native.flat import Cells, Sampled, counted, extremes, listed
from vedette.query.promql.native.hints import GAUGE
from vedette.query.promql.native.notes import MIXED_KINDS, NOT_COUNTER, NOT_GAUGE
from vedette.query.promql.native.ranges import (
    Found,
    OfFloats,
    finished,
    kinds,
    multiplied,
    split,
)


def rates(sampled: Sampled, function: OfFloats, counter: bool, per_second: bool) -> Found:
    """Evaluate rate (``counter`` and ``per_second``), increase (``counter``) or delta."""
    values, present, natives = split(sampled, function)
    from_zero = _from_zero(sampled) if counter else np.zeros(natives.shape, np.bool_)
    cells = Cells.of(sampled, natives & ((sampled.windows.count > 1) | from_zero))
    if not len(cells):
        return values, present, None
    zero = from_zero[cells.mask]
    several = cells.last > cells.first
    resets = sampled.resets() if counter else np.zeros(len(sampled.windows.ts), np.bool_)
    # A reset right after the first sample leaves nothing of it to subtract.
    lost = several & resets[np.minimum(cells.first + 1, cells.last)]
    begin = np.where(lost, cells.first + 1, cells.first)
    _hints(sampled, cells, several, counter)
    mixed = np.zeros(len(cells), np.bool_)
    finest = None
    if counter:
        custom = counted(kinds(sampled), begin, cells.last)
        mixed = (custom > 0) & (custom <= cells.last - begin)
        sampled.notes.warn(MIXED_KINDS, cells.series[mixed])
        schema = sampled.histograms.schema[sampled.rows].astype(np.int64)
        if (schema != schema[0]).any():
            finest = extremes(schema, begin, cells.last)
    terms = _terms(sampled, cells, (lost, zero), resets)
    budget, used = sampled.windows.budget, terms.take(~mixed[terms.group])
    result = combine_within(budget, sampled.histograms, used, len(cells), finest)
    sampled.notes.warn(MIXED_KINDS, cells.series[result.mixed])
    _reconciled(sampled, cells, lost, result.reconciled)
    origin = sampled.histograms.count[sampled.rows[cells.first]]
    factor = _factor(sampled, cells, zero, counter, (origin, result.histograms.count))
    if per_second:
        factor = factor / (sampled.windows.range / 1000.0)
    scaled = multiplied(result.histograms, factor)
    return finished(cells, (values, present), scaled, ~mixed & ~result.mixed)


def _from_zero(sampled: Sampled) -> Mask:
    """Return bool[K, S]: windows whose first sample began, from zero, within them."""
    windows = sampled.windows
    if windows.start is None:
        return np.zeros(windows.shape, np.bool_)
    began, first = windows.start[windows.first], windows.ts[windows.first]
    edge = (windows.ends - windows.range)[:, None]
    return np.asarray((windows.count > 0) & (began != 0) & (began > edge) & (began < first))


def _hints(sampled: Sampled, cells: Cells, several: Mask, counter: bool) -> None:
    gauge = (sampled.histograms.reset_hint == GAUGE)[sampled.rows] & sampled.native
    if counter:
        seen = counted(gauge, cells.first, cells.last) > 0
        sampled.notes.warn(NOT_COUNTER, cells.series[several & seen])
    else:
        ends = gauge[cells.first] & gauge[cells.last]
        sampled.notes.warn(NOT_GAUGE, cells.series[several & ~ends])


def _terms(sampled: Sampled, cells: Cells, state: tuple[Mask, Mask], resets: Mask) -> Terms:
    """Return the last sample less the first, and what was reached before each reset between."""
    lost, zero = state
    several = cells.last > cells.first
    own = np.arange(len(cells))
    window, at = listed(np.flatnonzero(resets), cells.first + 2, cells.last)
    subtracted = several & ~lost
    custom = kinds(sampled)[cells.last]
    parts = (
        (own[several], cells.last[several], 1.0),
        (own[subtracted], cells.first[subtracted], -1.0),
        (window, at - 1, 1.0),
        (own[zero], cells.first[zero], 1.0),
        # What follows a lost first sample has its say in the bounds.
        (own[lost & custom], cells.first[lost & custom] + 1, 0.0),
    )
    group = np.concatenate([group for group, _, _ in parts])
    return Terms(
        group,
        sampled.rows[np.concatenate([sample for _, sample, _ in parts])],
        np.concatenate([np.full(len(group), weight) for group, _, weight in parts]),
        np.arange(len(group)) < int(several.sum()),
    )


def _reconciled(sampled: Sampled, cells: Cells, lost: Mask, reconciled: Mask) -> None:
    """Remark on bounds that differed: between the ends, or to what was added after resets."""
    if not reconciled.any():
        return
    layout = CustomLayouts(sampled.histograms).of_row
    rows = sampled.rows
    begin = np.where(lost, cells.first + 1, cells.first)
    apart = layout[rows[begin]] != layout[rows[cells.last]]
    if (reconciled & apart).any():
        sampled.notes.reconciled("subtraction")
    if (reconciled & ~apart).any():
        sampled.notes.reconciled("addition")


def _factor(
    sampled: Sampled, cells: Cells, zero: Mask, counter: bool, counts: tuple[F64, F64]
) -> F64:
    """Return float64[M]: by how much the sampled interval is extrapolated."""
    windows = sampled.windows
    origin, rise = counts
    from_ts, to_ts = windows.ts[cells.first], windows.ts[cells.last]
    ends = np.broadcast_to(windows.ends[:, None], cells.mask.shape)[cells.mask]
    pairs = cells.last - cells.first
    between = (to_ts - from_ts) / 1000.0 / np.maximum(pairs, 1)
    near = between * 1.1
    began = _began(windows.start, cells.first, from_ts)
    sampled_for = (to_ts - np.where(zero, began, from_ts)) / 1000.0
    head = (from_ts - (ends - windows.range)) / 1000.0
    head = np.where(head >= near, between / 2, head)
    if counter:
        with np.errstate(divide="ignore", invalid="ignore"):
            to_zero = sampled_for * (origin / rise)
        reachable = (rise > 0) & (origin >= 0)
        head = np.where(reachable, np.fmin(head, to_zero), head)
    head = np.where(zero, 0.0, head)
    tail = (ends - to_ts) / 1000.0
    tail = np.where(tail >= near, between / 2, tail)
    whole = np.where(sampled_for > 0, sampled_for, 1.0)
    return np.where(sampled_for > 0, (whole + head + tail) / whole, 1.0)


def _began(start: I64 | None, first: I64, otherwise: I64) -> I64:
    return otherwise if start is None else start[first]
