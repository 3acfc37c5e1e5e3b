"""Time as the SDK sees it; only this module reads the machine's clocks.

Tests pass a :class:`FakeClock`, so that a stall of ten seconds costs them nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time, and deadlines on the running event loop."""

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards; the zero is arbitrary."""
        ...

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """Return a scope that ends its body with ``TimeoutError`` after ``seconds``."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """Return :func:`asyncio.timeout`."""
        return asyncio.timeout(seconds)


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now_ms: int = 1_767_225_600_000) -> None:
        self._now_ms = now_ms
        self._seconds = 0.0
        self._order = itertools.count()
        self._deadlines: list[tuple[float, int, asyncio.Timeout]] = []

    def now_ms(self) -> int:
        """Return the wall time that the test has reached."""
        return self._now_ms + round(self._seconds * 1000)

    def monotonic(self) -> float:
        """Return the seconds that the test has let pass."""
        return self._seconds

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """Return a scope that ends when :meth:`advance` has passed its deadline."""
        scope = asyncio.timeout(None)
        heapq.heappush(self._deadlines, (self._seconds + seconds, next(self._order), scope))
        return scope

    def pass_time(self, seconds: float) -> None:
        """Move the time without letting anything else run."""
        self._seconds += seconds

    async def advance(self, seconds: float) -> None:
        """Move the time, end the scopes that are due, and let their tasks run."""
        await self.settle()
        self._seconds += seconds
        while self._deadlines and self._deadlines[0][0] <= self._seconds:
            scope = heapq.heappop(self._deadlines)[2]
            try:
                scope.reschedule(asyncio.get_running_loop().time())
            except RuntimeError:
                continue  # its body has ended already
        await self.settle()

    @staticmethod
    async def settle() -> None:
        """Let every ready task run a few steps."""
        for _ in range(20):
            await asyncio.sleep(0)  # noqa: TID251 - yields to the loop, waits for nothing
