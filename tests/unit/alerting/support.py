"""Doubles and builders of the alerting tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from vedette.alerting.pipeline import Pipeline
from vedette.alerting.ports import MemoryLog, T
from vedette.alerting.settings import AlertingSettings, read_alerting_settings
from vedette.alerting.silence import Silences
from vedette.kit.clock import FakeClock
from vedette.kit.yamlpos import Fault, Section, compose
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import Delivery, DeliveryOutcome, DeliveryReason, Notification

START = 1_767_225_600_000
DELIVERED = Delivery(DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED)
FAILED = Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.TIMEOUT, "too slow")


class SteppedClock(FakeClock):
    """A clock whose wall time the test sets, while monotonic time and sleeps go on."""

    skew_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.skew_ms


async def inline(function: Callable[[], T], /) -> T:
    """Run a blocking call at once, in place of a thread."""
    return function()


def settings_of(
    text: str, receivers: tuple[str, ...] = ("ops", "web", "db")
) -> tuple[AlertingSettings | None, list[Fault]]:
    """Read the section ``alerting`` from its text."""
    faults: list[Fault] = []
    root = compose(text, "vedette.yml", faults)
    assert root is not None
    return read_alerting_settings(Section(root, faults, "alerting"), receivers), faults


def good(text: str) -> AlertingSettings:
    """Read settings that have no fault."""
    settings, faults = settings_of(text)
    assert faults == []
    assert settings is not None
    return settings


def alert(name: str, at: int = START, ended: int = 0, **labels: str) -> Alert:
    """Build an alert."""
    return Alert(Labels.of({"alertname": name, **labels}), Labels(), at, ended)


class Recorder:
    """An integration that remembers what it was told, and fails when the test says so."""

    def __init__(self, key: str = "ops/fake/0", send_resolved: bool = True) -> None:
        self.key = key
        self.send_resolved = send_resolved
        self.answer = DELIVERED
        self.gate: asyncio.Event | None = None
        self.tried: list[Notification] = []
        self.told: list[Notification] = []

    async def send(self, notification: Notification, budget_ms: int) -> Delivery:
        self.tried.append(notification)
        if self.gate is not None:
            await self.gate.wait()
        if self.answer.ok:
            self.told.append(notification)
        return self.answer

    def texts(self) -> list[str]:
        """Return each notification as ``+firing -resolved`` names."""
        return [
            " ".join(
                ("-" if one.resolved else "+") + one.labels.get("alertname") for one in each.alerts
            )
            for each in self.told
        ]


@asynccontextmanager
async def running(
    settings: AlertingSettings,
    *recorders: Recorder,
    clock: FakeClock,
    log: MemoryLog | None = None,
    silences: Silences | None = None,
    settled: bool = True,
) -> AsyncIterator[Pipeline]:
    """Run a pipeline whose receivers are named by the first part of the recorders' keys."""
    names = {one.key.partition("/")[0] for one in recorders}
    integrations = {
        name: [one for one in recorders if one.key.startswith(f"{name}/")] for name in names
    }
    pipeline = Pipeline(
        settings,
        integrations,
        MemoryLog() if log is None else log,
        clock,
        silences=silences,
        offload=inline,
        external_url="http://vedette",
    )
    task = asyncio.create_task(pipeline.run())
    if settled:
        await pipeline.settled()
    await clock.advance(0)
    try:
        yield pipeline
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
