"""Native histograms as text: as Go prints them, and as expressions of rule tests.

Bucket bounds: "Native Histograms" in Prometheus' specification.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from vedette.model.histograms import CUSTOM_BUCKETS, HistogramValue
from vedette.rules.gotemplate.values import go_float

_HINTS = ("unknown", "reset", "not_reset", "gauge")


def bound(schema: int, number: int) -> float:
    """Return the upper bound of bucket ``number`` of an exponential schema."""
    try:
        return float(2.0 ** (number * 2.0**-schema))
    except OverflowError:
        return math.inf


def histogram_text(value: HistogramValue) -> str:
    """Return ``{count:…, sum:…, [lower,upper]:count, …}``, as templates print a histogram."""
    parts = [f"count:{go_float(value.count)}", f"sum:{go_float(value.sum)}"]
    for number, count in reversed(value.negative):
        upper, lower = -bound(value.schema, number - 1), -bound(value.schema, number)
        parts.append(f"[{go_float(lower)},{go_float(upper)}):{go_float(count)}")
    if value.zero_count:
        edge = go_float(value.zero_threshold)
        lower_edge = go_float(-value.zero_threshold)
        parts.append(f"[{lower_edge},{edge}]:{go_float(value.zero_count)}")
    for number, count in value.positive:
        low, high = _bounds(value, number)
        opening = "[" if math.isinf(low) else "("
        closing = "]"
        parts.append(f"{opening}{go_float(low)},{go_float(high)}{closing}:{go_float(count)}")
    return "{" + ", ".join(parts) + "}"


def _bounds(value: HistogramValue, number: int) -> tuple[float, float]:
    if value.schema != CUSTOM_BUCKETS:
        return bound(value.schema, number - 1), bound(value.schema, number)
    bounds = (-math.inf, *value.custom_bounds, math.inf)
    return bounds[min(number, len(bounds) - 2)], bounds[min(number + 1, len(bounds) - 1)]


def histogram_expression(value: HistogramValue) -> str:
    """Return ``{{schema:… count:… buckets:[…]}}``, as a test would write the histogram.

    Fields that have their default are left out, and buckets without a count at the ends.
    """
    fields: list[str] = []
    if value.schema:
        fields.append(f"schema:{value.schema}")
    for name, number in (
        ("count", value.count),
        ("sum", value.sum),
        ("z_bucket", value.zero_count),
        ("z_bucket_w", value.zero_threshold),
    ):
        if number:
            fields.append(f"{name}:{go_float(number)}")
    if value.custom_bounds:
        fields.append(f"custom_values:[{_numbers(value.custom_bounds)}]")
    if value.reset_hint:
        fields.append(f"counter_reset_hint:{_HINTS[value.reset_hint]}")
    fields += _buckets("", value.positive) + _buckets("n_", value.negative)
    return "{{" + " ".join(fields) + "}}"


def _numbers(numbers: Sequence[float]) -> str:
    return " ".join(go_float(number) for number in numbers)


def _buckets(prefix: str, pairs: Sequence[tuple[int, float]]) -> list[str]:
    held = [(number, count) for number, count in pairs if count]
    if not held:
        return []
    first, last = held[0][0], held[-1][0]
    counts = dict(held)
    dense = [counts.get(number, 0.0) for number in range(first, min(last, first + 1000) + 1)]
    fields = [f"{prefix}offset:{first}"] if first else []
    return [*fields, f"{prefix}buckets:[{_numbers(dense)}]"]
