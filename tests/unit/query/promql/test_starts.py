"""Start timestamps: real, synthetic and missing ones, in every layout of blocks."""

from __future__ import annotations

from dataclasses import replace

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
