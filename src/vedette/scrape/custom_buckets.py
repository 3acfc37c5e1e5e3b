"""Classic histograms as native ones with custom buckets, as Prometheus converts them.

Source: ``convert_classic_histograms_to_nhcb`` in Prometheus' documentation of the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.histograms import CUSTOM_BUCKETS, Histograms
from vedette.scrape.series_cache import Role


@dataclass(frozen=True, slots=True)
class Converted:
    """Histograms made of classic series.

    Attributes:
        groups: int32[H], ascending; the groups that became histograms.
        histograms: H of them, with ``index`` int32[H].
        refused: groups that are no histogram: counts that go down, a count that is not that of
            the last bucket, a bound that is no number.
    """

    groups: I32
    histograms: Histograms
    refused: I32


def convert(groups: I32, roles: NDArray[np.int8], bounds: F64, values: F64) -> Converted:
    """Return the histograms that the samples of ``groups`` (all int32[n], …) form.

    ``bounds`` counts where the role is ``BUCKET``; the other roles are ``SUM`` and ``COUNT``.
    """
    named = np.unique(groups)
    n = len(named)
    place = np.searchsorted(named, groups)
    sums, _ = _single(place, values, roles == Role.SUM, n, 0.0)
    counts, counted = _single(place, values, roles == Role.COUNT, n, 0.0)
    bucket = roles == Role.BUCKET
    order = np.lexsort((bounds[bucket], place[bucket]))
    at, le, cumulative = place[bucket][order], bounds[bucket][order], values[bucket][order]
    # One bound may be written in two ways, such as 1 and 1.0: the first one counts.
    once = np.ones(len(at), np.bool_)
    once[1:] = (at[1:] != at[:-1]) | (le[1:] != le[:-1])
    at, le, cumulative = at[once], le[once], cumulative[once]
    first = np.ones(len(at), np.bool_)
    first[1:] = at[1:] != at[:-1]
    before = np.concatenate([[0.0], cumulative[:-1]]) if len(at) else cumulative
    bucket_counts = cumulative - np.where(first, 0.0, before)
    bad = np.zeros(n, np.bool_)
    bad[at[~(bucket_counts >= 0) | np.isnan(le)]] = True
    last = np.concatenate([first[1:], [True]]) if len(at) else first
    total, _ = _single(at, cumulative, last, n, 0.0)
    closed, _ = _single(at, le, last, n, np.nan)
    infinite = closed == np.inf
    bad |= infinite & counted & (counts != total)
    rest = np.where(counted & ~infinite, counts - total, 0.0)
    bad |= ~(rest >= 0) | ~np.isfinite(total)
    good = ~bad
    histograms = _assembled(at, le, bucket_counts, total + rest, sums, rest, good)
    return Converted(named[good].astype(np.int32), histograms, named[bad].astype(np.int32))


def _single(
    at: NDArray[np.integer], values: F64, chosen: Mask, n: int, default: float
) -> tuple[F64, Mask]:
    """Return float64[n] of what ``chosen`` values there are at each place, and where any is."""
    out = np.full(n, default)
    there = np.zeros(n, np.bool_)
    out[at[chosen]] = values[chosen]
    there[at[chosen]] = True
    return out, there


def _assembled(
    at: I64, le: F64, bucket_counts: F64, count: F64, sums: F64, rest: F64, good: Mask
) -> Histograms:
    """Return the histograms of the places that are ``good``; buckets ascend by place and bound."""
    n = len(good)
    finite = np.isfinite(le) & good[at]
    number = _running_number(at)
    bounds_per = np.bincount(at[finite], minlength=n)
    # What lies above the last bound is the bucket behind all bounds.
    filled = good[at] & (bucket_counts > 0)
    behind = np.flatnonzero(good & (rest > 0))
    places = np.concatenate([at[filled], behind])
    numbers = np.concatenate([number[filled], bounds_per[behind]])
    amounts = np.concatenate([bucket_counts[filled], rest[behind]])
    order = np.lexsort((numbers, places))
    rows = int(good.sum())
    zeros, none = np.zeros(rows), np.zeros(rows + 1, np.int64)
    return Histograms(
        index=np.arange(rows, dtype=np.int32),
        schema=np.full(rows, CUSTOM_BUCKETS, np.int16),
        count=count[good],
        sum=sums[good],
        zero_threshold=zeros,
        zero_count=zeros.copy(),
        reset_hint=np.zeros(rows, np.int8),
        positive_offsets=_offsets(np.bincount(places, minlength=n)[good]),
        positive_index=numbers[order].astype(np.int32),
        positive_count=amounts[order],
        negative_offsets=none,
        negative_index=np.zeros(0, np.int32),
        negative_count=np.zeros(0),
        custom_offsets=_offsets(bounds_per[good]),
        custom_bounds=le[finite],
    )


def _running_number(at: I64) -> I64:
    """Return int64, the number of each element within its run of equal ``at``."""
    if not len(at):
        return at
    first = np.concatenate([[True], at[1:] != at[:-1]])
    starts = np.flatnonzero(first)
    return np.arange(len(at)) - np.repeat(starts, np.diff([*starts.tolist(), len(at)]))


def _offsets(lengths: NDArray[np.integer]) -> I64:
    out = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out
