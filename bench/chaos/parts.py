"""Damage in the column store: one day cannot be read and says so, all others can."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from bench import remote_write
from bench.chaos.asking import ask, post
from bench.chaos.outcome import Outcome
from bench.processes import Running, vedette

SERIES, MINUTES = 50, 60
CONFIG = "storage: {segment: 1s}\n"
_DAY_MS = 86_400_000


def damaged_part(folder: Path) -> list[Outcome]:
    """Flip bytes in the samples of a day, while the server is down."""
    today = int(time.time()) * 1000 // _DAY_MS * _DAY_MS
    days = [today - 3 * _DAY_MS, today - 2 * _DAY_MS]
    with vedette(CONFIG, folder) as running:
        for day in days:
            for minute in range(MINUTES):
                _send(running, day + minute * 60_000)
        time.sleep(4)
        whole = Outcome(
            "two days, whole", 2 * SERIES * MINUTES, sum(_count(running, day) for day in days)
        )
    hit = _damage(folder / "data", days[0] // _DAY_MS)
    with vedette(CONFIG, folder) as running:
        other = Outcome("damaged part, the other day", SERIES * MINUTES, _count(running, days[1]),
                        tuple([] if hit else ["no part was found to damage"]))  # fmt: skip
        damaged = _ask_damaged(running, days[0])
        _send(running, today + 1)
        fresh = Outcome(
            "damaged part, new samples",
            SERIES,
            int(ask(running, "count(chaos_days)", today / 1000 + 1)),
        )
    return [whole, other, damaged, fresh]


def _damage(data: Path, day: int) -> int:
    """Flip bytes in the middle of all data of ``day``; return the number of files."""
    files = [
        file
        for file in data.glob(f"**/samples/{day}_*/*.bin")
        if file.stat().st_size
    ]  # fmt: skip
    for file in files:
        content = bytearray(file.read_bytes())
        at = len(content) // 2
        content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
        file.write_bytes(content)
    return len(files)


def _ask_damaged(running: Running, day: int) -> Outcome:
    answer = httpx.get(
        f"{running.url}/api/v1/query",
        params={"query": "sum(count_over_time(chaos_days[1d]))", "time": day / 1000 + 80_000},
        timeout=60,
    )
    print(f"damaged day: {answer.status_code} {answer.text.strip()[:600]}")
    for line in running.printed().splitlines():
        if "damaged" in line:
            print("log:", line[:600])
    told = answer.json()
    clear = answer.status_code >= 400 or "warnings" in told
    faults = () if clear else ("the answer does not tell that something is missing",)
    if "damaged" not in running.printed():
        faults = (*faults, "the log does not tell of the damage")
    return Outcome("damaged part, its own day", 0, 0, faults, f"answered {answer.status_code}")


def _send(running: Running, ts: int) -> None:
    rows = (
        remote_write.series({"__name__": "chaos_days", "series": f"{s:03d}"}, s + 1, ts)
        for s in range(SERIES)
    )
    post(running, b"".join(rows)).raise_for_status()


def _count(running: Running, day: int) -> int:
    return int(ask(running, "sum(count_over_time(chaos_days[1d]))", day / 1000 + 80_000))
