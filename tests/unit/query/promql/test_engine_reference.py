"""The engine agrees with a slow evaluator of single series, whatever form the blocks have."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.query.promql import reference
from vedette.model.labels import Labels
from vedette.model.results import VectorResult
from vedette.model.samples import STALE, is_absent
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import MemorySamples

LAYOUTS = ("shared", "ragged", "merged")
STEP = 15_000

# How many times more examples to try than the few that the unit suite has time for.
THOROUGH = int(os.environ.get("VEDETTE_TEST_THOROUGH", "1"))
Data = list[list[reference.Sample]]


@st.composite
def datasets(draw: st.DrawFn, *, counters: bool = False) -> Data:
    """Series of two targets with jitter, missed scrapes, resets, NaN and ends."""
    data: Data = []
    for _ in range(draw(st.integers(1, 2))):
        start = draw(st.integers(0, STEP))
        ticks = range(draw(st.integers(1, 30)))
        jitter = draw(st.lists(st.integers(0, 9), min_size=30, max_size=30))
        clock = [start + k * STEP + jitter[k] for k in ticks]
        for _ in range(draw(st.integers(1, 3))):
            data.append(draw(_series(clock, counters)))
    return data


@st.composite
def _series(draw: st.DrawFn, clock: list[int], counters: bool) -> list[reference.Sample]:
    low = 0 if counters else -50
    value = st.integers(low, 100).map(float)
    odd = st.sampled_from([STALE, math.nan, math.inf] if not counters else [STALE])
    point = st.one_of(st.none(), value, value, value, odd)
    points = draw(st.lists(point, min_size=len(clock), max_size=len(clock)))
    if draw(st.booleans()):
        points = draw(st.lists(value, min_size=len(clock), max_size=len(clock)))
    return [(t, v) for t, v in zip(clock, points, strict=True) if v is not None]


def load(data: Data, layout: str) -> MemorySamples:
    """Return the source that holds series ``x{s="0"}``, ``x{s="1"}`` …"""
    return MemorySamples(
        (
            (
                Labels.of({"__name__": "x_total", "s": str(k)}),
                np.array([t for t, _ in series], np.int64),
                np.array([v for _, v in series], np.float64),
            )
            for k, series in enumerate(data)
        ),
        layout,
    )


def check(
    data: Data,
    query: str,
    expected: Callable[[list[reference.Sample], int], float | None],
    *,
    layout: str,
    old: bool,
    step: int = 20_000,
) -> None:
    """Compare a range query with ``expected`` at every step of every series."""
    engine = Engine(load(data, layout), EngineOptions(window_2x=old, lookback_ms=60_000))
    result = engine.range(query, 0, 480_000, step)
    assert isinstance(result, VectorResult)
    rows = dict(zip((row.get("s") for row in result.labels.rows()), result.values, strict=True))
    for k, series in enumerate(data):
        wanted = [expected(series, int(t)) for t in result.ts]
        if str(k) not in rows:
            assert wanted == [None] * len(wanted)
            continue
        got = rows[str(k)]
        absent = is_absent(got)
        for value, gone, want in zip(got.tolist(), absent.tolist(), wanted, strict=True):
            assert gone == (want is None), (query, k, wanted, got)
            if want is not None:
                assert same(value, want), (query, k, wanted, got)


def same(a: float, b: float) -> bool:
    """Return whether two results agree but for rounding."""
    if math.isnan(a) or math.isnan(b) or math.isinf(a) or math.isinf(b):
        return a == b or (math.isnan(a) and math.isnan(b))
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=datasets(), old=st.booleans(), step=st.sampled_from([1000, 7000, 45_000]))
@settings(max_examples=8 * THOROUGH, deadline=None)
def test_instant_selection(layout: str, data: Data, old: bool, step: int) -> None:
    """A selector gives the newest sample within the lookback, unless the series has ended."""
    check(
        data,
        "x_total",
        lambda series, t: reference.instant(series, t, 60_000, old),
        layout=layout,
        old=old,
        step=step if step > 1000 else 45_000,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("function", ["rate", "increase", "delta"])
@given(data=datasets(counters=True), old=st.booleans(), span=st.sampled_from([20, 45, 60, 300]))
@settings(max_examples=8 * THOROUGH, deadline=None)
def test_extrapolation(layout: str, function: str, data: Data, old: bool, span: int) -> None:
    """Rates are extrapolated as documented: thresholds, zero point, resets."""

    def expected(series: list[reference.Sample], t: int) -> float | None:
        found = reference.window(series, t, span * 1000, old)
        return reference.extrapolated(
            found,
            t,
            span * 1000,
            counter=function != "delta",
            rate=function == "rate",
            old=old,
        )

    check(data, f"{function}(x_total[{span}s])", expected, layout=layout, old=old)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("function", sorted(reference.OVER_TIME))
@given(data=datasets(), old=st.booleans(), span=st.sampled_from([15, 61, 240]))
@settings(max_examples=3 * THOROUGH, deadline=None)
def test_functions_of_a_window(
    layout: str, function: str, data: Data, old: bool, span: int
) -> None:
    """Each function sees just the samples of its window."""
    check(
        data,
        f"{function}(x_total[{span}s])",
        lambda series, t: reference.OVER_TIME[function](
            reference.window(series, t, span * 1000, old)
        ),
        layout=layout,
        old=old,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=datasets(), q=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
@settings(max_examples=5 * THOROUGH, deadline=None)
def test_quantiles_of_a_window(layout: str, data: Data, q: float) -> None:
    """Quantiles are interpolated between the sorted samples of the window."""

    def expected(series: list[reference.Sample], t: int) -> float | None:
        found = reference.window(series, t, 90_000, False)
        return reference.quantile(q, [v for _, v in found]) if found else None

    check(data, f"quantile_over_time({q}, x_total[90s])", expected, layout=layout, old=False)


@given(
    data=datasets(counters=True),
    query=st.sampled_from(
        [
            "sum(rate(x_total[1m]))",
            "avg by (s) (x_total)",
            "max(max_over_time(x_total[90s]))",
            "count(x_total > 20)",
            "sum(x_total offset 30s)",
            "quantile(0.7, x_total)",
            "stddev(x_total)",
            "sum_over_time(sum(x_total)[2m:20s])",
            "topk(2, x_total)",
            "x_total / ignoring(s) group_left count(x_total)",
            "resets(x_total[2m] @ end())",
        ]
    ),
)
@settings(max_examples=25 * THOROUGH, deadline=None)
def test_layouts_agree(data: Data, query: str) -> None:
    """A query does not depend on the form of the blocks."""
    results = [Engine(load(data, layout)).range(query, 0, 480_000, 30_000) for layout in LAYOUTS]
    first = results[0]
    assert isinstance(first, VectorResult)
    for other in results[1:]:
        assert isinstance(other, VectorResult)
        assert other.labels.rows() == first.labels.rows()
        assert (is_absent(other.values) == is_absent(first.values)).all()
        np.testing.assert_allclose(other.values, first.values, rtol=1e-9, atol=1e-9)


@given(data=datasets())
@settings(max_examples=8 * THOROUGH, deadline=None)
def test_an_instant_query_is_one_step_of_a_range_query(data: Data) -> None:
    """Evaluating a step alone or among others is the same."""
    engine = Engine(load(data, "shared"))
    for query in ("x_total", "avg_over_time(x_total[1m])", "sum(x_total)"):
        ranged = engine.range(query, 0, 400_000, 25_000)
        assert isinstance(ranged, VectorResult)
        for k, t in enumerate(ranged.ts.tolist()):
            alone = engine.instant(query, t)
            assert isinstance(alone, VectorResult)
            here = ~is_absent(np.ascontiguousarray(ranged.values[:, k]))
            wanted = dict(
                zip(
                    ranged.labels.take(np.flatnonzero(here)).rows(),
                    ranged.values[here, k].tolist(),
                    strict=True,
                )
            )
            got = dict(zip(alone.labels.rows(), alone.values[:, 0].tolist(), strict=True))
            assert wanted.keys() == got.keys()
            assert all(same(wanted[key], got[key]) for key in wanted)
