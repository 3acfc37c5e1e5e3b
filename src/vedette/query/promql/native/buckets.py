"""Bounds of buckets, and where buckets go when the resolution is lowered.

Source: "Native Histograms" in Prometheus' specification. The exponential bucket i of the schema n
ends at 2^(i · 2^−n) and begins where the one before it ends; the last finite one ends at the
largest float.
"""

from __future__ import annotations

import math

import numpy as np

from vedette.model.arrays import F64, I64, Mask, spread
from vedette.model.histograms import CUSTOM_BUCKETS, Histograms

_LARGEST = np.finfo(np.float64).max
_OVERFLOW = 1024
"""The exponent of two that a float cannot hold."""


# Coefficients of FreeBSD's msun, "e_exp.c", which the published bounds were computed with.
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_REMEZ = (
    4.13813679705723846039e-08,
    -1.65339022054652515390e-06,
    6.61375632143793436117e-05,
    -2.77777777770155933842e-03,
    1.66666666666666657415e-01,
)


def _exp2(x: float) -> float:
    """Return 2^x for 0 ≤ x ≤ 1, to the last digit as Prometheus' bounds have it."""
    whole = int(x + 0.5)
    high, low = (x - whole) * _LN2_HIGH, -(x - whole) * _LN2_LOW
    rest = high - low
    square = rest * rest
    series = 0.0
    for coefficient in _REMEZ:
        series = series * square + coefficient
    c = rest - square * series
    return math.ldexp(1 - ((low - rest * c / (2 - c)) - high), whole)


def _fractions() -> F64:
    """Return float64[9, 256]: 2^(part · 2^−schema), the part of a bound below its power of two.

    Each schema takes every other bound from the one below it, and makes those between by one
    multiplication: the bounds of Prometheus are not the nearest floats, and labels show them.
    """
    rows = [[1.0]]
    for schema in range(1, 9):
        factor = _exp2(0.5**schema)
        row = []
        for bound in rows[-1]:
            row += [bound, bound * factor]
        rows.append(row)
    table = np.ones((9, 256))
    for schema, row in enumerate(rows):
        table[schema, : len(row)] = row
    return table


_FRACTIONS = _fractions()


def is_custom(histograms: Histograms) -> Mask:
    """Return bool[H]: which histograms have custom buckets."""
    return np.asarray(histograms.schema == CUSTOM_BUCKETS)


def owners(offsets: I64) -> I64:
    """Return the histogram of each bucket: int64[B] of offsets int64[H + 1]."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def exponential_bound(number: I64, schema: I64) -> F64:
    """Return float64[B], the upper bounds of positive exponential buckets."""
    fine = np.maximum(schema, 0)
    whole = np.where(schema < 0, number << np.maximum(-schema, 0), number >> fine)
    part = number - (number >> fine << fine)
    # Far outside what an exponent can be, the bound is zero or infinite anyway.
    exponent = np.clip(whole, -2 * _OVERFLOW, 2 * _OVERFLOW).astype(np.int32)
    with np.errstate(over="ignore", under="ignore"):
        bound = np.ldexp(_FRACTIONS[fine, part], exponent)
    largest = (whole == _OVERFLOW) & (part == 0)
    return np.where(largest, _LARGEST, bound)


def coarser(number: I64, by: I64) -> I64:
    """Return the numbers of exponential buckets at a schema lower by ``by`` (int64[B], ≥ 0)."""
    return np.asarray(((number - 1) >> by) + 1)


def positive_bounds(histograms: Histograms) -> tuple[F64, F64]:
    """Return lower and upper bounds, float64[B], of all positive (or custom) buckets."""
    row = owners(histograms.positive_offsets)
    number = histograms.positive_index.astype(np.int64)
    custom = is_custom(histograms)[row]
    schema = np.where(custom, 0, histograms.schema[row]).astype(np.int64)
    lower, upper = exponential_bound(number - 1, schema), exponential_bound(number, schema)
    if custom.any():
        lower[custom] = _custom_bound(histograms, row[custom], number[custom] - 1)
        upper[custom] = _custom_bound(histograms, row[custom], number[custom])
    return lower, upper


def _custom_bound(histograms: Histograms, row: I64, number: I64) -> F64:
    """Return the upper bounds of custom buckets; that of number −1 is −Inf."""
    first, end = histograms.custom_offsets[row], histograms.custom_offsets[row + 1]
    inside = (number >= 0) & (number < end - first)
    outside = np.where(number < 0, -np.inf, np.inf)
    if not len(histograms.custom_bounds):
        return outside
    at = np.where(inside, first + number, 0)
    return np.where(inside, histograms.custom_bounds[at], outside)


def negative_bounds(histograms: Histograms) -> tuple[F64, F64]:
    """Return lower and upper bounds, float64[B], of all negative buckets."""
    row = owners(histograms.negative_offsets)
    number = histograms.negative_index.astype(np.int64)
    schema = np.where(is_custom(histograms), 0, histograms.schema)[row].astype(np.int64)
    return -exponential_bound(number, schema), -exponential_bound(number - 1, schema)


def shown_bounds(histograms: Histograms) -> tuple[tuple[F64, F64], tuple[F64, F64]]:
    """Return the bounds of positive and of negative buckets as far as they are outside of zero.

    The part of a bucket that lies within the zero bucket is not its own.
    """
    low, high = positive_bounds(histograms)
    edge = histograms.zero_threshold[owners(histograms.positive_offsets)]
    above = np.where((low > 0) & (low < edge), edge, low), high
    low, high = negative_bounds(histograms)
    edge = histograms.zero_threshold[owners(histograms.negative_offsets)]
    return above, (low, np.where((high < 0) & (high > -edge), -edge, high))


class CustomLayouts:
    """The distinct bounds of the custom buckets of some histograms.

    Attributes:
        of_row: int64[H], the layout of each histogram; 0, the empty one, where it has no bounds.
        bounds: for each layout its bounds, float64[…].
    """

    def __init__(self, histograms: Histograms) -> None:
        self.of_row = np.zeros(histograms.rows, np.int64)
        self.bounds: list[F64] = [np.zeros(0)]
        lengths = np.diff(histograms.custom_offsets)
        for length in np.unique(lengths[lengths > 0]).tolist():
            rows = np.flatnonzero(lengths == length)
            each = histograms.custom_offsets[rows][:, None] + np.arange(length)
            table = histograms.custom_bounds[each]
            # Nearly always all are alike; sorting them to find that out is slow.
            kinds, which = table[:1], np.zeros(len(rows), np.int64)
            if (table != table[0]).any():
                kinds, found = np.unique(table, axis=0, return_inverse=True)
                which = found.ravel().astype(np.int64)
            self.of_row[rows] = which + len(self.bounds)
            self.bounds += list(kinds)

    def common(self, layouts: frozenset[int]) -> int:
        """Return the layout of the bounds that all of ``layouts`` have."""
        shared = self.bounds[min(layouts)]
        for layout in layouts:
            shared = np.intersect1d(shared, self.bounds[layout])
        for number, bounds in enumerate(self.bounds):
            if np.array_equal(bounds, shared):
                return number
        self.bounds.append(shared)
        return len(self.bounds) - 1

    def moved(self, numbers: I64, source: I64, target: I64) -> I64:
        """Return the numbers of buckets (of layouts ``source``) in the layouts ``target``.

        Arrays int64[B]; the bounds of a target are among those of its source.
        """
        out = numbers.copy()
        pairs = np.unique(np.stack([source, target])[:, source != target], axis=1)
        for a, b in pairs.T.tolist():
            where = (source == a) & (target == b)
            old, new = self.bounds[a], self.bounds[b]
            table = np.append(np.searchsorted(new, old, "left"), len(new))
            out[where] = table[np.minimum(numbers[where], len(old))]
        return out

    def flat(self, layouts: I64) -> tuple[I64, F64]:
        """Return offsets int64[G + 1] and bounds of histograms with the layouts int64[G]."""
        lengths = np.array([len(bounds) for bounds in self.bounds], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        at = spread(starts, layouts)
        offsets = np.concatenate([[0], np.cumsum(lengths[layouts])])
        return offsets, np.concatenate(self.bounds)[at]
