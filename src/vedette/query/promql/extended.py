"""Selectors that know what a series was at the edges of their window: anchored and smoothed.

``anchored`` takes the newest sample at or before the start of the window for its beginning, and
extrapolates nothing. ``smoothed`` interpolates between the samples around each edge, the next one
after the end included. Semantics: the documentation of Prometheus, "Querying basics".
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.query.errors import QueryError
from vedette.query.promql.ast import MatrixSelector, RangeModifier, Subquery
from vedette.query.promql.counters import add_losses
from vedette.query.promql.remarks import execution_error
from vedette.query.promql.select import Reach
from vedette.query.promql.values import Part
from vedette.query.promql.windows import Windows

_SAFE = {
    RangeModifier.ANCHORED: ("changes", "delta", "increase", "rate", "resets"),
    RangeModifier.SMOOTHED: ("delta", "increase", "rate"),
}


@dataclass(frozen=True, slots=True)
class Edges:
    """The windows that were asked for, ``(end − span, end]``; what is read reaches further.

    Attributes:
        ends: int64[K], ms.
        span: length in ms.
        modifier: what is made of the edges.
    """

    ends: I64
    span: int
    modifier: RangeModifier

    @property
    def smoothed(self) -> bool:
        """Whether values at the edges are interpolated."""
        return self.modifier is RangeModifier.SMOOTHED

    @property
    def starts(self) -> I64:
        """int64[K], ms."""
        return self.ends - self.span


def modifier_of(node: MatrixSelector | Subquery) -> RangeModifier | None:
    """Return the modifier of a range vector."""
    return node.selector.modifier if isinstance(node, MatrixSelector) else None


def refuse_function(function: str, modifier: RangeModifier) -> QueryError | None:
    """Return the error that ``function`` cannot be used with ``modifier``, ``None`` if it can."""
    safe = _SAFE[modifier]
    if function in safe:
        return None
    return execution_error(
        f"{modifier} modifier can only be used with: {', '.join(safe)} - not with {function}"
    )


def stretched(reach: Reach, modifier: RangeModifier, lookback: int) -> Reach:
    """Return ``reach`` with what the edges need: ``lookback`` ms before, and after if smoothed."""
    after = lookback if modifier is RangeModifier.SMOOTHED else 0
    return replace(reach, ends=reach.ends + after, span=reach.span + lookback + after)


def anchored_windows(windows: Windows, edges: Edges) -> Windows:
    """Return windows that begin with their anchor, empty where no sample is past their start."""
    after = _first_after(windows, edges.starts, equal=False)
    first = np.maximum(windows.lo, after - 1)
    return replace(windows, lo=np.where(after < windows.hi, first, windows.hi), range=edges.span)


def increase(windows: Windows, edges: Edges, counter: bool) -> tuple[F64, Mask]:
    """Return float64[K, S], the difference between the edges, and where there is one.

    ``counter``: the value before each reset is added, and a reset within an edge counts from 0.
    """
    start, end = edges.starts[:, None], edges.ends[:, None]
    newest = np.maximum(windows.hi - 1, windows.lo)
    after = np.minimum(_first_after(windows, edges.starts, equal=False), newest)
    first = np.maximum(windows.lo, after - 1)
    last = newest
    if edges.smoothed:
        last = np.minimum(_first_after(windows, edges.ends, equal=True), newest)
    first, last = _inside(windows, first), _inside(windows, last)
    present = (windows.count > 0) & (windows.time(last) > start)
    left, right = windows.value(first), windows.value(last)
    if edges.smoothed:
        present &= windows.time(first) <= end
        before = windows.time(first) < start
        following = _inside(windows, first + 1)
        left = np.where(before, _between(windows, (first, following), start, counter), left)
        beyond = (windows.time(last) > end) & (last > windows.lo)
        preceding = _inside(windows, last - 1)
        right = np.where(beyond, _between(windows, (preceding, last), end, counter), right)
    rise = right - left
    if counter:
        begin = first + (windows.time(first) <= start)
        stop = last - (windows.time(last) >= end)
        rise += _corrections(windows, (left, right), begin, stop)
    return rise, present


def smoothed_instants(columns: I64, windows: Windows, ends: I64) -> Part:
    """Return the value at each of ``ends``: the sample, what lies between two, or the newest.

    The windows must reach around the ends.
    """
    at = _first_after(windows, ends, equal=True)
    here = _inside(windows, at)
    before = _inside(windows, at - 1)
    found, older = at < windows.hi, at > windows.lo
    exact = found & (windows.time(here) == ends[:, None])
    between = _between(windows, (before, here), ends[:, None], False)
    values = np.where(exact, windows.value(here), np.where(found, between, windows.value(before)))
    present = np.broadcast_to(exact | older, values.shape)
    return Part(columns, values, None if present.all() else present)


def extended_samples(ts: I64, values: F64, edges: Edges) -> tuple[I64, F64]:
    """Return the samples of one series with values put at both edges of its only window."""
    if not len(ts):
        return ts, values
    start, end = int(edges.starts[0]), int(edges.ends[0])
    newest = len(ts) - 1
    first = max(0, min(int(np.searchsorted(ts, start, "right")), newest) - 1)
    last = min(int(np.searchsorted(ts, end, "left")), newest) if edges.smoothed else newest
    if ts[last] <= start:
        return ts[:0], values[:0]
    left, right = values[first], values[last]
    if edges.smoothed and ts[first] < start:
        left = _line(ts[first : first + 2], values[first : first + 2], start)
    if edges.smoothed and last and ts[last] > end:
        right = _line(ts[last - 1 : last + 1], values[last - 1 : last + 1], end)
    inner = slice(first + int(ts[first] <= start), last + 1 - int(ts[last] >= end))
    return (
        np.concatenate([[start], ts[inner], [end]]),
        np.concatenate([[left], values[inner], [right]]),
    )


def _line(ts: I64, values: F64, at: int) -> float:
    share = (at - int(ts[0])) / (int(ts[1]) - int(ts[0]))
    return float(values[0] + (values[1] - values[0]) * share)


def _inside(windows: Windows, index: I64) -> I64:
    """Clip ``index`` so that it points to some sample; the caller masks what is not meant."""
    return np.clip(index, 0, max(len(windows.ts) - 1, 0))


def _first_after(windows: Windows, edges: I64, equal: bool) -> I64:
    """Return int64[K, 1 or S]: the first sample of each window past its edge (``equal``: at it).

    ``hi`` where there is none.
    """
    low, high = windows.lo.copy(), windows.hi.copy()
    edge = edges[:, None]
    for _ in range(int(windows.count.max(initial=0)).bit_length()):
        windows.budget.check()
        middle = (low + high) // 2
        ts = windows.ts[_inside(windows, middle)]
        open_ = low < high
        before = (ts < edge) if equal else (ts <= edge)
        low = np.where(open_ & before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low


def _between(windows: Windows, pair: tuple[I64, I64], at: I64, counter: bool) -> F64:
    """Return float64[K, S]: the line through two samples, at ``at`` (ms, int64[K, 1])."""
    older, newer = (windows.value(index) for index in pair)
    from_ts, to_ts = (windows.time(index) for index in pair)
    if counter:
        older = np.where(newer < older, 0.0, older)
    length = np.maximum(to_ts - from_ts, 1)
    return np.asarray(older + (newer - older) * (at - from_ts) / length)


def _corrections(windows: Windows, edges: tuple[F64, F64], begin: I64, stop: I64) -> F64:
    """Return float64[K, S]: what the counters had reached before each reset.

    ``begin`` to ``stop`` are the samples between the values at both ``edges``, none if stop is
    smaller.
    """
    left, right = edges
    begin_at, stop_at = _inside(windows, begin), _inside(windows, stop)
    oldest, newest = windows.value(begin_at), windows.value(stop_at)
    within = np.where(oldest < left, left, 0.0) + np.where(right < newest, newest, 0.0)
    inner = replace(windows, lo=begin_at, hi=np.maximum(stop_at + 1, begin_at))
    add_losses(within, inner, windows.values[1:] < windows.values[:-1])
    total = np.where(begin > stop, np.where(right < left, left, 0.0), within)
    return np.asarray(total, np.float64)
