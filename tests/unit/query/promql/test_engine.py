"""The engine's edges: limits, errors, cancellation, the shape of results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vedette.model.blocks import Selection
from vedette.model.histograms import HistogramValue, histogram_value, histograms_of
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.results import SamplesResult, ScalarResult, StringResult, VectorResult
from vedette.model.samples import HISTOGRAM, is_absent, is_histogram
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.query.promql.remarks import describe, number
from vedette.query.source import MemorySamples
from vedette.storage.interface import NO_LIMITS, SelectLimits

MINUTE = 60_000


def samples(count: int = 4) -> MemorySamples:
    """Return ``count`` series ``x_total{s="0"}`` … over ten minutes, a sample each minute."""
    ts = np.arange(0, 10 * MINUTE + 1, MINUTE)
    return MemorySamples(
        (Labels.of({"__name__": "x_total", "s": str(s)}), ts, np.arange(len(ts)) * (s + 1.0))
        for s in range(count)
    )


class Spy:
    """A source that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], int, int]] = []

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        self.asked.append((tuple(f"{m.name}{m.op}{m.value}" for m in matchers), start, end))
        return ()


def test_types_of_results() -> None:
    """Each type of expression has its own result."""
    engine = Engine(samples())
    vector = engine.instant("x_total", 5 * MINUTE)
    assert isinstance(vector, VectorResult)
    assert vector.values.tolist() == [[5.0], [10.0], [15.0], [20.0]]
    assert vector.labels.rows()[1] == Labels.of({"__name__": "x_total", "s": "1"})
    scalar = engine.instant("1 + 1", 7)
    assert isinstance(scalar, ScalarResult)
    assert (scalar.ts.tolist(), scalar.values.tolist()) == ([7], [2.0])
    text = engine.instant('"hello"', 7)
    assert isinstance(text, StringResult)
    assert text.value == "hello"
    raw = engine.instant('x_total{s="1"}[2m]', 5 * MINUTE)
    assert isinstance(raw, SamplesResult)
    row = raw.series[0]
    assert row.labels.get("s") == "1"
    assert row.ts.tolist() == [4 * MINUTE, 5 * MINUTE]
    assert row.values.tolist() == [8.0, 10.0]


def test_a_subquery_alone_gives_samples() -> None:
    """An instant query may ask for the points of a subquery."""
    raw = Engine(samples(1)).instant("(x_total[2m:30s])", 3 * MINUTE)
    assert isinstance(raw, SamplesResult)
    assert raw.series[0].ts.tolist() == [90_000, 120_000, 150_000, 180_000]
    assert raw.series[0].values.tolist() == [1.0, 2.0, 2.0, 3.0]


def test_range_results_are_sorted_and_marked() -> None:
    """Series come in the order of their labels, with ABSENT where there is no value."""
    result = Engine(samples()).range("-x_total > -12", 0, 4 * MINUTE, MINUTE)
    assert isinstance(result, VectorResult)
    assert [row.get("s") for row in result.labels.rows()] == ["0", "1", "2", "3"]
    assert is_absent(result.values).tolist()[3] == [False, False, False, True, True]


def test_series_without_any_value_are_left_out() -> None:
    """A filter that nothing passes leaves nothing."""
    result = Engine(samples()).range("x_total > 1000", 0, 4 * MINUTE, MINUTE)
    assert isinstance(result, VectorResult)
    assert result.values.shape == (0, 5)


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("x", (100_000, 400_000)),
        ("x offset 1m", (40_000, 340_000)),
        ("x @ 50", (-250_000, 50_000)),
        ("rate(x[1m])", (340_000, 400_000)),
        ("rate(x[1m] @ end() offset 10s)", (330_000, 390_000)),
        ("max_over_time(x[2m:30s])", (0, 390_000)),
    ],
)
def test_what_is_read(query: str, asked: tuple[int, int]) -> None:
    """A query asks its source for no more time than it looks at."""
    spy = Spy()
    Engine(spy).instant(query, 400_000)
    (matchers, start, end) = spy.asked[0]
    assert matchers == ("__name__=x",)
    assert (start, end) == asked


def test_fixed_times_are_read_once() -> None:
    """What does not depend on the step is evaluated for one step only."""
    spy = Spy()
    Engine(spy).range("sum(rate(x[1m] @ end())) + time()", 0, 10 * MINUTE, MINUTE)
    assert spy.asked == [(("__name__=x",), 9 * MINUTE, 10 * MINUTE)]


@pytest.mark.parametrize(
    ("start", "end", "step", "message"),
    [
        (0, 100, 0, "zero or negative query resolution"),
        (100, 0, 10, "before start"),
        (0, 11_000, 1, "maximum resolution of 11,000 points"),
    ],
)
def test_unsound_ranges(start: int, end: int, step: int, message: str) -> None:
    """A range that makes no sense is refused with what to do."""
    with pytest.raises(QueryError, match=message) as raised:
        Engine(samples()).range("x_total", start, end, step)
    assert raised.value.kind == "bad_data"


def test_a_string_has_no_range() -> None:
    """A string cannot be plotted."""
    with pytest.raises(QueryError, match="string"):
        Engine(samples()).range('"a"', 0, 10, 10)


def test_bad_text() -> None:
    """What is no PromQL is the parser's to refuse."""
    with pytest.raises(PromQLSyntaxError):
        Engine(samples()).instant("sum(", 0)


@pytest.mark.parametrize("query", ["x_total", "rate(x_total[5m])", "sum(x_total)"])
def test_too_many_samples(query: str) -> None:
    """A query that would read too much is refused before it fills the memory."""
    engine = Engine(samples(), EngineOptions(max_samples=20))
    with pytest.raises(QueryError, match="too many samples") as raised:
        engine.range(query, 0, 10 * MINUTE, MINUTE)
    assert raised.value.kind == "execution"


def test_a_query_can_be_stopped() -> None:
    """``check`` is called while a query runs, and what it raises comes out."""
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise QueryError("timeout", "query timed out")

    with pytest.raises(QueryError, match="timed out") as raised:
        Engine(samples()).instant("sum(rate(x_total[5m])) + sum(x_total)", 5 * MINUTE, check)
    assert raised.value.kind == "timeout"


def test_errors_have_a_place() -> None:
    """The error of an operator names the part of the text that is to blame."""
    query = "1 + (x_total / ignoring(s) x_total)"
    with pytest.raises(QueryError) as raised:
        Engine(samples()).instant(query, 0)
    assert query[raised.value.start : raised.value.end] == "x_total / ignoring(s) x_total"


def test_annotations_have_a_place() -> None:
    """A remark is given with line and column, and once however often it is found."""
    data = samples()
    data.add(Labels.of({"__name__": "y"}), np.array([0, MINUTE]), np.array([1.0, 2.0]))
    query = "sum(\n  rate(y[5m]))"
    (remark,) = Engine(data).instant(query, MINUTE).annotations
    assert remark.info
    assert describe(remark, query).endswith('"y" (2:8)')


def test_native_histograms_are_selected() -> None:
    """A histogram comes out as it went in, beside the mark among the values."""
    native = HistogramValue(0, 3.0, 4.5, 0.001, 1.0, 0, ((1, 2.0),))
    data = MemorySamples()
    index = np.array([-1, 0], np.int32)
    values = np.array([7.0, HISTOGRAM])
    ts = np.array([0, MINUTE], np.int64)
    data.add(Labels.of({"__name__": "x"}), ts, values, None, histograms_of((native,), index))
    result = Engine(data).range("x", 0, MINUTE, MINUTE)
    assert isinstance(result, VectorResult)
    assert result.values[0, 0] == 7.0
    assert is_histogram(result.values)[0].tolist() == [False, True]
    assert result.histograms is not None
    assert histogram_value(result.histograms, int(result.histograms.index[0, 1])) == native


def test_names_go_at_once_or_in_the_end() -> None:
    """Delayed removal lets ``by (__name__)`` still see the names of rates."""
    data = samples(1)
    ts = np.arange(0, 10 * MINUTE + 1, MINUTE)
    data.add(Labels.of({"__name__": "y_total", "s": "0"}), ts, ts / 1000.0)
    query = 'sum by (__name__) (rate({__name__=~"x_total|y_total"}[5m]))'
    with pytest.raises(QueryError, match="same labelset"):
        Engine(data).instant(query, 5 * MINUTE)
    kept = f'label_replace({query}, "__name__", "$1", "__name__", "(.*)")'
    result = Engine(data, EngineOptions(delayed_name_removal=True)).instant(kept, 5 * MINUTE)
    assert isinstance(result, VectorResult)
    assert [row.metric for row in result.labels.rows()] == ["x_total", "y_total"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (100.0, "100"),
        (-1.5, "-1.5"),
        (1e21, "1" + "0" * 21),
        (1.25e-7, "0.000000125"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_as_text(value: float, text: str) -> None:
    """Numbers in labels and messages are written as Prometheus writes them."""
    assert number(value) == text


def test_filtered_matches_count_but_not_to_prometheus_2() -> None:
    """Two series that match the same one are a fault, also where a filter drops one of them."""
    query = "x_total > on() vector(7)"
    with pytest.raises(QueryError, match="many-to-one matching must be explicit"):
        Engine(samples(2)).instant(query, 5 * MINUTE)
    result = Engine(samples(2), EngineOptions(window_2x=True)).instant(query, 5 * MINUTE)
    assert isinstance(result, VectorResult)
    assert result.values.tolist() == [[10.0]]
