"""Loops and their manager: when targets are scraped, and what the world sees of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scrape.doubles import DOWN, Bench, Index
from vedette.model.arrays import I32
from vedette.model.labels import Labels
from vedette.scrape.grammar import Metadata
from vedette.scrape.loop import Health, next_tick, phase, sample_time
from vedette.scrape.manager import ScrapeManager
from vedette.scrape.settings import ScrapeJob, ScrapeSettings
from vedette.storage.interface import OverloadedError

SECOND = 1000
T = TypeVar("T")


def job_settings(addresses: Iterable[str] = ("a:1",), **changes: Any) -> ScrapeSettings:
    """Return one job with ``addresses``, scraped every 10 s."""
    values = {"interval_ms": 10 * SECOND, **changes}
    return ScrapeSettings((ScrapeJob("web", tuple(addresses), **values),))


@asynccontextmanager
async def running(bench: Bench, wanted: ScrapeSettings) -> AsyncIterator[ScrapeManager]:
    """Run the loops of ``wanted`` on the bench's clock."""
    manager = ScrapeManager(bench.rooms)
    await manager.apply(wanted)
    try:
        yield manager
    finally:
        await manager.stop()


@settings(deadline=None)
@given(st.integers(0, 2**41), st.integers(100, 10**6), st.text())
def test_ticks_hang_on_the_epoch(now: int, interval: int, key: str) -> None:
    """The next tick lies ahead, within one interval, and in the target's phase."""
    offset = phase(key, interval)
    tick = next_tick(now, interval, offset)
    assert now < tick <= now + interval
    assert tick % interval == offset


@pytest.mark.parametrize(("late", "kept"), [(0, True), (100, True), (101, False), (-1, False)])
def test_small_delays_do_not_show_in_timestamps(late: int, kept: bool) -> None:
    """Up to 1 % of the interval the tick itself is the timestamp."""
    assert (sample_time(10_000, 10_000 + late, 10_000) == 10_000) is kept


async def test_samples_lie_one_interval_apart() -> None:
    """The first scrape comes within a second, the others at their ticks."""
    bench = Bench()
    async with running(bench, job_settings()):
        await bench.clock.advance(1)
        assert len(bench.store.batches) == 1
        await bench.clock.advance(40)
        stamps = [int(batch.ts[0]) for batch in bench.store.batches[1:]]
    assert len(stamps) == 4
    assert {later - former for former, later in itertools.pairwise(stamps)} == {10_000}
    assert stamps[0] % 10_000 == phase("web/a:1", 10_000)


async def test_targets_spread_and_a_hanging_one_delays_no_other() -> None:
    """Twenty targets have different ticks; one that never answers leaves the others in time."""
    bench = Bench()
    addresses = [f"h{i}:1" for i in range(20)]
    bench.answers.hanging.add("h0:1")
    async with running(bench, job_settings(addresses)) as manager:
        await bench.clock.advance(31)
        assert bench.answers.asked["h0:1"] == 1
        assert {bench.answers.asked[address] for address in addresses[1:]} <= {4, 5}
        health = [status.health for status in manager.targets()]
    assert health == [Health.UNKNOWN, *[Health.UP] * 19]
    assert len({int(batch.ts[0]) % 10_000 for batch in bench.store.batches[19:]}) > 10


async def test_a_failing_target_is_down_and_recovers() -> None:
    """Status, error, up and markers follow each scrape; the failure is counted by reason."""
    bench = Bench()
    bench.answers.default = b"m 1\nwrong\n"
    async with running(bench, job_settings()) as manager:
        await bench.clock.advance(1)
        (status,) = manager.targets()
        assert (status.health, status.job, status.instance) == (Health.UP, "web", "a:1")
        assert "line 2" in status.last_error
        assert status.last_scrape == int(bench.store.batches[0].ts[0])
        bench.answers.default = DOWN
        await bench.clock.advance(10)
        (status,) = manager.targets()
        assert (status.health, status.last_error) == (Health.DOWN, "cannot connect")
        assert bench.last()['up{instance="a:1", job="web"}'] == 0.0
        assert bench.last()['m{instance="a:1", job="web"}'] == "stale"
        assert bench.counts.refused["connect"] >= 1
        bench.answers.default = b"m 1\n"
        await bench.clock.advance(10)
        (status,) = manager.targets()
        assert (status.health, status.last_error) == (Health.UP, "")


async def test_storage_that_refuses_is_told_and_series_end_later() -> None:
    """A scrape that could not be stored is counted; a marker due then comes with the next one."""
    bench = Bench()
    async with running(bench, job_settings()) as manager:
        await bench.clock.advance(1)
        bench.store.error = OverloadedError("the queue is full")
        bench.answers.default = b"n 1\n"
        await bench.clock.advance(10)
        (status,) = manager.targets()
        assert (status.health, bench.counts.refused["overloaded"]) == (Health.UP, 7)
        assert "not stored" in status.last_error
        bench.store.error = None
        await bench.clock.advance(10)
    assert bench.last()['m{instance="a:1", job="web"}'] == "stale"


async def test_a_defect_does_not_end_the_scrapes(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw makes one scrape fail, loudly, and no more."""
    bench = Bench()
    bench.answers.default = KeyError("defect")
    async with running(bench, job_settings()) as manager:
        await bench.clock.advance(1)
        assert manager.targets()[0].health is Health.DOWN
        bench.answers.default = b"m 1\n"
        await bench.clock.advance(10)
        assert manager.targets()[0].health is Health.UP
    assert "failed by a defect" in caplog.text


async def test_a_reload_ends_removed_targets_and_leaves_the_others_alone() -> None:
    """Removed ones get markers, changed ones begin anew behind them, the rest go on."""
    bench = Bench()
    async with running(bench, job_settings(["a:1", "b:1"])) as manager:
        await bench.clock.advance(15)
        before = {s.instance: s.last_scrape for s in manager.targets()}
        await manager.apply(job_settings(["a:1", "c:1"]))
        assert [s.instance for s in manager.targets()] == ["a:1", "c:1"]
        assert manager.targets()[0].last_scrape == before["a:1"]
        assert set(bench.last("web/b:1").values()) == {"stale"}
        await manager.apply(job_settings(["a:1", "c:1"], labels=(("env", "prod"),)))
        ended = int(bench.store.batches[-1].ts[0])
        await bench.clock.advance(1)
        later = [int(b.ts[0]) for b in bench.store.batches if b.target == "web/a:1"]
        assert later[-1] > ended
        assert len(set(later)) == len(later)
        count = len(bench.store.batches)
    assert len(bench.store.batches) == count, "stopping is not the end of a series"


async def test_faulty_settings_change_nothing() -> None:
    """A reload with a fault is refused as a whole."""
    bench = Bench()
    async with running(bench, job_settings()) as manager:
        with pytest.raises(ValueError, match="stands twice"):
            await manager.apply(job_settings(["b:1", "b:1"]))
        assert [s.instance for s in manager.targets()] == ["a:1"]


async def test_metadata_of_all_targets() -> None:
    """Each different statement on a family once."""
    bench = Bench()
    bench.answers.bodies = {
        "a:1": b"# TYPE m counter\nm 1\n",
        "b:1": b"# TYPE m counter\nm 1\n",
        "c:1": b"# TYPE m gauge\nm 1\n",
    }
    async with running(bench, job_settings(["a:1", "b:1", "c:1"])) as manager:
        await bench.clock.advance(1)
        assert manager.metadata() == {"m": (Metadata("counter"), Metadata("gauge"))}


class Elsewhere:
    """An offload that does its work when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.works = 0

    async def __call__(self, work: Callable[[], T]) -> T:
        self.works += 1
        await self.open.wait()
        return work()


HOSTILE = {
    "large": b'm 1\nm{a="' + b"x" * 300_000,
    "many lines": b"\n" * 5000 + b"m 1\n",
    "unknown series": b"".join(b"m%d 1\n" % i for i in range(1200)) + b"m 1\n",
    "long lines": b'm{a="' + b"x" * 20_000 + b"\nm 1\n",
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_laborious_answer_delays_only_its_own_target(kind: str) -> None:
    """It is read outside of the loop; the others are scraped on, and it is stored in the end."""
    bench = Bench()
    elsewhere = Elsewhere()
    bench.rooms = replace(bench.rooms, offload=elsewhere)
    bench.answers.bodies = {"a:1": HOSTILE[kind]}
    async with running(bench, job_settings(["a:1", "b:1"])) as manager:
        await bench.clock.advance(31)
        assert elsewhere.works == 1
        assert [s.health for s in manager.targets()] == [Health.UNKNOWN, Health.UP]
        assert bench.answers.asked["a:1"] == 1
        assert bench.answers.asked["b:1"] >= 4
        elsewhere.open.set()
        await bench.clock.advance(10)
        assert [s.health for s in manager.targets()] == [Health.UP, Health.UP]
        assert bench.last("web/a:1")['m{instance="a:1", job="web"}'] == 1.0


async def test_known_series_are_read_at_once_and_new_ones_numbered_in_slices() -> None:
    """Only the first scrape of many series goes elsewhere; the index is asked for 500 at most."""
    bench = Bench()
    elsewhere = Elsewhere()
    elsewhere.open.set()
    asked: list[int] = []

    class Spy(Index):
        def refs(self, series: Sequence[Labels]) -> I32:
            asked.append(len(series))
            return super().refs(series)

    bench.rooms = replace(bench.rooms, index=Spy(), offload=elsewhere)
    bench.answers.default = b"".join(b"m%d 1\n" % i for i in range(1200))
    async with running(bench, job_settings()):
        await bench.clock.advance(25)
    assert len(bench.store.batches) == 3
    assert elsewhere.works == 1
    assert asked == [5, 500, 500, 200]
