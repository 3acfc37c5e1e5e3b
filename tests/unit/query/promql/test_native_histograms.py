"""Arithmetic on native histograms, held against one histogram at a time in plain Python."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.model.histograms import (
    CUSTOM_BUCKETS,
    HistogramValue,
    histogram_value,
    histograms_of,
)
from vedette.query.promql.native.buckets import exponential_bound
from vedette.query.promql.native.combine import Terms, combine, divided, scaled
from vedette.query.promql.native.compare import detect_resets, equal
from vedette.query.promql.native.hints import GAUGE, NOT_RESET, RESET, UNKNOWN
from vedette.query.promql.native.measure import fractions, quantiles, variances
from vedette.query.promql.native.notation import HistogramTextError, read_histogram
from vedette.query.promql.native.sums import sums_by_key
from vedette.query.promql.native.text import general, histogram_texts
from vedette.query.promql.native.trim import trimmed

COUNTS = st.integers(0, 1000).map(float)
SIDES = st.dictionaries(st.integers(-20, 20), COUNTS, max_size=6).map(
    lambda side: tuple(sorted(side.items()))
)


@st.composite
def exponentials(draw: st.DrawFn, threshold: float = 1e-100) -> HistogramValue:
    """Return an exponential histogram whose count is that of its buckets, none of them at zero."""
    positive, negative, zero = draw(SIDES), draw(SIDES), draw(COUNTS)
    total = zero + sum(count for _, count in (*positive, *negative))
    value = draw(st.floats(-1e6, 1e6))
    schema = draw(st.integers(-4, 8))
    return HistogramValue(schema, total, value, threshold, zero, 0, positive, negative)


BOUNDS = st.lists(st.integers(-5, 5).map(float), max_size=4, unique=True).map(
    lambda bounds: tuple(sorted(bounds))
)


@st.composite
def customs(draw: st.DrawFn) -> HistogramValue:
    """Return a histogram with custom buckets."""
    bounds = draw(BOUNDS)
    counts = draw(st.lists(COUNTS, min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    return HistogramValue(
        CUSTOM_BUCKETS,
        sum(counts),
        draw(st.floats(-1e6, 1e6)),
        positive=tuple(enumerate(counts)),
        custom_bounds=bounds,
    )


def added(values: list[HistogramValue], weights: list[float]) -> HistogramValue:
    """Return the weighted sum of exponential histograms of one zero threshold."""
    schema = min(value.schema for value in values)
    sides: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    for value, weight in zip(values, weights, strict=True):
        for side, buckets in zip(sides, (value.positive, value.negative), strict=True):
            for number, count in buckets:
                lowered = math.ceil(number / 2 ** (value.schema - schema))
                side[lowered] += count * weight
    pairs = list(zip(values, weights, strict=True))
    return HistogramValue(
        schema,
        sum(v.count * w for v, w in pairs),
        math.fsum(v.sum * w for v, w in pairs),
        values[0].zero_threshold,
        sum(v.zero_count * w for v, w in pairs),
        0,
        *(tuple((n, c) for n, c in sorted(side.items()) if c) for side in sides),
    )


@given(st.lists(st.tuples(exponentials(), st.integers(-3, 3).map(float)), min_size=1, max_size=5))
def test_sums_are_those_of_single_histograms(terms: list[tuple[HistogramValue, float]]) -> None:
    """Any weighted sum has the buckets that adding up one by one gives, at the lowest schema."""
    values, weights = [value for value, _ in terms], [weight for _, weight in terms]
    rows = np.arange(len(values))
    arrays = histograms_of(values, rows.astype(np.int32))
    found = combine(arrays, Terms(np.zeros(len(values), np.int64), rows, np.array(weights)), 1)
    got, wanted = histogram_value(found.histograms, 0), added(values, weights)
    assert got.sum == pytest.approx(wanted.sum, abs=1e-6)
    assert (got.schema, got.count, got.zero_count) == (
        wanted.schema,
        wanted.count,
        wanted.zero_count,
    )
    assert (got.positive, got.negative) == (wanted.positive, wanted.negative)


@given(st.lists(st.lists(exponentials(), min_size=1, max_size=3), min_size=1, max_size=4))
def test_groups_do_not_mix(groups: list[list[HistogramValue]]) -> None:
    """Adding up many groups at once gives what each alone gives."""
    values = [value for group in groups for value in group]
    ids = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    arrays = histograms_of(values, np.arange(len(values), dtype=np.int32))
    ones = np.ones(len(values))
    together = combine(arrays, Terms(ids, np.arange(len(values)), ones), len(groups)).histograms
    for k, group in enumerate(groups):
        alone = added(group, [1.0] * len(group))
        got = histogram_value(together, k)
        assert (got.positive, got.negative) == (alone.positive, alone.negative)


@given(st.lists(customs(), min_size=1, max_size=4))
def test_custom_buckets_meet_at_common_bounds(values: list[HistogramValue]) -> None:
    """Below each bound that all have, a sum counts what its terms count; others vanish."""
    rows = np.arange(len(values))
    arrays = histograms_of(values, rows.astype(np.int32))
    terms = Terms(np.zeros(len(values), np.int64), rows, np.ones(len(values)))
    found = combine(arrays, terms, 1)
    got = histogram_value(found.histograms, 0)
    shared = set(values[0].custom_bounds).intersection(*(v.custom_bounds for v in values))
    assert got.custom_bounds == tuple(sorted(shared))
    assert bool(found.reconciled[0]) == any(v.custom_bounds != got.custom_bounds for v in values)
    for bound in got.custom_bounds:
        assert below(got, bound) == sum(below(value, bound) for value in values)
    assert sum(count for _, count in got.positive) == sum(value.count for value in values)


def below(value: HistogramValue, bound: float) -> float:
    """Return what custom buckets count up to one of their bounds."""
    last = value.custom_bounds.index(bound)
    return sum(count for number, count in value.positive if number <= last)


@given(exponentials(), exponentials())
def test_a_sum_never_counts_less_than_its_term(a: HistogramValue, b: HistogramValue) -> None:
    """Going on from a histogram to one with more observations is no reset; back it is one."""
    arrays = histograms_of((a, b), np.arange(2, dtype=np.int32))
    both = combine(arrays, Terms(np.zeros(2, np.int64), np.arange(2), np.ones(2)), 1)
    more = histogram_value(both.histograms, 0)
    pair = histograms_of((a, more), np.arange(2, dtype=np.int32))
    forth, back = detect_resets(pair, np.array([1, 0]), np.array([0, 1]))
    assert not forth
    assert bool(back) == (b.count > 0 or a.schema > more.schema)


def test_hints_decide_on_resets() -> None:
    """A histogram that says whether it follows a reset is believed."""
    few, many = HistogramValue(0, 1.0, 1.0), HistogramValue(0, 2.0, 1.0)
    hinted = [
        HistogramValue(0, few.count, 1.0, reset_hint=hint)
        for hint in (UNKNOWN, RESET, NOT_RESET, GAUGE)
    ]
    arrays = histograms_of((many, *hinted), np.arange(5, dtype=np.int32))
    found = detect_resets(arrays, np.arange(1, 5), np.zeros(4, np.int64))
    assert found.tolist() == [True, True, False, True]


@given(exponentials(), exponentials())
def test_equality_is_that_of_values(a: HistogramValue, b: HistogramValue) -> None:
    """Histograms are equal when all they say is, but for buckets that count nothing."""

    def full(value: HistogramValue) -> object:
        sides = [[(n, c) for n, c in side if c] for side in (value.positive, value.negative)]
        numbers = value.count, np.float64(value.sum).tobytes(), value.zero_count
        return value.schema, numbers, value.zero_threshold, sides

    arrays = histograms_of((a, b), np.arange(2, dtype=np.int32))
    found = equal(arrays, np.array([0, 0]), np.array([0, 1]))
    assert found.tolist() == [True, full(a) == full(b)]


@settings(deadline=None)
@given(exponentials() | customs(), st.floats(0, 1))
def test_fraction_and_quantile_are_inverse(value: HistogramValue, q: float) -> None:
    """About the share q of observations lies below the q-quantile."""
    if not value.count:
        return
    arrays = histograms_of((value,), np.zeros(1, np.int32))
    at = quantiles(arrays, np.array([q]))[0]
    if not np.isfinite(at[0]) or value.schema == CUSTOM_BUCKETS:
        return
    share, _ = fractions(arrays, np.array([-np.inf]), at)
    top, _ = fractions(arrays, np.array([-np.inf]), np.nextafter(at, np.inf) * (1 + 1e-9) + 1e-300)
    assert min(share[0], top[0]) <= q + 1e-6
    assert max(share[0], top[0]) >= q - 1e-6


@given(exponentials() | customs(), st.floats(-1e3, 1e3))
def test_both_halves_of_a_cut_make_the_whole(value: HistogramValue, cut: float) -> None:
    """What is kept below and what is kept above a cut are all observations, but open buckets."""
    arrays = histograms_of((value,), np.zeros(1, np.int32))
    halves = [trimmed(arrays, np.array([cut]), keep_below) for keep_below in (True, False)]
    total = sum(float(half.count[0]) for half in halves)
    assert total <= value.count * (1 + 1e-9)
    if value.schema != CUSTOM_BUCKETS:
        assert total == pytest.approx(value.count)


@given(exponentials(), st.floats(0.1, 10))
def test_scaling_and_dividing_are_inverse(value: HistogramValue, factor: float) -> None:
    """A histogram times a number divided by it is itself."""
    arrays = histograms_of((value,), np.zeros(1, np.int32))
    back = divided(scaled(arrays, np.array([factor])), np.array([factor]))
    assert back.count[0] == pytest.approx(value.count)
    assert back.positive_count == pytest.approx([c for _, c in value.positive if c])


def test_variance_of_one_bucket_is_its_distance_from_the_mean() -> None:
    """All of a bucket stands in its geometric middle."""
    value = HistogramValue(0, 4.0, 8.0, positive=((1, 4.0),))
    found = variances(histograms_of((value,), np.zeros(1, np.int32)))
    assert found[0] == pytest.approx((math.sqrt(2) - 2) ** 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1e12, 1e12)), max_size=30))
def test_sums_keep_their_digits(pairs: list[tuple[int, float]]) -> None:
    """Sums by key are those of exact arithmetic, huge values that cancel among them or not."""
    pairs += [(0, 1e100), (1, 1.0), (0, -1e100)]
    keys, values = np.array([k for k, _ in pairs]), np.array([v for _, v in pairs])
    found = sums_by_key(keys, values, 4)
    for key in range(4):
        exact = math.fsum(v for k, v in pairs if k == key)
        assert found[key] == pytest.approx(exact, rel=1e-6, abs=1e-3)


@given(st.integers(-4, 8), st.integers(-1000, 1000))
def test_bounds_are_powers_of_the_base(schema: int, number: int) -> None:
    """Bucket i of schema n ends at 2^(i · 2^−n)."""
    found = exponential_bound(np.array([number]), np.array([schema]))[0]
    power = number * 2.0**-schema
    wanted = 2.0**power if power < 1024 else math.inf
    assert found == pytest.approx(wanted) or (power == 1024 and found == np.finfo(float).max)


@given(st.text(alphabet="schemasumcount:[]{}0123456789 .-eINanf_buckets,", max_size=40))
def test_text_is_a_histogram_or_an_error(text: str) -> None:
    """Any text is read as a histogram or refused as none."""
    try:
        value, _ = read_histogram(text)
    except HistogramTextError:
        return
    assert value.schema == CUSTOM_BUCKETS or -4 <= value.schema <= 8


def test_texts_are_those_of_go() -> None:
    """Numbers in texts are shortest, with an exponent far from one."""
    shown = [general(x) for x in (0.0, 1.0, 0.0001, 0.00001, 1e20, 1e21, 12.5, -math.inf)]
    assert shown == ["0", "1", "0.0001", "1e-05", "100000000000000000000", "1e+21", "12.5", "-Inf"]
    value = HistogramValue(0, 2.0, 3.0, positive=((1, 2.0),))
    text = histogram_texts(histograms_of((value,), np.zeros(1, np.int32)))
    assert text == ["{count:2, sum:3, (1,2]:2}"]


def test_bounds_are_the_published_ones_to_the_last_digit() -> None:
    """Bounds of buckets are those that Prometheus shows, which are not the nearest floats."""
    number = np.arange(-7, 1, dtype=np.int64)
    found = exponential_bound(number, np.full(8, 3, np.int64))
    assert found.tolist() == [
        0.5452538663326288,
        0.5946035575013605,
        0.6484197773255048,
        0.7071067811865475,
        0.7711054127039704,
        0.8408964152537144,
        0.9170040432046711,
        1.0,
    ]
