"""Retries bounded in time, and the alert log that is one line an alert."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.notify.support import (
    DELIVERED,
    FAILED,
    REFUSED,
    START,
    inline,
    notification,
)
from vedette.kit.clock import FakeClock
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import Delivery, DeliveryReason, Notification
from vedette.notify.log import LogChannel, log_lines
from vedette.notify.retry import MAX_WAIT_MS, NotifyCounters, Retrying, wait_ms
from vedette.notify.settings import LogSettings


class Scripted:
    """A channel that answers from a list, the last one for ever."""

    name = "scripted"

    def __init__(self, *answers: Delivery | Exception) -> None:
        self.answers = list(answers)
        self.attempts = 0
        self.gate: asyncio.Event | None = None

    async def send(self, notification: Notification) -> Delivery:
        self.attempts += 1
        if self.gate is not None:
            await self.gate.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


def retrying(channel: Scripted, clock: FakeClock, at_once: int = 16) -> Retrying:
    """Wrap a channel."""
    return Retrying(
        channel, "ops/scripted/0", True, clock, NotifyCounters(), random.Random(7), at_once
    )


@given(st.integers(1, 100), st.integers(0, 10**6), st.floats(0, 1, exclude_max=True))
def test_waits(attempt: int, left: int, jitter: float) -> None:
    """A wait grows, never beyond a minute nor the budget, and honours the receiver's wish."""
    wait = wait_ms(FAILED, attempt, left, jitter)
    if wait is not None:
        assert 250 <= wait <= MAX_WAIT_MS
        assert wait < left
    wish = wait_ms(replace(FAILED, retry_after_ms=90_000), attempt, left, jitter)
    assert wish is None or 90_000 <= wish < left
    assert wait_ms(DELIVERED, attempt, left, jitter) is None
    assert wait_ms(REFUSED, attempt, left, jitter) is None


async def test_recoverable_failures_are_tried_again() -> None:
    """Until it is delivered; a fault of the channel's own code counts as recoverable."""
    clock = FakeClock(START)
    channel = Scripted(FAILED, ZeroDivisionError("http://secret"), DELIVERED)
    task = asyncio.create_task(retrying(channel, clock).send(notification(), 60_000))
    await clock.advance(10)
    assert (await task).ok
    assert channel.attempts == 3


async def test_permanent_failures_are_not() -> None:
    """A permanent failure ends at once."""
    clock, channel = FakeClock(START), Scripted(REFUSED)
    assert await retrying(channel, clock).send(notification(), 60_000) == REFUSED
    assert channel.attempts == 1


async def test_the_budget_ends_it() -> None:
    """Retries end within the budget, with the latest failure as the answer."""
    clock, channel = FakeClock(START), Scripted(FAILED)
    task = asyncio.create_task(retrying(channel, clock).send(notification(), 20_000))
    await clock.advance(20)
    assert await task == FAILED
    assert clock.monotonic() == 20
    assert 5 <= channel.attempts <= 9


async def test_only_so_many_at_once() -> None:
    """A channel that hangs holds its own slots only; what waits goes on when one is free."""
    clock, channel = FakeClock(START), Scripted(DELIVERED)
    channel.gate = asyncio.Event()
    slow = retrying(channel, clock, at_once=2)
    tasks = [asyncio.create_task(slow.send(notification(), 60_000)) for _ in range(5)]
    await clock.advance(0)
    assert channel.attempts == 2
    channel.gate.set()
    assert all(delivery.ok for delivery in await asyncio.gather(*tasks))


def test_log_lines() -> None:
    """One line an alert: time, state, name, since, value, then annotations and labels."""
    assert log_lines(notification()).splitlines() == [
        '2026-01-01T00:00:00.000Z FIRING "Slow" since=2025-12-31T23:59:00.000Z value=2.5 '
        'receiver="ops" annotation.summary="line one\\nline \\"two\\"" label.job="chat" '
        'label.severity="warning"',
        '2026-01-01T00:00:00.000Z RESOLVED "Slow" since=2025-12-31T23:59:59.000Z value=0 '
        'receiver="ops" label.job="db" label.severity="warning"',
    ]


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=30), max_size=3),
    st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=30), max_size=3),
)
def test_nothing_breaks_out_of_its_line(labels: dict[str, str], notes: dict[str, str]) -> None:
    """Whatever stands in labels and annotations, an alert is one line of bounded length."""
    alert = Alert(Labels.of(labels | {"long": "x" * 10_000}), Labels.of(notes), START)
    text = log_lines(replace(notification(), alerts=(alert,)))
    assert re.fullmatch(r"[^\n\r]*\n", text)
    assert len(text.encode()) < 8_000


async def test_the_log_channel(tmp_path: Path) -> None:
    """Lines are appended, a file that grew too large is put aside, faults are returned."""
    channel = LogChannel(LogSettings("logs/alerts.log", max_bytes=100), tmp_path, inline)
    assert (await channel.send(notification())).ok
    assert (await channel.send(notification())).ok
    assert len((tmp_path / "logs/alerts.log").read_text().splitlines()) == 2
    assert len((tmp_path / "logs/alerts.log.1").read_text().splitlines()) == 2
    (tmp_path / "file").write_text("")
    blocked = LogChannel(LogSettings("file/alerts.log"), tmp_path, inline)
    assert (await blocked.send(notification())).reason is DeliveryReason.FILE
