"""Resident memory and age of processes, from ``/proc``.

Source: proc(5), ``/proc/pid/status``, ``/proc/pid/stat`` and ``/proc/pid/task/tid/children``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_START_TIME = 19
"""Index of ``starttime`` among the fields after the command's closing parenthesis."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes resident in all, and of those the anonymous ones."""

    resident: int = 0
    anonymous: int = 0

    def most(self, other: Memory) -> Memory:
        """Return the larger of each figure."""
        return Memory(max(self.resident, other.resident), max(self.anonymous, other.anonymous))


def memory_of(pid: int, proc: Path = _PROC) -> Memory:
    """Return the memory of ``pid``; zeros when it has ended or there is no ``/proc``."""
    try:
        text = (proc / str(pid) / "status").read_text()
    except OSError:
        return Memory()
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return Memory(_bytes(fields.get("VmRSS", "")), _bytes(fields.get("RssAnon", "")))


def _bytes(field: str) -> int:
    number = field.removesuffix("kB").strip()
    return int(number) * 1024 if number.isdigit() else 0


def children_of(pid: int, proc: Path = _PROC) -> list[int]:
    """Return the processes that ``pid`` has started and that still run."""
    found: list[int] = []
    try:
        for task in (proc / str(pid) / "task").iterdir():
            found += map(int, (task / "children").read_text().split())
    except OSError:
        return found
    return found


def seconds_since_start(proc: Path = _PROC) -> float | None:
    """Return the age of this process in seconds, or ``None`` where that cannot be known."""
    try:
        stat = (proc / "self" / "stat").read_text()
        uptime = float((proc / "uptime").read_text().split()[0])
    except OSError:
        return None
    started = int(stat.rpartition(")")[2].split()[_START_TIME])
    return uptime - started / os.sysconf("SC_CLK_TCK")
