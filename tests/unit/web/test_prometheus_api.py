"""The Prometheus API over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.web.support import FakeQueries, client, fake_services, vector
from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.labels import Labels
from vedette.query.errors import QueryError
from vedette.storage.interface import OverloadedError
from vedette.web.services import GroupView, MetadataView, RuleView, TargetView


async def test_query_by_get_and_post_are_the_same() -> None:
    """Grafana posts a form, others use the query string."""
    queries = FakeQueries()
    params = {"query": "up", "time": "12.5", "timeout": "2s", "lookback_delta": "1m"}
    async with client(fake_services(queries)) as http:
        got = await http.get("/api/v1/query", params=params)
        posted = await http.post("/api/v1/query", data=params)
    assert got.json() == posted.json()
    assert queries.asked == [("up", 12_500, 2.0, 60_000)] * 2


async def test_range_query_reads_rfc3339_and_durations() -> None:
    """Times may be RFC 3339 and steps durations."""
    queries = FakeQueries()
    params = {
        "query": "up",
        "start": "1970-01-01T00:00:10Z",
        "end": "1970-01-01T01:00:10+01:00",
        "step": "5s",
    }
    async with client(fake_services(queries)) as http:
        answer = await http.get("/api/v1/query_range", params=params)
    assert answer.json()["data"]["resultType"] == "matrix"
    assert queries.asked == [("up", 10_000, 10_000, 5_000)]


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({}, "query"),
        ({"query": "up", "start": "x", "end": "1", "step": "1"}, "start"),
        ({"query": "up", "start": "2", "end": "1", "step": "1"}, "end"),
        ({"query": "up", "start": "1", "end": "2", "step": "0"}, "step"),
        ({"query": "up", "start": "1", "end": "2", "step": "1x"}, "step"),
        ({"query": "up", "start": "1", "end": "inf", "step": "1"}, "end"),
        ({"query": "up", "start": "0", "end": "99999", "step": "1"}, "11,000"),
        ({"query": "up", "start": "2026-01-01", "end": "1", "step": "1"}, "RFC 3339"),
    ],
)
async def test_bad_parameters_are_named(params: dict[str, str], word: str) -> None:
    """A parameter that cannot be used gives 400 and says which and why."""
    async with client() as http:
        answer = await http.get("/api/v1/query_range", params=params)
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (QueryError("execution", "found duplicate series"), 422, "execution"),
        (QueryError("timeout", "too slow"), 503, "timeout"),
        (OverloadedError("full", 3.2), 503, "unavailable"),
    ],
)
async def test_failures_become_the_api_s_errors(error: Exception, status: int, kind: str) -> None:
    """Each kind of failure has its status and error type."""
    async with client(fake_services(FakeQueries(error=error))) as http:
        answer = await http.get("/api/v1/query", params={"query": "up"})
    assert answer.status_code == status
    assert answer.json()["errorType"] == kind


async def test_a_malformed_query_names_its_place() -> None:
    """A match[] that is no selector, or no PromQL, is a 400."""
    async with client() as http:
        broken = await http.get("/api/v1/series", params={"match[]": "up{"})
        wrong = await http.get("/api/v1/series", params={"match[]": "rate(up[5m])"})
        missing = await http.get("/api/v1/series")
    assert [a.status_code for a in (broken, wrong, missing)] == [400, 400, 400]
    assert "1:" in broken.json()["error"]


async def test_series_labels_and_values() -> None:
    """Label look-ups answer with lists, cut by limit."""
    async with client() as http:
        series = await http.get("/api/v1/series", params={"match[]": "up", "limit": "1"})
        names = await http.get("/api/v1/labels")
        values = await http.get("/api/v1/label/job/values", params={"limit": "1"})
    assert series.json()["data"] == [{"__name__": "up", "job": "a"}]
    assert names.json()["data"] == ["__name__", "job"]
    assert values.json()["data"] == ["job-1"]


async def test_long_answers_are_compressed() -> None:
    """A client that takes gzip gets it for answers worth it, and reads the same."""
    rows = {Labels.of({"n": str(n)}): [float(n)] for n in range(200)}
    queries = FakeQueries(vector(rows, [0]))
    async with client(fake_services(queries)) as http:
        long = await http.get("/api/v1/query?query=up", headers={"accept-encoding": "gzip"})
        short = await http.get("/api/v1/labels", headers={"accept-encoding": "gzip"})
    assert long.headers["content-encoding"] == "gzip"
    assert len(long.json()["data"]["result"]) == 200
    assert "content-encoding" not in short.headers


async def test_status_endpoints_have_prometheus_shapes() -> None:
    """Targets, rules, alerts and metadata carry the members that clients read."""
    alert = AlertInstance(
        "r", Labels.of({"alertname": "Down"}), Labels.of({"summary": "é"}), AlertState.FIRING, 1, 5
    )
    rule = RuleView("Down", "up == 0", True, 60_000, 0, {}, {}, "ok", "", 0.1, 1_000, [alert])
    recording = RuleView("a:b", "sum(up)", False, 0, 0, {}, {}, "err", "oops", 0.1, 0, [])
    group = GroupView("g", "rules.yml", 15_000, 0, 0.2, 1_000, [rule, recording])
    target = TargetView(
        "j", "h:1", "http://h:1/metrics", "up", "", 1, 0.1, {"job": "j"}, {}, 15_000, 10_000
    )
    services = fake_services(
        groups=lambda: [group],
        targets=lambda: [target],
        metadata=lambda: {"up": [MetadataView("gauge", "h", "")]},
    )
    async with client(services) as http:
        rules = (await http.get("/api/v1/rules")).json()["data"]["groups"][0]
        only = (await http.get("/api/v1/rules", params={"type": "record"})).json()
        alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
        targets = (await http.get("/api/v1/targets")).json()["data"]["activeTargets"]
        metadata = (await http.get("/api/v1/metadata")).json()["data"]
        build = (await http.get("/api/v1/status/buildinfo")).json()["data"]
    assert rules["rules"][0]["state"] == "firing"
    assert rules["rules"][0]["duration"] == 60
    assert rules["rules"][1]["lastError"] == "oops"
    assert [r["name"] for r in only["data"]["groups"][0]["rules"]] == ["a:b"]
    assert alerts[0]["value"] == "1e+00"
    assert alerts[0]["activeAt"] == "1970-01-01T00:00:00.005Z"
    assert targets[0]["scrapePool"] == "j"
    assert metadata == {"up": [{"type": "gauge", "help": "h", "unit": ""}]}
    assert build["version"].startswith("3.")
