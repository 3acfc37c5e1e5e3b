"""What rests on disk: a day of 1,000 series, its size, and a query of all of it after a restart."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from bench import dataset, remote_write
from bench.processes import Running, prometheus, vedette, victoria_metrics
from bench.report import OURS, PROMETHEUS, VICTORIA, Aim, Report, Row
from bench.side_by_side import now_ms, write

# A head this small holds next to nothing of a day, so that the answers come from disk.
CONFIG = "query: {prometheus_2_windows: true}\nstorage: {head_bytes: 8388608, segment: 5s}\n"
RUNS = 3
STEPS = 1_440
QUERY = "sum by (job) (rate(http_requests_total[5m]))"
LOGS = {OURS: ("spool",), PROMETHEUS: ("wal", "chunks_head"), VICTORIA: ()}
"""Folders of what is not yet stored: logs of the last minutes, whose size says nothing."""

Start = Callable[[Path], AbstractContextManager[Running]]


def disk(report: Report) -> None:
    """Measure bytes per sample, and the first query after a restart."""
    data = dataset.build(now_ms(), series=1_000, hours=24)
    bodies = remote_write.requests(data)
    print(f"{data.samples:,} samples of 24 hours")
    starts: dict[str, Start] = {
        OURS: lambda folder: vedette(CONFIG, folder),
        PROMETHEUS: lambda folder: prometheus(folder=folder),
        VICTORIA: victoria_metrics,
    }
    sizes: dict[str, float] = {}
    times: dict[str, float] = {}
    for name, start in starts.items():
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            with start(place) as running:
                write(running, bodies)
                _settle(running)
                sizes[name] = _stored(running) / data.samples
            found = []
            for _ in range(RUNS):
                with start(place) as running:
                    time.sleep(2)
                    found.append(_first_query(running, data))
            times[name] = statistics.median(found)
    report.add(Row("size on disk, index and all", "bytes per sample", sizes, (Aim(VICTORIA, 1),)))
    what = f"24 h of 1,000 series after a restart, first query: {QUERY}"
    report.add(Row(what, "ms", times, (Aim(PROMETHEUS, 0.5),)))


def _settle(running: Running) -> None:
    """Wait until the system has put everything into its final form, at most five minutes.

    What was merged stays on disk for a minute or so before it is removed.
    """
    before, quiet = -1, 0
    for _ in range(100):
        time.sleep(3)
        size = _stored(running)
        quiet = quiet + 1 if size == before else 0
        before = size
        if quiet >= 30 and size:
            return


def _stored(running: Running) -> int:
    skipped = LOGS[running.name]
    return sum(
        file.stat().st_size
        for file in running.folder.rglob("*")
        if file.is_file() and not set(file.relative_to(running.folder).parts) & set(skipped)
    )


def _first_query(running: Running, data: dataset.Dataset) -> float:
    step = (data.end - data.start) // 1000 // STEPS
    end = data.end // 1000
    params = {"query": QUERY, "start": end - (STEPS - 1) * step, "end": end, "step": step}
    with httpx.Client(base_url=running.url, timeout=120) as http:
        http.get("/api/v1/query", params={"query": "vector(1)"}).raise_for_status()
        began = time.perf_counter()
        answer = http.get("/api/v1/query_range", params={**params, "nocache": "1"})
        elapsed = (time.perf_counter() - began) * 1000
    found = answer.raise_for_status().json()["data"]["result"]
    if len(found) != dataset.JOBS or len(found[0]["values"]) < STEPS - 2:
        raise RuntimeError(f"{running.name} answered {len(found)} series: data is missing")
    return elapsed
