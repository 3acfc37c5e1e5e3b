"""Who was told that an alert fires is told of its end, once, whatever muted the alert meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
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
from vedette.alerting.matchers import parse_matchers
from vedette.alerting.pipeline import Pipeline
from vedette.alerting.ports import MemoryLog
from vedette.alerting.silence import Silence
from vedette.model.alerts import Alert

# Everything is muted in the third quarter of each hour, and Slow by Down.
SETTINGS = good(
    """
route:
  receiver: ops
  routes:
    - {group_by: [job], group_wait: 30s, group_interval: 5m, repeat_interval: 1h,
       matchers: [job="x"], mute_time_intervals: [third_quarter]}
inhibit_rules:
  - {source_matchers: [alertname="Down"], target_matchers: [alertname="Slow"], equal: [job]}
time_intervals:
  - name: third_quarter
    time_intervals:
      - times:
"""
    + "\n".join(
        f'          - {{start_time: "{hour:02}:30", end_time: "{hour:02}:45"}}'
        for hour in range(24)
    )
)


class Silenced:
    """Silences that a test makes and lifts."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def active(self, now_ms: int) -> Sequence[Silence]:
        return [
            Silence(name, parse_matchers(f'alertname="{name}"'), now_ms, now_ms + 1)
            for name in self.names
        ]


@pytest.mark.parametrize("how", ["inhibited", "silenced", "muted_by_time"])
@pytest.mark.parametrize("first", ["mute_ends", "alert_ends", "together"])
async def test_the_end_of_what_was_muted_after_it_was_told(how: str, first: str) -> None:
    """Inhibition, a silence or a mute time hides neither the end nor what is still firing."""
    clock, ops, silences = SteppedClock(START), Recorder(), Silenced()
    slow, other = alert("Slow", job="x"), alert("Other", START + 60_000, job="x")
    cause = alert("Down" if how == "inhibited" else "Cause", START + 60_000, job="x")
    async with running(SETTINGS, ops, clock=clock, silences=silences) as pipeline:
        await pipeline.post([slow])
        await clock.advance(60)
        if how == "silenced":
            silences.names = {"Slow"}
        await pipeline.post([slow, cause, other])
        await clock.advance(300)
        both = "+Slow" if how == "muted_by_time" else ""
        named = sorted([f"+{cause.labels.get('alertname')}", "+Other", *both.split()])
        assert ops.texts() == ["+Slow", " ".join(named)]
        if how == "muted_by_time":
            await clock.advance(1500)
        over = {"mute_ends": [cause], "alert_ends": [slow], "together": [cause, slow]}[first]
        if first != "alert_ends":
            silences.names = set()
        await pipeline.post([replace(one, ends_at=clock.now_ms()) for one in over])
        await clock.advance(300)
        ends = [one.labels.get("alertname") for each in ops.told[2:] for one in each.resolved]
        assert sorted(ends) == sorted(one.labels.get("alertname") for one in over)
        rest = [one for one in (slow, cause, other) if one not in over]
        await pipeline.post([replace(one, ends_at=clock.now_ms()) for one in rest])
        await clock.advance(7200)
        ends = [one.labels.get("alertname") for each in ops.told for one in each.resolved]
        assert sorted(ends) == sorted(["Slow", cause.labels.get("alertname"), "Other"])
        assert pipeline.snapshot() == ()


async def test_what_is_unmuted_within_the_repeat_interval_is_no_news() -> None:
    """A told alert that another one hid for a while is not told anew when it can be seen again."""
    clock, ops = SteppedClock(START), Recorder()
    slow, down = alert("Slow", job="x"), alert("Down", START + 60_000, job="x")
    async with running(SETTINGS, ops, clock=clock) as pipeline:
        await pipeline.post([slow])
        await clock.advance(60)
        await pipeline.post([slow, down])
        await clock.advance(300)
        await pipeline.post([slow, replace(down, ends_at=clock.now_ms())])
        await clock.advance(300)
        assert ops.texts() == ["+Slow", "+Down", "+Slow -Down"]
        await clock.advance(900)
        assert len(ops.told) == 3


# --- any course of events ------------------------------------------------------------------------

NAMES = ["Down", "Slow", "Other"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["fire", "fire", "resolve", "silence", "lift", "wait", "restart", "outage", "back"]
        ),
        st.sampled_from(NAMES),
        st.sampled_from([1, 31, 301, 900]),
    ),
    max_size=30,
)


@dataclass
class World:
    """The truth beside the pipeline, and three who are told: one fails at times, one by choice."""

    clock: SteppedClock = field(default_factory=lambda: SteppedClock(START))
    log: MemoryLog = field(default_factory=MemoryLog)
    silences: Silenced = field(default_factory=Silenced)
    ops: Recorder = field(default_factory=Recorder)
    shaky: Recorder = field(default_factory=lambda: Recorder("ops/shaky/0"))
    quiet: Recorder = field(default_factory=lambda: Recorder("ops/quiet/0", send_resolved=False))
    alerts: dict[str, Alert] = field(default_factory=dict)

    def firing(self) -> set[str]:
        return {name for name, one in self.alerts.items() if not one.resolved}

    def believed(self, recorder: Recorder) -> set[str]:
        """Return what ``recorder`` must take to be firing, having checked every end it heard."""
        believed: set[str] = set()
        for one in recorder.told:
            ended = [each.labels.get("alertname") for each in one.resolved]
            assert len(ended) == len(set(ended))
            assert believed.issuperset(ended)
            assert recorder.send_resolved or not ended
            believed.difference_update(ended)
            believed.update(each.labels.get("alertname") for each in one.firing)
        return believed


async def step(world: World, pipeline: Pipeline, what: str, name: str, seconds: int) -> None:
    """Let one thing happen, then post as the rules do, then let time pass."""
    now = world.clock.now_ms()
    if what == "fire" and name not in world.firing():
        world.alerts[name] = alert(name, now, job="x")
    elif what == "resolve" and name in world.firing():
        world.alerts[name] = replace(world.alerts[name], ends_at=now)
    elif what == "silence":
        world.silences.names.add(name)
    elif what == "lift":
        world.silences.names.discard(name)
    elif what in ("outage", "back"):
        world.shaky.answer = FAILED if what == "outage" else DELIVERED
    await pipeline.post(list(world.alerts.values()))
    await world.clock.advance(seconds)


async def play(steps: list[tuple[str, str, int]]) -> None:
    """Run ``steps``, then give everybody the time of one flush, then end everything."""
    world = World()
    recorders = (world.ops, world.shaky, world.quiet)
    for part in _between_restarts(steps):
        async with running(
            SETTINGS, *recorders, clock=world.clock, log=world.log, silences=world.silences
        ) as pipeline:
            await pipeline.post(list(world.alerts.values()))
            for each in part:
                await step(world, pipeline, *each)
    async with running(
        SETTINGS, *recorders, clock=world.clock, log=world.log, silences=world.silences
    ) as pipeline:
        await step(world, pipeline, "back", "", 331)
        for one in (world.ops, world.shaky):
            assert world.believed(one) <= world.firing()
        for name in NAMES:
            await step(world, pipeline, "resolve", name, 1)
        await world.clock.advance(7200)
        assert pipeline.snapshot() == ()
    assert world.believed(world.ops) == world.believed(world.shaky) == set()
    world.believed(world.quiet)


def _between_restarts(
    steps: list[tuple[str, str, int]],
) -> list[list[tuple[str, str, int]]]:
    parts: list[list[tuple[str, str, int]]] = [[]]
    for each in steps:
        if each[0] == "restart":
            parts.append([])
        else:
            parts[-1].append(each)
    return parts


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_end_is_told_once_to_those_who_were_told(steps: list[tuple[str, str, int]]) -> None:
    """Fires, ends, silences, inhibition, mute times, outages, restarts: no end lost or invented."""
    asyncio.run(play(steps))
