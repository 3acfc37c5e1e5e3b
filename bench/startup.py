"""From the start of the process until it is ready, and what it then weighs."""

from __future__ import annotations

import statistics
import time

from bench.processes import prometheus, vedette, victoria_metrics

RUNS = 5


def main() -> int:
    """Measure and print; return an exit code."""
    print(f"start with an empty folder until ready, median of {RUNS}")
    for name, start in (
        ("vedette", vedette),
        ("prometheus", prometheus),
        ("victoriametrics", victoria_metrics),
    ):
        seconds, resident = [], []
        for _ in range(RUNS):
            began = time.monotonic()
            with start() as running:
                seconds.append(time.monotonic() - began)
                resident.append(running.resident_bytes() / 2**20)
        print(
            f"  {name:16} {statistics.median(seconds):5.2f} s "
            f"({min(seconds):.2f}–{max(seconds):.2f})   "
            f"{statistics.median(resident):5.0f} MB resident, all processes"
        )
    print()
    return 0
