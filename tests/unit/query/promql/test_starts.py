"""Start timestamps: real, synthetic and missing ones, in every layout of blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.labels import Labels
from vedette.model.results import VectorResult
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.options import Starts
from vedette.query.source import MemorySamples

LAYOUTS = ("shared", "ragged", "merged")
BASE = 1_700_000_000_000
STEP = 15_000


def source(layout: str, *rows: tuple[list[float], list[int]]) -> MemorySamples:
    """Return series of a sample each 15 s, with start timestamps relative to the first."""
    samples = MemorySamples(layout=layout)
    for k, (values, starts) in enumerate(rows):
        ts = BASE + STEP * np.arange(len(values), dtype=np.int64)
        start = np.array([np.sign(s) * (BASE + abs(s) - 1_000_000) if s else 0 for s in starts])
        samples.add(Labels.of({"__name__": "x_total", "k": str(k)}), ts, np.array(values), start)
    return samples


def value(engine: Engine, query: str, at: int, first_occurrence: bool = False) -> float | None:
    """Return the only value of ``query`` at ``at`` ms after the first sample."""
    result = engine.instant(query, BASE + at, first_occurrence=first_occurrence)
    assert isinstance(result, VectorResult)
    return float(result.values[0, 0]) if len(result.labels) else None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_first_occurrence_on_demand(layout: str) -> None:
    """A synthetic start makes the first sample an increase, for evaluations that ask for it."""
    # The target was scraped 15 s before without the series: −(base − 15 s).
    samples = source(layout, ([3.0], [-(1_000_000 - STEP)]))
    engine = Engine(samples)
    assert value(engine, "increase(x_total[1m])", 0) is None
    assert value(engine, "increase(x_total[1m])", 0, first_occurrence=True) == 3.0
    assert value(engine, "rate(x_total[1m])", 0, first_occurrence=True) == 3.0 / 60
    # Out of the window it is no longer: then there is one sample, and nothing to compare it with.
    assert value(engine, "increase(x_total[10s])", 0, first_occurrence=True) is None
    real = Engine(samples, EngineOptions(start_timestamps=True))
    assert value(real, "increase(x_total[1m])", 0) is None
    assert (
        value(Engine(samples, EngineOptions(first_occurrence=True)), "irate(x_total[1m])", 0)
        is None
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_real_starts_need_their_option(layout: str) -> None:
    """What the exposition said counts where the option is on, whether or not one asks for more."""
    samples = source(layout, ([3.0], [1_000_000 - STEP]))
    assert value(Engine(samples), "increase(x_total[1m])", 0, first_occurrence=True) is None
    engine = Engine(samples, EngineOptions(start_timestamps=True))
    assert value(engine, "increase(x_total[1m])", 0) == 3.0


def test_starts_that_count() -> None:
    """Each kind counts on its own, zero never, and nothing is returned where none counts."""
    start = np.array([0, 5, -7], np.int64)
    assert Starts().seen(start) is None
    assert Starts(real=True).seen(np.array([0, -7])) is None
    assert Starts(synthetic=True).seen(np.array([0, 5])) is None
    for starts, wanted in (
        (Starts(real=True), [0, 5, 0]),
        (Starts(synthetic=True), [0, 0, 7]),
        (Starts(real=True, synthetic=True), [0, 5, 7]),
        (Starts(real=True, signed=True), [0, 5, -7]),
    ):
        seen = starts.seen(start)
        assert seen is not None
        assert seen.tolist() == wanted


rows = st.lists(
    st.tuples(
        st.lists(st.integers(0, 10**6).map(float), min_size=5, max_size=5),
        st.lists(st.integers(850_000, 1_100_000) | st.just(0), min_size=5, max_size=5),
    ),
    min_size=1,
    max_size=3,
)


@given(rows=rows)
def test_layouts_agree(rows: list[tuple[list[float], list[int]]]) -> None:
    """Whatever the starts are, each form of blocks gives the same result."""
    options = EngineOptions(start_timestamps=True, experimental_functions=True)
    for query in ("rate(x_total[40s])", "irate(x_total[1m])", "resets(x_total[1m])"):
        results = [
            Engine(source(layout, *rows), options).range(query, BASE, BASE + 90_000, STEP)
            for layout in LAYOUTS
        ]
        first = results[0]
        for other in results[1:]:
            np.testing.assert_allclose(other.values, first.values, rtol=1e-9)


@given(
    values=st.lists(st.integers(0, 10**6).map(float), min_size=2, max_size=8), late=st.booleans()
)
def test_constant_starts_change_nothing_after_the_first(values: list[float], late: bool) -> None:
    """A counter whose start lies before the window is rated as one without start timestamps."""
    plain = source("shared", (values, [0] * len(values)))
    known = source("shared", (values, [600_000] * len(values)))
    engines = [Engine(plain), Engine(known, EngineOptions(start_timestamps=True))]
    for query in ("rate(x_total[45s])", "increase(x_total[1m])", "irate(x_total[1m])"):
        at = STEP * len(values) - (1 if late else STEP)
        ours, theirs = (value(engine, query, at) for engine in engines)
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert ours == pytest.approx(theirs, rel=1e-9)


def test_signed_starts_are_an_option() -> None:
    """Times before 1970 are real where the engine is told so; text cases begin at 0."""
    samples = MemorySamples()
    ts = np.array([0], np.int64)
    samples.add(Labels.of({"__name__": "x_total"}), ts, np.array([2.0]), ts - 10_000)
    engine = Engine(samples, EngineOptions(start_timestamps=True))
    assert not len(engine.instant("increase(x_total[1m])", 0).labels)  # type: ignore[union-attr]  # vector
    signed = Engine(samples, replace(engine.options, signed_starts=True))
    assert len(signed.instant("increase(x_total[1m])", 0).labels)  # type: ignore[union-attr]  # vector


def began_anew(older: tuple[int, int], newer: tuple[int, int]) -> bool:
    """Return whether a start timestamp tells of a reset between two (time, start)."""
    (before, known), (now, start) = older, newer
    if start == 0 or start >= now or start < before:
        return False
    return start > before or (known not in (0, before) and known <= before)


def increase_of(rows: list[tuple[int, float, int]], low: int, high: int) -> float | None:
    """Return the increase of (time, value, start) over ``(low, high]``, sample by sample."""
    window = [row for row in rows if low < row[0] <= high]
    if not window:
        return None
    (first, origin, began), (last, newest, _) = window[0], window[-1]
    rise = newest - origin
    for (t0, v0, s0), (t1, v1, s1) in pairwise(window):
        rise += v0 if v1 < v0 or began_anew((t0, s0), (t1, s1)) else 0
    mean = (last - first) / (len(window) - 1) if len(window) > 1 else 0.0
    head, tail, sampled = float(first - low), float(high - last), float(last - first)
    if began and low < began < first:
        head, sampled, rise = 0.0, float(last - began), rise + origin
    elif len(window) == 1:
        return None
    else:
        head = head if head < mean * 1.1 else mean / 2
        if rise > 0:
            head = min(head, sampled * origin / rise)
    tail = tail if tail < mean * 1.1 else mean / 2
    return rise * (sampled + head + tail) / sampled


series_rows = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([0, 0, 1, 5_000, 15_000, 20_000, 30_000, 45_000, 90_000, -3_000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=7,
)


@given(drawn=series_rows, span=st.sampled_from([20_000, 45_000, 60_000, 90_000]))
def test_increase_is_that_of_a_walk_over_the_samples(
    drawn: list[tuple[int, int, bool]], span: int
) -> None:
    """With any start timestamps, increase and resets are what a plain walk gives."""
    rows = [
        (BASE + k * STEP, float(value), BASE + k * STEP - back if back else 0)
        for k, (value, back, there) in enumerate(drawn)
        if there
    ]
    samples = MemorySamples()
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else []
    if columns:
        labels = Labels.of({"__name__": "x_total"})
        samples.add(labels, columns[0], columns[1].astype(np.float64), columns[2])
    engine = Engine(samples, EngineOptions(start_timestamps=True))
    for at in range(0, len(drawn) * STEP + span, 5_000):
        window = [row for row in rows if BASE + at - span < row[0] <= BASE + at]
        wanted = increase_of(rows, BASE + at - span, BASE + at)
        assert value(engine, f"increase(x_total[{span}ms])", at) == (
            wanted if wanted is None else pytest.approx(wanted, rel=1e-9, abs=1e-12)
        )
        pairs = list(pairwise(window))
        counted = sum(b[1] < a[1] or began_anew((a[0], a[2]), (b[0], b[2])) for a, b in pairs)
        assert value(engine, f"resets(x_total[{span}ms])", at) == (counted if window else None)
