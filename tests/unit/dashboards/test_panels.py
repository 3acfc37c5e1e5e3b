"""States of KPIs, and the expressions of the operational page."""

from __future__ import annotations

import pytest

from vedette.dashboards.operational import operational
from vedette.dashboards.panels import Better, KpiState, Threshold, classify
from vedette.query.promql.parser import parse

FIRST_TOKEN = Threshold(0.5, 1.0, 2.0)
HIT_RATE = Threshold(0.6, 0.4, 0.2, Better.HIGHER)


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (None, KpiState.NO_DATA),
        (float("nan"), KpiState.NO_DATA),
        (0.5, KpiState.TARGET_MET),
        (0.51, KpiState.OK),
        (1.0, KpiState.OK),
        (1.01, KpiState.WARNING),
        (2.0, KpiState.WARNING),
        (2.01, KpiState.CRITICAL),
        (float("inf"), KpiState.CRITICAL),
    ],
)
def test_lower_is_better(value: float | None, state: KpiState) -> None:
    """LAT-01: target ≤500 ms, warning >1000 ms, critical >2000 ms; between them it is ok."""
    assert classify(value, FIRST_TOKEN) is state


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (0.6, KpiState.TARGET_MET),
        (0.59, KpiState.OK),
        (0.39, KpiState.WARNING),
        (0.19, KpiState.CRITICAL),
    ],
)
def test_higher_is_better(value: float, state: KpiState) -> None:
    """CCH-01: target ≥60 %, warning <40 %, critical <20 %."""
    assert classify(value, HIT_RATE) is state


def test_every_expression_of_the_page_is_promql() -> None:
    """Each panel's query can be parsed, whatever namespace and window."""
    for namespace, window, app in (("chatbot", "1m", ""), ("shop", "30s", 'a "shop"')):
        for panel in operational(namespace, app, window=window).panels:
            for query in panel.queries:
                parse(query.expr)
                assert (r'app="a \"shop\""' in query.expr) == bool(app)
            assert panel.state_of is None or panel.state_of in {q.id for q in panel.queries}
