"""Quantiles and fractions of classic histograms, all histograms of one bucket layout at once.

The algorithm is that of Prometheus (``promql/quantile.go``): buckets sorted by upper bound, equal
bounds added up, rounding errors and falling counts mended, then linear interpolation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import Span
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import group_by
from vedette.query.promql.remarks import Remarks, number
from vedette.query.promql.values import CELL_BYTES, Vector

LE = "le"

_TOLERANCE = 1e-12
"""Relative difference of neighbouring counts that is taken for a rounding error."""

_CELLS = 1 << 20

_BUCKET_BYTES = 32
"""Memory for a cell of the buckets at work, besides the cell itself."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """Histograms of one layout: bounds float64[B] ascending, counts float64[H, B, k] cumulative."""

    bounds: F64
    counts: F64
    steps: I64


Measure = Callable[[Buckets], F64]
"""From buckets to float64[H, k]."""


def measure_histograms(
    vector: Vector, measure: Measure, span: Span, remarks: Remarks, budget: Budget, named: bool
) -> Vector:
    """Apply ``measure`` to the histograms that the series of ``vector`` make up.

    Series belong together when they agree in all labels but ``le``; those without a number there
    are left out with a warning, that says of which metric if ``named``. The result keeps
    ``__name__``.
    """

    def measured(buckets: Buckets) -> F64:
        budget.check()
        budget.need(_BUCKET_BYTES * buckets.counts.size)
        return measure(buckets)

    bounds = _upper_bounds(vector, span, remarks, named)
    budget.need(3 * CELL_BYTES * vector.values.size)
    rows = np.flatnonzero(~np.isnan(bounds))
    vector, bounds = vector.take(rows), bounds[rows]
    labels = vector.labels.drop(LE)
    groups = group_by(labels, labels.names)
    steps = vector.values.shape[1]
    values = np.zeros((len(groups), steps))
    present = np.zeros((len(groups), steps), np.bool_)
    mask = vector.mask()
    with np.errstate(all="ignore"):
        for histograms, members in _layouts(groups.ids, bounds):
            _measure_layout(
                (histograms, members), bounds, vector.values, mask, measured, (values, present)
            )
    unnamed = None if vector.unnamed is None else vector.unnamed[groups.first]
    return Vector(labels.take(groups.first), values, present, unnamed)


def _upper_bounds(vector: Vector, span: Span, remarks: Remarks, named: bool) -> F64:
    column = vector.labels.column(LE)
    codes, texts = (np.zeros(len(vector), np.int32), ("",)) if column is None else column
    parsed = np.array([_float(text) for text in texts])
    bad = np.unique(codes[np.isnan(parsed[codes])])
    for code in bad[:10]:
        row = int(np.flatnonzero(codes == code)[0])
        name = vector.labels.labels(row).get(METRIC_NAME) if named else ""
        text = f'bucket label "{LE}" is missing or has a malformed value of "{texts[code]}"'
        remarks.warn(f'{text} for metric name "{name}"' if name else text, span)
    return np.asarray(parsed[codes])


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _layouts(ids: I64, bounds: F64) -> Iterator[tuple[I64, I64]]:
    """Yield histograms int64[H] and their series int64[H, B], for each list of bounds."""
    if not len(ids):
        return
    order = np.lexsort((bounds, ids))
    size = np.bincount(ids)
    start = np.cumsum(size) - size
    for width in np.unique(size):
        chosen = np.flatnonzero(size == width)
        members = order[start[chosen][:, None] + np.arange(width)]
        kinds, which = np.unique(bounds[members], axis=0, return_inverse=True)
        for kind in range(len(kinds)):
            same = np.flatnonzero(which.ravel() == kind)
            yield chosen[same], members[same]


def _measure_layout(
    layout: tuple[I64, I64],
    bounds: F64,
    values: F64,
    mask: Mask,
    measure: Measure,
    out: tuple[F64, Mask],
) -> None:
    histograms, members = layout
    steps = values.shape[1]
    own = bounds[members[0]]
    size = max(1, _CELLS // (len(own) * steps))
    for at in range(0, len(histograms), size):
        some, rows = histograms[at : at + size], members[at : at + size]
        seen = mask[rows]
        out[0][some] = measure(Buckets(own, values[rows], np.arange(steps)))
        out[1][some] = seen.any(axis=1)
        uneven = np.logical_or.reduce(seen, axis=1) & ~np.logical_and.reduce(seen, axis=1)
        partial = np.flatnonzero(uneven.any(axis=1))
        for h in partial:
            _measure_partial(int(some[h]), rows[h], own, (values, seen[h]), measure, out[0])


def _measure_partial(
    histogram: int,
    rows: I64,
    bounds: F64,
    cells: tuple[F64, Mask],
    measure: Measure,
    out: F64,
) -> None:
    """Measure one histogram that lacks buckets at some steps, once for each set of buckets."""
    values, seen = cells
    patterns, which = np.unique(seen, axis=1, return_inverse=True)
    for k in range(patterns.shape[1]):
        kept = np.flatnonzero(patterns[:, k])
        if 0 < len(kept) < len(rows):
            steps = np.flatnonzero(which.ravel() == k)
            counts = values[rows[kept]][:, steps][None]
            out[histogram, steps] = measure(Buckets(bounds[kept], counts, steps))[0]


def _mended(buckets: Buckets) -> tuple[F64, F64, Mask]:
    """Return bounds[B'], counts[H, B', k] rising, and bool[H, k]: whether counts had fallen."""
    bounds, counts = buckets.bounds, buckets.counts
    fresh = np.concatenate([[True], bounds[1:] != bounds[:-1]])
    if fresh.all():
        counts = counts.copy()
    else:
        starts = np.flatnonzero(fresh)
        bounds, counts = bounds[starts], np.add.reduceat(counts, starts, axis=1)
    forced = np.zeros((counts.shape[0], counts.shape[2]), np.bool_)
    before = counts[:, 0].copy()
    for b in range(1, counts.shape[1]):
        count = counts[:, b]
        noise = np.abs(count - before) <= _TOLERANCE * np.abs(count)
        fell = (count < before) & ~noise
        forced |= fell
        np.copyto(count, before, where=noise | fell)
        before = count
    return bounds, counts, forced


def quantile(q: F64, span: Span, remarks: Remarks) -> Measure:
    """Return the measure of the φ-quantiles ``q`` (float64[K])."""

    def measure(buckets: Buckets) -> F64:
        share = q[buckets.steps]
        shape = buckets.counts.shape[0], buckets.counts.shape[2]
        result = np.full(shape, np.nan)
        if buckets.bounds[-1] == np.inf:
            bounds, counts, forced = _mended(buckets)
            if len(bounds) >= 2:
                result = _interpolated(share, bounds, counts)
                sound = (share >= 0) & (share <= 1)
                if (forced & sound).any():
                    _tell_forced(span, remarks)
        result = np.where(share < 0, -np.inf, np.where(share > 1, np.inf, result))
        return np.where(np.isnan(share), np.nan, result)

    return measure


def _tell_forced(span: Span, remarks: Remarks) -> None:
    remarks.info(
        "input to histogram_quantile needed to be fixed for monotonicity (see "
        "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) "
        'for metric name ""',
        span,
    )


def _interpolated(q: F64, bounds: F64, counts: F64) -> F64:
    total = counts[:, -1]
    rank = q * total
    last = len(bounds) - 1
    at = (counts[:, :last] < rank[:, None, :]).sum(axis=1)
    inner = np.minimum(at, last - 1)
    before = np.maximum(inner - 1, 0)
    end = bounds[inner]
    start = np.where(inner > 0, bounds[before], 0.0)
    below = np.take_along_axis(counts, before[:, None, :], axis=1)[:, 0]
    below = np.where(inner > 0, below, 0.0)
    count = np.take_along_axis(counts, inner[:, None, :], axis=1)[:, 0] - below
    result = start + (end - start) * ((rank - below) / count)
    # Below a lowest bound that is not positive there is nothing to interpolate from.
    result = np.where((inner == 0) & (bounds[0] <= 0), bounds[0], result)
    result = np.where(at == last, bounds[last - 1], result)
    return np.where(total == 0, np.nan, result)


def fraction(lower: F64, upper: F64) -> Measure:
    """Return the measure of the share of observations between two bounds (float64[K] each)."""

    def measure(buckets: Buckets) -> F64:
        low, high = lower[buckets.steps], upper[buckets.steps]
        shape = buckets.counts.shape[0], buckets.counts.shape[2]
        if buckets.bounds[-1] != np.inf:
            return np.full(shape, np.nan)
        fresh = np.flatnonzero(np.concatenate([[True], buckets.bounds[1:] != buckets.bounds[:-1]]))
        bounds, counts = buckets.bounds[fresh], np.add.reduceat(buckets.counts, fresh, axis=1)
        total = counts[:, -1]
        share = (_rank(high, bounds, counts) - _rank(low, bounds, counts)) / total
        share = np.where(low >= high, 0.0, share)
        return np.where((total == 0) | np.isnan(low) | np.isnan(high), np.nan, share)

    return measure


def _rank(x: F64, bounds: F64, counts: F64) -> F64:
    """Return float64[H, k]: how many observations lie below x, interpolated within buckets."""
    last = len(bounds) - 1
    at = np.minimum(np.searchsorted(bounds, x, "right"), last)
    steps = np.arange(counts.shape[2])
    base = 0.0 if bounds[0] > 0 else -np.inf
    start = np.where(at > 0, bounds[np.maximum(at - 1, 0)], base)
    below = np.where(at > 0, counts[:, np.maximum(at - 1, 0), steps], 0.0)
    count = counts[:, at, steps]
    end = bounds[at]
    rank = below + (count - below) * ((x - start) / (end - start))
    # Nothing can be interpolated in a bucket without end: it counts whole below, not at all above.
    rank = np.where(np.isinf(end), below, rank)
    rank = np.where(np.isneginf(start), count, rank)
    rank = np.where(x <= start, below, rank)
    return np.minimum(np.where(x == np.inf, counts[:, -1], rank), counts[:, -1])


_MOST_WARNINGS = 10
"""Warnings about different values of one φ."""


def warn_about_quantiles(q: F64, span: Span, remarks: Remarks) -> None:
    """Warn where a φ is not between 0 and 1."""
    bad = q[~((q >= 0) & (q <= 1))]
    for value in np.unique(bad)[:_MOST_WARNINGS].tolist():
        remarks.warn(f"quantile value should be between 0 and 1, got {number(value)}", span)
