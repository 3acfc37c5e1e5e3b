"""Further endpoints of the Prometheus API: filters, pages, trees, status, statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.unit.web.support import FakeQueries, client, fake_services, vector
from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.labels import Labels
from vedette.model.results import ScalarResult
from vedette.query.errors import QueryError
from vedette.web.services import (
    DroppedTargets,
    GroupView,
    MetadataView,
    Readiness,
    RuleView,
    Services,
    TargetMetadata,
    TargetView,
)


async def get(services: Services, path: str, **params: Any) -> Any:
    """Return the data of a successful answer."""
    async with client(services) as http:
        answer = await http.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def error(services: Services, path: str, **params: Any) -> str:
    """Return the text of an answer that is 400 bad_data."""
    async with client(services) as http:
        answer = await http.get(f"/api/v1/{path}", params=params)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errorType"] == "bad_data"
    return str(answer.json()["error"])


async def test_statistics_come_when_asked_for() -> None:
    """`stats` adds what the query used; without it there is no such member."""
    async with client() as http:
        with_them = (await http.get("/api/v1/query?query=up&stats=all")).json()["data"]
        without = (await http.get("/api/v1/query?query=up")).json()["data"]
    assert with_them["stats"]["samples"]["totalQueryableSamples"] == 3
    assert set(with_them["stats"]["timings"]) >= {"evalTotalTime", "execQueueTime"}
    assert "stats" not in without


async def test_limit_cuts_series_and_says_so() -> None:
    """`limit` keeps the first series of a result and adds Prometheus' warning."""
    rows = {Labels.of({"n": str(n)}): [1.0] for n in range(3)}
    async with client(fake_services(FakeQueries(vector(rows, [0])))) as http:
        cut = (await http.get("/api/v1/query?query=up&limit=2")).json()
        exact = (await http.get("/api/v1/query?query=up&limit=3")).json()
        labels = (await http.get("/api/v1/labels?limit=1")).json()
        series = (await http.get("/api/v1/series?match[]=up&limit=1")).json()
    assert len(cut["data"]["result"]) == 2
    assert cut["warnings"] == ["results truncated due to limit"]
    assert "warnings" not in exact
    assert labels["warnings"] == series["warnings"] == cut["warnings"]
    assert len(series["data"]) == 1


@pytest.mark.parametrize(
    ("kind", "status"),
    [("canceled", 499), ("unavailable", 503), ("internal", 500), ("bad_data", 400)],
)
async def test_kinds_of_errors_have_their_status(kind: str, status: int) -> None:
    """Each error type is answered with Prometheus' status; a full queue says when to come again."""
    services = fake_services(FakeQueries(error=QueryError(kind, "why")))
    async with client(services) as http:
        answer = await http.get("/api/v1/query?query=up")
    assert (answer.status_code, answer.json()["errorType"]) == (status, kind)
    assert ("retry-after" in answer.headers) == (kind == "unavailable")


async def test_format_query() -> None:
    """A query comes back in its canonical form; one that is none is a 400."""
    services = fake_services()
    assert await get(services, "format_query", query="sum(up)by(a)/2") == "sum by (a) (up) / 2"
    assert "parse error" in await error(services, "format_query", query="sum(")
    assert "no expression" in await error(services, "format_query")


async def test_parse_query_of_every_kind_of_node() -> None:
    """The tree has Prometheus' members for each kind of node."""
    query = (
        "sum by (job) (rate(up{a!='b'}[5m] offset 1m @ end())) / on (job) group_left (x) "
        "-(quantile(0.5, up @ 5)) + max_over_time(up[1m:10s]) + 1e10 + label_join(up, 'a', 'b')"
    )
    tree = await get(fake_services(), "parse_query", query=query)
    assert tree["type"] == "binaryExpr"
    assert tree["rhs"]["func"] == {
        "name": "label_join",
        "argTypes": ["vector", "string", "string", "string"],
        "variadic": -1,
        "returnType": "vector",
    }
    number = tree["lhs"]["rhs"]
    assert number == {"type": "numberLiteral", "val": "10000000000"}
    subquery = tree["lhs"]["lhs"]["rhs"]["args"][0]
    assert (subquery["type"], subquery["range"], subquery["step"]) == ("subquery", 60_000, 10_000)
    division = tree["lhs"]["lhs"]["lhs"]
    assert division["matching"] == {
        "card": "many-to-one",
        "labels": ["job"],
        "on": True,
        "include": ["x"],
        "fillValues": {"lhs": None, "rhs": None},
    }
    assert division["rhs"]["type"] == "unaryExpr"
    inner = division["rhs"]["expr"]["expr"]
    assert (inner["param"]["val"], inner["expr"]["timestamp"]) == ("0.5", 5_000)
    matrix = division["lhs"]["expr"]["args"][0]
    assert matrix == {
        "type": "matrixSelector",
        "name": "up",
        "offset": 60_000,
        "offsetExpr": None,
        "matchers": [
            {"name": "a", "value": "b", "type": "!="},
            {"name": "__name__", "value": "up", "type": "="},
        ],
        "timestamp": None,
        "startOrEnd": "end",
        "anchored": False,
        "smoothed": False,
        "range": 300_000,
        "rangeExpr": None,
    }


async def test_parse_query_of_duration_expressions() -> None:
    """A range that is only known with the query is a tree of its own."""
    tree = await get(fake_services(), "parse_query", query="rate(up[step() * 2])")
    assert tree["args"][0]["rangeExpr"] == {
        "type": "durationExpr",
        "op": "*",
        "lhs": {
            "type": "durationExpr",
            "op": "step",
            "lhs": None,
            "rhs": None,
            "wrapped": False,
        },
        "rhs": {"type": "numberLiteral", "val": "2", "duration": True},
        "wrapped": False,
    }


async def test_exemplars() -> None:
    """Exemplars stand by series; a query without a selector has none; a backward range is a 400."""
    services = fake_services()
    (series,) = await get(services, "query_exemplars", query="rate(up[5m])", start=1, end=2)
    assert series["seriesLabels"] == {"__name__": "up"}
    assert series["exemplars"] == [
        {"labels": {"trace_id": "abc"}, "value": "0.25", "timestamp": 1.5}
    ]
    async with client(services) as http:
        assert (await http.get("/api/v1/query_exemplars?query=1")).status_code == 204
    assert "end timestamp" in await error(services, "query_exemplars", query="up", start=2, end=1)


def target(job: str, instance: str) -> TargetView:
    """Return a healthy target."""
    labels = {"job": job, "instance": instance}
    url = f"http://{instance}/metrics"
    return TargetView(job, instance, url, "up", "", 1, 0.1, labels, {}, 15_000, 10_000)


def scraping() -> Services:
    """Return services with two targets, one job of dropped ones, and metadata."""
    entries = {"up": MetadataView("gauge", "h", ""), "x": MetadataView("counter", "", "s")}
    return fake_services(
        targets=lambda: [target("a", "h:1"), target("b", "h:2")],
        dropped_targets=lambda: {"c": DroppedTargets(5, [{"__address__": "h:3"}])},
        target_metadata=lambda: [
            TargetMetadata({"job": "a", "instance": "h:1"}, entries),
            TargetMetadata({"job": "b", "instance": "h:2"}, entries),
        ],
    )


async def test_targets_by_state_and_pool() -> None:
    """`state` and `scrapePool` narrow targets; the counts of dropped ones stay whole."""
    services = scraping()
    every = await get(services, "targets")
    assert [t["scrapePool"] for t in every["activeTargets"]] == ["a", "b"]
    assert every["droppedTargets"] == [
        {"discoveredLabels": {"__address__": "h:3"}, "scrapePool": "c"}
    ]
    assert every["droppedTargetCounts"] == {"a": 0, "b": 0, "c": 5}
    assert (await get(services, "targets", state="active"))["droppedTargets"] == []
    assert (await get(services, "targets", state="dropped"))["activeTargets"] == []
    one = await get(services, "targets", scrapePool="b")
    assert [t["scrapePool"] for t in one["activeTargets"]] == ["b"]
    assert (await get(services, "scrape_pools")) == {"scrapePools": ["a", "b", "c"]}


async def test_metadata_of_targets() -> None:
    """`match_target`, `metric` and `limit` (of targets) narrow what targets say."""
    services = scraping()
    assert len(await get(services, "targets/metadata")) == 4
    found = await get(services, "targets/metadata", match_target='{job="b"}', metric="x")
    assert found == [
        {"target": {"job": "b", "instance": "h:2"}, "type": "counter", "help": "", "unit": "s"}
    ]
    assert len(await get(services, "targets/metadata", limit=1)) == 2
    assert await get(services, "targets/metadata", metric="nothing") == []
    assert "match_target" in await error(services, "targets/metadata", match_target="{")


def group(name: str, *rules: RuleView) -> GroupView:
    """Return a group of the file ``f.yml``."""
    return GroupView(name, "f.yml", 15_000, 0, 0.1, 1, list(rules))


def rule(name: str, alerting: bool, **labels: str) -> RuleView:
    """Return a rule; an alerting one fires."""
    alert = AlertInstance("r", Labels.of({"a": "b"}), Labels(), AlertState.FIRING, 0.25, 5)
    alerts: Sequence[AlertInstance] = [alert] if alerting else []
    return RuleView(name, "up", alerting, 0, 0, labels, {}, "ok", "", 0.1, 1, alerts)


def ruling() -> Services:
    """Return services with three groups."""
    groups = [
        group("one", rule("A", True, team="x"), rule("a:b", False)),
        group("two", rule("B", True, team="y{{ $value }}")),
        group("three", rule("c:d", False, team="x")),
    ]
    return fake_services(groups=lambda: groups)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["A", "a:b", "B", "c:d"]),
        ({"type": "alert"}, ["A", "B"]),
        ({"type": "record", "rule_group[]": "three"}, ["c:d"]),
        ({"rule_name[]": ["A", "c:d"]}, ["A", "c:d"]),
        ({"rule_group[]": ["two", "three"]}, ["B", "c:d"]),
        ({"file[]": "f.yml"}, ["A", "a:b", "B", "c:d"]),
        ({"file[]": "other.yml"}, []),
        ({"match[]": '{team="x"}'}, ["A", "c:d"]),
        ({"match[]": ['{team=~"y.*"}', '{team="x"}'], "type": "alert"}, ["A", "B"]),
    ],
)
async def test_rules_are_narrowed(params: dict[str, Any], expected: list[str]) -> None:
    """Filters combine; groups without a wanted rule are left out; templates are not expanded."""
    groups = (await get(ruling(), "rules", **params))["groups"]
    assert [r["name"] for g in groups for r in g["rules"]] == expected
    assert all(g["rules"] for g in groups)


async def test_alerts_can_be_left_out() -> None:
    """`exclude_alerts` leaves the alerts of rules out, but not their state."""
    (first, *_), *_ = [
        g["rules"] for g in (await get(ruling(), "rules", exclude_alerts="1"))["groups"]
    ]
    assert (first["alerts"], first["state"]) == (None, "firing")


async def test_groups_come_in_pages() -> None:
    """Following the tokens gives every group once, ordered by file and name."""
    services, names, token = ruling(), [], ""
    for _ in range(3):
        params = {"group_next_token": token} if token else {}
        page = await get(services, "rules", group_limit=1, **params)
        names += [g["name"] for g in page["groups"]]
        token = page.get("groupNextToken", "")
    assert (names, token) == (["one", "three", "two"], "")


@pytest.mark.parametrize(
    "params",
    [
        {"type": "both"},
        {"group_limit": "0"},
        {"group_limit": "x"},
        {"group_next_token": "x"},
        {"group_limit": "1", "group_next_token": "x"},
        {"exclude_alerts": "perhaps"},
        {"match[]": "{"},
    ],
)
async def test_bad_filters_are_named(params: dict[str, str]) -> None:
    """A filter that cannot be read is a 400 that names it."""
    assert list(params)[-1] in await error(ruling(), "rules", **params)


async def test_status() -> None:
    """Status endpoints carry Prometheus' members."""
    services = fake_services()
    assert await get(services, "status/config") == {"yaml": "server: {}\n"}
    assert (await get(services, "status/flags"))["query.timeout"] == "2m"
    assert "serverTime" in await get(services, "status/runtimeinfo")
    assert await get(services, "status/walreplay") == {"min": 0, "max": 3, "current": 1}
    assert await get(services, "features") == {"promql": {"bool": True}}
    assert await get(services, "alertmanagers") == {
        "activeAlertmanagers": [],
        "droppedAlertmanagers": [],
    }
    counts = await get(services, "status/tsdb", limit=1)
    assert counts["headStats"]["numSeries"] == 3
    assert counts["seriesCountByMetricName"] == [{"name": "up", "value": 2}]
    assert "limit" in await error(services, "status/tsdb", limit=0)


async def test_notifications_tell_what_is_missing() -> None:
    """A server that is not ready says so where the page looks; a ready one is silent."""
    assert await get(fake_services(), "notifications") == []
    busy = fake_services(readiness=lambda: Readiness(False, "replaying the spool"))
    (note,) = await get(busy, "notifications")
    assert (note["text"], note["active"]) == ("replaying the spool", True)


async def test_giant_requests_are_refused() -> None:
    """Too many selectors or parameters are a 400 that says so, by form too."""
    async with client() as http:
        selectors = await http.post("/api/v1/series", data={"match[]": ["up"] * 1_001})
        fields = await http.post("/api/v1/labels", content=b"a=b&" * 10_001)
        long = await http.post("/api/v1/labels", content=b"a" * (1 << 20) + b"b")
    assert [a.status_code for a in (selectors, fields, long)] == [400, 400, 413]
    assert "1,000" in selectors.json()["error"]
    assert fields.json() == {
        "status": "error",
        "errorType": "bad_data",
        "error": "more than 10,000 parameters; ask in parts",
    }


@pytest.mark.parametrize("text", ["1_000", "1e400", "nan", "0x10", "٣x", "--1", "1 h"])
async def test_odd_numbers_are_no_times(text: str) -> None:
    """What only Python or nobody reads as a number is refused, as a time and as a duration."""
    services = fake_services()
    assert '"time"' in await error(services, "query", query="up", time=text)
    assert '"timeout"' in await error(services, "query", query="up", timeout=text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (1e16, "10000000000000000"),
        (-1e20, "-100000000000000000000"),
        (1e21, "1e+21"),
        (-0.0, "-0"),
        (0.1, "0.1"),
    ],
)
async def test_numbers_have_an_exponent_where_prometheus_has_one(value: float, text: str) -> None:
    """Samples have one below 1e-6 and from 1e21 on, in vectors and matrices; scalars never do."""
    queries = FakeQueries(vector({Labels.of({"a": "b"}): [value]}, [0]))
    services = fake_services(queries)
    instant = await get(services, "query", query="up")
    ranged = await get(services, "query_range", query="up", start=0, end=0, step=1)
    queries.result = ScalarResult(np.array([0]), np.array([value]))
    scalar = await get(services, "query", query="1")
    assert instant["result"][0]["value"][1] == text
    assert ranged["result"][0]["values"] == [[0, text]]
    assert "e" not in scalar["result"][1]
    assert float(scalar["result"][1]) == value
