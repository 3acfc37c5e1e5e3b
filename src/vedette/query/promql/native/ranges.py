"""Range functions over series with histograms.

Semantics: the documentation of Prometheus, "Query functions". rate, increase, delta, irate, idelta,
sum_over_time and avg_over_time have a histogram for their result where all samples are
histograms, and none where only some are. Others look at all samples alike, or at the floats alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms, joined
from vedette.query.promql.native.buckets import is_custom
from vedette.query.promql.native.cells import CellsOf
from vedette.query.promql.native.combine import Combined, Terms, combine_within, scaled
from vedette.query.promql.native.compare import equal
from vedette.query.promql.native.flat import Cells, Sampled, nothing
from vedette.query.promql.native.hints import GAUGE
from vedette.query.promql.native.notes import (
    IGNORED,
    MIXED_KINDS,
    MIXED_SAMPLES,
    NOT_COUNTER,
    NOT_GAUGE,
)
from vedette.query.promql.windows import Windows

OfFloats = Callable[[Windows], tuple[F64, Mask | None]]
"""The range function on windows of floats."""

Found = tuple[F64, Mask, Histograms | None]
"""Values float64[K, S], presence, and histograms."""

_SAMPLES = 1 << 20
"""Samples of windows that are listed at once."""


def like_floats(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate a function that looks at the number and times of samples only."""
    values, present = function(sampled.windows)
    return values, _whole(present, values), None


def of_floats(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate a function that leaves histograms out."""
    values, present = _float_cells(sampled, function)
    natives = sampled.native_count()
    mixed = (natives > 0) & (sampled.windows.count > natives)
    if mixed.any():
        sampled.notes.info(IGNORED, sampled.series(mixed))
    return values, present, None


def newest(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate last_over_time."""
    return _picked(sampled, function, sampled.windows.last)


def oldest(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate first_over_time."""
    return _picked(sampled, function, sampled.windows.first)


def _picked(sampled: Sampled, function: OfFloats, at: I64) -> Found:
    values, present = function(sampled.windows)
    there = _whole(present, values)
    index = np.where(there, sampled.histograms.index[at], np.int32(-1))
    histograms = sampled.histograms.at(index) if (index >= 0).any() else None
    return values, there, histograms


def resets(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate resets: a change between floats and histograms counts as one."""
    return _transitions(sampled, function, sampled.resets())


def changes(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate changes: a change between floats and histograms counts as one."""
    at, rows = sampled.pairs(), sampled.rows
    event = np.zeros(len(rows), np.bool_)
    event[at] = ~equal(sampled.histograms, rows[at], rows[at - 1])
    return _transitions(sampled, function, event)


def _transitions(sampled: Sampled, function: OfFloats, event: Mask) -> Found:
    """Count events within windows: those of histograms, of floats, and changes of kind."""
    native, windows = sampled.native, sampled.windows
    event = event.copy()
    event[1:] |= native[1:] != native[:-1]
    # A pair of floats is judged by the function itself, as a window of its own.
    pairs = np.flatnonzero(~native[1:] & ~native[:-1]) + 1
    if len(pairs):
        each = replace(
            windows,
            lo=(pairs - 1)[:, None],
            hi=(pairs + 1)[:, None],
            ends=windows.ts[pairs],
            histograms=None,
        )
        event[pairs] |= function(each)[0][:, 0] > 0
    seen = np.cumsum(event, dtype=np.int64)
    values: F64 = (seen[windows.last] - seen[windows.first]).astype(np.float64)
    return values, _whole(windows.at_least(1), values), None


def sums(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate sum_over_time."""
    return _summed(sampled, function, mean=False)


def means(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate avg_over_time."""
    return _summed(sampled, function, mean=True)


def _summed(sampled: Sampled, function: OfFloats, mean: bool) -> Found:
    values, present, natives = split(sampled, function)
    cells = Cells.of(sampled, natives)
    if not len(cells):
        return values, present, None
    # Only as many windows at once as their samples, listed window by window, take little memory.
    count = cells.last - cells.first + 1
    pieces = np.cumsum(count) // _SAMPLES
    cuts = np.flatnonzero(np.diff(pieces)) + 1
    sound, parts = [], []
    for some in np.split(np.arange(len(cells)), cuts):
        terms = _all_samples(sampled, cells, some, mean)
        budget = sampled.windows.budget
        result = combine_within(budget, sampled.histograms, terms, len(some))
        sound.append(remark(sampled, cells.series[some], result, "aggregation", collisions=True))
        parts.append(result.histograms)
    everything = joined(parts, np.arange(len(cells), dtype=np.int32))
    return finished(cells, (values, present), everything, np.concatenate(sound))


def _all_samples(sampled: Sampled, cells: Cells, some: I64, mean: bool) -> Terms:
    """Return all samples of the windows ``some``, or the share that each has in their mean."""
    first, count = cells.first[some], cells.last[some] - cells.first[some] + 1
    group = np.repeat(np.arange(len(some)), count)
    at = np.arange(len(group)) - np.repeat(np.cumsum(count) - count, count)
    weight = 1.0 / count if mean else np.ones(len(some))
    return Terms(group, sampled.rows[first[group] + at], weight[group])


def newest_rates(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate irate."""
    return _newest_pairs(sampled, function, rate=True)


def newest_deltas(sampled: Sampled, function: OfFloats) -> Found:
    """Evaluate idelta."""
    return _newest_pairs(sampled, function, rate=False)


def _newest_pairs(sampled: Sampled, function: OfFloats, rate: bool) -> Found:
    windows, native = sampled.windows, sampled.native
    values, present = function(windows)
    there = _whole(present, values)
    last = windows.last
    before = np.maximum(last - 1, 0)
    both, mixed = native[last] & native[before], native[last] != native[before]
    if (there & mixed).any():
        sampled.notes.warn(MIXED_SAMPLES, sampled.series(there & mixed))
    floats = there & ~both & ~mixed
    cells = Cells.of(sampled, there & both)
    if not len(cells):
        return values, floats, None
    rows = sampled.rows
    now, old = rows[cells.last], rows[cells.last - 1]
    gauges = sampled.histograms.reset_hint == GAUGE
    if rate:
        sampled.notes.warn(NOT_COUNTER, cells.series[gauges[now] | gauges[old]])
        kept = ~sampled.resets()[cells.last]
        seconds = (windows.ts[cells.last] - windows.ts[cells.last - 1]) / 1000.0
    else:
        sampled.notes.warn(NOT_GAUGE, cells.series[~(gauges[now] & gauges[old])])
        kept = np.ones(len(cells), np.bool_)
        seconds = np.ones(len(cells))
    own = np.arange(len(cells))
    terms = Terms(
        np.concatenate([own, own[kept]]),
        np.concatenate([now, old[kept]]),
        np.concatenate([1.0 / seconds, -1.0 / seconds[kept]]),
    )
    result = combine_within(windows.budget, sampled.histograms, terms, len(cells))
    sound = remark(sampled, cells.series, result, "subtraction")
    return finished(cells, (values, floats), as_gauges(result.histograms), sound)


# ---- shared with the other modules of range functions


def split(sampled: Sampled, function: OfFloats) -> tuple[F64, Mask, Mask]:
    """Return values and presence of windows of floats alone, and which hold histograms alone.

    Warn of those that hold both, which have no value.
    """
    values, present = _float_cells(sampled, function)
    natives, count = sampled.native_count(), sampled.windows.count
    mixed = (natives > 0) & (count > natives)
    if mixed.any():
        sampled.notes.warn(MIXED_SAMPLES, sampled.series(mixed))
    return values, present & (natives == 0), np.asarray((natives > 0) & ~mixed)


def _float_cells(sampled: Sampled, function: OfFloats) -> tuple[F64, Mask]:
    floats = sampled.floats()
    if floats is None:
        return nothing(sampled.windows.shape)
    values, present = function(floats)
    return values, _whole(present, values) & (floats.count > 0)


def _whole(present: Mask | None, values: F64) -> Mask:
    if present is None:
        return np.ones(values.shape, np.bool_)
    return np.broadcast_to(present, values.shape).copy()


def remark(
    sampled: Sampled, series: I64, result: Combined, operation: str, collisions: bool = False
) -> Mask:
    """Remark on what was found while adding up; return which sums are sound."""
    sampled.notes.warn(MIXED_KINDS, series[result.mixed])
    if result.reconciled.any():
        sampled.notes.reconciled(operation)
    if collisions and result.collided.any():
        sampled.notes.collided(operation)
    return ~result.mixed


def as_gauges(histograms: Histograms) -> Histograms:
    """Return ``histograms`` as gauges, which differences are."""
    return replace(histograms, reset_hint=np.full(histograms.rows, GAUGE, np.int8))


def mask_at(mask: Mask, chosen: Mask) -> Mask:
    """Return the cells of ``mask`` that ``chosen`` (bool, one for each of them) keeps."""
    out = np.zeros_like(mask)
    out[mask] = chosen
    return out


def finished(cells: Cells, floats: tuple[F64, Mask], histograms: Histograms, sound: Mask) -> Found:
    """Put ``histograms`` of ``cells``, those that are ``sound``, beside the floats."""
    values, present = floats
    where, kept = mask_at(cells.mask, sound), np.flatnonzero(sound)
    found = CellsOf(values.shape)
    found.put(where, histograms.take(kept, np.arange(len(kept), dtype=np.int32)))
    return np.where(where, np.nan, values), present | where, found.result()


def kinds(sampled: Sampled) -> Mask:
    """Return bool[N]: which samples are histograms with custom buckets."""
    custom = np.append(is_custom(sampled.histograms), np.False_)
    return np.asarray(custom[sampled.rows])


def multiplied(histograms: Histograms, factor: F64) -> Histograms:
    """Return ``histograms`` times positive factors, as gauges."""
    return as_gauges(scaled(histograms, factor))
