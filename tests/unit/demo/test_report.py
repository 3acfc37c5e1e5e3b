"""The demo's verdict on itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vedette.demo.memory import Memory
from vedette.demo.report import Findings, disagreements, problems, report
from vedette.demo.truth import STATES, Truth

TRUTH = Truth({f"stream-{state}": state for state in STATES})
GOOD = Findings(
    truth=TRUTH,
    recorded=TRUTH.by_state,
    counters=TRUTH.by_state,
    streams=tuple(TRUTH.states.items()),
    truth_file="truth.jsonl",
    samples_stored=1000,
    fired=("A critical", "B warning"),
    resolved=("A critical", "B warning"),
    notifications=2,
    first_chart=4.216,
    server=Memory(300, 200),
    server_pid=7,
)


def test_success() -> None:
    """When all of it held there are no problems, and the report has the promised keys."""
    assert problems(GOOD) == []
    told = report(GOOD)
    assert told["success"] is True
    promised = {
        "chats_started": 6,
        "chats_by_state": dict.fromkeys(STATES, 1),
        "chats_recorded_by_state": dict.fromkeys(STATES, 1),
        "truth_file": "truth.jsonl",
        "samples_stored": 1000,
        "alerts_fired": 2,
        "alerts_resolved": 2,
        "notifications_received": 2,
        "seconds_to_first_chart": 4.22,
        "resident_bytes": 300,
        "anon_bytes": 200,
        "server_pid": 7,
    }
    assert {key: told[key] for key in promised} == promised
    assert "engine_resident_bytes" not in told
    assert report(replace(GOOD, engine=Memory(9, 8)))["engine_resident_bytes"] == 9
    json.dumps(told)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"recorded": TRUTH.by_state | {"stalled": 2}}, "stored stream events"),
        ({"counters": {}}, "raw counters (none)"),
        ({"streams": ()}, "6 streams disagree"),
        ({"truth": Truth({"a": "completed"})}, "no chat ended as client_left"),
        ({"fired": (), "resolved": ()}, "no alert fired"),
        ({"resolved": ("A critical",)}, "not resolved: B warning"),
        ({"notifications": 1}, "only 1 notifications"),
        ({"first_chart": None}, "the page never had"),
        ({"trouble": ("the server is gone",)}, "the server is gone"),
    ],
)
def test_each_broken_promise_is_told(change: dict[str, Any], said: str) -> None:
    """Whatever did not hold fails the run, and is named."""
    found = replace(GOOD, **change)
    assert any(problem.startswith(said) for problem in problems(found))
    assert report(found)["success"] is False


def test_disagreements_name_the_stream() -> None:
    """A wrong, a missing, a doubled and an invented stream are each named with both states."""
    truth = Truth({"a": "completed", "b": "stalled", "c": "error"})
    streams = [("a", "completed"), ("a", "completed"), ("b", "timed_out"), ("x", "error")]
    assert disagreements(truth, streams) == [
        {"stream_id": "a", "truth": "once", "recorded": "twice"},
        {"stream_id": "b", "truth": "stalled", "recorded": "timed_out"},
        {"stream_id": "c", "truth": "error", "recorded": None},
        {"stream_id": "x", "truth": None, "recorded": "error"},
    ]
