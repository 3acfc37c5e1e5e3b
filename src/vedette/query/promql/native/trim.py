"""Cuts observations off histograms: the operators ``</`` (keep below) and ``>/`` (keep above).

What is kept of the bucket that holds the cut is interpolated as ``histogram_fraction`` does; count
and sum are estimated anew from what is left. Source: Prometheus' documentation, "Operators".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql.native.buckets import (
    is_custom,
    negative_bounds,
    owners,
    positive_bounds,
)
from vedette.query.promql.native.combine import compact
from vedette.query.promql.native.measure import below_share


def trimmed(histograms: Histograms, cut: F64, keep_below: bool) -> Histograms:
    """Return each histogram less the observations above (or below) its ``cut`` (float64[H])."""
    h = histograms
    custom = is_custom(h)
    with np.errstate(all="ignore"):
        sides = []
        for offsets, bounds, count, positive in (
            (h.positive_offsets, positive_bounds(h), h.positive_count, True),
            (h.negative_offsets, negative_bounds(h), h.negative_count, False),
        ):
            row = owners(offsets)
            kept = _kept(bounds, count, cut[row], keep_below, custom[row], positive)
            sides.append((row, count, *kept))
        has_positive, has_negative = (
            np.bincount(row[count != 0], minlength=h.rows) > 0 for row, count, _, _ in sides
        )
        zero, middle = _kept_zero(h, cut, keep_below, has_positive, has_negative)
    changed = zero != h.zero_count
    total, weighted = zero.copy(), np.where(zero == 0, 0.0, zero * middle)
    for row, count, left, mid in sides:
        changed |= _any(row[left != count], h.rows)
        total += np.bincount(row, weights=left, minlength=h.rows)
        weighted += np.bincount(row, weights=np.where(left == 0, 0.0, left * mid), minlength=h.rows)
    result = replace(
        h,
        count=np.where(changed, total, h.count),
        sum=np.where(changed, weighted, h.sum),
        zero_count=zero,
        positive_count=sides[0][2],
        negative_count=sides[1][2],
    )
    return compact(result)


def _any(ids: I64, size: int) -> Mask:
    out = np.zeros(size, np.bool_)
    out[ids] = True
    return out


def _kept(
    bounds: tuple[F64, F64], count: F64, cut: F64, keep_below: bool, custom: Mask, positive: bool
) -> tuple[F64, F64]:
    """Return what is kept of each bucket, and the middle of what is kept, float64[B] each."""
    low, high = bounds
    whole = high <= cut if keep_below else low >= cut
    inside = (low < cut) & (cut < high)
    share = np.where(custom, (cut - low) / (high - low), below_share(low, high, cut))
    below = count * share
    part = below if keep_below else count - below
    edges = (low, cut) if keep_below else (cut, high)
    part_middle = _middle(*edges, custom, positive)
    open_ = inside & (np.isinf(low) | np.isinf(high))
    if open_.any():
        open_part, open_middle = _kept_open(low, high, count, cut, keep_below)
        part, part_middle = (
            np.where(open_, open_part, part),
            np.where(open_, open_middle, part_middle),
        )
    kept = np.where(whole, count, np.where(inside, part, 0.0))
    return kept, np.where(whole, _middle(low, high, custom, positive), part_middle)


def _middle(low: F64, high: F64, custom: Mask, positive: bool) -> F64:
    """Return the middle of stretches: arithmetic in custom buckets, geometric in others."""
    geometric = np.sqrt(np.abs(low * high))
    closed = np.where(custom, (low + high) / 2, geometric if positive else -geometric)
    from_below = np.where(np.isinf(high), 0.0, np.where(high > 0, high / 2, high))
    return np.where(np.isinf(low), from_below, np.where(np.isinf(high), low, closed))


def _kept_open(low: F64, high: F64, count: F64, cut: F64, keep_below: bool) -> tuple[F64, F64]:
    """Return what is kept of a bucket without end that the cut is in, and its middle.

    One that begins nowhere is taken to begin at zero if it ends above; else nothing is known of
    where its observations are, and the side of the cut that is open keeps them or loses them all.
    """
    bottom = np.isneginf(low)
    ends = bottom & (high > 0) & ~np.isinf(high)
    if keep_below:
        usable = ends & (cut > 0)
        # All of a bucket that ends at zero or below may be below the cut.
        below = bottom & (high <= 0)
        kept = np.where(usable, count * cut / high, np.where(below, count, 0.0))
        return kept, np.where(usable, cut / 2, np.where(below, cut, 0.0))
    usable = ends & (cut >= 0)
    kept = np.where(usable, count * (1 - cut / high), 0.0)
    middle = np.where(usable, (cut + high) / 2, 0.0)
    # Above a last bound that is below the cut there may be all of the bucket.
    top = ~bottom
    return np.where(top, count, kept), np.where(top, cut, middle)


def _kept_zero(
    h: Histograms, cut: F64, keep_below: bool, has_positive: Mask, has_negative: Mask
) -> tuple[F64, F64]:
    """Return what is kept of the zero buckets, and its middle, float64[H] each."""
    low = np.where(has_positive & ~has_negative, 0.0, -h.zero_threshold)
    high = np.where(has_negative & ~has_positive, 0.0, h.zero_threshold)
    middle = (low + high) / 2
    if keep_below:
        none, whole = cut <= low, cut >= high
        share, part = (cut - low) / (high - low), (low + cut) / 2
    else:
        whole, none = cut <= low, cut >= high
        none &= ~whole
        share, part = (high - cut) / (high - low), (cut + high) / 2
    share = np.where(none, 0.0, np.where(whole, 1.0, share))
    kept = np.where(h.zero_count > 0, h.zero_count * share, h.zero_count)
    return kept, np.where(whole, middle, part)
