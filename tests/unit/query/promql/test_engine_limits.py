"""What one query may cost: said before it is spent."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from vedette.model.blocks import Selection
from vedette.model.labels import Labels
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import MemorySamples

TS = np.arange(0, 600_000, 15_000, dtype=np.int64)
SAMPLES_LIST = [
    (Labels.of({"__name__": "x", "n": str(n)}), TS, np.arange(len(TS), dtype=float)) for n in "ab"
]
SAMPLES = MemorySamples(SAMPLES_LIST)


@pytest.mark.parametrize(
    "query",
    [
        "sum_over_time(vector(1)[30d:1ms])",
        "max_over_time(x[100y:1ms])",
        "max_over_time(sum_over_time(x[1h:1s])[100y:1m])",
        "count_over_time((x + x)[200y:7ms] offset 3d)",
    ],
)
def test_hostile_subqueries_are_refused_before_memory_is_taken(query: str) -> None:
    """Billions of inner steps are counted, not allocated."""
    with pytest.raises(QueryError, match="values at once") as caught:
        Engine(SAMPLES).instant(query, 600_000)
    assert caught.value.kind == "execution"


def test_results_are_bounded() -> None:
    """Series times steps beyond the limit are refused."""
    engine = Engine(SAMPLES, EngineOptions(max_cells=50))
    assert engine.range("x", 0, 20 * 15_000, 15_000).values.shape[0] == 2
    with pytest.raises(QueryError, match="values at once"):
        engine.range("x", 0, 30 * 15_000, 15_000)


def test_long_queries_are_refused() -> None:
    """A query text has a limit, so that parsing takes no seconds."""
    with pytest.raises(QueryError, match="characters") as caught:
        Engine(SAMPLES).instant("x" * 70_000, 0)
    assert caught.value.kind == "bad_data"


def test_a_range_vector_has_no_range() -> None:
    """A range query of a range vector is the caller's fault, as in Prometheus."""
    with pytest.raises(QueryError, match='"range vector" for range query') as caught:
        Engine(SAMPLES).range("x[5m]", 0, 1_000, 100)
    assert caught.value.kind == "bad_data"


class Watch:
    """A ``check`` that measures the longest time between two calls of it."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.longest = 0.0
        self.calls = 0

    def __call__(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now
        self.calls += 1


HOSTILE = [
    "sum_over_time(vector(1)[5d:100ms])",
    "sum_over_time((vector(1) - 2)[1d:20ms])",
    "quantile_over_time(0.5, vector(1)[5d:60ms])",
    "quantile_over_time(0.5, max_over_time(x[1d:20ms])[1d:100ms])",
    "x[1d:10ms]",
]


@pytest.mark.parametrize("query", HOSTILE)
def test_memory_is_bounded(query: str) -> None:
    """A query whose cells are few enough but whose temporaries are not is refused at once."""
    engine = Engine(SAMPLES, EngineOptions(max_bytes=64_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(QueryError, match="of memory at once") as caught:
            engine.instant(query, 600_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.kind == "execution"
    assert "raise the step" in caught.value.message
    assert peak < 100_000_000


@pytest.mark.parametrize("size", [30_000, 300_000])
@pytest.mark.parametrize(
    "query",
    [
        "sum_over_time({}[1h:{}ms])",
        "quantile_over_time(0.5, {}[1h:{}ms])",
        "rate({}[1h:{}ms])",
        "deriv({}[1h:{}ms])",
    ],
)
def test_what_is_allowed_stays_within_its_memory(query: str, size: int) -> None:
    """The estimates that queries are judged by are no less than what they take."""
    engine = Engine(SAMPLES, EngineOptions(max_bytes=200_000_000))
    text = query.format("x", 3_600_000 // size)
    tracemalloc.start()
    try:
        assert len(engine.instant(text, 600_000).values) == 2  # type: ignore[union-attr]  # vector
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200_000_000


def test_memory_held_by_the_left_side_counts_for_the_right() -> None:
    """The sum of what a query holds is bounded, not only each piece; what is freed is forgotten."""
    engine = Engine(SAMPLES, EngineOptions(max_bytes=6_000_000))
    part = "max_over_time(vector(time())[1h:100ms])"
    engine.instant(" + ".join([part] * 4), 600_000)
    wide = "(vector(time())" + " + vector(time())" * 30 + ")"
    engine.instant(f"max_over_time({wide}[1h:100ms])", 600_000)
    nested = "vector(time()) + (" * 30 + "vector(time())" + ")" * 30
    with pytest.raises(QueryError, match="memory at once"):
        engine.instant(f"max_over_time(({nested})[1h:100ms])", 600_000)


def test_pairs_are_counted_before_they_are_made() -> None:
    """Five hundred series times five hundred are refused, though each side is small."""
    one = np.zeros(1, np.int64)
    # Each series of the right side lives at a time of its own, so that no two ever clash.
    rows = [({"__name__": "a", "n": str(n)}, one) for n in range(500)]
    rows += [({"__name__": "b", "v": str(n)}, one + n) for n in range(500)]
    source = MemorySamples((Labels.of(labels), ts, np.ones(1)) for labels, ts in rows)
    engine = Engine(source, EngineOptions(lookback_ms=1, max_cells=200_000))
    with pytest.raises(QueryError, match="250,000 values at once"):
        engine.range("a * on () group_left (v) b", 0, 0, 1)


def test_distinct_values_are_counted_before_they_become_series() -> None:
    """count_values makes a series of each value: their product with the steps is judged first."""
    engine = Engine(SAMPLES, EngineOptions(max_cells=1_000))
    with pytest.raises(QueryError, match="values at once"):
        engine.range('count_values("v", x)', 0, 39 * 15_000, 15_000)


@pytest.mark.parametrize(
    "query",
    [
        "sum(quantile_over_time(0.5, x[2h:1s]))",
        "sum_over_time((x - 20)[1h:1s])",
        "topk(1, x)",
        "quantile(0.5, x)",
        "stddev_over_time(x[1h:1s])",
    ],
)
@pytest.mark.parametrize("layout", ["shared", "ragged"])
def test_a_stop_is_noticed_soon(query: str, layout: str) -> None:
    """Whatever a query is at, it asks often whether to go on, and stops when told to."""
    source = MemorySamples(SAMPLES_LIST, layout)
    watch = Watch()
    engine = Engine(source)
    engine.range(query, 0, 600_000, 3_000, watch)
    # A generous bound for a busy machine; it is a few milliseconds on an idle one.
    assert watch.longest < 1.0
    stop_at = max(2, watch.calls - 1)
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count >= stop_at:
            raise QueryError("timeout", "too late")

    with pytest.raises(QueryError, match="too late"):
        engine.range(query, 0, 600_000, 3_000, stop)


def test_long_windows_ask_while_they_are_worked_on() -> None:
    """A window of a hundred thousand samples is no single piece of work."""
    watch = Watch()
    engine = Engine(SAMPLES, EngineOptions(experimental_functions=True))
    engine.instant("double_exponential_smoothing(x[10m:6ms], 0.5, 0.5)", 600_000, watch)
    assert watch.calls > 100


def test_exhausted_memory_is_an_answer() -> None:
    """When memory runs out all the same, the query fails and nothing else does."""

    class Full(MemorySamples):
        def select(self, *_: object) -> tuple[Selection, ...]:
            np.empty(1 << 50)
            raise AssertionError

    with pytest.raises(QueryError, match="ran out of memory") as caught:
        Engine(Full()).instant("x", 0)
    assert caught.value.kind == "execution"


@pytest.mark.parametrize(
    "query",
    [
        'label_replace(x, "~", "$1", "n", "(.*)")',
        'label_join(x, "~", "-", "n")',
        'count_values("~", x)',
    ],
)
def test_names_of_labels_follow_the_version(query: str) -> None:
    """Prometheus 3 takes any UTF-8 name for a label; 2.x fails in execution."""
    assert len(Engine(SAMPLES).instant(query, 585_000).labels)  # type: ignore[union-attr]  # vector
    with pytest.raises(QueryError, match="label name") as caught:
        Engine(SAMPLES, EngineOptions(window_2x=True)).instant(query, 585_000)
    assert caught.value.kind == "execution"


@pytest.mark.parametrize(
    "query",
    [
        "x @ 9223372036854000 offset -290y",
        "x @ -9223372036854000 offset 290y",
        "max_over_time(x[290y:1y] @ -9223372036854000)",
    ],
)
def test_times_at_the_end_of_the_scale_select_nothing(query: str) -> None:
    """A time that milliseconds can hardly hold is far from every sample, and no crash."""
    assert not len(Engine(SAMPLES).instant(query, 0).labels)  # type: ignore[union-attr]  # vector
