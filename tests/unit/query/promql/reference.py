"""A slow evaluator of single series that is obviously right: the engine is held against it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

from vedette.model.samples import STALE_BITS, bits

Sample = tuple[int, float]
Series = Sequence[Sample]


def is_stale(value: float) -> bool:
    """Return whether ``value`` is the staleness marker."""
    return bool(bits(np.array([value]))[0] == STALE_BITS)


def instant(series: Series, ts: int, lookback: int, closed: bool) -> float | None:
    """Return the newest sample at ``ts``, within the lookback, unless it marks an end."""
    seen = [(t, v) for t, v in series if t <= ts]
    if not seen:
        return None
    t, v = seen[-1]
    fresh = ts - t <= lookback if closed else ts - t < lookback
    return v if fresh and not is_stale(v) else None


def window(series: Series, end: int, span: int, closed: bool) -> list[Sample]:
    """Return the samples of a window, without staleness markers."""
    start = end - span
    return [
        (t, v)
        for t, v in series
        if t <= end and (t >= start if closed else t > start) and not is_stale(v)
    ]


def extrapolated(
    found: list[Sample], end: int, span: int, *, counter: bool, rate: bool, old: bool
) -> float | None:
    """Return rate, increase or delta, step by step as Prometheus' documentation tells it."""
    if len(found) < 2:
        return None
    rise = found[-1][1] - found[0][1]
    if counter:
        rise += sum(a for (_, a), (_, b) in itertools.pairwise(found) if b < a)
    to_start = (found[0][0] - (end - span)) / 1000
    to_end = (end - found[-1][0]) / 1000
    sampled = (found[-1][0] - found[0][0]) / 1000
    mean = sampled / (len(found) - 1)
    threshold = mean * 1.1
    if not old and to_start >= threshold:
        to_start = mean / 2
    if counter and rise > 0 and found[0][1] >= 0:
        to_start = min(to_start, sampled * (found[0][1] / rise))
    if old and to_start >= threshold:
        to_start = mean / 2
    if to_end >= threshold:
        to_end = mean / 2
    factor = (sampled + to_start + to_end) / sampled
    return rise * factor / (span / 1000) if rate else rise * factor


def _values(found: list[Sample]) -> list[float]:
    return [v for _, v in found]


def _extreme(pick: Callable[[list[float]], float]) -> Callable[[list[Sample]], float | None]:
    def evaluate(found: list[Sample]) -> float | None:
        if not found:
            return None
        real = [v for v in _values(found) if not math.isnan(v)]
        return pick(real) if real else math.nan

    return evaluate


def quantile(q: float, values: list[float]) -> float:
    """Return the interpolated φ-quantile, NaN counting as the smallest value."""
    ordered = sorted(values, key=lambda v: (not math.isnan(v), v))
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


def variance(values: list[float]) -> float:
    """Return the population variance."""
    if not all(map(math.isfinite, values)):
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / len(values)


def slope(found: list[Sample]) -> float | None:
    """Return the slope of the least-squares line, per second."""
    if len(found) < 2:
        return None
    xs = [(t - found[0][0]) / 1000 for t, _ in found]
    ys = _values(found)
    if not all(map(math.isfinite, ys)):
        return math.nan
    mx, my = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    up = math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return up / math.fsum((x - mx) ** 2 for x in xs)


def newest_pair(found: list[Sample], *, rate: bool) -> float | None:
    """Return irate or idelta."""
    if len(found) < 2:
        return None
    (t0, v0), (t1, v1) = found[-2:]
    if not rate:
        return v1 - v0
    return (v1 if v1 < v0 else v1 - v0) / ((t1 - t0) / 1000)


def _of(function: Callable[[list[float]], float]) -> Callable[[list[Sample]], float | None]:
    return lambda found: function(_values(found)) if found else None


def _pairs(found: list[Sample]) -> list[tuple[float, float]]:
    values = _values(found)
    return list(itertools.pairwise(values))


def _differ(a: float, b: float) -> bool:
    return a != b and not (math.isnan(a) and math.isnan(b))


def _fsum(values: list[float]) -> float:
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)


OVER_TIME: dict[str, Callable[[list[Sample]], float | None]] = {
    "sum_over_time": _of(_fsum),
    "avg_over_time": _of(lambda v: _fsum(v) / len(v)),
    "min_over_time": _extreme(min),
    "max_over_time": _extreme(max),
    "count_over_time": _of(lambda v: float(len(v))),
    "present_over_time": _of(lambda v: 1.0),
    "last_over_time": _of(lambda v: v[-1]),
    "first_over_time": _of(lambda v: v[0]),
    "stdvar_over_time": _of(variance),
    "stddev_over_time": _of(lambda v: math.sqrt(variance(v))),
    "irate": lambda found: newest_pair(found, rate=True),
    "idelta": lambda found: newest_pair(found, rate=False),
    "deriv": slope,
    "resets": lambda found: float(sum(b < a for a, b in _pairs(found))) if found else None,
    "changes": lambda found: float(sum(_differ(a, b) for a, b in _pairs(found))) if found else None,
}
"""Functions of the samples of a window alone."""
