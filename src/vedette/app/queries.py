"""The query pool: the engine's blocking work on a few threads, with time-outs."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from vedette.kit.clock import Clock
from vedette.model.results import QueryResult
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.storage.interface import Samples

T = TypeVar("T")

MAX_WAITING = 256


@dataclass(slots=True)
class QueryStats:
    """What the pool has done; read by the server's own metrics."""

    instant: int = 0
    range: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    running: int = 0
    seconds: float = 0.0


class QueryPool:
    """Runs PromQL and look-ups on threads; numpy and the engine's pipe release the lock.

    More than ``MAX_WAITING`` queries at once are refused rather than queued without end.
    ``name`` and ``threads`` are of the pool's own threads.
    """

    def __init__(
        self,
        engine: Engine,
        samples: Samples,
        clock: Clock,
        timeout_seconds: float,
        *,
        name: str = "query",
        threads: int = 2,
    ) -> None:
        self._engine = engine
        self._samples = samples
        self._clock = clock
        self._timeout = timeout_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._closed = False
        self.stats = QueryStats()

    @property
    def sequence(self) -> int:
        """The ingest sequence that a query started now would see."""
        return self._samples.sequence

    async def instant(
        self, query: str, ts: int, *, timeout: float = 0, lookback: int = 0
    ) -> QueryResult:
        """Evaluate ``query`` at ``ts`` ms."""
        self.stats.instant += 1
        engine, check = self._engine_for(lookback), self._deadline(timeout)
        return await self.blocking(lambda: engine.instant(query, ts, check))

    async def range(
        self, query: str, start: int, end: int, step: int, *, timeout: float = 0, lookback: int = 0
    ) -> QueryResult:
        """Evaluate ``query`` every ``step`` ms."""
        self.stats.range += 1
        engine, check = self._engine_for(lookback), self._deadline(timeout)
        return await self.blocking(lambda: engine.range(query, start, end, step, check))

    async def blocking(self, call: Callable[[], T]) -> T:
        """Run a blocking look-up on one of the threads."""
        if self._closed:
            raise QueryError("canceled", "the server is stopping")
        if self.stats.running >= MAX_WAITING:
            raise QueryError("execution", f"more than {MAX_WAITING} queries are waiting; try later")
        began = self._clock.monotonic()
        self.stats.running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except QueryError as error:
            self.stats.failed[error.kind] += 1
            raise
        except PromQLSyntaxError:
            self.stats.failed["bad_data"] += 1
            raise
        finally:
            self.stats.running -= 1
            self.stats.seconds += self._clock.monotonic() - began

    def close(self) -> None:
        """Stop the threads; queries that wait are dropped, running ones end at their next check."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _engine_for(self, lookback: int) -> Engine:
        if not lookback:
            return self._engine
        options = replace(self._engine.options, lookback_ms=lookback)
        return Engine(self._samples, options)

    def _deadline(self, timeout: float) -> Callable[[], None]:
        seconds = min(timeout or self._timeout, self._timeout)
        end = self._clock.monotonic() + seconds

        def check() -> None:
            if self._closed:
                raise QueryError("canceled", "the server is stopping")
            if self._clock.monotonic() > end:
                raise QueryError("timeout", f"the query took longer than {seconds:g} s")

        return check
