"""Remote write and queries, the same ones to Vedette, Prometheus and VictoriaMetrics.

All systems hold the same samples, sent in the same requests. Queries are asked in turn, so that a
machine whose speed drifts does not favour one of them; each figure is the median of its runs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import httpx
import numpy as np

from bench import dataset, remote_write
from bench.dataset import Dataset, Layout
from bench.processes import Running, prometheus, vedette, victoria_metrics
from bench.report import PROMETHEUS, VICTORIA, Aim, Report, Row

RUNS = 7
STEPS = 1_440
QUERIES = {
    "sum of rates": "sum by (job) (rate(http_requests_total[5m]))",
    "quantile of a histogram": "histogram_quantile(0.95,"
    " sum by (le, route) (rate(http_duration_seconds_bucket[5m])))",
    "maximum": "max by (job) (queue_length)",
}
FAST = (Aim(PROMETHEUS, 0.1), Aim(VICTORIA, 1.0))
CONFIG = """
query: {prometheus_2_windows: true}
"""


def start_all(stack: ExitStack) -> list[Running]:
    """Start the three systems, and let each finish what it does at its start."""
    starts = (lambda: vedette(CONFIG), prometheus, victoria_metrics)
    systems = [stack.enter_context(start()) for start in starts]
    time.sleep(3)
    return systems


def now_ms() -> int:
    """Return the time, in whole minutes of milliseconds."""
    return int(time.time()) // 60 * 60_000


def ranges(report: Report) -> None:
    """Measure remote write and range queries on both layouts, and bytes on disk."""
    for layout in Layout:
        data = dataset.build(now_ms(), metrics=dataset.METRICS, layout=layout)
        bodies = remote_write.requests(data)
        print(f"{layout}: {data.samples:,} samples in {len(bodies):,} requests of ~2,000 samples")
        with ExitStack() as stack:
            systems = start_all(stack)
            figures = {s.name: write(s, bodies) / data.samples * 1e6 for s in systems}
            report.add(
                Row(
                    f"remote write, {layout}, all processes of a system",
                    "CPU-s per million samples",
                    figures,
                    (Aim(PROMETHEUS, 0.15), Aim(VICTORIA, 0.6)),
                )
            )
            time.sleep(3)
            for title, query in QUERIES.items():
                times, difference = compare_range(systems, query, data)
                print(f"largest relative difference to Prometheus: {difference:.1e}")
                report.add(
                    Row(f"{title}, 6 h in 1,440 steps, {layout}: {query}", "ms", times, FAST)
                )
            if layout is Layout.ALIGNED:
                times = in_turn(systems, "query", {"query": "vector(1)"}, 300)
                report.add(
                    Row("tiny query on a kept connection", "ms", times, (Aim(PROMETHEUS, 1),))
                )


def instants(report: Report) -> None:
    """Measure an instant query over 100,000 series."""
    data = dataset.wide(now_ms())
    bodies = remote_write.requests(data)
    query = "sum by (pod) (rate(pod_bytes_total[5m]))"
    with ExitStack() as stack:
        systems = start_all(stack)
        for system in systems:
            write(system, bodies)
        time.sleep(3)
        times = in_turn(systems, "query", {"query": query, "time": data.end // 1000})
        aims = (Aim(PROMETHEUS, 0.05), Aim(VICTORIA, 0.1))
        report.add(Row(f"instant over 100,000 series: {query}", "ms", times, aims))


def write(system: Running, bodies: Sequence[bytes]) -> float:
    """Send all ``bodies`` and return the CPU seconds that it cost the system."""
    before = system.cpu_seconds()
    with httpx.Client(base_url=system.url, timeout=60) as http:
        for body in bodies:
            answer = http.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
            answer.raise_for_status()
    return system.cpu_seconds() - before


def in_turn(
    systems: Sequence[Running],
    path: str,
    params: Mapping[str, Any],
    runs: int = RUNS,
    see: Callable[[str, httpx.Response], None] = lambda _name, _answer: None,
) -> dict[str, float]:
    """Return the median milliseconds of a request to each system, asked one after another."""
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    with ExitStack() as stack:
        clients = {
            s.name: stack.enter_context(httpx.Client(base_url=s.url, timeout=120)) for s in systems
        }
        for run in range(runs + 1):
            for name, http in clients.items():
                extra = {"nocache": "1"} if name == VICTORIA else {}
                began = time.perf_counter()
                answer = http.get(f"/api/v1/{path}", params={**params, **extra})
                elapsed = (time.perf_counter() - began) * 1000
                answer.raise_for_status()
                if run:  # the first one warms up
                    times[name].append(elapsed)
                see(name, answer)
    return {name: statistics.median(found) for name, found in times.items()}


def compare_range(
    systems: Sequence[Running], query: str, data: Dataset
) -> tuple[dict[str, float], float]:
    """Return median milliseconds of a range query, and the difference to Prometheus' answer."""
    step = (data.end - data.start) // 1000 // STEPS
    end = data.end // 1000
    params = {"query": query, "start": end - (STEPS - 1) * step, "end": end, "step": step}
    answers: dict[str, httpx.Response] = {}
    times = in_turn(systems, "query_range", params, see=answers.__setitem__)
    return times, disagreement(answers["vedette"].json(), answers["prometheus"].json())


def disagreement(ours: dict[str, Any], theirs: dict[str, Any]) -> float:
    """Return the largest relative difference of two matrix answers; inf where they differ in kind.

    Rankings may name other series on ties, so series are compared by their labels.
    """
    left, right = _matrix(ours), _matrix(theirs)
    if left.keys() != right.keys():
        return float("inf")
    worst = 0.0
    for key, points in left.items():
        others = right[key]
        if points.keys() != others.keys():
            return float("inf")
        a = np.array([points[t] for t in points])
        b = np.array([others[t] for t in points])
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        scale = np.maximum(np.abs(b), 1e-300)
        worst = max(worst, float(np.max(np.where(same, 0.0, np.abs(a - b) / scale), initial=0)))
    return worst


def _matrix(answer: dict[str, Any]) -> dict[str, dict[float, float]]:
    return {
        str(sorted(row["metric"].items())): {t: float(v) for t, v in row["values"]}
        for row in answer["data"]["result"]
    }
