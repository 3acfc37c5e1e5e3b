"""CPU of 1,000 alerting rules over 10,000 series, beside Prometheus.

Both get the same samples by remote write and the same rule file, in two shapes: ``narrow`` rules
look at ten series each, ``wide`` ones at a thousand. What a server without rules needs in the same
time is taken off. Few alerts fire, as in real life.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import remote_write
from bench.processes import Running, prometheus, vedette
from bench.report import PROMETHEUS, Aim, Report, Row

RULES = 1_000
SERIES = 10_000
GROUPS = 10
INTERVAL_SECONDS = 5
SECONDS = 30.0
STEP_MS = 15_000
HISTORY_MS = 600_000
_EVALUATIONS = {
    "vedette": "vedette_rule_evaluations_total",
    "prometheus": "prometheus_rule_evaluations_total",
}
ALL = tuple(_EVALUATIONS)


def rule_file(shape: str) -> str:
    """Return ``RULES`` rules in ``GROUPS`` groups."""
    lines = ["groups:"]
    for group in range(GROUPS):
        lines += [f"- name: g{group}", f"  interval: {INTERVAL_SECONDS}s", "  rules:"]
        for number in range(group * RULES // GROUPS, (group + 1) * RULES // GROUPS):
            lines += [
                f"  - alert: Alert{number}",
                f"    expr: {_expression(shape, number)}",
                "    for: 1m",
                "    labels: {severity: page}",
                "    annotations: {summary: '{{ $value }} on {{ $labels.instance }}'}",
            ]
    return "\n".join(lines) + "\n"


def _expression(shape: str, number: int) -> str:
    # One rule in a hundred fires.
    limit = 0.5 if number % 100 == 0 else 1e6
    if shape == "narrow":
        return f'rate(requests_{number % 10}_total{{instance="i{number // 10}"}}[5m]) > {limit}'
    by = ("job", "zone", "code", "job, zone")[number % 4]
    return f"sum by ({by}) (rate(requests_{number % 10}_total[5m])) > {limit * (1 + number)}"


def bodies(now: int) -> Iterator[bytes]:
    """Yield requests with ``SERIES`` series, counters that grow by about 1/s each."""
    labels = [
        {
            "__name__": f"requests_{k % 10}_total",
            "instance": f"i{k // 100}",
            "job": f"job-{k // 1000}",
            "zone": "abc"[k % 3],
            "code": f"{200 + k // 10 % 10}",
        }
        for k in range(SERIES)
    ]
    for ts in range(now - HISTORY_MS, now + 1, STEP_MS):
        age = (ts - now + HISTORY_MS) / 1000
        for first in range(0, SERIES, 2_000):
            rows = (
                remote_write.series(labels[k], math.floor(age * (1 + k % 7 / 10)), ts)
                for k in range(first, first + 2_000)
            )
            yield remote_write.compress(b"".join(rows))


@contextmanager
def _server(name: str, rules: Path | None) -> Iterator[Running]:
    if name == "prometheus":
        text = "global: {scrape_interval: 15s}\n"
        text += f"rule_files: ['{rules}']\n" if rules else ""
        with prometheus(text) as running:
            yield running
        return
    text = f"rules: {{files: ['{rules}']}}\n" if rules else ""
    # It must not scrape itself, which Prometheus does not do here either.
    text += "scrape: [{job: none, interval: 1h, timeout: 1s, targets: ['127.0.0.1:1']}]\n"
    with vedette(text) as running:
        yield running


def measure(name: str, rules: Path | None, seconds: float) -> tuple[float, float]:
    """Return CPU-seconds, and how often all rules were evaluated, within ``seconds``."""
    with _server(name, rules) as running, httpx.Client(base_url=running.url, timeout=60) as client:
        for body in bodies(int(time.time() * 1000)):
            client.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
        # What the writes have left to do is over, and every group has been evaluated.
        time.sleep(2 * INTERVAL_SECONDS)
        cpu, count = running.cpu_seconds(), _evaluations(client, name)
        time.sleep(seconds)
        spent = running.cpu_seconds() - cpu
        rounds = (_evaluations(client, name) - count) / RULES
        if rules:
            firing = client.get("/api/v1/query", params={"query": "count(ALERTS)"}).json()
            print(
                f"    {name}: {rounds:.1f} rounds, {firing['data']['result'][0]['value'][1]} alerts"
            )
        return spent, rounds


def _evaluations(client: httpx.Client, name: str) -> float:
    metric = _EVALUATIONS[name]
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(metric))


def rounds(report: Report, seconds: float = SECONDS, names: Sequence[str] = ALL) -> None:
    """Measure CPU per evaluation round, for each shape."""
    idle = {name: measure(name, None, seconds)[0] for name in names}
    for shape in ("narrow", "wide"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rules.yml"
            file.write_text(rule_file(shape))
            costs = {}
            for name in names:
                spent, evaluated = measure(name, file, seconds)
                costs[name] = (spent - idle[name]) / evaluated * 1000
        what = f"{RULES} {shape} alerting rules over {SERIES} series"
        report.add(Row(what, "ms of CPU per round", costs, (Aim(PROMETHEUS, 0.3),)))
