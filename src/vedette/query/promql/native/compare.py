"""Whether one histogram equals another, or shows that its counter began anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask, spread
from vedette.model.histograms import Histograms
from vedette.query.promql.native.buckets import CustomLayouts, coarser, exponential_bound, is_custom
from vedette.query.promql.native.hints import NOT_RESET, RESET


def equal(histograms: Histograms, left: I64, right: I64) -> Mask:
    """Return bool[P]: whether the rows ``left`` and ``right`` (int64[P]) are the same histogram.

    Hints and buckets that count nothing do not matter.
    """
    same: Mask = histograms.schema[left] == histograms.schema[right]
    for values in (histograms.count, histograms.sum, histograms.zero_count):
        as_bits = values.view(np.uint64)
        same &= as_bits[left] == as_bits[right]
    same &= histograms.zero_threshold[left] == histograms.zero_threshold[right]
    layout = CustomLayouts(histograms).of_row
    same &= layout[left] == layout[right]
    for positive in (True, False):
        a, b = (_of_rows(histograms, rows, positive) for rows in (left, right))
        own, other = _aligned(a, b)
        same[own.pair[own.count != other]] = False
    return same


def detect_resets(histograms: Histograms, current: I64, before: I64) -> Mask:
    """Return bool[P]: whether a counter was reset between the rows ``before`` and ``current``.

    The hint of the current one decides where it has one; else a reset is what makes any count
    smaller, or the resolution higher. Source: "Counter resets" in Prometheus' specification.
    """
    h = histograms
    hint = h.reset_hint[current]
    custom, was_custom = is_custom(h)[current], is_custom(h)[before]
    schema, old_schema = h.schema[current].astype(np.int64), h.schema[before].astype(np.int64)
    edge = h.zero_threshold[current]
    reset = h.count[current] < h.count[before]
    # The schema of custom buckets is below all others.
    reset |= (custom & ~was_custom) | (~custom & (schema > old_schema))
    reset |= edge < h.zero_threshold[before]
    open_ = np.flatnonzero(~reset & (hint != NOT_RESET) & (hint != RESET))
    if len(open_):
        reset[open_] = _fell(h, current[open_], before[open_])
    return np.asarray(np.where(hint == RESET, True, np.where(hint == NOT_RESET, False, reset)))


def _fell(h: Histograms, current: I64, before: I64) -> Mask:
    """Return bool[P]: whether a bucket counts less; both kinds of buckets agree, resolution too."""
    edge = h.zero_threshold[current]
    custom = is_custom(h)[current]
    schema, old_schema = h.schema[current].astype(np.int64), h.schema[before].astype(np.int64)
    zero = h.zero_count[before].copy()
    reset = np.zeros(len(current), np.bool_)
    for positive in (True, False):
        new, old = (_of_rows(h, rows, positive) for rows in (current, before))
        wider = edge != h.zero_threshold[before]
        if wider.any():
            old = _outside(h, before, old, (edge, wider), (reset, zero))
        if (schema != old_schema).any():
            by = np.where(custom, 0, old_schema - schema)
            old = _Buckets(old.pair, coarser(old.number, by[old.pair]), old.count)
        if custom.any() and positive:
            new, old = _reconciled(h, (current, before), (new, old), custom)
        left, right = _aligned(new, old)
        reset[left.pair[left.count < right]] = True
    return reset | (h.zero_count[current] < zero)


def _outside(
    h: Histograms,
    before: I64,
    old: _Buckets,
    edges: tuple[F64, Mask],
    out: tuple[Mask, F64],
) -> _Buckets:
    """Return the buckets outside of zero buckets that became wider (``edges``: where, which).

    Those inside are added to the second of ``out``; where an edge cuts through a bucket, the first
    is set.
    """
    edge, wider = edges
    reset, zero = out
    some = np.flatnonzero(wider[old.pair])
    pair, number = old.pair[some], old.number[some]
    schema = h.schema[before][pair].astype(np.int64)
    upper, lower = exponential_bound(number, schema), exponential_bound(number - 1, schema)
    at = edge[pair]
    reset[pair[(lower < at) & (at < upper)]] = True
    inside = some[upper <= at]
    np.add.at(zero, old.pair[inside], old.count[inside])
    kept = np.ones(len(old.pair), np.bool_)
    kept[inside] = False
    return old.take(kept)


def _reconciled(
    h: Histograms, rows: tuple[I64, I64], sides: tuple[_Buckets, _Buckets], custom: Mask
) -> tuple[_Buckets, _Buckets]:
    """Return the custom buckets of both sides over the bounds that both have."""
    layouts = CustomLayouts(h)
    own = [layouts.of_row[side] for side in rows]
    target = own[0].copy()
    known: dict[tuple[int, int], int] = {}
    for k in np.flatnonzero(custom & (own[0] != own[1])).tolist():
        pair = int(own[0][k]), int(own[1][k])
        if pair not in known:
            known[pair] = layouts.common(frozenset(pair))
        target[k] = known[pair]
    moved = []
    for side, layout in zip(sides, own, strict=True):
        number = layouts.moved(side.number, layout[side.pair], target[side.pair])
        kept = np.where(custom[side.pair], number, side.number)
        moved.append(_Buckets(side.pair, kept, side.count))
    return moved[0], moved[1]


@dataclass(frozen=True, slots=True)
class _Buckets:
    """Buckets that count something: pair int64[B], number int64[B], count float64[B]."""

    pair: I64
    number: I64
    count: F64

    def take(self, kept: Mask) -> _Buckets:
        return _Buckets(self.pair[kept], self.number[kept], self.count[kept])


def _of_rows(h: Histograms, rows: I64, positive: bool) -> _Buckets:
    offsets = h.positive_offsets if positive else h.negative_offsets
    number = h.positive_index if positive else h.negative_index
    count = h.positive_count if positive else h.negative_count
    at = spread(offsets, rows)
    pair = np.repeat(np.arange(len(rows)), offsets[rows + 1] - offsets[rows])
    buckets = _Buckets(pair, number[at].astype(np.int64), count[at])
    return buckets.take(buckets.count != 0)


def _aligned(left: _Buckets, right: _Buckets) -> tuple[_Buckets, F64]:
    """Return the buckets that either side has, with the counts of both (0 where it has none)."""
    if np.array_equal(left.number, right.number) and np.array_equal(left.pair, right.pair):
        return left, right.count
    number = np.concatenate([left.number, right.number])
    least = number.min()
    width = int(number.max() - least) + 1
    keys = np.concatenate([left.pair, right.pair]) * width + (number - least)
    distinct, place = np.unique(keys, return_inverse=True)
    place = place.ravel()
    cut = len(left.number)
    # No bucket comes twice on a side that was not made coarser; one that was is added up.
    a, b = (
        np.bincount(where, weights=side.count, minlength=len(distinct)).astype(np.float64)
        for where, side in ((place[:cut], left), (place[cut:], right))
    )
    return _Buckets(distinct // width, distinct % width + least, a), b
