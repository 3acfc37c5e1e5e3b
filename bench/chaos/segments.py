"""A damaged spool segment: what is readable is there, and what is not is told.

The sender notes how large the segment is after each acknowledgement, so that this program knows,
without a decoder, which requests the damage hits.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

from bench import remote_write
from bench.chaos.asking import ask, metric, post
from bench.chaos.outcome import Outcome
from bench.processes import Running, vedette

SERIES, REQUESTS, FLIPPED = 50, 200, 3
_QUIET = "storage: {segment: 1h}\n"
_BUSY = "storage: {segment: 1s}\n"


def damaged_segment(folder: Path, rng: random.Random) -> list[Outcome]:
    """Flip bytes within a segment and cut its end, while the server is down."""
    start = int(time.time()) * 1000 - 900_000
    spool = folder / "data" / "spool"
    with vedette(_QUIET, folder) as running:
        sizes = [_send(running, spool, start, k) for k in range(REQUESTS)]
        segment = _newest(spool)
        running.process.kill()
        running.process.wait()
    lost = _damage(segment, sizes, rng)
    readable = (REQUESTS - lost) * SERIES
    note = f"{lost * SERIES:,} made unreadable"
    with vedette(_BUSY, folder) as running:
        recovered = Outcome("damaged segment, restarted", readable, _count(running, start),
                            note=note)  # fmt: skip
        time.sleep(5)
        faults = _told(running, segment)
        flushed = Outcome("damaged segment, flushed", readable, _count(running, start), faults)
    with vedette(_BUSY, folder) as running:
        again = Outcome("damaged segment, restarted again", readable, _count(running, start))
    return [recovered, flushed, again]


def _damage(segment: Path, sizes: list[int], rng: random.Random) -> int:
    """Return how many requests cannot be read any more."""
    usual = Counter(b - a for a, b in pairwise(sizes)).most_common(1)[0][0]
    # Where something else was written in between, it is not known where a request lies.
    known = [k for k in range(1, REQUESTS - 2) if sizes[k] - sizes[k - 1] == usual]
    content = bytearray(segment.read_bytes())
    hit = rng.sample(known, FLIPPED)
    for k in hit:
        at = (sizes[k - 1] + sizes[k]) // 2
        content[at : at + 4] = bytes(byte ^ 0xFF for byte in content[at : at + 4])
    segment.write_bytes(content[: sizes[REQUESTS - 3] + 20])
    return FLIPPED + 2


def _told(running: Running, segment: Path) -> tuple[str, ...]:
    faults = []
    if not segment.with_suffix(".damaged").exists():
        faults.append(f"{segment.name} is not kept as .damaged")
    log = running.printed()
    if "damaged" not in log or "bytes" not in log:
        faults.append("the log does not tell of the damage")
    if metric(running, "vedette_spool_damaged_segments_total") <= 0:
        faults.append("no counter tells of the damage")
    for line in log.splitlines():
        if segment.stem in line:
            print("log:", line)
    return tuple(faults)


def _send(running: Running, spool: Path, start: int, number: int) -> int:
    """Return the size of the segment once the request is acknowledged."""
    rows = (
        remote_write.series(
            {"__name__": "chaos_spool", "series": f"{s:03d}"}, s + 1, start + number
        )
        for s in range(SERIES)
    )
    answer = post(running, b"".join(rows))
    answer.raise_for_status()
    return _newest(spool).stat().st_size


def _newest(spool: Path) -> Path:
    return max(spool.glob("*.seg"))


def _count(running: Running, start: int) -> int:
    return int(ask(running, "sum(count_over_time(chaos_spool[10m]))", start / 1000 + 300))
