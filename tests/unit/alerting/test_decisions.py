"""The pure decisions: inhibition, silences, time intervals, groups, deduplication."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerting.support import START, alert, good
from vedette.alerting.dedup import Decision, Reason, decide, idempotency_key, next_entry
from vedette.alerting.group import Groups, Insertion
from vedette.alerting.inhibit import Inhibitor
from vedette.alerting.matchers import parse_matchers
from vedette.alerting.route import Router
from vedette.alerting.silence import NoSilences, Silence, silenced_by
from vedette.alerting.times import TimeSpan
from vedette.model.labels import Labels
from vedette.model.notifications import LogEntry, alert_id, fingerprint

HOUR = 3_600_000
A, B = alert_id(Labels.of({"a": "1"})), alert_id(Labels.of({"b": "1"}))
IDS = st.frozensets(st.sampled_from([b"a", b"b", b"c"]))


def entry(firing: frozenset[bytes], resolved: frozenset[bytes] = frozenset()) -> LogEntry:
    """Build an entry that was sent at START."""
    return LogEntry("r", "g", firing, resolved, START, START + 100 * HOUR)


@pytest.mark.parametrize(
    ("told", "firing", "resolved", "after", "send_resolved", "reason"),
    [
        (None, {A}, set(), 0, True, Reason.FIRST),
        (None, set(), {A}, 0, True, Reason.NOTHING_TOLD),
        ({A}, {A}, set(), 0, True, Reason.UNCHANGED),
        ({A}, {A, B}, set(), 0, True, Reason.NEW_FIRING),
        ({A, B}, {A}, {B}, 0, True, Reason.SOME_RESOLVED),
        ({A, B}, {A}, {B}, 0, False, Reason.END_NOT_TOLD),
        ({A}, set(), {A}, 0, True, Reason.ALL_RESOLVED),
        ({A}, set(), {A}, 0, False, Reason.END_NOT_TOLD),
        ({A}, {A}, {B}, 0, True, Reason.UNCHANGED),
        ({A}, {A}, set(), HOUR, True, Reason.REPEAT),
        ({A}, {A}, set(), HOUR - 1, True, Reason.UNCHANGED),
        ({A}, {A}, set(), -1, True, Reason.CLOCK_SET_BACK),
        ({A}, {A}, set(), 100 * HOUR, True, Reason.FIRST),
        ({A}, set(), {A}, 100 * HOUR, True, Reason.ALL_RESOLVED),
        ({A}, {B}, {A}, 0, False, Reason.NEW_FIRING),
        (set(), set(), {A}, 0, True, Reason.NOTHING_TOLD),
    ],
)
def test_deduplication(
    told: set[bytes] | None,
    firing: set[bytes],
    resolved: set[bytes],
    after: int,
    send_resolved: bool,
    reason: Reason,
) -> None:
    """Each situation has one reason."""
    last = None if told is None else entry(frozenset(told))
    decision = decide(
        last,
        frozenset(firing),
        frozenset(),
        frozenset(resolved),
        START + after,
        HOUR,
        send_resolved,
    )
    assert decision.reason is reason


@given(IDS, IDS, IDS, IDS, IDS, st.integers(-HOUR, 200 * HOUR), st.booleans())
def test_deduplication_settles(
    told: frozenset[bytes],
    told_resolved: frozenset[bytes],
    firing: frozenset[bytes],
    muted: frozenset[bytes],
    ended: frozenset[bytes],
    after: int,
    send_resolved: bool,
) -> None:
    """News and ends are told, no end without a beginning is, and the same twice is told once."""
    muted -= firing
    ended -= firing | muted
    now = START + after
    last = entry(told, told_resolved - told)
    decision = decide(last, firing, muted, ended, now, HOUR, send_resolved)
    if not firing <= told:
        assert decision.send
    assert decision.resolved == (ended & told if send_resolved else frozenset())
    assert decision.send or not decision.resolved
    if decision.record:
        blank = replace(last, sent_at=now, expires_at=now + 100 * HOUR)
        new = next_entry(last, decision, blank, firing, muted, ended)
        assert told & muted <= new.firing
        assert not new.firing & (ended | muted - told)
        again = decide(new, firing, muted, ended, now, HOUR, send_resolved)
        assert not again.send or again.reason is Reason.REPEAT
        assert again.reason is not Reason.REPEAT or new.sent_at == last.sent_at


def test_an_end_that_was_not_told_is_noted() -> None:
    """Without resolved notices, an alert that fires anew within the repeat interval is told."""
    a, both, none = frozenset({A}), frozenset({A, B}), frozenset[bytes]()
    last = entry(both)
    decision = decide(last, a, none, frozenset({B}), START + 1, HOUR, send_resolved=False)
    new = next_entry(last, decision, last, a, none, frozenset({B}))
    assert (new.firing, new.sent_at) == (a, START)
    again = decide(new, both, none, none, START + 2, HOUR, send_resolved=False)
    assert again.reason is Reason.NEW_FIRING


def test_what_is_muted_for_long_is_not_forgotten() -> None:
    """No reminder renews the entry of a muted alert; it is renewed before it expires."""
    a, none = frozenset({A}), frozenset[bytes]()
    last = entry(a)
    early = decide(last, none, a, none, START + 99 * HOUR - 1, HOUR)
    assert early.reason is Reason.NOTHING_TOLD
    late = decide(last, none, a, none, START + 99 * HOUR, HOUR)
    assert (late.reason, late.send) == (Reason.REMEMBERED, False)
    blank = replace(last, sent_at=START + 99 * HOUR, expires_at=START + 199 * HOUR)
    assert next_entry(last, late, blank, none, a, none) == replace(
        last, expires_at=blank.expires_at
    )


def test_identities_are_stable() -> None:
    """What the log, receivers and clients hold changes only together with a version."""
    labels = Labels.of({"alertname": "A", "job": "chat"})
    assert alert_id(labels).hex() == "d312a0e1382bdbc5948ee72575d74a15"
    assert fingerprint(labels) == "ffc819bbd66aeb56"
    # FNV-1a's published offset basis: the fingerprint of no labels.
    assert fingerprint(Labels()) == "cbf29ce484222325"
    one = idempotency_key(None, "r", "g", frozenset({A}), frozenset({B}))
    assert one == idempotency_key(None, "r", "g", frozenset({A}), frozenset({B}))
    others = {
        idempotency_key(entry(frozenset()), "r", "g", frozenset({A}), frozenset({B})),
        idempotency_key(None, "r", "g", frozenset({B}), frozenset({A})),
        idempotency_key(None, "r2", "g", frozenset({A}), frozenset({B})),
    }
    assert len(others | {one}) == 4
    assert Decision(Reason.FIRST).send


INHIBIT = """
route: {receiver: ops}
inhibit_rules:
  - source_matchers: [alertname="Down"]
    target_matchers: [severity=~"warning|critical"]
    equal: [job]
"""


def test_inhibition() -> None:
    """A firing source mutes targets with equal labels; never itself, nor when resolved."""
    inhibitor = Inhibitor(good(INHIBIT).inhibit_rules)
    down = alert("Down", job="chat", severity="critical")
    slow = alert("Slow", job="chat", severity="warning")
    inhibitor.update([down, slow])
    assert inhibitor.muted_by(slow.labels) == down.labels
    assert inhibitor.muted_by(down.labels) is None
    assert inhibitor.muted_by(alert("Slow", job="db", severity="warning").labels) is None
    assert inhibitor.muted_by(alert("Slow", job="chat", severity="info").labels) is None
    # Two alerts that are source and target at once do not mute each other.
    twin = alert("Down", job="chat", severity="warning")
    inhibitor.update([down, twin])
    assert inhibitor.muted_by(down.labels) is None
    assert inhibitor.muted_by(twin.labels) is None
    inhibitor.update([replace(down, ends_at=START)])
    assert inhibitor.muted_by(slow.labels) is None


def test_silences() -> None:
    """A silence covers what all its matchers match, from start to end; an empty one nothing."""
    night = Silence("s1", parse_matchers('job="chat",env!="prod"'), START, START + HOUR)
    empty = Silence("s0", (), START, START + HOUR)
    silences = NoSilences([empty, night])
    assert silences.active(START - 1) == []
    assert silences.active(START + HOUR) == []
    active = silences.active(START)
    assert silenced_by(active, alert("A", job="chat").labels) == "s1"
    assert silenced_by(active, alert("A", job="chat", env="prod").labels) is None


def span(text: str) -> TimeSpan:
    """Read one time interval."""
    body = "\n".join("      " + line for line in text.splitlines())
    settings = good(
        f"route: {{receiver: ops}}\ntime_intervals:\n  - name: n\n    time_intervals:\n"
        f"    - {body.strip()}\n"
    )
    return settings.times.spans["n"][0]


@pytest.mark.parametrize(
    ("text", "moment", "expected"),
    [
        ("weekdays: ['monday:friday']", "2026-01-05T12:00", True),
        ("weekdays: ['monday:friday']", "2026-01-04T12:00", False),
        ("times: [{start_time: '09:00', end_time: '17:00'}]", "2026-01-05T17:00", False),
        ("times: [{start_time: '09:00', end_time: '24:00'}]", "2026-01-05T23:59", True),
        ("days_of_month: ['-1']", "2024-02-29T00:00", True),
        ("days_of_month: ['-1']", "2024-02-28T00:00", False),
        ("days_of_month: ['29:31']", "2026-02-28T00:00", False),
        ("days_of_month: ['1:-3']", "2026-01-29T00:00", True),
        ("months: ['december']\nyears: ['2025:2026']", "2026-12-01T00:00", True),
        ("months: ['1:3']", "2026-04-01T00:00", False),
        (
            "times: [{start_time: '09:00', end_time: '10:00'}]\nlocation: Europe/Paris",
            "2026-07-01T07:30",
            True,
        ),
        (
            "times: [{start_time: '09:00', end_time: '10:00'}]\nlocation: Europe/Paris",
            "2026-01-01T07:30",
            False,
        ),
    ],
)
def test_time_intervals(text: str, moment: str, expected: bool) -> None:
    """Every field is honoured, in the interval's own time zone with its summer time."""
    ms = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    assert span(text).contains(ms) is expected


def test_groups_and_their_times() -> None:
    """group_wait for a new group, group_interval afterwards, at once for what is long overdue."""
    settings = good("route: {receiver: ops, group_by: [job], group_wait: 30s, group_interval: 5m}")
    groups = Groups(Router(settings.route))
    assert groups.insert(alert("A", job="x"), START, 0) == (Insertion.NEW_GROUP,)
    assert groups.insert(alert("B", job="x"), START + 10_000, 10_000) == (Insertion.JOINED,)
    assert groups.insert(alert("A", job="x"), START + 10_000, 10_000) == (Insertion.UPDATED,)
    assert (groups.next_due(), groups.take_due(29_999)) == (30_000, [])
    (group,) = groups.take_due(30_000)
    assert (len(group.alerts), groups.next_due()) == (2, 330_000)
    groups.insert(alert("C", START - HOUR, job="x"), START + 40_000, 40_000)
    assert groups.next_due() == 330_000
    groups.insert(alert("D", START - HOUR, job="y"), START + 40_000, 40_000)
    assert groups.next_due() == 40_000


def test_settling_a_group() -> None:
    """Told resolved alerts go; one that fires anew meanwhile stays; an empty group goes."""
    groups = Groups(Router(good("route: {receiver: ops}").route))
    ended = alert("A", ended=START + 1)
    groups.insert(ended, START, 0)
    (group,) = groups.take_due(HOUR)
    groups.insert(alert("A", START + 2), START, 0)
    assert groups.settle(group, [ended]) is False
    assert len(groups) == 1
    groups.insert(ended, START, 0)
    assert groups.settle(group, [ended]) is True
    assert (len(groups), groups.next_due()) == (0, None)
