"""Many series for half an hour, and queries while samples stream in."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import httpx
import numpy as np
import psutil

from bench import dataset, remote_write
from bench.processes import Running, prometheus, vedette, victoria_metrics
from bench.report import OURS, PROMETHEUS, Aim, Report, Row
from bench.side_by_side import CONFIG, now_ms, write

SAMPLES_A_SECOND = 100_000
QUERIES = 120


def memory(report: Report) -> None:
    """Measure memory with 100,000 series and 30 minutes of samples, sent as fast as taken."""
    data = dataset.wide(now_ms(), rows=120)
    bodies = remote_write.requests(data)
    anonymous: dict[str, float] = {}
    resident: dict[str, float] = {}
    for start in (lambda: vedette(CONFIG), prometheus, victoria_metrics):
        with start() as running:
            peak = _Peak(running)
            write(running, bodies)
            time.sleep(5)
            anonymous[running.name], resident[running.name] = peak.stop()
    what = "memory with 100,000 series, 30 minutes at 15 s, peak of all processes"
    report.add(Row(f"{what}: RssAnon", "MB", anonymous, (Aim(PROMETHEUS, 1),)))
    report.add(Row(f"{what}: VmRSS", "MB", resident))


def mixed(report: Report) -> None:
    """Measure the p95 of a query, idle and while 100,000 samples come in each second."""
    data = dataset.build(now_ms(), hours=1)
    idle: dict[str, float] = {}
    loaded: dict[str, float] = {}
    for start in (lambda: vedette(CONFIG), prometheus, victoria_metrics):
        with start() as running:
            write(running, remote_write.requests(data))
            time.sleep(2)
            idle[running.name] = _p95(running, data)
            stream = _Stream(running)
            time.sleep(2)
            loaded[running.name] = _p95(running, data)
            rate = stream.stop()
            print(f"{running.name} took {rate:,.0f} samples a second meanwhile")
    report.add(Row("query over 1 h of 2,000 series, idle, p95", "ms", idle))
    report.add(Row("the same while 100,000 samples a second come in, p95", "ms", loaded))
    itself = {OURS: loaded[OURS], "vedette idle": idle[OURS]}
    report.add(Row("query p95 under load, against its own idle one", "ms", itself))


class _Peak:
    """Largest RssAnon and VmRSS (MB) of a system, looked at ten times a second."""

    def __init__(self, running: Running) -> None:
        self._root = psutil.Process(running.process.pid)
        self._anonymous = self._resident = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        """Return the peaks."""
        self._end.set()
        self._thread.join()
        return self._anonymous, self._resident

    def _watch(self) -> None:
        while not self._end.wait(0.1):
            anonymous = resident = 0.0
            for process in [self._root, *self._root.children(recursive=True)]:
                try:
                    maps = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                anonymous += (maps.rss - maps.shared) / 2**20
                resident += maps.rss / 2**20
            self._anonymous = max(self._anonymous, anonymous)
            self._resident = max(self._resident, resident)


class _Stream:
    """Sends new samples of other series at a steady rate, on a thread of its own."""

    def __init__(self, running: Running) -> None:
        self._running = running
        data = dataset.wide(now_ms() + 3_600_000, series=50_000, rows=60, step=1_000)
        self._bodies = remote_write.requests(data)
        self._per_body = data.samples / len(self._bodies)
        self._end = threading.Event()
        self._sent = 0.0
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Return how many samples a second were taken."""
        self._end.set()
        self._thread.join()
        return self._sent / (time.monotonic() - self._began)

    def _send(self) -> None:
        with httpx.Client(base_url=self._running.url, timeout=60) as http:
            for body in self._bodies:
                due = self._began + self._sent / SAMPLES_A_SECOND
                if self._end.wait(max(0.0, due - time.monotonic())):
                    return
                http.post("/api/v1/write", content=body, headers=remote_write.HEADERS)
                self._sent += self._per_body


def _p95(running: Running, data: dataset.Dataset) -> float:
    end = data.end // 1000
    times: list[float] = []
    query = "sum by (job) (rate(http_requests_total[5m]))"
    with httpx.Client(base_url=running.url, timeout=60) as http:
        for k in range(QUERIES):
            # Another end each time: an answer from a cache would measure nothing.
            params = {"query": query, "start": end - 3_000 - k, "end": end - k, "step": 15}
            began = time.perf_counter()
            http.get("/api/v1/query_range", params={**params, "nocache": "1"}).raise_for_status()
            times.append((time.perf_counter() - began) * 1000)
            time.sleep(0.02)
    return _percentile(times, 95)


def _percentile(values: Sequence[float], rank: float) -> float:
    return float(np.percentile(np.array(values), rank))
