"""Native and custom-bucket histograms in flat arrays, as Prometheus 3 defines them.

Source of the fields and of the spans: ``prompb/io/prometheus/client/metrics.proto`` and "Native
Histograms" in Prometheus' specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, offsets_of, spread

CUSTOM_BUCKETS = -53
"""The schema that marks custom buckets (classic bounds in a native histogram)."""


@dataclass(frozen=True, slots=True)
class Histograms:
    """Histograms of a block, a batch or a result: H of them, in flat arrays.

    Where a sample is a histogram, the float array beside it holds ``HISTOGRAM``. An integer
    histogram is held as the float histogram of the same counts.

    Attributes:
        index: int32 of the shape of the values beside it; row of each sample in the arrays below,
            −1 where the sample is a float or absent.
        schema: int16[H]; ``CUSTOM_BUCKETS`` marks custom buckets.
        count, sum, zero_threshold, zero_count: float64[H].
        reset_hint: int8[H], as in Prometheus' protobuf (0 unknown, 1 yes, 2 no, 3 gauge).
        positive_offsets, negative_offsets, custom_offsets: int64[H + 1] into the next arrays.
        positive_index, negative_index: int32, bucket numbers, ascending within a histogram;
            positive_count, negative_count: float64, absolute (not delta) counts of these buckets.
        custom_bounds: float64, upper bounds of custom buckets, without the last (+Inf).
    """

    index: I32
    schema: NDArray[np.int16]
    count: F64
    sum: F64
    zero_threshold: F64
    zero_count: F64
    reset_hint: NDArray[np.int8]
    positive_offsets: I64
    positive_index: I32
    positive_count: F64
    negative_offsets: I64
    negative_index: I32
    negative_count: F64
    custom_offsets: I64
    custom_bounds: F64

    @property
    def rows(self) -> int:
        """H, the number of histograms."""
        return len(self.schema)

    def at(self, index: I32) -> Histograms:
        """Return the same histograms seen through another ``index``."""
        return replace(self, index=index)

    def take(self, rows: NDArray[np.integer], index: I32) -> Histograms:
        """Return only ``rows``, in that order (a row may come twice), with ``index`` into them."""
        positive = spread(self.positive_offsets, rows)
        negative = spread(self.negative_offsets, rows)
        custom = spread(self.custom_offsets, rows)
        return Histograms(
            index,
            self.schema[rows],
            self.count[rows],
            self.sum[rows],
            self.zero_threshold[rows],
            self.zero_count[rows],
            self.reset_hint[rows],
            _taken_offsets(self.positive_offsets, rows),
            self.positive_index[positive],
            self.positive_count[positive],
            _taken_offsets(self.negative_offsets, rows),
            self.negative_index[negative],
            self.negative_count[negative],
            _taken_offsets(self.custom_offsets, rows),
            self.custom_bounds[custom],
        )

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        return sum(int(getattr(self, each.name).nbytes) for each in fields(self))


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """One histogram, for decoders and for rendering; fields as in :class:`Histograms`.

    ``positive`` and ``negative`` are (bucket number, count) pairs, ascending by number.
    """

    schema: int
    count: float
    sum: float
    zero_threshold: float = 0.0
    zero_count: float = 0.0
    reset_hint: int = 0
    positive: tuple[tuple[int, float], ...] = ()
    negative: tuple[tuple[int, float], ...] = ()
    custom_bounds: tuple[float, ...] = ()


def histograms_of(values: Sequence[HistogramValue], index: I32) -> Histograms:
    """Return ``values`` as arrays, with ``index`` into them; the slow way in."""
    h = len(values)
    positive = [pair for value in values for pair in value.positive]
    negative = [pair for value in values for pair in value.negative]
    return Histograms(
        index,
        np.fromiter((v.schema for v in values), np.int16, h),
        np.fromiter((v.count for v in values), np.float64, h),
        np.fromiter((v.sum for v in values), np.float64, h),
        np.fromiter((v.zero_threshold for v in values), np.float64, h),
        np.fromiter((v.zero_count for v in values), np.float64, h),
        np.fromiter((v.reset_hint for v in values), np.int8, h),
        _offsets(len(v.positive) for v in values),
        np.array([number for number, _ in positive], np.int32),
        np.array([count for _, count in positive], np.float64),
        _offsets(len(v.negative) for v in values),
        np.array([number for number, _ in negative], np.int32),
        np.array([count for _, count in negative], np.float64),
        _offsets(len(v.custom_bounds) for v in values),
        np.array([bound for v in values for bound in v.custom_bounds], np.float64),
    )


def histogram_value(histograms: Histograms, row: int) -> HistogramValue:
    """Return histogram ``row`` as one object; the slow way out."""
    p = slice(*histograms.positive_offsets[row : row + 2].tolist())
    n = slice(*histograms.negative_offsets[row : row + 2].tolist())
    c = slice(*histograms.custom_offsets[row : row + 2].tolist())
    return HistogramValue(
        int(histograms.schema[row]),
        float(histograms.count[row]),
        float(histograms.sum[row]),
        float(histograms.zero_threshold[row]),
        float(histograms.zero_count[row]),
        int(histograms.reset_hint[row]),
        _pairs(histograms.positive_index[p], histograms.positive_count[p]),
        _pairs(histograms.negative_index[n], histograms.negative_count[n]),
        tuple(histograms.custom_bounds[c].tolist()),
    )


def joined(parts: Sequence[Histograms], index: I32) -> Histograms:
    """Return the histograms of ``parts`` one after another, with ``index`` into all of them.

    Row r of part k becomes row ``sum(rows of the parts before k) + r``.
    """
    if len(parts) == 1:
        return parts[0].at(index)
    if not parts:
        return histograms_of((), index)
    return Histograms(
        index,
        np.concatenate([p.schema for p in parts]),
        np.concatenate([p.count for p in parts]),
        np.concatenate([p.sum for p in parts]),
        np.concatenate([p.zero_threshold for p in parts]),
        np.concatenate([p.zero_count for p in parts]),
        np.concatenate([p.reset_hint for p in parts]),
        _joined_offsets([p.positive_offsets for p in parts]),
        np.concatenate([p.positive_index for p in parts]),
        np.concatenate([p.positive_count for p in parts]),
        _joined_offsets([p.negative_offsets for p in parts]),
        np.concatenate([p.negative_index for p in parts]),
        np.concatenate([p.negative_count for p in parts]),
        _joined_offsets([p.custom_offsets for p in parts]),
        np.concatenate([p.custom_bounds for p in parts]),
    )


def spans_to_numbers(spans: Iterable[tuple[int, int]]) -> list[int]:
    """Return the bucket numbers that ``spans`` of (offset, length) name, in order.

    The first offset is the first bucket number; each later one is the gap to the span before.
    """
    numbers: list[int] = []
    following = 0
    for offset, length in spans:
        following += offset
        numbers.extend(range(following, following + length))
        following += length
    return numbers


def numbers_to_spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the spans of ascending bucket ``numbers``: the inverse of ``spans_to_numbers``."""
    spans: list[tuple[int, int]] = []
    following = 0
    for number in numbers:
        if spans and number == following:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((number - following, 1))
        following = number + 1
    return spans


def _pairs(numbers: I32, counts: F64) -> tuple[tuple[int, float], ...]:
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def _offsets(lengths: Iterable[int]) -> I64:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _taken_offsets(offsets: I64, rows: NDArray[np.integer]) -> I64:
    return offsets_of(offsets[rows + 1] - offsets[rows])


def _joined_offsets(parts: Sequence[I64]) -> I64:
    return offsets_of(np.concatenate([np.diff(part) for part in parts]))
