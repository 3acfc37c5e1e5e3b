"""Weighted sums of histograms, all groups of a query at once.

Sums, differences, means, rates and multiples of histograms are all of this one kind. Histograms of
different resolution meet at the lowest one, those of different zero buckets at the widest (made
wider where its edge would lie within a bucket that counts something), those of different custom
bounds at the bounds that all have. Source: "Native Histograms" in Prometheus' specification.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask, spread
from vedette.model.histograms import CUSTOM_BUCKETS, Histograms, joined
from vedette.query.promql.budget import Budget
from vedette.query.promql.native.buckets import CustomLayouts, coarser, exponential_bound, is_custom
from vedette.query.promql.native.hints import GAUGE, NOT_RESET, RESET, UNKNOWN
from vedette.query.promql.native.sums import sums_by_key

_PIECE = 1 << 20
"""Buckets that are added up at once."""

_TERM_BYTES = 120
"""Memory for a bucket while it is added up: its place, its key, the order of keys."""

_RESULT_BYTES = 16
"""Memory for a bucket of a sum."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is added up: n terms, of which ``weight[k]`` · histogram ``row[k]`` is one.

    Attributes:
        group: int64[n], the sum that the term belongs to.
        row: int64[n] into the histograms.
        weight: float64[n]; a term of weight 0 still has its say in resolution and bounds.
        lowered: bool[n], terms whose resolution is lowered before zero buckets are compared, or
            ``None`` where it is after that for all.
    """

    group: I64
    row: I64
    weight: F64
    lowered: Mask | None = None

    def take(self, at: I64 | Mask | slice) -> Terms:
        """Return only the terms ``at``."""
        lowered = None if self.lowered is None else self.lowered[at]
        return Terms(self.group[at], self.row[at], self.weight[at], lowered)


@dataclass(frozen=True, slots=True)
class Combined:
    """The sums.

    Attributes:
        histograms: one for each group, in order, with the empty histogram where a group has no
            terms or cannot be added up. Buckets that count nothing are left out.
        mixed: bool[G], groups with exponential and custom buckets, which cannot be added up.
        reconciled: bool[G], groups whose custom bounds differed.
        collided: bool[G], groups with the hints "reset" and "not reset" both.
    """

    histograms: Histograms
    mixed: Mask
    reconciled: Mask
    collided: Mask


def combine(
    histograms: Histograms, terms: Terms, groups: int, finest: I64 | None = None
) -> Combined:
    """Return the sums of ``terms``, ``groups`` of them.

    The hint of a sum is "gauge" if any term's is, else what all terms say, else "unknown".
    ``finest`` (int64[G]): the highest schema that an exponential sum may have.
    """
    custom = is_custom(histograms)[terms.row]
    has_custom = _any(terms.group[custom], groups)
    mixed = has_custom & _any(terms.group[~custom], groups)
    hint, collided = _hints(histograms, terms, groups)
    if mixed.any():
        kept = ~mixed[terms.group]
        terms, custom = terms.take(kept), custom[kept]
        has_custom &= ~mixed
    schema = _schemas(histograms, terms, groups)
    if finest is not None:
        schema = np.where(schema == CUSTOM_BUCKETS, schema, np.minimum(schema, finest))
    threshold = _thresholds(histograms, terms, schema, groups)
    layouts = CustomLayouts(histograms) if has_custom.any() else None
    layout, reconciled = _layouts(layouts, terms, custom, groups)

    positive = _entries(histograms, terms, "positive")
    negative = _entries(histograms, terms, "negative")
    if layouts is not None:
        own = layouts.of_row[terms.row][positive.term]
        wanted = layout[terms.group][positive.term]
        number = layouts.moved(positive.number, own, wanted)
        positive = replace(
            positive, number=np.where(custom[positive.term], number, positive.number)
        )
    sides = [_lowered(side, histograms, terms, schema, threshold) for side in (positive, negative)]

    def total(values: F64) -> F64:
        return sums_by_key(terms.group, values[terms.row] * terms.weight, groups)

    zero_group = np.concatenate([terms.group, *(side.swallowed_group for side in sides)])
    zero_value = np.concatenate(
        [histograms.zero_count[terms.row] * terms.weight, *(side.swallowed for side in sides)]
    )
    summed = [_summed(side, groups) for side in sides]
    bounds = (np.zeros(groups + 1, np.int64), np.zeros(0))
    if layouts is not None:
        bounds = layouts.flat(layout)
    with np.errstate(invalid="ignore", over="ignore"):
        result = Histograms(
            np.arange(groups, dtype=np.int32),
            schema.astype(np.int16),
            total(histograms.count),
            total(histograms.sum),
            threshold,
            sums_by_key(zero_group, zero_value, groups),
            hint,
            *summed[0],
            *summed[1],
            *bounds,
        )
    return Combined(result, mixed, reconciled, collided)


def combine_within(
    budget: Budget, histograms: Histograms, terms: Terms, groups: int, finest: I64 | None = None
) -> Combined:
    """Return as :func:`combine`, some groups at a time, and never more memory than is left.

    Raises:
        QueryError: the sums need more than the query may spend.
    """
    size = np.diff(histograms.positive_offsets) + np.diff(histograms.negative_offsets) + 2
    cost = size[terms.row]
    total = int(cost.sum())
    budget.need(
        _TERM_BYTES * min(total, _PIECE)
        + _RESULT_BYTES * min(total, groups * int(size.max(initial=0)))
    )
    if total <= _PIECE:
        return combine(histograms, terms, groups, finest)
    if (terms.group[1:] < terms.group[:-1]).any():
        terms = terms.take(np.argsort(terms.group, kind="stable"))
        cost = size[terms.row]
    reached = np.cumsum(np.bincount(terms.group, weights=cost, minlength=groups))
    cuts = np.flatnonzero(np.diff(reached // _PIECE)) + 1
    edges = [0, *cuts.tolist(), groups]
    parts = []
    for first, end in pairwise(edges):
        budget.check()
        a, b = np.searchsorted(terms.group, [first, end]).tolist()
        rows, place = np.unique(terms.row[a:b], return_inverse=True)
        some = replace(
            terms.take(slice(a, b)),
            group=terms.group[a:b] - first,
            row=place.ravel().astype(np.int64),
        )
        used = histograms.take(rows, rows.astype(np.int32))
        limit = None if finest is None else finest[first:end]
        parts.append(combine(used, some, end - first, limit))
    index = np.arange(groups, dtype=np.int32)
    return Combined(
        joined([part.histograms for part in parts], index),
        np.concatenate([part.mixed for part in parts]),
        np.concatenate([part.reconciled for part in parts]),
        np.concatenate([part.collided for part in parts]),
    )


def _any(ids: I64, groups: int) -> Mask:
    out = np.zeros(groups, np.bool_)
    out[ids] = True
    return out


def _hints(histograms: Histograms, terms: Terms, groups: int) -> tuple[NDArray[np.int8], Mask]:
    own = histograms.reset_hint[terms.row]
    seen = [_any(terms.group[own == hint], groups) for hint in range(4)]
    hint = np.full(groups, UNKNOWN, np.int8)
    hint[seen[RESET] & ~seen[NOT_RESET] & ~seen[UNKNOWN]] = RESET
    hint[seen[NOT_RESET] & ~seen[RESET] & ~seen[UNKNOWN]] = NOT_RESET
    hint[seen[GAUGE]] = GAUGE
    return hint, seen[RESET] & seen[NOT_RESET]


def _schemas(histograms: Histograms, terms: Terms, groups: int) -> I64:
    schema = np.full(groups, np.iinfo(np.int16).max, np.int64)
    np.minimum.at(schema, terms.group, histograms.schema[terms.row])
    return np.where(schema == np.iinfo(np.int16).max, 0, schema)


def _layouts(
    layouts: CustomLayouts | None, terms: Terms, custom: Mask, groups: int
) -> tuple[I64, Mask]:
    """Return the custom bounds of each group, and where they were not those of all its terms."""
    layout, reconciled = np.zeros(groups, np.int64), np.zeros(groups, np.bool_)
    if layouts is None:
        return layout, reconciled
    group, own = terms.group[custom], layouts.of_row[terms.row[custom]]
    layout[group] = own
    reconciled[group[layout[group] != own]] = True
    some = reconciled[group]
    pairs = np.unique(np.stack([group[some], own[some]]), axis=1)
    differing, first = np.unique(pairs[0], return_index=True)
    known: dict[tuple[int, ...], int] = {}
    for k, members in zip(differing.tolist(), np.split(pairs[1], first[1:]), strict=False):
        key = tuple(members.tolist())
        if key not in known:
            known[key] = layouts.common(frozenset(key))
        layout[k] = known[key]
    return layout, reconciled


# ---- zero buckets


def _thresholds(histograms: Histograms, terms: Terms, schema: I64, groups: int) -> F64:
    """Return the zero threshold of each group, which no bucket that counts something straddles."""
    own = histograms.zero_threshold[terms.row]
    threshold = np.zeros(groups)
    np.maximum.at(threshold, terms.group, own)
    uneven = _any(terms.group[own != threshold[terms.group]], groups)
    if not uneven.any():
        return threshold
    some = terms.take(uneven[terms.group])
    sides = [_entries(histograms, some, side) for side in ("positive", "negative")]
    number = np.concatenate([side.number for side in sides])
    term = np.concatenate([side.term for side in sides])
    full = np.concatenate([side.count for side in sides]) != 0
    number, term = number[full], term[full]
    narrow = own[uneven[terms.group]][term]
    number, scale = _compared(histograms, some, term, number, schema)
    lower, upper = exponential_bound(number - 1, scale), exponential_bound(number, scale)
    group = some.group[term]
    while True:
        edge = threshold[group]
        # Within the edge of its own histogram, a bucket stays as it is.
        within = (narrow < edge) & (lower < edge) & (edge < upper)
        if not within.any():
            return threshold
        np.maximum.at(threshold, group[within], upper[within])


def _compared(
    histograms: Histograms, terms: Terms, term: I64, number: I64, schema: I64
) -> tuple[I64, I64]:
    """Return numbers and schemas of exponential buckets as zero buckets are compared with them."""
    own = histograms.schema[terms.row].astype(np.int64)[term]
    if terms.lowered is None:
        return number, own
    by = np.where(terms.lowered[term], np.maximum(own - schema[terms.group[term]], 0), 0)
    return coarser(number, by), own - by


# ---- buckets


@dataclass(frozen=True, slots=True)
class _Entries:
    """Buckets of one side of all terms: term int64[B], number int64[B], count float64[B]."""

    term: I64
    number: I64
    count: F64


@dataclass(frozen=True, slots=True)
class _Side:
    """Weighted buckets at the resolution of their group, and those that the zero bucket took."""

    group: I64
    number: I64
    value: F64
    swallowed_group: I64
    swallowed: F64


def _entries(histograms: Histograms, terms: Terms, side: str) -> _Entries:
    positive = side == "positive"
    offsets = histograms.positive_offsets if positive else histograms.negative_offsets
    number = histograms.positive_index if positive else histograms.negative_index
    count = histograms.positive_count if positive else histograms.negative_count
    at = spread(offsets, terms.row)
    term = np.repeat(np.arange(len(terms.row)), offsets[terms.row + 1] - offsets[terms.row])
    return _Entries(term, number[at].astype(np.int64), count[at])


def _lowered(
    side: _Entries, histograms: Histograms, terms: Terms, schema: I64, threshold: F64
) -> _Side:
    group = terms.group[side.term]
    own = histograms.schema[terms.row][side.term].astype(np.int64)
    number = side.number
    if (own != schema[group]).any():
        lowered = coarser(number, np.maximum(own - schema[group], 0))
        number = np.where(own == CUSTOM_BUCKETS, number, lowered)
    with np.errstate(invalid="ignore", over="ignore"):
        value = side.count * terms.weight[side.term]
    inside = np.zeros(len(number), np.bool_)
    # No bucket lies within the zero bucket of its own histogram.
    wider = histograms.zero_threshold[terms.row] < threshold[terms.group]
    if wider.any():
        some = np.flatnonzero(wider[side.term])
        compared = _compared(histograms, terms, side.term[some], side.number[some], schema)
        edge = exponential_bound(*compared)
        inside[some[edge <= threshold[group[some]]]] = True
    return _Side(group[~inside], number[~inside], value[~inside], group[inside], value[inside])


def _summed(side: _Side, groups: int) -> tuple[I64, NDArray[np.int32], F64]:
    """Return offsets, numbers and counts of the buckets of all groups, without empty ones."""
    if not len(side.number):
        return np.zeros(groups + 1, np.int64), np.zeros(0, np.int32), np.zeros(0)
    least = int(side.number.min())
    width = int(side.number.max()) - least + 1
    keys, place = np.unique(side.group * width + (side.number - least), return_inverse=True)
    value = sums_by_key(place.ravel(), side.value, len(keys))
    full = value != 0
    keys, value = keys[full], value[full]
    offsets = np.zeros(groups + 1, np.int64)
    np.cumsum(np.bincount(keys // width, minlength=groups), out=offsets[1:])
    return offsets, (keys % width + least).astype(np.int32), value


def scaled(histograms: Histograms, factor: F64) -> Histograms:
    """Return each histogram times its factor (float64[H]); a negative one makes it a gauge."""
    positive = np.repeat(factor, np.diff(histograms.positive_offsets))
    negative = np.repeat(factor, np.diff(histograms.negative_offsets))
    with np.errstate(invalid="ignore", over="ignore"):
        return replace(
            histograms,
            count=histograms.count * factor,
            sum=histograms.sum * factor,
            zero_count=histograms.zero_count * factor,
            positive_count=histograms.positive_count * positive,
            negative_count=histograms.negative_count * negative,
            reset_hint=np.where(factor < 0, np.int8(GAUGE), histograms.reset_hint),
        )


def divided(histograms: Histograms, by: F64) -> Histograms:
    """Return each histogram divided by its number; a division by zero leaves no bucket."""
    positive = np.repeat(by, np.diff(histograms.positive_offsets))
    negative = np.repeat(by, np.diff(histograms.negative_offsets))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        result = replace(
            histograms,
            count=histograms.count / by,
            sum=histograms.sum / by,
            zero_count=histograms.zero_count / by,
            positive_count=np.where(positive == 0, 0.0, histograms.positive_count / positive),
            negative_count=np.where(negative == 0, 0.0, histograms.negative_count / negative),
            reset_hint=np.where(by < 0, np.int8(GAUGE), histograms.reset_hint),
        )
    return compact(result)


def compact(histograms: Histograms) -> Histograms:
    """Return the histograms without buckets that count nothing."""
    positive, negative = histograms.positive_count != 0, histograms.negative_count != 0
    if positive.all() and negative.all():
        return histograms

    def offsets(old: I64, full: Mask) -> I64:
        return np.concatenate([[0], np.cumsum(full)])[old].astype(np.int64)

    return replace(
        histograms,
        positive_offsets=offsets(histograms.positive_offsets, positive),
        positive_index=histograms.positive_index[positive],
        positive_count=histograms.positive_count[positive],
        negative_offsets=offsets(histograms.negative_offsets, negative),
        negative_index=histograms.negative_index[negative],
        negative_count=histograms.negative_count[negative],
    )
