"""Time as the rest of the program sees it.

Only this module reads the system's clocks or sleeps. Everything else takes a :class:`Clock`, so
that tests pass a :class:`FakeClock` and nothing ever waits for real.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time in milliseconds since the epoch, monotonic time in seconds, and waiting."""

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards; the zero is arbitrary."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``; values of zero or less only yield to the event loop."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._start_ms = now_ms
        self._order = itertools.count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self._now_ms

    def monotonic(self) -> float:
        """Return the seconds that the test has let pass."""
        return (self._now_ms - self._start_ms) / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait until :meth:`advance` has moved the time far enough."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wake = self._now_ms + round(seconds * 1000)
        heapq.heappush(self._sleepers, (wake, next(self._order), future))
        await future

    @property
    def sleepers(self) -> int:
        """How many tasks wait on this clock."""
        return sum(not future.done() for _, _, future in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move the time forward, waking every sleeper in the order of its time."""
        target = self._now_ms + round(seconds * 1000)
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            wake, _, future = heapq.heappop(self._sleepers)
            self._now_ms = max(self._now_ms, wake)
            if not future.done():
                future.set_result(None)
            await self._settle()
        self._now_ms = target
        await self._settle()

    @staticmethod
    async def _settle() -> None:
        # Woken tasks run a few steps before they sleep again; none of the rooms chains more hops.
        for _ in range(20):
            await asyncio.sleep(0)


def iso(ms: int) -> str:
    """Return ``ms`` as ISO-8601 in UTC with milliseconds and a trailing Z."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
