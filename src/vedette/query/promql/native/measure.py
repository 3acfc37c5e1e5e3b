"""Estimates from native histograms: quantiles, fractions, variances.

The estimates are those of Prometheus' documentation ("Query functions", histogram_quantile and
histogram_fraction): within a bucket, observations are taken to be spread evenly on a logarithmic
scale; linearly in custom buckets and in the zero bucket.
"""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import F64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql.native.ladder import Ladder, ladders


def quantiles(histograms: Histograms, q: F64) -> tuple[F64, Mask, Mask]:
    """Return the q-quantile of each histogram (float64[H] both).

    Also bool[H] twice: where observations of NaN make it NaN, and where they make it too high.
    """
    out = np.full(histograms.rows, np.nan)
    lost, skewed = np.zeros((2, histograms.rows), np.bool_)
    with np.errstate(all="ignore"):
        for ladder in ladders(histograms):
            rows = ladder.rows
            out[rows], lost[rows], skewed[rows] = _quantiles(histograms, ladder, q[rows])
    usual = (q >= 0) & (q <= 1) & (histograms.count != 0)
    out = np.where(usual, out, np.nan)
    out = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, out))
    return out, lost & usual, skewed & usual


def _quantiles(h: Histograms, ladder: Ladder, q: F64) -> tuple[F64, Mask, Mask]:
    total, spoiled = h.count[ladder.rows], np.isnan(h.sum[ladder.rows])
    # Observations of NaN are in no bucket: they count as if above all, so that these histograms
    # can be climbed from below only. All others are climbed from the nearer end.
    forward = spoiled | (q < 0.5)
    rank = np.where(forward, q, 1 - q) * total
    lower, upper, count = (
        np.where(forward[:, None], side, side[:, ::-1])
        for side in (ladder.lower, ladder.upper, ladder.count)
    )
    climbed = np.cumsum(count, axis=1)
    hit = (climbed >= rank[:, None]) & (count != 0)
    found = hit.any(axis=1)
    last = count.shape[1] - 1 - np.argmax((count != 0)[:, ::-1], axis=1)
    at = np.where(found, np.argmax(hit, axis=1), last)
    each = np.arange(len(at))
    low, high, own = lower[each, at], upper[each, at], count[each, at]
    reached = np.minimum(climbed[each, at], total)
    fraction = np.where(forward, rank - (reached - own), reached - rank) / own
    custom = ladder.custom
    first, final = custom & (low == -np.inf), custom & (high == np.inf)
    start = np.where(first, 0.0, low)
    linear = custom | ((low <= 0) & (high >= 0))
    even = start + (high - start) * fraction
    result = np.where(linear, even, _exponential(low, high, fraction))
    result = np.where(reached < rank, np.where(spoiled, np.nan, high), result)
    # An open bucket has no width to interpolate in.
    fixed = (first & (high <= 0)) | (final & ~first)
    result = np.where(fixed, np.where(first, high, low), result)
    lost = (reached < rank) & spoiled & ~fixed
    skewed = ~(reached < rank) & spoiled & ~fixed & (ladder.count.sum(axis=1) < total)
    return result, lost, skewed


def _exponential(low: F64, high: F64, fraction: F64) -> F64:
    log_low, log_high = np.log2(np.abs(low)), np.log2(np.abs(high))
    above = np.exp2(log_low + (log_high - log_low) * fraction)
    below = -np.exp2(log_high + (log_low - log_high) * (1 - fraction))
    return np.where(low > 0, above, below)


def fractions(histograms: Histograms, lower: F64, upper: F64) -> tuple[F64, Mask]:
    """Return the share of observations between ``lower`` and ``upper``, float64[H] all.

    Also bool[H]: where observations of NaN were left out.
    """
    out = np.full(histograms.rows, np.nan)
    partial = np.zeros(histograms.rows, np.bool_)
    with np.errstate(all="ignore"):
        for ladder in ladders(histograms):
            rows = ladder.rows
            total, counted = histograms.count[rows], ladder.count.sum(axis=1)
            spoiled = np.isnan(histograms.sum[rows])
            most = np.where(spoiled, counted, total)
            ends = [np.minimum(_rank(ladder, x[rows], most), most) for x in (lower, upper)]
            out[rows] = (ends[1] - ends[0]) / total
            partial[rows] = spoiled & (counted < total)
    usual = ~np.isnan(lower) & ~np.isnan(upper) & (histograms.count != 0)
    out = np.where(usual, np.where(lower >= upper, 0.0, out), np.nan)
    return out, partial & usual & ~(lower >= upper)


def _rank(ladder: Ladder, x: F64, most: F64) -> F64:
    """Return how many observations lie below x; all (``most``) where it is above all buckets."""
    climbed = np.cumsum(ladder.count, axis=1)
    beyond = (ladder.upper > x[:, None]) & (ladder.count != 0)
    found = beyond.any(axis=1)
    at = np.argmax(beyond, axis=1)
    each = np.arange(len(at))
    low, high, own = ladder.lower[each, at], ladder.upper[each, at], ladder.count[each, at]
    below = climbed[each, at] - own
    # A first custom bucket that reaches over zero is taken to begin there.
    low = np.where(ladder.custom & (low == -np.inf) & (high >= 0), 0.0, low)
    linear = ladder.custom | ladder.zero[each, at]
    share = own * np.where(linear, (x - low) / (high - low), below_share(low, high, x))
    # Nothing is known of an open bucket: it counts whole below, not at all above.
    inside = np.where(low == -np.inf, own, below + share)
    return np.where(found, np.where(low >= x, below, inside), most)


def below_share(low: F64, high: F64, x: F64) -> F64:
    """Return the share of exponential buckets that lies below x, which is inside them."""
    log_low, log_high, log_x = (np.log2(np.abs(side)) for side in (low, high, x))
    above: F64 = (log_x - log_low) / (log_high - log_low)
    return np.where(x > 0, above, 1 - (log_x - log_high) / (log_low - log_high))


def variances(histograms: Histograms) -> F64:
    """Return the variance of each histogram, float64[H], as if all of a bucket were its middle."""
    out = np.full(histograms.rows, np.nan)
    with np.errstate(all="ignore"):
        for ladder in ladders(histograms):
            total = histograms.count[ladder.rows]
            mean = (histograms.sum[ladder.rows] / total)[:, None]
            low, high = ladder.lower, ladder.upper
            middle = np.sqrt(low * high)
            middle = np.where(high < 0, -middle, middle)
            middle = np.where((low <= 0) & (high >= 0), 0.0, middle)
            middle = np.where(ladder.custom[:, None], (low + high) / 2, middle)
            apart = np.where(ladder.count == 0, 0.0, ladder.count * (middle - mean) ** 2)
            out[ladder.rows] = apart.sum(axis=1) / total
    return out
