"""Functions over neighbouring samples: rate, increase, delta, irate, idelta, resets, changes.

The extrapolation is that of Prometheus (``promql/functions.go``, ``extrapolatedRate``), with its
terms put over a common denominator: for a counter that rose by r from a first value f ≥ 0, over a
sampled interval s within a window w, with a and b to extrapolate at start and end,
``r · (s + min(a, s · f / r) + b) / (s · w)`` is ``(r · (s + b) + min(r · a, s · f)) / (s · w)``.
Without a division per cell, and with coefficients that depend on timestamps alone, a shared
timestamp vector needs them once for all its series.
"""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.query.promql.windows import Windows

_FEW = 1 << 14
"""Losses that are added one by one whatever they are added to."""


def extrapolated(windows: Windows, counter: bool, per_second: bool, old_clamp: bool) -> F64:
    """Return float64[K, S]: increase over each window, extrapolated to its edges.

    Anything where a window holds fewer than two samples. ``old_clamp`` chooses the order of
    Prometheus 2.x, which compares the distance to the zero point with the threshold.
    """
    loops = windows.loops()
    if loops is not None:
        out = np.zeros(windows.shape)
        lo, hi, ends = windows.lo, windows.hi, np.ascontiguousarray(windows.ends)
        if counter:
            loops.resets(windows.values, lo, hi, out)
        kind = counter, per_second, old_clamp
        loops.extrapolate(windows.ts, windows.values, lo, hi, ends, windows.range, kind, out)
        return out
    first, last = windows.first, windows.last
    start, sampled, near, far, tail = _edges(windows, first, last)
    denominator = sampled * (windows.range / 1000.0) if per_second else sampled
    rise = windows.value(last)
    origin = windows.value(first)
    rise -= origin
    if not counter:
        rise *= (sampled + np.where(far, near / 2, start) + tail) / denominator
        return rise
    _add_resets(rise, windows)
    head = np.where(far, near / 2, start) / denominator
    scale = sampled / denominator
    clamped = _clamped(rise, origin, head, scale)
    if old_clamp and far.any():
        _clamp_as_2x(clamped, rise, origin, (far, head, sampled, near * 1.1, scale))
    rise *= (sampled + tail) / denominator
    rise += clamped
    return rise


def _edges(windows: Windows, first: I64, last: I64) -> tuple[F64, F64, F64, Mask, F64]:
    """Return, in seconds: gap at the start, sampled interval, mean distance of samples, whether
    the start is too far to extrapolate over, and what to extrapolate at the end."""
    from_ts, to_ts = windows.time(first), windows.time(last)
    ends = windows.ends[:, None]
    steps = np.maximum(windows.count - 1, 1)
    sampled = (to_ts - from_ts) / 1000.0
    # Windows with too few samples are masked by the caller; this keeps their division finite.
    sampled[windows.count < 2] = 1.0
    near = sampled / steps
    threshold = near * 1.1
    start = (from_ts - (ends - windows.range)) / 1000.0
    end = (ends - to_ts) / 1000.0
    tail = np.where(end < threshold, end, near / 2)
    return start, sampled, near, start >= threshold, tail


def _clamped(rise: F64, origin: F64, head: F64, scale: F64) -> F64:
    """Return the share of the stretch before the first sample, not reaching below zero."""
    share = rise * head
    limit = origin * scale
    lowest = origin.min(initial=np.inf)
    if lowest >= 0:
        return np.minimum(share, limit, out=share)
    return np.where(origin >= 0, np.minimum(share, limit), share)


def _clamp_as_2x(
    clamped: F64, rise: F64, origin: F64, edge: tuple[Mask, F64, F64, F64, F64]
) -> None:
    """Redo the windows that begin too far from their edge as Prometheus 2.x does, in place."""
    far, head, sampled, threshold, scale = edge
    rows = far.nonzero()[0] if far.shape[1] == 1 else np.flatnonzero(far.any(axis=1))
    risen, first = rise[rows], origin[rows]
    # Whole counters often lie just as far from zero as the threshold: the comparison is made on
    # the same floats as Prometheus', or a last digit decides between two different answers.
    with np.errstate(divide="ignore", invalid="ignore"):
        to_zero = sampled[rows] * (first / risen)
    reachable = (first >= 0) & (risen > 0) & (to_zero < threshold[rows])
    old = np.where(reachable, first * scale[rows], risen * head[rows])
    clamped[rows] = np.where(far[rows], old, clamped[rows])


def _add_resets(rise: F64, windows: Windows) -> None:
    """Add to ``rise`` what each counter had reached before the resets within its window."""
    add_losses(rise, windows, windows.values[1:] < windows.values[:-1])


def add_losses(rise: F64, windows: Windows, fell: Mask) -> None:
    """Add to ``rise`` the samples that are followed by one where ``fell`` is true.

    ``fell`` has the shape of the values less one row.
    """
    if not fell.any():
        return
    if windows.shared:
        _add_shared_resets(rise, windows, fell)
    elif not _add_few(rise, windows, np.flatnonzero(fell)):
        # Differences across two series are no resets: no window holds both of their samples.
        seen = np.concatenate([[0], np.cumsum(fell)])
        values = windows.values[:-1][fell]
        lost = np.concatenate([[0.0], np.cumsum(values, dtype=np.longdouble)])
        rise += (lost[seen[windows.last]] - lost[seen[windows.first]]).astype(np.float64)


def _add_few(rise: F64, windows: Windows, before: I64) -> bool:
    """Add each loss to the windows that hold it, in the flat layout; ``False`` if they are many.

    ``before`` are the positions int64[E] of the samples that are lost. Sums of their own keep
    their digits, whatever other series lose.
    """
    lo, hi = windows.lo, windows.hi
    if not len(lo) or not lo.shape[1]:
        return True
    series = np.minimum(np.searchsorted(hi[-1], before, "right"), lo.shape[1] - 1)
    begin = _first_step(hi, series, before + 1)
    count = np.maximum(_first_step(lo, series, before) - begin, 0)
    if int(count.sum()) > max(rise.size // 8, _FEW):
        return False
    step = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
    np.add.at(rise, (step, np.repeat(series, count)), np.repeat(windows.values[before], count))
    return True


def _first_step(edges: I64, series: I64, above: I64) -> I64:
    """Return int64[E]: the first step at which the edge int64[K, S] of a series is past a value."""
    low, high = np.zeros(len(series), np.int64), np.full(len(series), len(edges))
    for _ in range(len(edges).bit_length()):
        middle = (low + high) // 2
        open_ = low < high
        past = edges[np.minimum(middle, len(edges) - 1), series] > above
        high = np.where(open_ & past, middle, high)
        low = np.where(open_ & ~past, middle + 1, low)
    return low


def _add_shared_resets(rise: F64, windows: Windows, fell: Mask) -> None:
    lo, hi = windows.lo[:, 0], windows.hi[:, 0]
    row, column = np.nonzero(fell)
    # A reset between the rows r and r + 1 is seen by the steps with lo <= r and hi > r + 1.
    begin = np.searchsorted(hi, row + 1, "right")
    count = np.maximum(np.searchsorted(lo, row, "right") - begin, 0)
    if int(count.sum()) <= max(rise.size // 8, _FEW):
        step = np.repeat(begin - np.cumsum(count) + count, count) + np.arange(count.sum())
        lost = np.repeat(windows.values[row, column], count)
        np.add.at(rise, (step, np.repeat(column, count)), lost)
        return
    columns = np.flatnonzero(fell.any(axis=0))
    own = windows.values[:, columns]
    lost = np.zeros(own.shape, np.longdouble)
    np.cumsum(np.where(fell[:, columns], own[:-1], 0.0), axis=0, out=lost[1:])
    first, last = windows.first[:, 0], windows.last[:, 0]
    rise[:, columns] += (lost[last] - lost[first]).astype(np.float64)


def newest_pair(windows: Windows, rate: bool) -> F64:
    """Return float64[K, S]: difference of the last two samples, per second if ``rate``.

    A counter that fell began anew at zero. Anything where there are not two samples.
    """
    last = windows.last
    before = np.maximum(last - 1, 0)
    newest, older = windows.value(last), windows.value(before)
    if not rate:
        newest -= older
        return newest
    # Subtracting nothing where it fell; a NaN never compares as smaller, and stays NaN.
    newest -= np.where(newest < older, 0.0, older)
    seconds = (windows.time(last) - windows.time(before)) / 1000.0
    seconds[windows.count < 2] = 1.0
    newest /= seconds
    return newest


def transitions(windows: Windows, resets: bool) -> F64:
    """Return float64[K, S]: how often neighbours in each window fall (``resets``) or differ."""
    newer, older = windows.values[1:], windows.values[:-1]
    event = newer < older if resets else (newer != older) & ~(np.isnan(newer) & np.isnan(older))
    seen = np.zeros(windows.values.shape, np.int64)
    np.cumsum(event, axis=0, out=seen[1:])
    first = windows.first
    if windows.shared:
        return (seen[windows.last[:, 0]] - seen[first[:, 0]]).astype(np.float64)
    return (seen[windows.last] - seen[first]).astype(np.float64)
