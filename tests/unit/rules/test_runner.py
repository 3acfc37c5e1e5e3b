"""The rule loop: what it writes, keeps, hands on, and survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.unit.rules.support import START, Lease, World, group_of, vector
from vedette.model.alerts import AlertState
from vedette.rules.rule import RuleGroup
from vedette.rules.runner import GroupRunner, RulesRunner, offset_of
from vedette.rules.status import RuleHealth
from vedette.storage.interface import OverloadedError

MINUTE = 60_000
ON = vector(({"job": "chat"}, 2.0))
GROUP = group_of(
    """
groups:
- name: g
  interval: 1m
  query_offset: 10s
  rules:
  - {record: r, expr: input}
  - {alert: A, expr: r > 1, for: 1m}
"""
)


@asynccontextmanager
async def running(
    world: World, groups: Sequence[RuleGroup] = (GROUP,), lease: Lease | None = None
) -> AsyncIterator[RulesRunner]:
    """Run the rules in a world of doubles."""
    runner = RulesRunner(groups, world.around(), lease or Lease(), "me")
    task = asyncio.create_task(runner.run())
    await world.clock.advance(0)
    try:
        yield runner
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_evaluation() -> None:
    """Rules are asked in order at the offset time; series, states and alerts follow."""
    world = World()
    world.engine.answers = {"input": ON, "r > 1": ON}
    group = GroupRunner(GROUP, world.around())
    await group.restore()
    await group.evaluate(START)
    await group.evaluate(START + MINUTE)
    assert world.engine.asked[:2] == [("input", START - 10_000), ("r > 1", START - 10_000)]
    at = START - 10_000
    assert world.store.written[:3] == [
        (at, 'r{job="chat"}', 2.0),
        (at, 'ALERTS{alertname="A", alertstate="pending", job="chat"}', 1.0),
        (at, 'ALERTS_FOR_STATE{alertname="A", job="chat"}', START / 1000),
    ]
    # The pending series ends with a staleness marker where the firing one begins.
    assert world.store.written[4:] == [
        (at + MINUTE, 'ALERTS{alertname="A", alertstate="firing", job="chat"}', 1.0),
        (at + MINUTE, 'ALERTS_FOR_STATE{alertname="A", job="chat"}', START / 1000),
        (at + MINUTE, 'ALERTS{alertname="A", alertstate="pending", job="chat"}', None),
    ]
    assert [len(post) for post in world.sink.posts] == [0, 1]
    (alert,) = world.sink.posts[1]
    assert (alert.starts_at, alert.ends_at, alert.value) == (START + MINUTE, 0, 2.0)
    assert alert.generator_url == "http://vedette/graph?g0.expr=r+%3E+1&g0.tab=1"
    assert [one.state for one in world.states.kept[GROUP.key]] == [AlertState.FIRING]


async def test_first_occurrence_is_the_rules_to_ask_for() -> None:
    """Rules count the first sight of a series as an increase, unless one says otherwise."""
    world = World()
    text = """
groups:
- name: g
  rules:
  - {record: counts, expr: a}
  - {record: waits, expr: b, first_occurrence: false}
"""
    await GroupRunner(group_of(text), world.around()).evaluate(START)
    assert world.engine.first_occurrence == {"a": True, "b": False}


async def test_a_failing_rule_stops_nothing_and_changes_nothing() -> None:
    """Its alerts go on firing, its health tells why, and the other rule is evaluated."""
    world = World()
    world.engine.answers = {"input": ValueError("no such function"), "r > 1": ON}
    group = GroupRunner(GROUP, world.around())
    await group.evaluate(START)
    await group.evaluate(START + MINUTE)
    world.engine.answers["r > 1"] = RuntimeError("engine gone")
    await group.evaluate(START + 2 * MINUTE)
    record, alert = group.status().rules
    assert (record.health, record.last_error) == (RuleHealth.ERR, "no such function")
    assert (alert.health, alert.last_error) == (RuleHealth.ERR, "engine gone")
    assert [one.state for one in alert.alerts] == [AlertState.FIRING]
    assert [one.ends_at for one in world.sink.posts[-1]] == [0]


async def test_storage_that_refuses_does_not_stop_alerting() -> None:
    """When series and states cannot be written the alert is posted all the same, and counted."""
    world = World()
    world.engine.answers = {"input": ON, "r > 1": ON}
    world.store.refused = OverloadedError("queue full")
    world.states.broken = True
    around = world.around()
    group = GroupRunner(GROUP, around)
    await group.evaluate(START)
    await group.evaluate(START + MINUTE)
    assert len(world.sink.posts[-1]) == 1
    assert "could not be written: queue full" in group.status().rules[1].last_error
    assert (around.counters.state_failures, around.counters.samples) == (2, 0)


async def test_a_restart_changes_nothing() -> None:
    """Pending since is kept, so that the alert fires when it would have; firing is posted first."""
    world = World()
    world.engine.answers = {"r > 1": ON}
    first = GroupRunner(GROUP, world.around())
    await first.evaluate(START)
    second = GroupRunner(GROUP, world.around())
    await second.restore()
    await second.evaluate(START + MINUTE)
    (one,) = second.instances()
    assert (one.state, one.active_at) == (AlertState.FIRING, START)
    async with running(world) as runner:
        assert world.sink.settled_after == len(world.sink.posts)
        assert [alert.ends_at for alert in world.sink.posts[-1]] == [0]
        assert runner.snapshot()[0].rules[1].alerts == (one,)


async def test_the_loop_is_aligned_and_counts_what_it_misses() -> None:
    """Evaluations stand at the group's offset in each interval; a jump of the clock is counted."""
    world = World()
    async with running(world) as runner:
        await world.clock.advance(180)
        stamps = sorted({ts + 10_000 for _, ts in world.engine.asked})
        assert [ts % MINUTE for ts in stamps] == [offset_of(GROUP.key, MINUTE)] * 3
        world.clock.skew_ms += 5 * MINUTE
        await world.clock.advance(60)
        assert runner.snapshot()[0].missed == 5
        world.clock.skew_ms -= 60 * MINUTE
        before = len(world.engine.asked)
        await world.clock.advance(120)
        assert len(world.engine.asked) == before + 4
        assert runner.snapshot()[0].missed == 5


async def test_a_fault_in_the_loop_does_not_end_it() -> None:
    """An evaluation that raises is counted, and the next slot evaluates again."""
    world = World()
    world.engine.answers = {"input": ON}
    world.store.refused = ZeroDivisionError()
    async with running(world) as runner:
        await world.clock.advance(120)
        assert runner.counters.failures == 2
        world.store.refused = None
        await world.clock.advance(60)
        assert runner.snapshot()[0].rules[0].health is RuleHealth.OK


async def test_only_the_holder_of_the_lease_evaluates() -> None:
    """Without the lease nothing is asked; losing it stops the loop; getting it restores first."""
    world, lease = World(), Lease()
    lease.free = False
    async with running(world, lease=lease) as runner:
        await world.clock.advance(120)
        assert (runner.leading, world.engine.asked) == (False, [])
        lease.free = True
        await world.clock.advance(70)
        assert runner.leading
        asked = len(world.engine.asked)
        assert asked > 0
        lease.free = False
        await world.clock.advance(10)
        await world.clock.advance(120)
        assert len(world.engine.asked) <= asked + 2
        assert not runner.leading


async def test_states_that_cannot_be_loaded_are_tried_again() -> None:
    """Evaluation waits until the stored states are there, or pending alerts would begin anew."""
    world = World()
    world.states.broken = True
    async with running(world) as runner:
        await world.clock.advance(60)
        assert (world.engine.asked, runner.leading) == ([], False)
        world.states.broken = False
        await world.clock.advance(70)
        assert runner.leading
        assert world.engine.asked


async def test_reload_keeps_states_and_resolves_what_is_gone() -> None:
    """A rule that stays keeps firing, one that is removed is told as resolved, with its group."""
    other = group_of("groups: [{name: h, interval: 1m, rules: [{alert: H, expr: h}]}]")
    world = World()
    world.engine.answers = {"r > 1": ON, "h": ON}
    async with running(world, (GROUP, other)) as runner:
        await world.clock.advance(180)
        world.sink.posts.clear()
        edited = group_of(
            "groups: [{name: g, interval: 1m, rules: [{alert: A, expr: r > 1, for: 30m}]}]"
        )
        await runner.reload([edited])
        told = {a.labels.get("alertname"): a.resolved for post in world.sink.posts for a in post}
        assert told == {"A": False, "H": True}
        assert world.states.kept[other.key] == []
        await world.clock.advance(60)
        assert [one.state for one in runner.snapshot()[0].rules[0].alerts] == [AlertState.FIRING]


@pytest.mark.parametrize("interval", [1, 1000, 15_000, 86_400_000])
def test_offsets_spread(interval: int) -> None:
    """An offset lies within the interval and is the same every time."""
    assert 0 <= offset_of("f;g", interval) < interval
    assert offset_of("f;g", interval) == offset_of("f;g", interval)


async def test_what_ended_after_a_restart_is_not_kept() -> None:
    """A pending alert whose condition ends right after a restart leaves the stored state."""
    world = World()
    world.engine.answers = {"r > 1": ON}
    await GroupRunner(GROUP, world.around()).evaluate(START)
    world.engine.answers = {}
    second = GroupRunner(GROUP, world.around())
    await second.restore()
    await second.evaluate(START + MINUTE)
    assert world.states.kept[GROUP.key] == []
    # Without anything to keep, nothing is written any more.
    writes = world.states.writes
    await second.evaluate(START + 2 * MINUTE)
    assert world.states.writes == writes


async def test_a_group_that_was_removed_while_nobody_looked_is_resolved() -> None:
    """After a restart without the group, its firing alert is told as resolved and forgotten."""
    world, lease = World(), Lease()
    world.engine.answers = {"r > 1": ON}
    old = GroupRunner(GROUP, world.around())
    await old.evaluate(START)
    await old.evaluate(START + MINUTE)
    world.sink.posts.clear()
    async with running(world, (), lease) as runner:
        assert [one.resolved for post in world.sink.posts for one in post] == [True]
        assert world.states.groups() == []
        assert (runner.snapshot(), lease.holder) == ((), "me")
    # Who stops gives the lease up, so that the next process need not wait for its end.
    assert lease.holder == ""
