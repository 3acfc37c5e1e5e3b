"""The pipeline: who is told what and when, across restarts, outages and clocks that are set."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.alerting.support import (
    DELIVERED,
    FAILED,
    START,
    Recorder,
    SteppedClock,
    alert,
    good,
    running,
)
from vedette.alerting.group import Mute
from vedette.alerting.matchers import parse_matchers
from vedette.alerting.pipeline import MIN_BUDGET_MS, Pipeline
from vedette.alerting.ports import MemoryLog
from vedette.alerting.silence import NoSilences, Silence
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import LogEntry
from vedette.storage.interface import StorageError

SETTINGS = good(
    """
route:
  {receiver: ops, group_by: [job], group_wait: 30s, group_interval: 5m, repeat_interval: 1h}
inhibit_rules:
  - {source_matchers: [alertname="Down"], target_matchers: [alertname="Slow"], equal: [job]}
"""
)


async def test_the_life_of_a_group() -> None:
    """Together after group_wait, changes after group_interval, a reminder, the end; no more."""
    clock, ops = SteppedClock(START), Recorder()
    async with running(SETTINGS, ops, clock=clock) as pipeline:
        a, b = alert("A", job="x"), alert("B", START + 60_000, job="x")
        await pipeline.post([a])
        await pipeline.post([a, alert("C", job="x")])
        await clock.advance(29.9)
        assert ops.texts() == []
        await clock.advance(0.1)
        assert ops.texts() == ["+A +C"]
        await clock.advance(30)
        await pipeline.post([b, alert("C", ended=START + 50_000, job="x")])
        await clock.advance(269)
        assert ops.texts() == ["+A +C"]
        await clock.advance(1)
        assert ops.texts()[1:] == ["+A +B -C"]
        await clock.advance(3600)
        assert ops.texts()[2:] == ["+A +B"]
        await pipeline.post([replace(one, ends_at=clock.now_ms()) for one in (a, b)])
        await clock.advance(300)
        assert ops.texts()[3:] == ["-A -B"]
        await clock.advance(7200)
        assert len(ops.tried) == 4
        assert pipeline.snapshot() == ()
    first = ops.told[0]
    assert (first.receiver, first.group_key) == ("ops", '{}:{job="x"}')
    assert first.group_labels == first.common_labels == Labels.of({"job": "x"})
    assert (first.external_url, first.status, ops.told[3].status) == (
        "http://vedette",
        "firing",
        "resolved",
    )


async def test_an_alert_that_ends_before_it_is_told_is_not_told() -> None:
    """Resolved within group_wait: neither its beginning nor its end is sent."""
    clock, ops = SteppedClock(START), Recorder()
    async with running(SETTINGS, ops, clock=clock) as pipeline:
        await pipeline.post([alert("A", job="x")])
        await clock.advance(10)
        await pipeline.post([alert("A", ended=START + 9_000, job="x")])
        await clock.advance(600)
        assert (ops.tried, pipeline.snapshot()) == ([], ())


async def test_a_failing_channel_does_not_delay_another() -> None:
    """While one channel hangs and another fails, the third is told of everything in time."""
    clock = SteppedClock(START)
    hangs, fails, works = Recorder("ops/a/0"), Recorder("ops/b/0"), Recorder("ops/c/0")
    hangs.gate, fails.answer = asyncio.Event(), FAILED
    async with running(SETTINGS, hangs, fails, works, clock=clock) as pipeline:
        await pipeline.post([alert("A", job="x")])
        await clock.advance(30)
        await pipeline.post([alert("B", job="x")])
        await clock.advance(300)
        await pipeline.post([alert("A", ended=clock.now_ms(), job="x")])
        await clock.advance(300)
        assert works.texts() == ["+A", "+A +B", "+B -A"]
        assert len(hangs.tried) == 1
        assert len(fails.tried) == 3
        assert pipeline.counters.busy == 2
        # What a channel missed it is told when it is back; the end of what it never knew is not.
        hangs.gate.set()
        fails.answer = DELIVERED
        await clock.advance(300)
        assert hangs.texts() == ["+A", "+B -A"]
        assert fails.texts() == ["+B"]


async def test_a_restart_tells_nothing_twice_and_forgets_nothing() -> None:
    """The same alerts, posted again after a restart, are no news; their end is."""
    clock, ops, log = SteppedClock(START), Recorder(), MemoryLog()
    a, b = alert("A", job="x"), alert("B", START + 10_000, job="x")
    async with running(SETTINGS, ops, clock=clock, log=log) as pipeline:
        await pipeline.post([a])
        await clock.advance(60)
    async with running(SETTINGS, ops, clock=clock, log=log) as pipeline:
        await pipeline.post([a])
        await clock.advance(60)
        await pipeline.post([b])
        await clock.advance(300)
        assert ops.texts() == ["+A", "+A +B"]
    async with running(SETTINGS, ops, clock=clock, log=log) as pipeline:
        await pipeline.post([replace(a, ends_at=clock.now_ms()), replace(b, ends_at=START)])
        await clock.advance(300)
        assert ops.texts() == ["+A", "+A +B", "-A -B"]


async def test_nothing_is_told_before_the_alerts_are_back() -> None:
    """After a start, notifications wait for the rules, but not longer than settle_timeout."""
    clock, ops = SteppedClock(START), Recorder()
    old = alert("A", START - 3_600_000, job="x")
    async with running(SETTINGS, ops, clock=clock, settled=False) as pipeline:
        await pipeline.post([old])
        await clock.advance(59)
        assert ops.texts() == []
        await clock.advance(1)
        assert ops.texts() == ["+A"]
    other = Recorder()
    async with running(SETTINGS, other, clock=clock, settled=False) as pipeline:
        await pipeline.post([alert("Slow", START - 3_600_000, job="x")])
        await pipeline.post([alert("Down", START - 3_600_000, job="x")])
        await pipeline.settled()
        await clock.advance(0)
        assert other.texts() == ["+Down"]
        (view,) = pipeline.snapshot()
        muted = {one.labels.get("alertname"): verdict for one, verdict in view.alerts}
        slow = muted["Slow"]
        assert slow is not None
        assert (slow.mute, slow.by) == (Mute.INHIBITED, '{alertname="Down", job="x"}')


async def test_silences_and_mute_times() -> None:
    """A silenced alert is told when the silence ends; a muted route when the interval ends."""
    muted = good(
        """
route:
  {receiver: ops, group_wait: 1s, group_interval: 1m, routes: [
    {matchers: [team="web"], mute_time_intervals: [early]}]}
time_intervals:
  - {name: early, time_intervals: [{times: [{start_time: "00:00", end_time: "00:30"}]}]}
"""
    )
    clock, ops = SteppedClock(START), Recorder()
    silence = Silence("s", parse_matchers('alertname="A"'), START, START + 20 * 60_000)
    async with running(muted, ops, clock=clock, silences=NoSilences([silence])) as pipeline:
        await pipeline.post([alert("A"), alert("B", team="web")])
        await clock.advance(19 * 60)
        assert ops.texts() == []
        reasons = {v.mute for view in pipeline.snapshot() for _, v in view.alerts if v}
        assert reasons == {Mute.SILENCED, Mute.MUTED_BY_TIME}
        await clock.advance(2 * 60)
        assert ops.texts() == ["+A"]
        await clock.advance(10 * 60)
        assert ops.texts() == ["+A", "+B"]


async def test_a_log_that_is_away() -> None:
    """Without the database alerts are told, once while the process lives."""

    class Broken(MemoryLog):
        def get(self, receiver: str, group_key: str) -> LogEntry | None:
            raise StorageError("away")

        def put(self, entry: LogEntry) -> None:
            raise StorageError("away")

    clock, ops = SteppedClock(START), Recorder()
    async with running(SETTINGS, ops, clock=clock, log=Broken()) as pipeline:
        await pipeline.post([alert("A", job="x")])
        await clock.advance(900)
        assert ops.texts() == ["+A"]
        assert pipeline.counters.log_failures == 2


async def test_attempts_at_the_same_thing_carry_the_same_key() -> None:
    """A receiver can recognise a repeated attempt; a reminder has another key."""
    clock, ops = SteppedClock(START), Recorder()
    ops.answer = FAILED
    async with running(SETTINGS, ops, clock=clock, log=MemoryLog()) as pipeline:
        await pipeline.post([alert("A", job="x")])
        await clock.advance(30)
        await clock.advance(300)
        ops.answer = DELIVERED
        await clock.advance(300)
        await clock.advance(3600)
    keys = [one.idempotency_key for one in ops.tried]
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]


async def test_a_reload_keeps_what_was_told() -> None:
    """Other routes: what fires is told there; where nothing changes nothing is told."""
    clock, ops, web = SteppedClock(START), Recorder(), Recorder("web/fake/0")
    async with running(SETTINGS, ops, web, clock=clock) as pipeline:
        await pipeline.post([alert("A", job="x"), alert("B", job="y")])
        await clock.advance(60)
        pipeline.reload(
            good(
                "route: {receiver: ops, group_by: [job], group_wait: 30s, routes: "
                '[{matchers: [job="y"], receiver: web}]}'
            ),
            {"ops": [ops], "web": [web]},
        )
        await clock.advance(60)
        assert sorted(ops.texts()) == ["+A", "+B"]
        assert web.texts() == ["+B"]


async def test_what_is_being_sent_at_a_stop_is_recorded() -> None:
    """A notification under way when the server stops ends and is recorded, so it comes once."""
    clock, ops, log = SteppedClock(START), Recorder(), MemoryLog()
    ops.gate = asyncio.Event()
    async with running(SETTINGS, ops, clock=clock, log=log) as pipeline:
        await pipeline.post([alert("A", job="x")])
        await clock.advance(30)
        asyncio.get_running_loop().call_soon(ops.gate.set)
    assert (len(ops.told), len(log.entries)) == (1, 1)


# --- any course of events ------------------------------------------------------------------------


@dataclass
class World:
    """The truth beside the pipeline: what fires, since when nothing hindered its telling."""

    clock: SteppedClock = field(default_factory=lambda: SteppedClock(START))
    log: MemoryLog = field(default_factory=MemoryLog)
    ops: Recorder = field(default_factory=Recorder)
    firing: dict[str, Alert] = field(default_factory=dict)
    resolved: dict[str, Alert] = field(default_factory=dict)
    undisturbed_since: int = 0

    def all(self) -> list[Alert]:
        return [*self.firing.values(), *self.resolved.values()]

    def tick(self) -> int:
        return int(self.clock.monotonic() * 1000)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["fire", "resolve", "wait", "restart", "outage", "back", "clock"]),
        st.sampled_from(["A", "B", "C"]),
        st.integers(1, 700),
    ),
    max_size=25,
)


async def step(world: World, pipeline: Pipeline, what: str, name: str, amount: int) -> None:
    """Let one thing happen, then post as the rules do, then let time pass."""
    now = world.clock.now_ms()
    if what == "fire" and name not in world.firing:
        world.firing[name] = alert(name, now, job="x")
        world.resolved.pop(name, None)
        world.undisturbed_since = world.tick()
    elif what == "resolve" and name in world.firing:
        world.resolved[name] = replace(world.firing.pop(name), ends_at=now)
    elif what in ("outage", "back"):
        world.ops.answer = FAILED if what == "outage" else DELIVERED
        world.undisturbed_since = world.tick()
    elif what == "clock":
        world.clock.skew_ms += (amount - 350) * 10_000
    await pipeline.post(world.all())
    await world.clock.advance(amount if what == "wait" else 1)


def check(world: World) -> None:
    """Nobody waits for longer than promised, and every message is news, a reminder or an end."""
    limit = 300_000 + 30_000 + 1_000
    if world.ops.answer.ok and world.tick() - world.undisturbed_since > limit:
        (entry,) = world.log.entries.values() or (None,)
        known = len(entry.firing) if entry else 0
        assert known >= len(world.firing)
    told: set[str] = set()
    for one in world.ops.told:
        firing = {each.labels.get("alertname") for each in one.firing}
        ended = {each.labels.get("alertname") for each in one.resolved}
        assert firing or ended
        assert ended <= told
        told |= firing


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_swallowed_whatever_happens(steps: list[tuple[str, str, int]]) -> None:
    """Fires, ends, restarts, outages and clock steps in any order: the promises hold."""

    async def play() -> None:
        world = World()
        at = 0
        while at <= len(steps):
            async with running(SETTINGS, world.ops, clock=world.clock, log=world.log) as pipeline:
                await pipeline.post(world.all())
                world.undisturbed_since = world.tick()
                while at < len(steps) and steps[at][0] != "restart":
                    await step(world, pipeline, *steps[at])
                    check(world)
                    at += 1
                at += 1
                if at > len(steps):
                    world.ops.answer = DELIVERED
                    await world.clock.advance(331)
                    world.undisturbed_since = -(10**9)
                    check(world)

    asyncio.run(play())


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_duplicates_within_the_repeat_interval(steps: list[tuple[str, str, int]]) -> None:
    """Two messages that say the same are an hour apart, whatever restarts and clocks do."""

    async def play() -> None:
        world, sent = World(), []
        at = 0
        while at <= len(steps):
            async with running(SETTINGS, world.ops, clock=world.clock, log=world.log) as pipeline:
                await pipeline.post(world.all())
                while at < len(steps) and steps[at][0] != "restart":
                    before = len(world.ops.told)
                    await step(world, pipeline, *steps[at])
                    sent += [(one, world.clock.skew_ms) for one in world.ops.told[before:]]
                    at += 1
                at += 1
        for (one, skew), (two, later) in itertools.pairwise(sent):
            if one.firing == two.firing and not two.resolved and skew == later:
                assert two.at - one.at >= 3_600_000

    asyncio.run(play())


async def test_a_round_over_many_alerts() -> None:
    """Ten thousand alerts in five hundred groups become five hundred messages, none left out."""
    clock, ops = SteppedClock(START), Recorder()
    alerts = [alert(f"A{i}", job=f"j{i % 500}") for i in range(10_000)]
    async with running(SETTINGS, ops, clock=clock) as pipeline:
        await pipeline.post(alerts)
        await clock.advance(30)
        assert sum(len(one.alerts) for one in ops.told) == 10_000
        assert len(ops.told) == 500
        assert len(pipeline.snapshot()) == 500
    assert MIN_BUDGET_MS == 10_000
