"""Remote write and range queries, the same ones to Vedette, Prometheus and VictoriaMetrics.

All systems hold the same samples, sent in the same requests. Queries are asked in turn, so that a
machine whose speed drifts does not favour one of them; each figure is the median of its runs.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from bench import dataset, remote_write
from bench.processes import Running, prometheus, vedette, victoria_metrics

RUNS = 7
STEPS = 1_440
QUERIES = {
    "rate by job, 6 h": "sum by (job) (rate(http_requests_total[5m]))",
    "max by job, 6 h": "max by (job) (http_requests_total)",
    "topk of rates, 6 h": "topk(5, sum by (route) (rate(http_requests_total[5m])))",
}
CONFIG = """
query: {prometheus_2_windows: true}
"""


@dataclass(frozen=True, slots=True)
class Write:
    """What taking the whole set cost one system."""

    name: str
    cpu_per_million: float
    seconds: float
    resident_mb: float


def main() -> int:
    """Measure and print; return an exit code."""
    now = int(time.time()) // 60 * 60_000
    data = dataset.build(now)
    bodies = remote_write.requests(data)
    print(f"{data.samples:,} samples in {len(bodies):,} remote-write requests of at most 2,000\n")
    with ExitStack() as stack:
        systems = [
            stack.enter_context(start()) for start in (_vedette, prometheus, victoria_metrics)
        ]
        time.sleep(3)  # whatever a system does at its start is not what is measured
        writes = [_write(system, bodies, data.samples) for system in systems]
        _print_writes(writes)
        time.sleep(3)
        for title, query in QUERIES.items():
            _compare(title, query, systems, data)
    return 0


def _vedette() -> Any:
    return vedette(CONFIG)


def _write(system: Running, bodies: list[bytes], samples: int) -> Write:
    before = system.cpu_seconds()
    began = time.monotonic()
    with httpx.Client(base_url=system.url, timeout=60) as http:
        for body in bodies:
            answer = http.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
            answer.raise_for_status()
    seconds = time.monotonic() - began
    cpu = system.cpu_seconds() - before
    return Write(system.name, cpu / samples * 1e6, seconds, system.resident_bytes() / 2**20)


def _print_writes(writes: list[Write]) -> None:
    print("remote write, acknowledged on disk by Vedette (CPU of all processes of a system)")
    reference = next(w for w in writes if w.name == "prometheus")
    for write in writes:
        print(
            f"  {write.name:16} {write.cpu_per_million:6.2f} CPU-s per million samples   "
            f"{write.seconds:6.1f} s wall   {write.resident_mb:6.0f} MB resident   "
            f"{write.cpu_per_million / reference.cpu_per_million:5.2f} × prometheus"
        )
    print()


def _compare(title: str, query: str, systems: list[Running], data: dataset.Dataset) -> None:
    step = (data.end - data.start) // 1000 // STEPS
    end = data.end // 1000
    params = {"query": query, "start": end - (STEPS - 1) * step, "end": end, "step": step}
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    answers: dict[str, Any] = {}
    with ExitStack() as stack:
        clients = {
            s.name: stack.enter_context(httpx.Client(base_url=s.url, timeout=120)) for s in systems
        }
        for run in range(RUNS + 1):
            for name, http in clients.items():
                extra = {"nocache": "1"} if name == "victoriametrics" else {}
                began = time.perf_counter()
                answer = http.get("/api/v1/query_range", params={**params, **extra})
                elapsed = (time.perf_counter() - began) * 1000
                answer.raise_for_status()
                if run:  # the first one warms up
                    times[name].append(elapsed)
                answers[name] = answer
    medians = {name: statistics.median(values) for name, values in times.items()}
    difference = disagreement(answers["vedette"].json(), answers["prometheus"].json())
    print(f"{title}: {query}, {STEPS} steps, through HTTP")
    for name, median in medians.items():
        ratio = median / medians["vedette"]
        low, high = min(times[name]), max(times[name])
        print(f"  {name:16} {median:8.1f} ms ({low:.1f}–{high:.1f})   {ratio:6.1f} × vedette")
    print(f"  largest relative difference to prometheus: {difference:.1e}\n")


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
