"""Parts of the language that are behind a feature flag, as they are in Prometheus."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import MemorySamples

ALL = EngineOptions(experimental_functions=True, extended_selectors=True, fill_modifiers=True)


@pytest.mark.parametrize(
    ("query", "option", "message"),
    [
        ("sort_by_label(x)", "experimental_functions", '"sort_by_label" is not enabled'),
        ("sum(limitk(1, x))", "experimental_functions", "limitk() is experimental"),
        ("x anchored", "extended_selectors", "anchored modifier is experimental"),
        ("rate(x[5m] smoothed)", "extended_selectors", "smoothed modifier is experimental"),
        ("x + fill(0) y", "fill_modifiers", "fill modifiers are experimental"),
        ("sum(-(x + fill_left(0) y))", "fill_modifiers", "fill modifiers are experimental"),
    ],
)
def test_a_flag_enables_its_part(query: str, option: str, message: str) -> None:
    """Without its flag a query is refused, twice in a row, naming the flag; with it it runs."""
    off = Engine(MemorySamples(), replace(ALL, **{option: False}))
    for _ in range(2):
        with pytest.raises(QueryError) as caught:
            off.instant(query, 0)
        assert message in caught.value.message
        assert "promql-" in caught.value.message
        assert caught.value.kind == "bad_data"
    Engine(MemorySamples(), ALL).instant(query, 0)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("rate(x[step()])", "greater than 0"),
        ("rate(x[step() - 1h])", "greater than 0"),
        ("x offset (1 / range())", "no value"),
        ("x offset (step() ^ 1e9 + 1e300)", "292 years"),
        ("x offset ((0 - 1 - step()) ^ 0.5)", "no value"),
    ],
)
def test_a_duration_without_a_value(query: str, message: str) -> None:
    """A duration that depends on the query is refused where it has no value in that query."""
    with pytest.raises(QueryError) as caught:
        Engine(MemorySamples()).instant(query, 0)
    assert message in caught.value.message
    assert caught.value.kind == "bad_data"


def test_an_old_name_belongs_to_the_old_semantics() -> None:
    """What Prometheus 3 renamed has its old name with the semantics of Prometheus 2 only."""
    query = "holt_winters(x[5m], 0.5, 0.5)"
    with pytest.raises(QueryError, match="double_exponential_smoothing"):
        Engine(MemorySamples(), ALL).instant(query, 0)
    Engine(MemorySamples(), EngineOptions(window_2x=True)).instant(query, 0)
