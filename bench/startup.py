"""From the start of the process until it is ready, and what it then weighs."""

from __future__ import annotations

import statistics
import time

from bench.processes import prometheus, vedette, victoria_metrics
from bench.report import Report, Row

RUNS = 5


def startup(report: Report) -> None:
    """Measure the start with an empty folder, and the memory right after it."""
    seconds: dict[str, float] = {}
    resident: dict[str, float] = {}
    for name, start in (
        ("vedette", vedette),
        ("prometheus", prometheus),
        ("victoriametrics", victoria_metrics),
    ):
        times, sizes = [], []
        for _ in range(RUNS):
            began = time.monotonic()
            with start() as running:
                times.append(time.monotonic() - began)
                sizes.append(running.resident_bytes() / 2**20)
        seconds[name], resident[name] = statistics.median(times), statistics.median(sizes)
    report.add(Row("start with an empty folder until ready", "s", seconds))
    report.add(Row("resident memory then, all processes", "MB", resident))
