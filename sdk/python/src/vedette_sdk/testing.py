"""For tests of instrumented applications: a client that keeps everything to itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from vedette_sdk.client import Client, Options
from vedette_sdk.clock import FakeClock
from vedette_sdk.verdict import StreamState


class RecordingClient(Client):
    """A client with its own registry, a clock that stands still, and its events in a list."""

    def __init__(self, **options: Any) -> None:
        self.time = FakeClock()
        self.events: list[tuple[str, Mapping[str, Any]]] = []
        super().__init__(Options(**options), registry=CollectorRegistry(), clock=self.time)

    def send_event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Keep the event."""
        self.events.append((kind, data))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a series, or ``None`` where there is none."""
        return self.registry.get_sample_value(name, labels)

    def states(self) -> dict[str, float]:
        """Return the end states that were counted, with their counts."""
        name = f"{self.options.namespace}_streams_total"
        counts = {state.value: self.value(name, state=state.value) for state in StreamState}
        return {state: count for state, count in counts.items() if count}
