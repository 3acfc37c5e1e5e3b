"""The PromQL compliance tester's queries: the engine beside Debian's Prometheus, the same data."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml

from bench.processes import free_port
from tests import needs
from tests.acceptance.test_interop import process, wait
from vedette.model.arrays import F64, I64
from vedette.model.labels import Labels
from vedette.model.results import ScalarResult, VectorResult
from vedette.model.samples import is_absent
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.query.source import MemorySamples

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(240)]

# The arguments that the tester puts into its templates.
VARIANTS = {
    "range": ["1s", "15s", "1m", "5m", "15m", "1h"],
    "offset": ["1m", "5m", "10m"],
    "quantile": ["-0.5", "0.1", "0.5", "0.75", "0.95", "0.90", "0.99", "1", "1.5"],
    "simpleAggrOp": ["sum", "avg", "max", "min", "count", "stddev", "stdvar"],
    "simpleTimeAggrOp": [
        *("sum", "avg", "max", "min", "count", "stddev", "stdvar", "absent", "last", "present"),
    ],
    "topBottomOp": ["topk", "bottomk"],
    "arithBinOp": ["+", "-", "*", "/", "%", "^"],
    "compBinOp": ["==", "!=", "<", ">", "<=", ">="],
    "binOp": ["+", "-", "*", "/", "%", "^", "==", "!=", "<", ">", "<=", ">=", "atan2"],
    "simpleMathFunc": [
        *("abs", "ceil", "floor", "exp", "sqrt", "ln", "log2", "log10", "round", "sgn"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh"),
        *("atanh", "rad", "deg"),
    ],
    "extrapolatedRateFunc": ["delta", "rate", "increase"],
    "instantRateFunc": ["idelta", "irate"],
    "clampFunc": ["clamp_min", "clamp_max"],
    "dateFunc": [
        *("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"),
        *("month", "year"),
    ],
}

END = 1_700_006_400_000
START, STEP = END - 600_000, 10_000
FIRST, SCRAPE = END - 5_400_000, 5_000

# What Prometheus 3 answers differently by design; docs/promql.md says why.
DIFFERENT_IN_3 = {
    "demo_memory_usage_bytes {{.binOp}} 1.2345",
    "0.12345 {{.binOp}} demo_memory_usage_bytes",
    "(1 * 2 + 4 / 6 - (10%7)^2) {{.binOp}} demo_memory_usage_bytes",
    "demo_memory_usage_bytes {{.binOp}} (1 * 2 + 4 / 6 - 10)",
    "time() {{.binOp}} demo_memory_usage_bytes",
    "demo_memory_usage_bytes {{.binOp}} time()",
    'label_replace(demo_num_cpus, "~invalid", "", "src", "(.*)")',
    'label_join(demo_num_cpus, "~invalid", "-", "instance")',
    "avg_over_time(rate(demo_cpu_usage_seconds_total[1m])[2m:10s])",
}


def templates() -> list[tuple[str, tuple[str, ...], bool]]:
    """Return query, arguments and whether it must fail, of each case."""
    text = needs.peer_data("compliance", "promql-test-queries.yml").read_text()
    cases = yaml.safe_load(text)["test_cases"]
    return [
        (case["query"], tuple(case.get("variant_args", ())), case.get("should_fail", False))
        for case in cases
    ]


def expanded(template: str, names: tuple[str, ...]) -> Iterator[str]:
    """Yield the template with every combination of its arguments."""
    for values in itertools.product(*(VARIANTS[name] for name in names)):
        query = template
        for name, value in zip(names, values, strict=True):
            query = query.replace("{{." + name + "}}", value)
        yield query


def series() -> Iterator[tuple[Labels, I64, F64]]:
    """Yield synthetic ``demo_*`` metrics of three instances, a sample each 5 s for 90 minutes."""
    rng = np.random.default_rng(8)
    for k in range(3):
        # Scrapes fall between the steps of queries, each instance's at its own moment.
        ts = np.arange(FIRST + 1_234 + 777 * k, END, SCRAPE, dtype=np.int64)
        n = len(ts)
        own = {"instance": f"demo.promlabs.com:{10_000 + k}", "job": "demo"}

        def named(name: str, own: dict[str, str] = own, **labels: str) -> Labels:
            return Labels.of({"__name__": f"demo_{name}", **own, **labels})

        for kind in ("buffers", "cached", "free", "used"):
            walk = 4e9 + np.cumsum(rng.normal(0, 1e7, n))
            yield named("memory_usage_bytes", type=kind), ts, np.round(walk)
        yield named("num_cpus"), ts, np.full(n, 4.0)
        for mode in ("idle", "system", "user"):
            counter = np.cumsum(rng.gamma(2, 1, n))
            counter[n // 2 + 40 * k :] -= counter[n // 2 + 40 * k]
            yield named("cpu_usage_seconds_total", mode=mode), ts, counter
        yield named("disk_usage_bytes"), ts, 1e10 + 1e5 * np.arange(n) + rng.normal(0, 1e6, n)
        batch = np.floor(ts / 1000 / 300) * 300
        yield named("batch_last_success_timestamp_seconds"), ts, batch
        there = (np.arange(n) // 60) % 2 == 0
        yield named("intermittent_metric"), ts[there], np.ones(int(there.sum()))
        yield from _requests(named, ts, rng)


def _requests(
    named: object, ts: I64, rng: np.random.Generator
) -> Iterator[tuple[Labels, I64, F64]]:
    assert callable(named)
    bounds = ["0.0001", "0.001", "0.01", "0.1", "1", "+Inf"]
    name = "api_request_duration_seconds"
    for method, path in itertools.product(("GET", "POST"), ("/api/foo", "/api/bar")):
        labels = {"method": method, "path": path, "status": "200"}
        counts = np.cumsum(rng.integers(0, 9, (len(bounds), len(ts))), axis=1).cumsum(axis=0)
        for le, values in zip(bounds, counts, strict=True):
            yield named(f"{name}_bucket", le=le, **labels), ts, values.astype(np.float64)
        yield named(f"{name}_count", **labels), ts, counts[-1].astype(np.float64)
        yield named(f"{name}_sum", **labels), ts, counts[-1] * 0.05


@contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    """Run Prometheus on a block of the same samples."""
    lines: dict[str, list[str]] = {}
    for labels, ts, values in series():
        pairs = ",".join(f'{name}="{value}"' for name, value in labels if name != "__name__")
        rows = lines.setdefault(labels.metric, [f"# TYPE {labels.metric} unknown"])
        for t, v in zip(ts.tolist(), values.tolist(), strict=True):
            rows.append(f"{labels.metric}{{{pairs}}} {v!r} {t / 1000}")
    text = "\n".join(line for rows in lines.values() for line in rows) + "\n# EOF\n"
    (folder / "demo.txt").write_text(text)
    tsdb = folder / "tsdb"
    make = ["tsdb", "create-blocks-from", "openmetrics", str(folder / "demo.txt"), str(tsdb)]
    subprocess.run([str(needs.peer("promtool")), *make], check=True, stdout=subprocess.DEVNULL)
    (folder / "prometheus.yml").write_text("")
    port = free_port()
    command = [
        str(needs.peer("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={tsdb}",
        "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with process(*command):
        wait(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


Answer = dict[Labels, dict[int, float]]


def peers_answer(client: httpx.Client, query: str) -> Answer | None:
    """Return what Prometheus answers, ``None`` for an error."""
    times = {"start": START / 1000, "end": END / 1000, "step": STEP / 1000}
    body = client.post("/api/v1/query_range", data={"query": query, **map_text(times)}).json()
    if body["status"] != "success":
        return None
    return {
        Labels.of(row["metric"]): {round(float(t) * 1000): float(v) for t, v in row["values"]}
        for row in body["data"]["result"]
    }


def map_text(values: dict[str, float]) -> dict[str, str]:
    """Return numbers as a form holds them."""
    return {name: repr(value) for name, value in values.items()}


def own_answer(engine: Engine, query: str) -> Answer | None:
    """Return what the engine answers, ``None`` for an error."""
    try:
        result = engine.range(query, START, END, STEP)
    except (QueryError, PromQLSyntaxError):
        return None
    if isinstance(result, ScalarResult):
        return {Labels(): dict(zip(result.ts.tolist(), result.values.tolist(), strict=True))}
    assert isinstance(result, VectorResult)
    answer: Answer = {}
    for labels, values in zip(result.labels.rows(), result.values, strict=True):
        there = ~is_absent(np.ascontiguousarray(values))
        pairs = zip(result.ts[there].tolist(), values[there].tolist(), strict=True)
        answer[labels] = dict(pairs)
    return answer


def agree(ours: Answer | None, theirs: Answer | None) -> bool:
    """Return whether two answers are the same but for rounding."""
    if ours is None or theirs is None:
        return ours is theirs
    if ours.keys() != theirs.keys():
        return False
    return all(
        ours[labels].keys() == theirs[labels].keys()
        and all(_close(ours[labels][t], value) for t, value in theirs[labels].items())
        for labels in theirs
    )


def _close(ours: float, theirs: float) -> bool:
    if math.isnan(theirs) or math.isnan(ours):
        return math.isnan(theirs) and math.isnan(ours)
    return math.isclose(ours, theirs, rel_tol=1e-7, abs_tol=1e-9)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Yield a client of Debian's Prometheus with the data."""
    needs.peer_data("compliance")
    with (
        prometheus(tmp_path_factory.mktemp("compliance")) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def differences(client: httpx.Client, options: EngineOptions) -> dict[str, list[str]]:
    """Return the queries that are answered differently, by template."""
    engine = Engine(MemorySamples(series()), options)
    found: dict[str, list[str]] = {}
    for template, names, _ in templates():
        for query in expanded(template, names):
            if not agree(own_answer(engine, query), peers_answer(client, query)):
                found.setdefault(template, []).append(query)
    return found


def test_every_query_answers_as_prometheus_2_does(peer: httpx.Client) -> None:
    """With the semantics of Prometheus 2.42 no query of the tester differs from it."""
    assert differences(peer, EngineOptions(window_2x=True)) == {}


def test_prometheus_3_differs_where_it_is_written_down(peer: httpx.Client) -> None:
    """With the semantics of Prometheus 3 only the listed templates differ, and all of them do."""
    found = differences(peer, EngineOptions())
    assert found.keys() == DIFFERENT_IN_3
    operators = {q for t, queries in found.items() if "binOp" in t for q in queries}
    assert all(" atan2 " in query for query in operators)


def test_what_must_fail_fails() -> None:
    """The tester's queries that must fail do so, but for label names that Prometheus 3 allows."""
    engine = Engine(MemorySamples(series()))
    passing = {t for t, _, fails in templates() if fails and own_answer(engine, t) is not None}
    assert passing == {template for template in DIFFERENT_IN_3 if "~invalid" in template}


def test_every_argument_is_known() -> None:
    """No template has an argument that is not expanded."""
    for template, names, _ in templates():
        for query in expanded(template, names):
            assert not re.search(r"\{\{", query), query


def test_the_list_is_documented() -> None:
    """Every template that differs stands in the documentation."""
    text = (needs.ROOT / "docs" / "promql.md").read_text()
    assert [template for template in DIFFERENT_IN_3 if template not in text] == []
