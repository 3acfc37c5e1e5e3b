"""Evaluation of rules: Prometheus' states, and reasons for every change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rules.support import START, rule_of, vector
from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.blocks import LabelTable
from vedette.model.labels import Labels
from vedette.model.results import SamplesResult, ScalarResult, VectorResult
from vedette.model.samples import ABSENT
from vedette.rules.evaluate import (
    RESOLVED_RETENTION_MS,
    Change,
    Outage,
    RuleError,
    evaluate,
    restore,
)
from vedette.rules.rule import Rule

ALERT = """
alert: Slow
expr: latency > 1
for: 2m
keep_firing_for: 1m
labels: {severity: warning, level: "{{ $labels.job }}-high"}
annotations: {summary: "{{ $labels.job }} takes {{ $value | humanizeDuration }}"}
"""
MINUTE = 60_000
ON = vector(({"__name__": "latency", "job": "chat"}, 1.5))
OFF = vector()


def play(rule: Rule, steps: list[tuple[int, VectorResult]]) -> list[tuple[str, list[str]]]:
    """Evaluate at the given ms after START; return states and changes of each step."""
    instances: tuple[AlertInstance, ...] = ()
    seen = []
    for offset, result in steps:
        done = evaluate(rule, result, instances, START + offset, 7)
        instances = done.instances
        state = ",".join(one.state.value for one in instances)
        seen.append((state, [one.change.value for one in done.changes]))
    return seen


def test_the_life_of_an_alert() -> None:
    """Pending for "for", firing, kept for "keep_firing_for", resolved, forgotten after 15 min."""
    end = 4 * MINUTE + RESOLVED_RETENTION_MS
    assert play(
        rule_of(ALERT),
        [
            (0, ON),
            (MINUTE, ON),
            (2 * MINUTE, ON),
            (3 * MINUTE, OFF),
            (3 * MINUTE + 59_000, OFF),
            (4 * MINUTE, OFF),
            (end, OFF),
            (end + 1, OFF),
        ],
    ) == [
        ("pending", ["condition_met"]),
        ("pending", []),
        ("firing", ["held_long_enough"]),
        ("firing", ["kept_firing"]),
        ("firing", []),
        ("resolved", ["condition_ended"]),
        ("resolved", []),
        ("", ["retention_passed"]),
    ]


def test_labels_annotations_and_series() -> None:
    """Labels are the series' less its name, the rule's and alertname; two series are written."""
    done = evaluate(rule_of(ALERT), ON, (), START, 7)
    (one,) = done.instances
    assert one.labels == Labels.of(
        {"alertname": "Slow", "job": "chat", "severity": "warning", "level": "chat-high"}
    )
    assert one.annotations == Labels.of({"summary": "chat takes 1.5s"})
    assert (one.value, one.active_at, one.fired_at, one.sequence) == (1.5, START, 0, 7)
    assert [(str(each.labels), each.value) for each in done.samples] == [
        (
            'ALERTS{alertname="Slow", alertstate="pending", job="chat", level="chat-high", '
            'severity="warning"}',
            1.0,
        ),
        (
            'ALERTS_FOR_STATE{alertname="Slow", job="chat", level="chat-high", severity="warning"}',
            START / 1000,
        ),
    ]


def test_without_for_an_alert_fires_at_once() -> None:
    """A rule without "for" fires at the first evaluation that meets its condition."""
    rule = rule_of("alert: A\nexpr: x")
    assert play(rule, [(0, ON), (1, OFF), (2, ON)]) == [
        ("firing", ["held_long_enough"]),
        ("resolved", ["condition_ended"]),
        ("firing", ["held_long_enough"]),
    ]


def test_one_gap_begins_pending_anew() -> None:
    """A pending alert whose condition ends once is forgotten, and "for" begins anew."""
    states = play(rule_of(ALERT), [(0, ON), (MINUTE, OFF), (2 * MINUTE, ON)])
    assert [state for state, _ in states] == ["pending", "", "pending"]
    assert states[1][1] == ["condition_ended_while_pending"]


def test_a_clock_set_back_does_not_prolong_for() -> None:
    """After the clock went back an hour, the alert fires "for" after that, not an hour later."""
    hour = 60 * MINUTE
    states = play(rule_of(ALERT), [(hour, ON), (0, ON), (2 * MINUTE, ON)])
    assert [state for state, _ in states] == ["pending", "pending", "firing"]


def test_a_broken_annotation_does_not_hide_the_alert() -> None:
    """When a text cannot be expanded the alert fires all the same and says what is wrong."""
    rule = rule_of('alert: A\nexpr: x\nannotations: {summary: "{{ $labels.job | humanize }}"}')
    (one,) = evaluate(rule, ON, (), START).instances
    assert one.annotations.get("summary").startswith("<error expanding template:")


def test_errors_of_a_rule() -> None:
    """Equal labels, a limit that is exceeded, and a result that is no vector are errors."""
    rule = rule_of("alert: A\nexpr: x\nlabels: {job: same}")
    two = vector(({"job": "a"}, 1.0), ({"job": "b"}, 1.0))
    with pytest.raises(RuleError, match="same labelset after applying alert labels"):
        evaluate(rule, two, (), START)
    with pytest.raises(RuleError, match="limit of 1 is exceeded with 2 alerts"):
        evaluate(rule_of("alert: A\nexpr: x"), two, (), START, limit=1)
    with pytest.raises(RuleError, match="instant vector or a scalar"):
        evaluate(rule, SamplesResult(()), (), START)
    record = rule_of("record: r\nexpr: x\nlabels: {job: same}")
    with pytest.raises(RuleError, match="same labels after the rule's labels"):
        evaluate(record, two, (), START)


def test_recording() -> None:
    """A recording rule renames, sets its labels (an empty one removes), and drops absent values."""
    rule = rule_of('record: "job:x:sum"\nexpr: x\nlabels: {team: a, zone: ""}')
    rows = LabelTable.of([Labels.of({"__name__": "x", "job": j, "zone": "z"}) for j in "ab"])
    result = VectorResult(rows, np.array([START]), np.array([[2.0], [ABSENT]]))
    done = evaluate(rule, result, (), START)
    assert [(str(one.labels), one.value) for one in done.samples] == [
        ('job:x:sum{job="a", team="a"}', 2.0)
    ]
    scalar = ScalarResult(np.array([START]), np.array([4.0]))
    assert [(str(one.labels), one.value) for one in evaluate(rule, scalar, (), START).samples] == [
        ('job:x:sum{team="a"}', 4.0)
    ]


OUTAGE = Outage(tolerance=60 * MINUTE, grace=10 * MINUTE, brief=5 * MINUTE)


@pytest.mark.parametrize(
    ("hold", "seen_after", "away", "remaining"),
    [
        # Brief: the alert goes on as if nothing had been.
        (30, 10, 4, 16),
        # Longer: the time away does not count.
        (30, 10, 20, 20),
        # Nearly over: a long "for" waits for the grace period at least.
        (30, 29, 20, 10),
        # A short "for" has no grace period.
        (9, 8, 20, 1),
        # Over before the outage began: it fires at once.
        (10, 10, 20, -20),
    ],
)
def test_an_outage_does_not_count(hold: int, seen_after: int, away: int, remaining: int) -> None:
    """What remains of "for" after an outage is what remained before it, with a grace period."""
    rule = rule_of(f"alert: A\nexpr: x\nfor: {hold}m")
    (pending,) = evaluate(rule, ON, (), START).instances
    seen = replace(pending, evaluated_at=START + seen_after * MINUTE)
    now = seen.evaluated_at + away * MINUTE
    (restored,) = restore([rule], [seen], now, OUTAGE).instances
    assert restored.active_at + rule.hold_ms - now == remaining * MINUTE


def test_restoring() -> None:
    """Known alerts go on; a removed rule resolves; a pending one unseen for too long is dropped."""
    rule = rule_of(ALERT)
    (pending,) = evaluate(rule, ON, (), START).instances
    firing = replace(pending, state=AlertState.FIRING, fired_at=START)
    stored = [
        pending,
        replace(firing, labels=Labels.of({"a": "known"})),
        replace(firing, rule="gone", labels=Labels.of({"a": "gone"})),
        replace(pending, rule="gone", labels=Labels.of({"a": "never"})),
    ]
    soon = restore([rule], stored, START + MINUTE, OUTAGE)
    assert [one.state for one in soon.instances] == ["pending", "firing", "resolved"]
    assert [one.change for one in soon.changes] == [Change.RULE_REMOVED, Change.RULE_REMOVED]
    late = restore([rule], stored, START + 61 * MINUTE, OUTAGE)
    assert [one.state for one in late.instances] == ["firing", "resolved"]
    assert late.changes[0].change is Change.UNSEEN_TOO_LONG


@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans(), st.booleans()), max_size=60),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_states_agree_with_the_definition(
    steps: list[tuple[int, bool, bool]], hold: int, keep: int
) -> None:
    """Against a model that looks at the whole history; restarts in between change nothing."""
    rule = rule_of(f"alert: A\nexpr: x\nfor: {hold}m\nkeep_firing_for: {keep}m")
    instances: tuple[AlertInstance, ...] = ()
    now, since, lost, firing = START, None, None, False
    for seconds, condition, restart in steps:
        now += seconds * 1000
        if restart:
            instances = restore([rule], instances, now, OUTAGE).instances
        instances = evaluate(rule, ON if condition else OFF, instances, now).instances
        if condition:
            since, lost = since or now, None
            firing = firing or now - since >= hold * MINUTE
        else:
            since, lost = None if not firing else since, lost or now
            if firing and now - lost >= keep * MINUTE:
                firing, since = False, None
            elif not firing:
                since = None
        active = [one.state for one in instances if one.state is not AlertState.RESOLVED]
        wanted = ["firing"] if firing else ["pending"] if since else []
        assert active == wanted
        assert len({one.labels for one in instances}) == len(instances)
