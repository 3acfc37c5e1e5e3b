"""Windows of samples: for each step the half-open range of samples that a range function sees.

Two layouts share every formula through broadcasting. In the *shared* layout S series stand on one
timestamp vector, ``values`` is float64[n, S] and bounds are int64[K, 1]: one binary search serves
all series. In the *flat* layout each series has its own timestamps, all stand behind each other in
``ts[N]`` and ``values[N]``, and bounds are int64[K, S].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql.budget import Budget
from vedette.query.promql.kernels import LONGEST_SCAN, Kernels, compiled

_TENSOR_CELLS = 1 << 20
"""Cells of a gathered piece of windows: 8 MB of values."""

_TENSOR_BYTES = 64
"""Memory for a cell of such a piece, with what a function makes of it."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of S series over K steps.

    Attributes:
        ts, values, lo, hi: as the module describes.
        ends: int64[K], right edges of the windows in ms (offset applied).
        range: length of the windows in ms.
        shared: which layout it is.
        budget: what the query may spend.
        histograms: samples that are histograms (``index`` int32[N]; always the flat layout), or
            ``None`` where none is.
        start: start timestamps in ms, int64 of the shape of ``values``, 0 unknown; ``None`` where
            all are unknown or nobody asked for them.
    """

    ts: I64
    values: F64
    lo: I64
    hi: I64
    ends: I64
    range: int
    shared: bool
    budget: Budget
    histograms: Histograms | None = None
    start: I64 | None = None

    @property
    def first(self) -> I64:
        """Lower bounds, clipped so that those of empty windows index something."""
        return np.asarray(np.minimum(self.lo, len(self.ts) - 1))

    @property
    def last(self) -> I64:
        """Newest samples, clipped so that those of empty windows index something."""
        return np.asarray(np.maximum(self.hi - 1, 0))

    def loops(self) -> Kernels | None:
        """Return compiled loops that may be run on these windows, ``None`` where numpy serves."""
        # Bounds that numpy made stand the other way round in memory.
        fit = not self.shared and self.lo.flags.c_contiguous and self.values.flags.c_contiguous
        return compiled(self.lo.size) if fit else None

    @property
    def shape(self) -> tuple[int, int]:
        """(K, S)."""
        return len(self.ends), self.values.shape[1] if self.shared else self.lo.shape[1]

    @property
    def count(self) -> I64:
        """Samples in each window: int64[K, 1 or S]."""
        return self.hi - self.lo

    def at_least(self, samples: int) -> Mask | None:
        """Return where windows hold enough samples, ``None`` where all do."""
        enough = self.count >= samples
        return None if enough.all() else enough

    def value(self, index: I64) -> F64:
        """Return a new float64[K, S]: the values at ``index`` (int64[K, 1 or S])."""
        return self.values[index[:, 0]] if self.shared else self.values[index]

    def time(self, index: I64) -> I64:
        """Return the timestamps at ``index``."""
        return self.ts[index]

    def tensors(self, rows: I64 | None = None) -> Iterator[Tensor]:
        """Yield all windows (or those of the steps ``rows``) as dense tensors, some at a time."""
        width = int(self.count.max(initial=0))
        if not width:
            return
        steps = np.arange(len(self.ends)) if rows is None else rows
        size = max(1, _TENSOR_CELLS // max(1, width * self.shape[1]))
        self.budget.need(min(size, len(steps)) * width * self.shape[1] * _TENSOR_BYTES)
        for at in range(0, len(steps), size):
            self.budget.check()
            yield self._tensor(steps[at : at + size])

    def _tensor(self, steps: I64) -> Tensor:
        lo, count = self.lo[steps], self.count[steps]
        width = int(count.max(initial=0))
        reach = np.arange(width)[None, :, None]
        index = np.minimum(lo[:, None, :] + reach, len(self.ts) - 1)
        values = self.values[index[:, :, 0]] if self.shared else self.values[index]
        inside = reach < count[:, None, :]
        return Tensor(steps, values, self.ts[index], inside, self.budget)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Windows of the steps ``steps`` side by side: values float64[k, w, S], ts int64[k, w, 1 or S].

    ``inside`` (bool[k, w, 1 or S]) tells samples from padding at the end of shorter windows.
    """

    steps: I64
    values: F64
    ts: I64
    inside: Mask
    budget: Budget


def bounds(ts: I64, ends: I64, span: int, closed: bool) -> tuple[I64, I64]:
    """Return the windows ``(end − span, end]`` (``closed``: ``[end − span, end]``) over ``ts``."""
    lo = np.searchsorted(ts, ends - span, "left" if closed else "right")
    return lo, np.searchsorted(ts, ends, "right")


def flat_bounds(ts: I64, offsets: I64, ends: I64, span: int, closed: bool) -> tuple[I64, I64]:
    """Return lo and hi as int64[K, S] for series that stand behind each other in ``ts``.

    Counts, for every step, the samples that its edges have passed, instead of searching: O(N + SK).
    """
    shape = len(ends), len(offsets) - 1
    loops = compiled(shape[0] * shape[1])
    if loops is not None:
        low, high = np.empty(shape, np.int64), np.empty(shape, np.int64)
        ts, offsets, ends = (np.ascontiguousarray(a, np.int64) for a in (ts, offsets, ends))
        loops.bounds(ts, offsets, ends, span, closed, low, high)
        return low, high
    lengths = np.diff(offsets)
    series = np.repeat(np.arange(len(lengths)) * (len(ends) + 1), lengths)
    hi = _passed(series + _first_step(ts, ends, False), len(lengths), len(ends))
    lo = _passed(series + _first_step(ts, ends - span, closed), len(lengths), len(ends))
    start = offsets[:-1, None]
    return (lo + start).T, (hi + start).T


def _first_step(ts: I64, edges: I64, after: bool) -> I64:
    """Return for each sample the first step whose edge is at (``after``: past) it, K if none."""
    steps = len(edges)
    stride = int(edges[1] - edges[0]) if steps > 1 else 0
    if stride <= 0:
        return np.searchsorted(edges, ts, "right" if after else "left")
    ahead = ts - edges[0]
    at = ahead // stride + 1 if after else -(-ahead // stride)
    return np.asarray(np.clip(at, 0, steps))


def _passed(bins: I64, series: int, steps: int) -> I64:
    counts = np.bincount(bins, minlength=series * (steps + 1)).reshape(series, steps + 1)
    return np.cumsum(counts[:, :steps], axis=1)


def window_sums(windows: Windows, values: F64 | None = None) -> F64:
    """Return float64[K, S]: the sum of each window.

    Sums of 2, 4, 8 … neighbours are built once and each window is put together from them, so that
    windows do not share rounding errors as differences of one running sum would.
    """
    table = windows.values if values is None else values
    loops = windows.loops() if table.flags.c_contiguous else None
    if loops is not None and _short(windows):
        out = np.empty(windows.shape)
        loops.sums(table, windows.lo, windows.hi, out)
        return out
    out = np.zeros(windows.shape)
    position, count = windows.lo.copy(), windows.count
    longest = int(count.max(initial=0))
    length = 1
    while length <= longest:
        windows.budget.check()
        chosen = (count & length) != 0
        _add_at(out, table, position, chosen, windows.shared)
        position += np.where(chosen, length, 0)
        length *= 2
        if length <= longest:
            table = table[: -length // 2] + table[length // 2 :]
    return out


def _short(windows: Windows) -> bool:
    """Whether a loop over each window is quicker than putting windows together from parts."""
    return float(windows.count.sum()) <= LONGEST_SCAN * float(windows.lo.size)


def _add_at(out: F64, table: F64, position: I64, chosen: Mask, shared: bool) -> None:
    if not shared:
        out[chosen] += table[position[chosen]]
    elif chosen.all():
        out += table[position[:, 0]]
    else:
        rows = np.flatnonzero(chosen[:, 0])
        out[rows] += table[position[rows, 0]]


def window_extremes(windows: Windows, pick: np.ufunc) -> F64:
    """Return float64[K, S]: ``pick`` (``np.fmin`` or ``np.fmax``) over each window.

    A window is covered by two overlapping stretches of a power of two; empty windows give NaN.
    """
    table = windows.values
    loops = windows.loops()
    if loops is not None and _short(windows):
        out = np.empty(windows.shape)
        loops.extremes(table, windows.lo, windows.hi, pick is np.fmax, out)
        return out
    out = np.full(windows.shape, np.nan)
    count = windows.count
    longest = int(count.max(initial=0))
    length = 1
    while length <= longest:
        windows.budget.check()
        chosen = (count >= length) & (count < 2 * length)
        if chosen.any():
            _pick_at(out, table, windows, chosen, length, pick)
        length *= 2
        if length <= longest:
            table = pick(table[: -length // 2], table[length // 2 :])
    return out


def _pick_at(
    out: F64, table: F64, windows: Windows, chosen: Mask, length: int, pick: np.ufunc
) -> None:
    if windows.shared:
        rows = np.flatnonzero(chosen[:, 0])
        first, last = windows.lo[rows, 0], windows.hi[rows, 0] - length
        out[rows] = pick(table[first], table[last])
    else:
        first, last = windows.lo[chosen], windows.hi[chosen] - length
        out[chosen] = pick(table[first], table[last])
