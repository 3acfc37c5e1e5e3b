"""Functions over range vectors, each on all windows of many series at once.

Sources of the semantics: the documentation of Prometheus, "Query functions"; the formulas of
variance and regression are the textbook ones, centred within each window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.query.promql import starts
from vedette.query.promql.budget import Budget
from vedette.query.promql.counters import extrapolated, newest_pair, transitions
from vedette.query.promql.extended import Edges, anchored_windows, increase
from vedette.query.promql.remarks import execution_error
from vedette.query.promql.windows import Tensor, Windows, window_extremes, window_sums


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a range function is given besides its windows.

    Attributes:
        scalars: the scalar arguments in order, float64[K] each.
        ts: int64[K], the evaluation times.
        old_clamp: whether ``rate`` extrapolates as Prometheus 2.x does.
        edges: of an anchored or smoothed selector, or ``None``.
    """

    scalars: tuple[F64, ...]
    ts: I64
    old_clamp: bool
    edges: Edges | None = None


Kernel = Callable[[Windows, Arguments], F64]


@dataclass(frozen=True, slots=True)
class Rate:
    """What distinguishes rate, increase and delta."""

    counter: bool
    per_second: bool


@dataclass(frozen=True, slots=True)
class RangeFunction:
    """A range function: its kernel (float64[K, S]) and how many samples a window must hold.

    ``rate`` is set for those that measure the way from one edge of the window to the other.
    """

    kernel: Kernel
    samples: int = 1
    keeps_name: bool = False
    rate: Rate | None = None

    def _extended_rate(self, windows: Windows, edges: Edges, rate: Rate) -> tuple[F64, Mask]:
        values, present = increase(windows, edges, rate.counter)
        return values / (edges.span / 1000.0) if rate.per_second else values, present

    def __call__(self, windows: Windows, arguments: Arguments) -> tuple[F64, Mask | None]:
        """Return values float64[K, S] and their presence (``None``: all)."""
        with np.errstate(all="ignore"):
            if arguments.edges is not None:
                if self.rate is not None:
                    return self._extended_rate(windows, arguments.edges, self.rate)
                windows = anchored_windows(windows, arguments.edges)
            elif self.rate is not None and windows.start is not None:
                return starts.extrapolated(windows, windows.start, self.rate.per_second)
            return self.kernel(windows, arguments), windows.at_least(self.samples)


def _sum(windows: Windows, _: Arguments) -> F64:
    sums = window_sums(windows)
    steps, redo = _untrusted(windows, sums)
    for tensor in windows.tensors(steps):
        at = redo[tensor.steps]
        sums[tensor.steps] = np.where(at, _compensated(tensor), sums[tensor.steps])
    return sums


def _avg(windows: Windows, _: Arguments) -> F64:
    sums = window_sums(windows)
    means = sums / windows.count
    steps, redo = _untrusted(windows, sums)
    for tensor in windows.tensors(steps):
        at = redo[tensor.steps]
        means[tensor.steps] = np.where(at, _compensated_mean(tensor), means[tensor.steps])
    return means


def _untrusted(windows: Windows, sums: F64) -> tuple[I64, Mask]:
    """Return the steps, and bool[K, S] the cells, whose plain sum may have lost its digits.

    A sum is good while it is not much smaller than what was added and taken away.
    """
    redo = np.isinf(sums)
    if windows.values.size and not windows.values.min() >= 0:
        redo |= np.abs(sums) < 1e-5 * window_sums(windows, np.abs(windows.values))
    return np.flatnonzero(redo.any(axis=1)), redo


def _compensated(tensor: Tensor) -> F64:
    """Return float64[k, S]: the windows summed with Neumaier's compensation."""
    total, lost = neumaier(np.where(tensor.inside, tensor.values, 0.0), tensor.budget)
    return np.where(np.isinf(total), total, total + lost)


def _compensated_mean(tensor: Tensor) -> F64:
    count = tensor.inside.sum(axis=1)
    values = np.where(tensor.inside, tensor.values, 0.0)
    total, lost = neumaier(values, tensor.budget)
    small, small_lost = neumaier(values / count[:, None, :], tensor.budget)
    # A sum that overflows while the values do not is taken of the values' shares instead.
    return np.where(np.isfinite(total), total / count + lost / count, _settled(small, small_lost))


def _settled(total: F64, lost: F64) -> F64:
    return np.where(np.isinf(total), total, total + lost)


def neumaier(values: F64, budget: Budget) -> tuple[F64, F64]:
    """Sum float64[k, w, S] along w; return the sum and its compensation, float64[k, S] each.

    A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", 1974.
    """
    total = np.zeros((values.shape[0], values.shape[2]))
    lost = np.zeros_like(total)
    for k in budget.paced(range(values.shape[1])):
        value = values[:, k]
        new = total + value
        bigger = np.abs(total) >= np.abs(value)
        step = np.where(bigger, (total - new) + value, (value - new) + total)
        lost += np.where(np.isinf(new), 0.0, step)
        total = new
    return total, lost


def _each(windows: Windows, reduce: Callable[[Tensor], F64]) -> F64:
    out = np.full(windows.shape, np.nan)
    for tensor in windows.tensors():
        out[tensor.steps] = reduce(tensor)
    return out


def _variance(tensor: Tensor) -> F64:
    count = np.maximum(tensor.inside.sum(axis=1), 1)
    base = tensor.values[:, 0]
    shifted = np.where(tensor.inside, tensor.values - base[:, None, :], 0.0)
    mean = shifted.sum(axis=1) / count
    spread = np.where(tensor.inside, shifted - mean[:, None, :], 0.0)
    return np.asarray((spread * spread).sum(axis=1) / count)


def _stdvar(windows: Windows, _: Arguments) -> F64:
    return _each(windows, _variance)


def _stddev(windows: Windows, _: Arguments) -> F64:
    return np.sqrt(_each(windows, _variance))


def sorted_quantile(values: F64, count: I64, q: F64) -> F64:
    """Return the φ-quantile of float64[k, w, S] along w, linearly interpolated.

    The first ``count`` (int64[k, 1 or S]) entries are sorted, NaN first; ``q`` is float64[k, 1].
    """
    rank = q * (count - 1)
    floor = np.floor(rank)
    top = np.maximum(count - 1, 0)
    low = np.clip(np.nan_to_num(floor), 0, top).astype(np.int64)
    high = np.minimum(low + 1, top)
    shape = (values.shape[0], 1, values.shape[2])
    below = np.take_along_axis(values, np.broadcast_to(low[:, None, :], shape), axis=1)[:, 0]
    above = np.take_along_axis(values, np.broadcast_to(high[:, None, :], shape), axis=1)[:, 0]
    weight = rank - floor
    result = below * (1 - weight) + above * weight
    result = np.where(np.isnan(q), np.nan, result)
    return np.where(q < 0, -np.inf, np.where(q > 1, np.inf, result))


def nan_first_sorted(values: F64, inside: Mask) -> tuple[F64, I64]:
    """Sort float64[k, w, S] along w: NaN first, then ascending, padding last; also the counts."""
    # NaN sorts after everything, so that samples that are NaN become −Inf for the sort; which of
    # the −Inf were NaN is known from their number.
    count = np.broadcast_to(inside, values.shape).sum(axis=1)
    nan = np.isnan(values) & inside
    filled = np.where(inside, np.where(nan, -np.inf, values), np.nan)
    ordered = np.sort(filled, axis=1)
    if nan.any():
        missing = nan.sum(axis=1)[:, None, :]
        ordered[np.arange(values.shape[1])[None, :, None] < missing] = np.nan
    return ordered, count


def _quantile(windows: Windows, arguments: Arguments) -> F64:
    q = arguments.scalars[0]

    def reduce(tensor: Tensor) -> F64:
        ordered, count = nan_first_sorted(tensor.values, tensor.inside)
        return sorted_quantile(ordered, count, q[tensor.steps][:, None])

    return _each(windows, reduce)


def _mad(windows: Windows, _: Arguments) -> F64:
    def reduce(tensor: Tensor) -> F64:
        half = np.full((len(tensor.steps), 1), 0.5)
        ordered, count = nan_first_sorted(tensor.values, tensor.inside)
        median = sorted_quantile(ordered, count, half)
        apart = np.abs(tensor.values - median[:, None, :])
        ordered, count = nan_first_sorted(apart, tensor.inside)
        spoiled = (np.isnan(tensor.values) & tensor.inside).any(axis=1)
        return np.where(spoiled, np.nan, sorted_quantile(ordered, count, half))

    return _each(windows, reduce)


def _regression(tensor: Tensor) -> tuple[F64, F64, F64]:
    """Return slope per second, and the point (ms, value) that the line goes through."""
    count = np.maximum(tensor.inside.sum(axis=1), 1)
    base = tensor.values[:, 0]
    x = np.where(tensor.inside, (tensor.ts - tensor.ts[:, :1]) / 1000.0, 0.0)
    y = np.where(tensor.inside, tensor.values - base[:, None, :], 0.0)
    mean_x, mean_y = x.sum(axis=1) / count, y.sum(axis=1) / count
    off_x = np.where(tensor.inside, x - mean_x[:, None, :], 0.0)
    slope = (off_x * (y - mean_y[:, None, :])).sum(axis=1) / (off_x * off_x).sum(axis=1)
    constant = ~(np.where(tensor.inside, tensor.values != base[:, None, :], False)).any(axis=1)
    flat = constant & ~np.isinf(base)
    slope = np.where(flat, 0.0, slope)
    mean_y = np.where(flat, 0.0, mean_y)
    return slope, tensor.ts[:, 0] / 1000.0 + mean_x, base + mean_y


def _deriv(windows: Windows, _: Arguments) -> F64:
    return _each(windows, lambda tensor: _regression(tensor)[0])


def _predict_linear(windows: Windows, arguments: Arguments) -> F64:
    ahead = arguments.scalars[0]

    def reduce(tensor: Tensor) -> F64:
        slope, x, y = _regression(tensor)
        target = arguments.ts[tensor.steps] / 1000.0 + ahead[tensor.steps]
        return y + slope * (target[:, None] - x)

    return _each(windows, reduce)


def _smoothing(windows: Windows, arguments: Arguments) -> F64:
    """Double exponential smoothing (Holt's linear trend, "Exponential smoothing" of Wikipedia)."""
    for factor, name in zip(arguments.scalars, ("smoothing", "trend"), strict=True):
        bad = factor[~((factor > 0) & (factor < 1))]
        if len(bad):
            raise execution_error(
                f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {bad[0]:f}"
            )

    def reduce(tensor: Tensor) -> F64:
        smooth, trend = (factor[tensor.steps][:, None] for factor in arguments.scalars)
        values = tensor.values
        level = values[:, 0]
        if values.shape[1] < 2:
            return level
        slope = values[:, 1] - values[:, 0]
        previous = np.zeros_like(level)
        for k in tensor.budget.paced(range(1, values.shape[1])):
            step = slope if k == 1 else trend * (level - previous) + (1 - trend) * slope
            new = smooth * values[:, k] + (1 - smooth) * (level + step)
            inside = tensor.inside[:, k]
            slope = np.where(inside, step, slope)
            previous, level = np.where(inside, level, previous), np.where(inside, new, level)
        return level

    return _each(windows, reduce)


def _time_of_extreme(sign: float) -> Kernel:
    def kernel(windows: Windows, _: Arguments) -> F64:
        def reduce(tensor: Tensor) -> F64:
            # The latest of equal extremes counts; a NaN only where there is nothing else.
            keyed = np.where(np.isnan(tensor.values), -np.inf, sign * tensor.values)
            keyed = np.where(tensor.inside, keyed, np.nan)
            best = np.fmax.reduce(keyed, axis=1)
            hit = keyed == best[:, None, :]
            width = keyed.shape[1]
            at = width - 1 - np.argmax(hit[:, ::-1], axis=1)
            ts = np.broadcast_to(tensor.ts, keyed.shape)
            return np.take_along_axis(ts, at[:, None, :], axis=1)[:, 0] / 1000.0

        return _each(windows, reduce)

    return kernel


def _seconds(windows: Windows, index: I64) -> F64:
    return np.broadcast_to(windows.time(index) / 1000.0, windows.shape).copy()


def _count(windows: Windows, _: Arguments) -> F64:
    return np.broadcast_to(windows.count, windows.shape).astype(np.float64)


def _irate(windows: Windows, _: Arguments) -> F64:
    if windows.start is None:
        return newest_pair(windows, True)
    return starts.newest_rate(windows, windows.start)


def _resets(windows: Windows, _: Arguments) -> F64:
    if windows.start is None:
        return transitions(windows, True)
    return starts.count_resets(windows, windows.start)


def _rate(counter: bool, per_second: bool) -> RangeFunction:
    return RangeFunction(
        lambda windows, args: extrapolated(windows, counter, per_second, args.old_clamp),
        2,
        rate=Rate(counter, per_second),
    )


RANGE_FUNCTIONS = {
    "rate": _rate(True, True),
    "increase": _rate(True, False),
    "delta": _rate(False, False),
    "irate": RangeFunction(_irate, 2),
    "idelta": RangeFunction(lambda w, _: newest_pair(w, False), 2),
    "resets": RangeFunction(_resets),
    "changes": RangeFunction(lambda w, _: transitions(w, False)),
    "deriv": RangeFunction(_deriv, 2),
    "predict_linear": RangeFunction(_predict_linear, 2),
    "double_exponential_smoothing": RangeFunction(_smoothing, 2),
    "holt_winters": RangeFunction(_smoothing, 2),
    "sum_over_time": RangeFunction(_sum),
    "avg_over_time": RangeFunction(_avg),
    "min_over_time": RangeFunction(lambda w, _: window_extremes(w, np.fmin)),
    "max_over_time": RangeFunction(lambda w, _: window_extremes(w, np.fmax)),
    "count_over_time": RangeFunction(_count),
    "present_over_time": RangeFunction(lambda w, _: np.ones(w.shape)),
    "last_over_time": RangeFunction(lambda w, _: w.value(w.last), keeps_name=True),
    "first_over_time": RangeFunction(lambda w, _: w.value(w.first), keeps_name=True),
    "stddev_over_time": RangeFunction(_stddev),
    "stdvar_over_time": RangeFunction(_stdvar),
    "quantile_over_time": RangeFunction(_quantile),
    "mad_over_time": RangeFunction(_mad),
    "ts_of_first_over_time": RangeFunction(lambda w, _: _seconds(w, w.first)),
    "ts_of_last_over_time": RangeFunction(lambda w, _: _seconds(w, w.last)),
    "ts_of_max_over_time": RangeFunction(_time_of_extreme(1.0)),
    "ts_of_min_over_time": RangeFunction(_time_of_extreme(-1.0)),
}
