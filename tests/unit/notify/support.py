"""Doubles and builders of the notify tests."""

from __future__ import annotations

from collections.abc import Callable

from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import Delivery, DeliveryOutcome, DeliveryReason, Notification
from vedette.notify.channel import T

START = 1_767_225_600_000
DELIVERED = Delivery(DeliveryOutcome.DELIVERED, DeliveryReason.ACCEPTED)
FAILED = Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.CONNECTION, "no connection")
REFUSED = Delivery(DeliveryOutcome.PERMANENT, DeliveryReason.CLIENT_ERROR, "answered 400")


async def inline(function: Callable[[], T], /) -> T:
    """Run a blocking call at once, in place of a thread."""
    return function()


def notification() -> Notification:
    """Build a notification of one firing and one resolved alert."""
    shared = {"alertname": "Slow", "severity": "warning"}
    firing = Alert(
        Labels.of(shared | {"job": "chat"}),
        Labels.of({"summary": 'line one\nline "two"'}),
        START - 60_000,
        value=2.5,
        generator_url="http://vedette/graph",
    )
    resolved = Alert(Labels.of(shared | {"job": "db"}), Labels(), START - 60_000, START - 1_000)
    return Notification(
        receiver="ops",
        group_key='{}:{alertname="Slow"}',
        group_labels=Labels.of({"alertname": "Slow"}),
        alerts=(firing, resolved),
        external_url="http://vedette",
        idempotency_key="00ff",
        at=START,
    )
