"""External labels of alerts."""

from __future__ import annotations

from collections.abc import Sequence

from vedette.app.rules import LabelledSink
from vedette.model.alerts import Alert
from vedette.model.labels import Labels


class Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.posted: list[Alert] = []
        self.is_settled = False

    async def post(self, alerts: Sequence[Alert]) -> None:
        """Keep the alerts."""
        self.posted += alerts

    async def settled(self) -> None:
        """Keep that."""
        self.is_settled = True


async def test_alerts_get_external_labels() -> None:
    """An alert gets the labels that it does not have; its own win, and nothing else changes."""
    inner = Sink()
    sink = LabelledSink(inner, (("env", "prod"), ("site", "north")))
    alert = Alert(Labels.of({"alertname": "Down", "env": "test"}), Labels(), 1, 2, 3.0, "url")
    await sink.post([alert])
    await sink.settled()
    labels = Labels.of({"alertname": "Down", "env": "test", "site": "north"})
    assert inner.posted == [Alert(labels, Labels(), 1, 2, 3.0, "url")]
    assert inner.is_settled
