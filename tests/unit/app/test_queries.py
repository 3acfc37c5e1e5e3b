"""The query pool: slots, the queue, time-outs, cancellation."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from tests.unit.web.support import FakeStore
from vedette.app.queries import PoolSettings, QueryPool
from vedette.app.querylog import QueryLog, QueryRecord
from vedette.kit.clock import FakeClock, SystemClock
from vedette.model.labels import Labels
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine
from vedette.query.promql.syntax_error import PromQLSyntaxError
from vedette.query.source import MemorySamples
from vedette.query.usage import Usage

Make = Callable[..., QueryPool]


TURN = FakeClock()


async def until_one_waits(pool: QueryPool) -> None:
    """Let other tasks run until a query stands in the queue."""
    for _ in range(1_000):
        if pool.stats.waiting:
            return
        await TURN.sleep(0)
    pytest.fail("nothing waits")


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make pools over ten samples of the series ``up``; they are closed at the end."""
    ts = np.arange(10, dtype=np.int64) * 1_000
    source = MemorySamples([(Labels.of({"__name__": "up"}), ts, np.ones(10))])
    pools: list[QueryPool] = []

    def made(log: QueryLog | None = None, **settings: float) -> QueryPool:
        pool = QueryPool(
            Engine(source),
            FakeStore(),
            SystemClock(),
            PoolSettings(**settings),  # type: ignore[arg-type]  # members of different types
            log=log,
        )
        pools.append(pool)
        return pool

    yield made
    for pool in pools:
        pool.close()


async def test_usage_tells_samples_and_times(make: Make) -> None:
    """What a query read and how long it took is entered where the caller wants it."""
    usage, pool = Usage(), make()
    await pool.instant("sum_over_time(up[10s])", 9_000, usage=usage)
    assert usage.samples == 10
    assert usage.eval_seconds > 0
    assert pool.stats.samples == 10


async def test_queries_beyond_the_concurrency_wait_their_turn(make: Make) -> None:
    """With one slot a second look-up starts only when the first has ended."""
    pool = make(concurrency=1)
    go, order = threading.Event(), []

    def first() -> None:
        order.append("first begins")
        go.wait(5)
        order.append("first ends")

    one = asyncio.create_task(pool.blocking(first))
    two = asyncio.create_task(pool.blocking(lambda: order.append("second")))
    await until_one_waits(pool)
    assert (pool.stats.running, pool.stats.waiting) == (1, 1)
    go.set()
    await asyncio.gather(one, two)
    assert order == ["first begins", "first ends", "second"]
    assert (pool.stats.running, pool.stats.waiting) == (0, 0)


async def test_a_full_queue_refuses(make: Make) -> None:
    """When the queue is full a query is refused at once, as unavailable."""
    pool = make(concurrency=1, queue=0)
    go = threading.Event()
    busy = asyncio.create_task(pool.blocking(lambda: go.wait(5)))
    await TURN.sleep(0)
    with pytest.raises(QueryError, match=r"query\.concurrency") as caught:
        await pool.instant("up", 0)
    assert caught.value.kind == "unavailable"
    go.set()
    await busy
    assert pool.stats.failed == {"unavailable": 1}


async def test_time_in_the_queue_counts(make: Make) -> None:
    """A query whose time is over while it waits is told so, and leaves the queue."""
    pool = make(concurrency=1)
    go = threading.Event()
    busy = asyncio.create_task(pool.blocking(lambda: go.wait(5)))
    await TURN.sleep(0)
    with pytest.raises(QueryError, match="query queue"):
        await pool.instant("up", 0, timeout=0.01)
    go.set()
    await busy
    assert (await pool.instant("up", 9_000)).annotations == ()
    assert pool.stats.running == 0


async def test_a_late_answer_is_not_waited_for(make: Make) -> None:
    """A look-up that blocks beyond its time is given up, and keeps its slot until it ends."""
    pool = make(concurrency=1)
    go = threading.Event()
    with pytest.raises(QueryError, match="query execution") as caught:
        await pool.blocking(lambda: go.wait(5), timeout=0.01)
    assert caught.value.kind == "timeout"
    assert pool.stats.running == 1
    go.set()
    await pool.blocking(lambda: None)
    assert pool.stats.running == 0


async def test_a_cancelled_query_stops_at_its_next_check(make: Make) -> None:
    """Cancelling the task makes the thread's check raise, and frees the slot."""
    pool = make(concurrency=1)
    begun, ended = threading.Event(), threading.Event()

    def loop(check: Callable[[], None]) -> None:
        begun.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    task = asyncio.create_task(pool.lookup(loop))
    assert await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 5)
    await pool.blocking(lambda: None)
    assert pool.stats.failed == {"canceled": 1}


async def test_a_cancelled_waiter_hands_its_slot_on(make: Make) -> None:
    """Whoever leaves the queue takes no slot with them."""
    pool = make(concurrency=1)
    go = threading.Event()
    busy = asyncio.create_task(pool.blocking(lambda: go.wait(5)))
    waiting = asyncio.create_task(pool.blocking(lambda: None))
    await until_one_waits(pool)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go.set()
    await busy
    await pool.blocking(lambda: None)
    assert (pool.stats.running, pool.stats.waiting) == (0, 0)


async def test_a_closed_pool_cancels(make: Make) -> None:
    """Queries that come or wait when the server stops end as canceled."""
    pool = make(concurrency=1)
    go = threading.Event()
    busy = asyncio.create_task(pool.blocking(lambda: go.wait(5)))
    waiting = asyncio.create_task(pool.instant("up", 0))
    await until_one_waits(pool)
    pool.close()
    with pytest.raises(QueryError, match="stopping"):
        await waiting
    with pytest.raises(QueryError, match="stopping"):
        await pool.instant("up", 0)
    go.set()
    await busy


async def test_errors_are_counted_by_kind(make: Make) -> None:
    """A malformed query and one that asks for too much are counted apart."""
    pool = make()
    with pytest.raises(PromQLSyntaxError):
        await pool.instant("up{", 0)
    with pytest.raises(QueryError):
        await pool.range("up", 0, 1_000_000_000, 1)
    assert pool.stats.failed == {"bad_data": 2}


async def test_the_log_tells_who_asked_what(make: Make, tmp_path: Path) -> None:
    """Each query leaves a line with its text, times, samples and error."""
    path = tmp_path / "logs" / "queries.log"
    pool = make(QueryLog(path))
    await pool.range("up", 0, 9_000, 1_000, who="admin@::1")
    with pytest.raises(PromQLSyntaxError):
        await pool.instant("up{", 5_500)
    pool.close()
    good, bad = map(json.loads, path.read_text().splitlines())
    assert (good["who"], good["query"], good["error"]) == ("admin@::1", "up", "")
    assert (good["start"], good["end"], good["step_seconds"]) == (0, 9, 1)
    assert good["samples"] == 10
    assert good["seconds"] >= good["eval_seconds"]
    assert bad["start"] == 5.5
    assert "parse error" in bad["error"]
    assert path.stat().st_mode & 0o077 == 0


def test_the_log_goes_to_a_new_file_after_rotation(tmp_path: Path) -> None:
    """When the file was moved away the next line starts a new one, for slow queries only."""
    path, moved = tmp_path / "queries.log", tmp_path / "queries.log.1"
    log = QueryLog(path, slow_seconds=1.0)
    log.write(QueryRecord("one", 0, 0, 0, ""), Usage(), 2.0, 0, "")
    log.close()
    path.rename(moved)
    log = QueryLog(path, slow_seconds=1.0)
    log.write(QueryRecord("two", 0, 0, 0, ""), Usage(), 0.5, 0, "")
    log.write(QueryRecord("three", 0, 0, 0, ""), Usage(), 1.5, 0, "")
    log.close()
    assert json.loads(moved.read_text())["query"] == "one"
    assert json.loads(path.read_text())["query"] == "three"


def test_a_log_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    """A path that is a folder drops lines, and fails no query."""
    log = QueryLog(tmp_path)
    log.write(QueryRecord("one", 0, 0, 0, ""), Usage(), 2.0, 0, "")
    log.close()
    assert log.dropped == 1
