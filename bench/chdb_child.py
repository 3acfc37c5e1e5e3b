"""The column store in this process beside the column store in a child: memory, latency, survival.

``python -m bench.chdb_child``; each way runs in a fresh process, so that neither pays for the
other. Memory is that of the process that stands for the server, and of the engine's child.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vedette.model.labels import METRIC_NAME, Labels, series_id
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.chdb.columns import ChdbColumns, open_in_child, open_in_process
from vedette.storage.chdb.supervisor import ChildEngine
from vedette.storage.columns import ChunkBatch
from vedette.storage.interface import StorageError

SERIES, SPAN, STEP = 2000, 1440, 15_000
PER_SEGMENT = 120
T0 = 1_767_225_600_000
EVERYTHING = [Matcher(METRIC_NAME, MatchOp.EQUAL, "http_requests_total")]


def memory(pid: int) -> dict[str, int]:
    """Return VmRSS, RssAnon and VmHWM of a process in MB."""
    wanted = ("VmRSS:", "RssAnon:", "VmHWM:")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = [line.split() for line in lines if line.startswith(wanted)]
    return {name.rstrip(":"): int(size) // 1024 for name, size, _ in fields}


def cpu(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def segments() -> list[ChunkBatch]:
    """Return six hours of 2,000 counters, in segments of half an hour."""
    labels = sorted(
        (
            Labels.of(
                {
                    METRIC_NAME: "http_requests_total",
                    "job": f"job-{k % 10}",
                    "instance": f"10.0.0.{k % 100}:9100",
                    "path": f"/api/{k}",
                }
            )
            for k in range(SERIES)
        ),
        key=Labels.canonical,
    )
    ids = b"".join(series_id(one) for one in labels)
    values = np.random.default_rng(1).integers(0, 50, (SERIES, SPAN)).cumsum(1).astype(np.float64)
    found = []
    for first in range(0, SPAN, PER_SEGMENT):
        ts = T0 + STEP * np.arange(first, first + PER_SEGMENT)
        part = values[:, first : first + PER_SEGMENT]
        offsets = np.arange(SERIES + 1) * PER_SEGMENT
        found.append(
            ChunkBatch(
                ("bench",) * SERIES,
                tuple(one.canonical() for one in labels),
                tuple(one.metric for one in labels),
                ids,
                offsets,
                np.tile(ts, SERIES),
                part.ravel(),
            )
        )
    return found


def p50(call: Callable[[], object], times: int) -> str:
    """Return the median duration of ``call`` in milliseconds, and the first one's."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1e3)
    return f"{statistics.median(taken):6.1f} ms (first {taken[0]:.1f})"


def figures(store: ChdbColumns) -> None:
    """Insert, query, and print what it cost."""
    engine = store.engine
    child = engine.status().pid if isinstance(engine, ChildEngine) else 0
    end = T0 + STEP * SPAN

    def tell(when: str) -> None:
        other = f"   child {memory(child)}" if child else ""
        print(f"  {when:<24} server {memory(os.getpid())}{other}")

    tell("opened")
    batches = segments()
    samples = SERIES * SPAN / 1e6
    own, others = cpu(os.getpid()), cpu(child) if child else 0.0
    began = time.perf_counter()
    for k, batch in enumerate(batches):
        store.insert_samples(batch, f"segment-{k}")
    took = time.perf_counter() - began
    own, others = cpu(os.getpid()) - own, (cpu(child) - others) if child else 0.0
    print(
        f"  insert of {samples:.2f} M samples  {took:.2f} s, CPU-s per million:"
        f" server {own / samples:.2f}, child {others / samples:.2f}"
    )
    del batches
    tell("inserted")
    print("  SELECT 1                ", p50(lambda: engine.query("SELECT 1"), 200))
    one = [*EVERYTHING, Matcher("path", MatchOp.EQUAL, "/api/7")]
    print("  1 series × 6 h          ", p50(lambda: store.select(one, T0, end), 30))
    some = [*EVERYTHING, Matcher("job", MatchOp.EQUAL, "job-3")]
    print("  200 series × 6 h        ", p50(lambda: store.select(some, T0, end), 15))
    print("  2,000 series × 6 h      ", p50(lambda: store.select(EVERYTHING, T0, end), 15))
    tell("queried")


def survival(store: ChdbColumns) -> None:
    """Kill the engine with SIGSEGV and print how long it was away."""
    engine = store.engine
    pid = engine.status().pid if isinstance(engine, ChildEngine) else os.getpid()
    print("  SIGSEGV of the engine    ", end="", flush=True)
    os.kill(pid, signal.SIGSEGV)
    began = time.perf_counter()
    failed = 0
    while True:
        try:
            (selection,) = store.select(EVERYTHING, T0, T0 + STEP * SPAN)
            break
        except StorageError:
            failed += 1
    away = time.perf_counter() - began
    print(f"server alive, {len(selection.labels)} series again after {away:.2f} s, {failed} failed")


def main(arguments: list[str]) -> int:
    """Run one way, or both in processes of their own."""
    if arguments:
        way, folder = arguments
        began = time.perf_counter()
        path = Path(folder)
        store = open_in_child(path) if way == "child" else open_in_process(path)
        print(f"  opened and migrated in {time.perf_counter() - began:.2f} s")
        figures(store)
        survival(store)
        store.close()
        return 0
    for way in ("process", "child"):
        print(f"in {'this process' if way == 'process' else 'a child process'}:", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            command = (sys.executable, "-m", "bench.chdb_child", way, str(Path(folder, "store")))
            code = subprocess.run(command, check=False).returncode
        if code:
            print(f"server gone: {'signal ' if code < 0 else 'exit code '}{abs(code)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
