"""Native histograms of the protobuf exposition, checked and as model objects.

Source: "Native Histograms" of Prometheus' specifications (spans, deltas, zero bucket).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from vedette.model.histograms import HistogramValue, spans_to_numbers
from vedette.scrape import client_model as model

_LOWEST_SCHEMA, _HIGHEST_SCHEMA = -4, 8
_MOST_BUCKETS = 10_000
_MOST_NUMBER = 2**31 - 1
_GAUGE_HINT = 3
_TOLERANCE = 1e-12


class InvalidHistogramError(Exception):
    """A native histogram contradicts itself; ``reason`` is a metric label."""

    reason = "histogram"


def is_native(histogram: model.Histogram) -> bool:
    """Return whether the message holds a native histogram, perhaps beside a classic one."""
    return bool(
        histogram.zero_threshold > 0
        or histogram.zero_count
        or histogram.zero_count_float > 0
        or histogram.positive_span
        or histogram.negative_span
    )


def native_value(histogram: model.Histogram, gauge: bool) -> HistogramValue:
    """Return the native histogram of the message.

    Raises:
        InvalidHistogramError: it contradicts itself.
    """
    if not _LOWEST_SCHEMA <= histogram.schema <= _HIGHEST_SCHEMA:
        raise InvalidHistogramError(f"schema {histogram.schema} is not within -4 to 8")
    floats = histogram.sample_count_float > 0 or histogram.zero_count_float > 0
    if floats:
        count, zero = histogram.sample_count_float, histogram.zero_count_float
        positive, negative = histogram.positive_count, histogram.negative_count
    else:
        count, zero = float(histogram.sample_count), float(histogram.zero_count)
        positive = [float(n) for n in accumulate(histogram.positive_delta)]
        negative = [float(n) for n in accumulate(histogram.negative_delta)]
    value = HistogramValue(
        histogram.schema,
        count,
        histogram.sample_sum,
        histogram.zero_threshold,
        zero,
        _GAUGE_HINT if gauge else 0,
        _buckets(histogram.positive_span, positive),
        _buckets(histogram.negative_span, negative),
    )
    _check(value)
    return value


def _buckets(
    spans: Sequence[model.BucketSpan], counts: Sequence[float]
) -> tuple[tuple[int, float], ...]:
    """Return (number, count) of the buckets, less those without observations."""
    total = sum(span.length for span in spans)
    if total != len(counts):
        message = f"its spans name {total} buckets, and there are {len(counts)} counts"
        raise InvalidHistogramError(message)
    if total > _MOST_BUCKETS:
        raise InvalidHistogramError(f"{total} buckets are more than {_MOST_BUCKETS}")
    if any(span.offset < 0 for span in spans[1:]):
        raise InvalidHistogramError("its spans overlap")
    numbers = spans_to_numbers((span.offset, span.length) for span in spans)
    if numbers and not -_MOST_NUMBER < numbers[0] <= numbers[-1] < _MOST_NUMBER:
        raise InvalidHistogramError("the number of a bucket is beyond 31 bits")
    return tuple((n, count) for n, count in zip(numbers, counts, strict=True) if count)


def _check(value: HistogramValue) -> None:
    counts = [count for _, count in (*value.positive, *value.negative)]
    if not all(count >= 0 for count in (*counts, value.zero_count, value.count)):
        raise InvalidHistogramError("a bucket has a count below zero")
    if value.zero_threshold < 0 or math.isnan(value.zero_threshold):
        raise InvalidHistogramError(f"the zero bucket reaches to {value.zero_threshold}")
    observed = math.fsum(counts) + value.zero_count
    most = value.count * (1 + _TOLERANCE)
    # Observations of NaN stand in the count and in no bucket; the sum then is NaN.
    if observed > most or (observed < value.count / (1 + _TOLERANCE) and not math.isnan(value.sum)):
        message = f"its buckets hold {observed:g} observations, its count says {value.count:g}"
        raise InvalidHistogramError(message)
