"""All buckets of a histogram in one row, from the lowest to the highest, many rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql.native.buckets import (
    is_custom,
    owners,
    shown_bounds,
)

_CELLS = 1 << 20
"""Cells of ladders that are worked on at once."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """r histograms with at most w buckets that count something each.

    Attributes:
        rows: int64[r], which histograms.
        lower, upper, count: float64[r, w], ascending; shorter rows end in buckets that count
            nothing, at the bounds of their last one.
        custom: bool[r], histograms with custom buckets.
        zero: bool[r, w], the buckets around zero, of exponential histograms.
    """

    rows: I64
    lower: F64
    upper: F64
    count: F64
    custom: Mask
    zero: Mask


def ladders(histograms: Histograms) -> Iterator[Ladder]:
    """Yield ladders of all rows; rows of about the same number of buckets come together.

    The zero bucket has no negative half where there are only positive buckets, and no positive
    half where there are only negative ones.
    """
    flat = _flat(histograms)
    length = np.diff(flat.offsets)
    kind = np.ceil(np.log2(np.maximum(length, 1))).astype(np.int64)
    for exponent in np.unique(kind):
        same = np.flatnonzero(kind == exponent)
        width = max(int(length[same].max()), 1)
        size = max(1, _CELLS // width)
        for at in range(0, len(same), size):
            yield _ladder(histograms, flat, same[at : at + size], width)


@dataclass(frozen=True, slots=True)
class _Flat:
    offsets: I64
    lower: F64
    upper: F64
    count: F64
    zero: Mask


def _flat(h: Histograms) -> _Flat:
    negative, positive = owners(h.negative_offsets), owners(h.positive_offsets)
    rows = np.arange(h.rows)
    above, below = shown_bounds(h)
    only_positive = (np.diff(h.negative_offsets) == 0) & (np.diff(h.positive_offsets) > 0)
    only_negative = (np.diff(h.positive_offsets) == 0) & (np.diff(h.negative_offsets) > 0)
    lower = np.concatenate([below[0], np.where(only_positive, 0.0, -h.zero_threshold), above[0]])
    upper = np.concatenate([below[1], np.where(only_negative, 0.0, h.zero_threshold), above[1]])
    # A zero bucket that counts less than nothing, as differences may, is left out.
    around = np.where(h.zero_count > 0, h.zero_count, 0.0)
    count = np.concatenate([h.negative_count, around, h.positive_count])
    row = np.concatenate([negative, rows, positive])
    zero = np.zeros(len(row), np.bool_)
    zero[len(negative) : len(negative) + len(rows)] = True
    # Within a histogram: negative buckets with falling numbers, zero, positive ones with rising.
    place = np.concatenate(
        [-h.negative_index.astype(np.int64), np.zeros(h.rows, np.int64), h.positive_index]
    )
    side = np.repeat([0, 1, 2], [len(negative), h.rows, len(positive)])
    full = np.flatnonzero(count != 0)
    order = full[np.lexsort((place[full], side[full], row[full]))]
    offsets = np.zeros(h.rows + 1, np.int64)
    np.cumsum(np.bincount(row[order], minlength=h.rows), out=offsets[1:])
    return _Flat(offsets, lower[order], upper[order], count[order], zero[order])


def _ladder(h: Histograms, flat: _Flat, rows: I64, width: int) -> Ladder:
    reach = np.arange(width)
    length = (flat.offsets[rows + 1] - flat.offsets[rows])[:, None]
    inside = reach < length
    last = np.maximum(length - 1, 0)
    custom = is_custom(h)[rows]
    if not len(flat.count):
        nothing = np.zeros((len(rows), width))
        return Ladder(rows, nothing, nothing, nothing, custom, nothing > 0)
    at = np.minimum(flat.offsets[rows][:, None] + np.minimum(reach, last), len(flat.count) - 1)
    empty = length == 0
    return Ladder(
        rows,
        np.where(empty, 0.0, flat.lower[at]),
        np.where(empty, 0.0, flat.upper[at]),
        np.where(inside, flat.count[at], 0.0),
        custom,
        flat.zero[at] & ~empty,
    )
