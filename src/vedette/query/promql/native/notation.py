"""Histograms as text: ``{{schema:0 sum:5 count:4 buckets:[1 2 1]}}``.

The notation of promtool's unit tests, described in Prometheus' documentation, "Unit testing for
rules".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from vedette.model.histograms import (
    CUSTOM_BUCKETS,
    HistogramValue,
    histogram_value,
    histograms_of,
)
from vedette.query.promql.native.combine import Terms, combine

_FIELD = re.compile(r"\s*([a-z_]+)\s*:\s*(\[[^\]]*\]|[^\s\[\]]+)\s*")
_NUMBERS = frozenset(("schema", "sum", "count", "z_bucket", "z_bucket_w", "offset", "n_offset"))
_LISTS = frozenset(("buckets", "n_buckets", "custom_values"))
_HINTS = {"unknown": 0, "reset": 1, "not_reset": 2, "gauge": 3}


class HistogramTextError(ValueError):
    """A text that is no histogram."""


def read_histogram(text: str) -> tuple[HistogramValue, bool]:
    """Return the histogram that ``text`` (without its double braces) writes.

    Also return whether it says something about counter resets.

    Raises:
        HistogramTextError: it writes none.
    """
    numbers: dict[str, float] = {}
    lists: dict[str, list[float]] = {}
    hint = None
    for name, value in _fields(text):
        if name in numbers or name in lists or (name == "counter_reset_hint" and hint is not None):
            raise HistogramTextError(f'duplicate key "{name}" in histogram')
        if name == "counter_reset_hint" and value in _HINTS:
            hint = _HINTS[value]
        elif name in _NUMBERS and not value.startswith("["):
            numbers[name] = _number(name, value)
        elif name in _LISTS and value.startswith("["):
            lists[name] = [_number(name, word) for word in value[1:-1].split()]
        else:
            raise HistogramTextError(f'bad histogram field "{name}:{value}"')
    schema = int(numbers.get("schema", 0))
    if schema != CUSTOM_BUCKETS and not -4 <= schema <= 8:
        raise HistogramTextError(f"schema {schema} is not between -4 and 8, nor {CUSTOM_BUCKETS}")
    return HistogramValue(
        schema,
        numbers.get("count", 0.0),
        numbers.get("sum", 0.0),
        numbers.get("z_bucket_w", 0.0),
        numbers.get("z_bucket", 0.0),
        hint or 0,
        _buckets(lists.get("buckets", []), numbers.get("offset", 0.0)),
        _buckets(lists.get("n_buckets", []), numbers.get("n_offset", 0.0)),
        tuple(lists.get("custom_values", [])),
    ), hint is not None


def _fields(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text.rstrip()):
        match = _FIELD.match(text, at)
        if match is None:
            raise HistogramTextError(f'not a histogram field: "{text[at:]}"')
        yield match[1], match[2]
        at = match.end()


def _number(name: str, text: str) -> float:
    try:
        return float(int(text, 16)) if "0x" in text.lower() else float(text)
    except ValueError:
        raise HistogramTextError(f'not a number in histogram field "{name}": "{text}"') from None


def _buckets(counts: list[float], offset: float) -> tuple[tuple[int, float], ...]:
    return tuple(enumerate(counts, int(offset)))


def stepped(
    base: HistogramValue, step: HistogramValue, times: int, weight: float
) -> Iterator[HistogramValue]:
    """Yield ``base``, and ``times`` more with ``step`` (times ``weight``) added to the last.

    Raises:
        HistogramTextError: the resolution of ``step`` is lower, or their kinds differ.
    """
    yield base
    for _ in range(times):
        if base.schema > step.schema:
            raise HistogramTextError(
                "error combining histograms: cannot merge from schema "
                f"{step.schema} to {base.schema}"
            )
        pair = histograms_of((base, step), np.zeros(2, np.int32))
        terms = Terms(np.zeros(2, np.int64), np.arange(2), np.array([1.0, weight]))
        sums = combine(pair, terms, 1)
        if sums.mixed.any():
            raise HistogramTextError("exponential and custom buckets cannot be added")
        base = histogram_value(sums.histograms, 0)
        yield base
