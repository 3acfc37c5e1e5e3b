"""Looking at the server from outside while the demo runs: its page's WebSocket, its memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from vedette.demo.memory import Memory, children_of, memory_of
from vedette.kit.clock import Clock

SeriesKey = tuple[str, str, str]


class PageWatcher:
    """A headless viewer of the operational page.

    Attributes:
        first_chart: age in seconds at which some live series had its second point, or ``None``.
        alerts: names and states of the active alerts, as the page shows them.
        messages: how many messages came, by type.
    """

    def __init__(self, url: str, age: Callable[[], float], clock: Clock) -> None:
        self._url = url
        self._age = age
        self._clock = clock
        self._points: dict[SeriesKey, int] = {}
        self.first_chart: float | None = None
        self.alerts: list[tuple[str, str, str]] = []
        self.messages: dict[str, int] = {}

    async def run(self) -> None:
        """Look until cancelled; a lost connection is made again."""
        while True:
            try:
                async with connect(self._url, proxy=None, max_size=4 << 20) as socket:
                    async for message in socket:
                        self.take(json.loads(message))
            except (OSError, WebSocketException, ValueError):
                pass  # the server is not there yet, or not any more
            await self._clock.sleep(0.2)

    def take(self, message: dict[str, Any]) -> None:
        """Take in one message of the server."""
        kind, data = message["type"], message["data"]
        self.messages[kind] = self.messages.get(kind, 0) + 1
        if kind == "metric_update" and self.first_chart is None:
            for key in live_series(data):
                self._points[key] = self._points.get(key, 0) + 1
                if self._points[key] == 2:
                    self.first_chart = self._age()
                    return
        elif kind == "alert":
            self.alerts = sorted(
                (alert["name"], alert.get("severity", ""), alert["state"])
                for alert in data["alerts"]
            )


def live_series(update: dict[str, Any]) -> Iterator[SeriesKey]:
    """Yield every series of a ``metric_update`` that has a value."""
    for panel, queries in update["panels"].items():
        for query, series in queries.items():
            for one in series:
                if one["value"] is not None:
                    yield panel, query, json.dumps(one["labels"], sort_keys=True)


class MemoryWatcher:
    """Keeps the peak memory of a process, and of its child processes together."""

    def __init__(self, pid: int, clock: Clock, period: float = 1.0) -> None:
        self._pid = pid
        self._clock = clock
        self._period = period
        self.now = Memory()
        self.peak = Memory()
        self.engine_peak = Memory()

    async def run(self) -> None:
        """Look every ``period`` seconds until cancelled."""
        while True:
            self.look()
            await self._clock.sleep(self._period)

    def look(self) -> None:
        """Look once."""
        self.now = memory_of(self._pid)
        self.peak = self.peak.most(self.now)
        parts = [memory_of(child) for child in children_of(self._pid)]
        engine = Memory(sum(p.resident for p in parts), sum(p.anonymous for p in parts))
        self.engine_peak = self.engine_peak.most(engine)
