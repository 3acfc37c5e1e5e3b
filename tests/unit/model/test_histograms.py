"""Histograms in flat arrays."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.histograms import (
    HistogramValue,
    histogram_value,
    histograms_of,
    joined,
    numbers_to_spans,
    spans_to_numbers,
)

_COUNTS = st.floats(0, 1e6)
_NUMBERS = st.lists(st.integers(-500, 500), unique=True, max_size=8).map(sorted)


@st.composite
def _buckets(draw: st.DrawFn) -> tuple[tuple[int, float], ...]:
    return tuple((number, draw(_COUNTS)) for number in draw(_NUMBERS))


_VALUES = st.builds(
    HistogramValue,
    schema=st.integers(-4, 8),
    count=_COUNTS,
    sum=st.floats(-1e6, 1e6),
    zero_threshold=_COUNTS,
    zero_count=_COUNTS,
    reset_hint=st.integers(0, 3),
    positive=_buckets(),
    negative=_buckets(),
    custom_bounds=st.lists(st.floats(-1e3, 1e3), max_size=4).map(lambda b: tuple(sorted(b))),
)


@given(st.lists(_VALUES, max_size=6))
def test_what_goes_in_comes_out(values: list[HistogramValue]) -> None:
    """Histograms survive their way into arrays and back."""
    index = np.arange(len(values), dtype=np.int32)
    found = histograms_of(values, index)
    assert found.rows == len(values)
    assert [histogram_value(found, row) for row in range(found.rows)] == values


@given(st.lists(_VALUES, min_size=1, max_size=6), st.data())
def test_taking_rows_takes_their_buckets(values: list[HistogramValue], data: st.DataObject) -> None:
    """``take`` returns the chosen histograms whole, also twice and in any order."""
    rows = data.draw(st.lists(st.integers(0, len(values) - 1), max_size=8))
    index = np.arange(len(rows), dtype=np.int32)
    taken = histograms_of(values, np.arange(len(values), dtype=np.int32)).take(
        np.array(rows, np.int64), index
    )
    assert [histogram_value(taken, row) for row in range(taken.rows)] == [values[r] for r in rows]


@given(st.lists(st.lists(_VALUES, max_size=3), max_size=4))
def test_joining_keeps_the_order(parts: list[list[HistogramValue]]) -> None:
    """``joined`` puts the rows of its parts one after another."""
    arrays = [histograms_of(part, np.arange(len(part), dtype=np.int32)) for part in parts]
    whole = [value for part in parts for value in part]
    found = joined(arrays, np.arange(len(whole), dtype=np.int32))
    assert [histogram_value(found, row) for row in range(found.rows)] == whole


@given(_NUMBERS)
def test_spans_name_the_same_buckets(numbers: list[int]) -> None:
    """Bucket numbers survive their way into spans and back, in as few spans as there are runs."""
    spans = numbers_to_spans(numbers)
    assert spans_to_numbers(spans) == numbers
    assert all(offset > 0 for offset, _ in spans[1:])
