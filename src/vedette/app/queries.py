"""The query pool: the engine's blocking work on a few threads, with time-outs and cancellation.

A query waits for a slot, runs on a thread, and gives its slot back when the thread is done with
it. Whoever asked may have left by then: a time-out is told at once, and a cancelled task (the
client went away) tells the thread to stop at its next check.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from vedette.app.light import RecentSeries, is_light
from vedette.app.querylog import QueryLog, QueryRecord
from vedette.kit.clock import Clock
from vedette.model.results import QueryResult
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.query.usage import Usage
from vedette.storage.interface import Samples, StorageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How much a pool does at once.

    Attributes:
        timeout_seconds: longest time from the request to the answer, waiting included.
        concurrency: queries and look-ups that run at once.
        queue: those that may wait for a slot; further ones are refused.
    """

    timeout_seconds: float = 120.0
    concurrency: int = 4
    queue: int = 256


@dataclass(slots=True)
class QueryStats:
    """What the pool has done; read by the server's own metrics."""

    instant: int = 0
    range: int = 0
    lookups: int = 0
    light: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    running: int = 0
    waiting: int = 0
    seconds: float = 0.0
    queue_seconds: float = 0.0
    samples: int = 0


class _Ticket:
    """One query on its way: when it must end, and whether somebody still wants its answer."""

    __slots__ = ("_clock", "_end", "began", "cause", "seconds")

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self.began = clock.monotonic()
        self.seconds = seconds
        self._end = self.began + seconds
        self.cause: QueryError | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time is over."""
        return self._clock.monotonic() > self._end

    def check(self) -> None:
        """Raise when the query has to stop; called by its thread between pieces of work."""
        if self.cause is not None:
            raise self.cause
        if self.is_over:
            raise self.timed_out()

    def timed_out(self, where: str = "query execution") -> QueryError:
        """Return the error of a query whose time is over."""
        text = f"query timed out in {where}: it took longer than {self.seconds:g} s"
        return QueryError("timeout", text)


class QueryPool:
    """Runs PromQL and look-ups on threads; numpy and the engine's pipe release the lock.

    ``name`` is of the pool's own threads. Where ``recent`` is given, instant queries that it shows
    to be light are answered at once, on the event loop: a thread would cost more than they do.
    """

    def __init__(
        self,
        engine: Engine,
        samples: Samples,
        clock: Clock,
        settings: PoolSettings,
        *,
        name: str = "query",
        log: QueryLog | None = None,
        recent: RecentSeries | None = None,
    ) -> None:
        self._recent = recent
        self._engine = engine
        self._samples = samples
        self._clock = clock
        self._settings = settings
        self._log = log
        self._threads = ThreadPoolExecutor(settings.concurrency, thread_name_prefix=name)
        # Writing an answer needs no slot: its query had one.
        self._writers = ThreadPoolExecutor(2, thread_name_prefix=f"{name}-answers")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._tickets: set[_Ticket] = set()
        self._answers: dict[_Ticket, asyncio.Future[Any]] = {}
        self._ticking = False
        self._closed = False
        self.stats = QueryStats()

    @property
    def sequence(self) -> int:
        """The ingest sequence that a query started now would see."""
        return self._samples.sequence

    @property
    def log_dropped(self) -> int:
        """Lines of the query log that could not be written."""
        return 0 if self._log is None else self._log.dropped

    async def instant(
        self,
        query: str,
        ts: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        """Evaluate ``query`` at ``ts`` ms."""
        self.stats.instant += 1
        engine, ticket, used = self._engine_for(lookback), self._ticket(timeout), usage or Usage()
        record = QueryRecord(query, ts, ts, 0, who)
        light = self._recent is not None and is_light(
            query, ts, engine.options.lookback_ms, self._recent
        )

        def run() -> QueryResult:
            return engine.instant(query, ts, ticket.check, used, first_occurrence=first_occurrence)

        return await self._logged(record, ticket, used, run, light)

    async def range(
        self,
        query: str,
        start: int,
        end: int,
        step: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        """Evaluate ``query`` every ``step`` ms."""
        self.stats.range += 1
        engine, ticket, used = self._engine_for(lookback), self._ticket(timeout), usage or Usage()
        record = QueryRecord(query, start, end, step, who)

        def run() -> QueryResult:
            return engine.range(
                query, start, end, step, ticket.check, used, first_occurrence=first_occurrence
            )

        return await self._logged(record, ticket, used, run)

    async def blocking(self, call: Callable[[], T], *, timeout: float = 0) -> T:
        """Run a blocking look-up in a slot, with the time-out of queries."""
        return await self.lookup(lambda _check: call(), timeout=timeout)

    async def lookup(self, call: Callable[[Callable[[], None]], T], *, timeout: float = 0) -> T:
        """Run a look-up that asks the check it is given whether to go on."""
        self.stats.lookups += 1
        ticket = self._ticket(timeout)
        return await self._run(ticket, Usage(), lambda: call(ticket.check))

    async def aside(self, call: Callable[[], T]) -> T:
        """Run a short piece of work on a thread, such as writing an answer; it needs no slot."""
        return await asyncio.get_running_loop().run_in_executor(self._writers, call)

    def close(self) -> None:
        """Stop the threads; queries that wait are dropped, running ones end at their next check."""
        self._closed = True
        for ticket in self._tickets:
            ticket.cause = _stopping()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(_stopping())
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown(wait=False, cancel_futures=True)
        if self._log is not None:
            self._log.close()

    async def _logged(
        self,
        record: QueryRecord,
        ticket: _Ticket,
        usage: Usage,
        call: Callable[[], T],
        light: bool = False,
    ) -> T:
        error = ""
        try:
            return await self._run(ticket, usage, call, light)
        except (QueryError, PromQLSyntaxError, StorageError) as problem:
            error = str(problem)
            raise
        except asyncio.CancelledError:
            error = "the client went away"
            raise
        finally:
            self.stats.samples += usage.samples
            if self._log is not None:
                took = self._clock.monotonic() - ticket.began
                self._log.write(record, usage, took, self._clock.now_ms(), error)

    async def _run(
        self, ticket: _Ticket, usage: Usage, call: Callable[[], T], light: bool = False
    ) -> T:
        self._tickets.add(ticket)
        try:
            if light and not self._closed:
                return self._at_once(ticket, usage, call)
            await self._slot(ticket)
            usage.queue_seconds = self._clock.monotonic() - ticket.began
            return await self._on_thread(ticket, usage, call)
        except QueryError as error:
            self.stats.failed[error.kind] += 1
            raise
        except PromQLSyntaxError:
            self.stats.failed["bad_data"] += 1
            raise
        except StorageError:
            self.stats.failed["unavailable"] += 1
            raise
        except asyncio.CancelledError:
            ticket.cause = QueryError("canceled", "the client went away")
            self.stats.failed["canceled"] += 1
            raise
        finally:
            self._tickets.discard(ticket)
            self.stats.queue_seconds += usage.queue_seconds
            self.stats.seconds += self._clock.monotonic() - ticket.began

    async def _slot(self, ticket: _Ticket) -> None:
        if self._closed:
            raise _stopping()
        if self.stats.running < self._settings.concurrency:
            self.stats.running += 1
            return
        if self.stats.waiting >= self._settings.queue:
            raise QueryError(
                "unavailable",
                f"{self.stats.running} queries run and {self.stats.waiting} wait; come again "
                "later, or raise query.concurrency or query.queue in vedette.yml",
            )
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.stats.waiting += 1
        try:
            async with asyncio.timeout(ticket.seconds):
                await waiter
        except TimeoutError:
            self._pass_on(waiter)
            ticket.cause = ticket.timed_out("query queue")
            raise ticket.cause from None
        except asyncio.CancelledError:
            self._pass_on(waiter)
            raise
        finally:
            self.stats.waiting -= 1

    def _pass_on(self, waiter: asyncio.Future[None]) -> None:
        """Give a slot back that came in the moment in which its waiter left."""
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            self._release()
        elif waiter in self._waiting:
            self._waiting.remove(waiter)

    def _release(self) -> None:
        """Hand the slot to the next that waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.stats.running -= 1

    def _at_once(self, ticket: _Ticket, usage: Usage, call: Callable[[], T]) -> T:
        self.stats.light += 1
        try:
            return call()
        finally:
            usage.eval_seconds = self._clock.monotonic() - ticket.began

    async def _on_thread(self, ticket: _Ticket, usage: Usage, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            self._release()
            if answer.done():
                return
            if error is None:
                answer.set_result(result)  # type: ignore[arg-type]  # T may itself be None
            else:
                answer.set_exception(error)

        def work() -> None:
            began = self._clock.monotonic()
            result: T | None = None
            error: BaseException | None = None
            try:
                ticket.check()
                result = call()
            # Whatever went wrong belongs to whoever waits for the answer.
            except BaseException as problem:  # noqa: BLE001
                error = problem
            usage.eval_seconds = self._clock.monotonic() - began
            # When the loop is closed nobody waits any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, result, error)

        try:
            self._threads.submit(work)
        except RuntimeError:
            self._release()
            raise _stopping() from None
        if not self._ticking:
            self._ticking = True
            loop.call_later(_GRACE_SECONDS, self._give_up_late_ones)
        self._answers[ticket] = answer
        try:
            return await answer
        finally:
            self._answers.pop(ticket, None)

    def _give_up_late_ones(self) -> None:
        """Tell who waits that the time is over: one timer for all, as each costs."""
        for ticket, answer in self._answers.items():
            if ticket.is_over and not answer.done():
                ticket.cause = ticket.timed_out()
                answer.set_exception(ticket.cause)
        self._ticking = bool(self._answers)
        if self._ticking:
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._give_up_late_ones)

    def _engine_for(self, lookback: int) -> Engine:
        if not lookback:
            return self._engine
        options = replace(self._engine.options, lookback_ms=lookback)
        return Engine(self._samples, options)

    def _ticket(self, timeout: float) -> _Ticket:
        most = self._settings.timeout_seconds
        return _Ticket(self._clock, min(timeout or most, most))


# A query that looks at the clock between its pieces of work says more than one that is given up.
_GRACE_SECONDS = 0.25


def _stopping() -> QueryError:
    return QueryError("canceled", "the server is stopping")
