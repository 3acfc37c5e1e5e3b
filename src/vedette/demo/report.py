"""What the demo found, and whether it held: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vedette.demo.memory import Memory
from vedette.demo.truth import STATES, Truth

LEAST_NOTIFICATIONS = 2


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the report is made of.

    ``recorded`` are the stored stream events by state, ``counters`` the raw counters,
    ``streams`` id and state of every stored stream event.
    """

    truth: Truth
    recorded: Mapping[str, int] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    streams: Sequence[tuple[str, str]] = ()
    truth_file: str = ""
    samples_stored: int = 0
    fired: Sequence[str] = ()
    resolved: Sequence[str] = ()
    notifications: int = 0
    first_chart: float | None = None
    server: Memory = field(default_factory=Memory)
    engine: Memory = field(default_factory=Memory)
    server_pid: int = 0
    seconds: float = 0.0
    trouble: Sequence[str] = ()


def disagreements(truth: Truth, streams: Sequence[tuple[str, str]]) -> list[dict[str, str | None]]:
    """Return every stream whose recorded state is not the true one, is missing, or is doubled."""
    found: list[dict[str, str | None]] = []
    recorded: dict[str, str] = {}
    for stream, state in streams:
        if stream in recorded:
            found.append({"stream_id": stream, "truth": "once", "recorded": "twice"})
        recorded[stream] = state
    for stream in sorted(truth.states.keys() | recorded.keys()):
        true, seen = truth.states.get(stream), recorded.get(stream)
        if true != seen:
            found.append({"stream_id": stream, "truth": true, "recorded": seen})
    return found


def problems(found: Findings) -> list[str]:
    """Return what did not hold; nothing means that the demo has succeeded."""
    said = list(found.trouble)
    truth = found.truth.by_state
    if dict(found.recorded) != truth:
        said.append(f"stored stream events {_counts(found.recorded)} are not {_counts(truth)}")
    if dict(found.counters) != truth:
        said.append(f"raw counters {_counts(found.counters)} are not {_counts(truth)}")
    wrong = disagreements(found.truth, found.streams)
    if wrong:
        said.append(f"{len(wrong)} streams disagree, the first: {wrong[0]}")
    absent = [state for state in STATES if not truth[state]]
    if absent:
        said.append(f"no chat ended as {', '.join(absent)}")
    if not found.fired:
        said.append("no alert fired")
    open_alerts = sorted(set(found.fired) - set(found.resolved))
    if open_alerts:
        said.append(f"not resolved: {', '.join(open_alerts)}")
    if found.notifications < LEAST_NOTIFICATIONS:
        said.append(f"only {found.notifications} notifications came")
    if found.first_chart is None:
        said.append("the page never had a live chart")
    return said


def report(found: Findings) -> dict[str, Any]:
    """Return the report as plain JSON; sizes in bytes, times in seconds."""
    told = problems(found)
    content: dict[str, Any] = {
        "chats_started": len(found.truth.states),
        "chats_by_state": found.truth.by_state,
        "chats_recorded_by_state": dict(found.recorded),
        "counters_by_state": dict(found.counters),
        "disagreements": disagreements(found.truth, found.streams)[:20],
        "truth_file": found.truth_file,
        "samples_stored": found.samples_stored,
        "alerts_fired": len(found.fired),
        "alerts_resolved": len(found.resolved),
        "alerts": sorted(found.fired),
        "notifications_received": found.notifications,
        "seconds_to_first_chart": (
            None if found.first_chart is None else round(found.first_chart, 2)
        ),
        "resident_bytes": found.server.resident,
        "anon_bytes": found.server.anonymous,
        "server_pid": found.server_pid,
        "seconds": round(found.seconds, 1),
        "problems": told,
        "success": not told,
    }
    if found.engine.resident:
        content["engine_resident_bytes"] = found.engine.resident
        content["engine_anon_bytes"] = found.engine.anonymous
    return content


def _counts(by_state: Mapping[str, int]) -> str:
    return ", ".join(f"{state} {count}" for state, count in by_state.items()) or "(none)"
