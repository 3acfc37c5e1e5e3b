"""The pipeline: acknowledgement, refusal, recovery and flush, one case each."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.unit.storage.chdb.chunks import labels, named, points
from vedette.kit.clock import FakeClock
from vedette.model.events import Event
from vedette.model.samples import ABSENT_BITS, NAN_BITS, SampleBatch
from vedette.storage.flush import FlushedRanges
from vedette.storage.head.admission import Refusal
from vedette.storage.head.head import Head
from vedette.storage.ingest import IngestPipeline, IngestSettings
from vedette.storage.interface import OverloadedError, StorageError
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.samples import StoredSamples
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import CrashFiles, OsFiles, SpoolFiles
from vedette.storage.spool.frames import HEADER_SIZE
from vedette.storage.spool.spool import SpoolSettings

SERIES = [labels("m", k=str(k)) for k in range(4)]
FAR = 2**60
MINUTE = 60


@dataclass
class Life:
    """One run of a pipeline and what it needs."""

    pipeline: IngestPipeline
    index: MemorySeriesIndex
    head: Head
    samples: StoredSamples

    async def push(self, ts: int, *values: float, target: str = "") -> int:
        refs = self.index.refs(SERIES[: len(values)])
        batch = SampleBatch("a", refs, np.full(len(values), ts), np.array(values), target)
        return await self.pipeline.append_samples(batch)

    def seen(self) -> dict[str, dict[int, float]]:
        found = points(self.samples.select(named("m"), 0, FAR))
        return {
            series.get("k"): {t: float(np.uint64(v).view(np.float64)) for t, v in row.items()}
            for series, row in found.items()
        }


@dataclass
class World:
    """What outlives a run."""

    files: SpoolFiles = field(default_factory=CrashFiles)
    columns: MemoryColumns = field(default_factory=MemoryColumns)
    clock: FakeClock = field(default_factory=FakeClock)

    @property
    def now(self) -> int:
        return self.clock.now_ms()

    @asynccontextmanager
    async def life(self, settings: IngestSettings | None = None) -> AsyncIterator[Life]:
        index = MemorySeriesIndex()
        head = Head(index)
        pipeline = IngestPipeline(self.files, index, head, self.columns, self.clock, settings)
        await pipeline.start()
        try:
            yield Life(pipeline, index, head, StoredSamples(pipeline, head, self.columns))
        finally:
            await pipeline.aclose()


@pytest.fixture(params=["memory", "disk"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """A world whose spool is in memory or on the real file system."""
    return World(CrashFiles()) if request.param == "memory" else World(OsFiles(tmp_path))


@pytest.fixture
def crashing() -> tuple[World, CrashFiles]:
    """A world and its folder, which fails on demand."""
    files = CrashFiles()
    return World(files), files


async def test_acknowledged_samples_are_seen_before_and_after_the_flush(world: World) -> None:
    """A flush moves samples, and no query can tell."""
    async with world.life() as life:
        first = await life.push(world.now, 1.0, 2.0)
        second = await life.push(world.now + 1, 3.0, target="t")
        assert second > first
        assert life.samples.sequence == second
        before = life.seen()
        assert await life.pipeline.flush() == 1
        assert (
            life.seen()
            == before
            == {"0": {world.now: 1.0, world.now + 1: 3.0}, "1": {world.now: 2.0}}
        )
        life.head.evict(second)
        life.head.incomplete_until(world.now + 1)
        assert life.seen() == before
    assert set(world.columns.stored.values()) == {1}


async def test_a_restart_forgets_nothing_and_goes_on_counting(tmp_path: Path) -> None:
    """Unflushed samples and events come back; sequences rise over lives."""
    world = World(OsFiles(tmp_path))
    event = Event("0" * 32, "a", "t", 5, b"{}")
    async with world.life() as life:
        await life.push(world.now, 1.0)
        last = await life.pipeline.append_events([event])
    world.files = OsFiles(tmp_path)
    async with world.life() as life:
        assert life.seen() == {"0": {world.now: 1.0}}
        assert len(life.pipeline.events) == 1
        assert life.samples.sequence == last
        assert await life.push(world.now + 1, 2.0) > last
        await life.pipeline.flush()
        assert len(life.pipeline.events) == 0
    assert world.columns.find_events(
        app="a", type="", since=0, until=9, limit=9, before=(9, "~")
    ) == [event]


async def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    """The second is told why."""
    held = OsFiles(tmp_path)
    with pytest.raises(StorageError, match="in use by another process"):
        OsFiles(tmp_path)
    held.close()
    OsFiles(tmp_path).close()


@pytest.mark.parametrize("trouble", ["full", "sick"])
async def test_a_disk_that_refuses_acknowledges_nothing_and_heals(
    crashing: tuple[World, CrashFiles], trouble: str
) -> None:
    """Senders get an error; when they come again after the cure, each sample is stored once."""
    world, files = crashing
    async with world.life() as life:
        await life.push(world.now, 0.0)
        setattr(files, trouble, True)
        for _ in range(2):
            with pytest.raises(StorageError, match="cannot write to the spool"):
                await life.push(world.now + 1, 1.0)
            with pytest.raises(StorageError, match="cannot write"):
                await life.pipeline.append_events([Event("1" * 32, "a", "t", 1, b"{}")])
        assert "cannot write" in life.pipeline.health().spool_error
        assert life.pipeline.stats.spool_errors >= 2
        setattr(files, trouble, False)
        await life.push(world.now + 1, 1.0)
        assert life.pipeline.stats.refused[Refusal.DUPLICATE] == 2
        assert life.pipeline.health().spool_error == ""
        assert life.pipeline.health().queued_bytes == 0
        assert len(life.pipeline.events) == 0
    world.files = files.after_crash(random.Random(1))
    async with world.life() as life:
        assert life.seen() == {"0": {world.now: 0.0, world.now + 1: 1.0}}
        await life.pipeline.flush()
    assert set(world.columns.stored.values()) == {1}


async def test_a_full_queue_turns_senders_away(crashing: tuple[World, CrashFiles]) -> None:
    """What the disk does not take fills the queue; then nothing more is taken, and this counts."""
    world, files = crashing
    async with world.life(IngestSettings(queue_bytes=1000)) as life:
        files.full = True
        for k in range(3):
            with pytest.raises(StorageError, match="cannot write"):
                await life.push(world.now + k, 1.0)
        with pytest.raises(OverloadedError, match="wait for the disk") as caught:
            await life.push(world.now + 9, 1.0)
        assert caught.value.retry_after > 0
        assert life.pipeline.stats.overloaded == 1
        assert world.now + 9 not in life.seen()["0"]


async def test_a_store_that_is_down_delays_the_flush_and_loses_nothing() -> None:
    """Segments wait, health tells for how long, and the loop tries again with longer pauses."""
    world = World()
    settings = IngestSettings(flush_after_ms=0, spool=SpoolSettings(segment_bytes=1))
    async with world.life(settings) as life:
        world.columns.down = True
        await life.push(world.now, 1.0)
        with pytest.raises(StorageError, match="the column store is down"):
            await life.pipeline.flush()
        await life.push(world.now + 1, 2.0)
        await world.clock.advance(90)
        health = life.pipeline.health()
        assert health.flush_error == "the column store is down"
        assert (health.lag_ms, health.backlog_segments) == (90_000, 1)
        loop = asyncio.create_task(life.pipeline.run())
        assert len(life.seen()["0"]) == 2
        world.columns.down = False
        await world.clock.advance(1)
        await _until(lambda: not life.pipeline.health().backlog_segments)
        await _until(lambda: world.clock.sleepers > 0)
        loop.cancel()
        assert life.pipeline.stats.flush_errors == 1
    assert len(world.columns.stored) == 2


async def _until(met: Callable[[], bool]) -> None:
    """Let the loop and other threads run until ``met``; the test's time limit is the bound."""
    while not met():
        await asyncio.to_thread(int)


async def test_a_backlog_beyond_its_bound_turns_senders_away() -> None:
    """The disk is not filled without end while the store is down."""
    world = World()
    world.columns.down = True
    async with world.life(IngestSettings(backlog_bytes=100)) as life:
        await life.push(world.now, 1.0)
        with pytest.raises(StorageError):
            await life.pipeline.flush()
        with pytest.raises(OverloadedError, match="wait for the column store"):
            await life.push(world.now + 1, 1.0)


async def test_resent_samples_are_known_after_flush_and_restart() -> None:
    """A sender that did not hear the acknowledgement does not double its samples."""
    world = World()
    async with world.life() as life:
        await life.push(world.now, 1.0, 2.0)
        await life.pipeline.flush()
        await life.push(world.now + 1, 3.0)
        await life.pipeline.flush()
    async with world.life() as life:
        await life.push(world.now, 1.0, 2.0)
        assert life.pipeline.stats.refused[Refusal.DUPLICATE] == 2
        await life.pipeline.flush()
    assert set(world.columns.stored.values()) == {1}


async def test_flushed_segments_go_and_leave_a_mark_of_their_time() -> None:
    """After a restart the head knows from when on it is complete, so queries ask the store."""
    world = World()
    async with world.life() as life:
        old = world.now
        await life.push(old, 1.0)
        await life.pipeline.flush()
        await world.clock.advance(11 * MINUTE)
        await life.push(world.now, 2.0)
        await life.pipeline.flush()
        names = world.files.names()
        assert "00000001.flushed" not in names
        assert "00000002.flushed" in names
    async with world.life() as life:
        assert life.head.complete_from == old + 1
        assert life.seen() == {"0": {old: 1.0, world.now: 2.0}}


async def test_a_new_spool_over_an_old_store_asks_the_store() -> None:
    """A lost spool folder does not hide what the store has, and its tokens are new."""
    world = World()
    async with world.life() as life:
        await life.push(world.now, 1.0)
        await life.pipeline.flush()
    world.files = CrashFiles()
    async with world.life() as life:
        assert life.seen() == {"0": {world.now: 1.0}}
        await life.push(world.now + 1, 2.0)
        await life.pipeline.flush()
    assert len(world.columns.stored) == 2


async def test_an_unfinished_write_is_cut_and_told(
    crashing: tuple[World, CrashFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """The torn end of the last segment is counted and logged; what stands before it is kept."""
    world, files = crashing
    async with world.life() as life:
        await life.push(world.now, 1.0)
        await life.push(world.now + 1, 2.0)
    size = len(files.read("00000001.seg"))
    files.truncate("00000001.seg", size - 3)
    with caplog.at_level(logging.WARNING):
        async with world.life() as life:
            assert life.seen() == {"0": {world.now: 1.0}}
            assert 0 < life.pipeline.stats.spool.torn_bytes < size
    assert "00000001.seg ended in an unfinished write" in caplog.text


async def test_damage_in_the_middle_is_reported_and_the_file_kept(
    crashing: tuple[World, CrashFiles], caplog: pytest.LogCaptureFixture
) -> None:
    """Frames after the damage are stored, the file is moved aside, and no restart drops it."""
    world, files = crashing
    async with world.life() as life:
        for k in range(4):
            await life.push(world.now + k, float(k))
    whole = files.read("00000001.seg")
    files.remove("00000001.seg")
    hurt = bytearray(whole)
    hurt[-150] ^= 0xFF  # in the third of four frames of 95 bytes
    copy = files.create("00000001.seg")
    copy.write(bytes(hurt))
    copy.sync()
    with caplog.at_level(logging.ERROR):
        async with world.life() as life:
            kept = life.seen()["0"]
            assert len(kept) == 3
            await life.pipeline.flush()
            assert life.pipeline.stats.spool.damaged_segments == 1
            assert life.pipeline.stats.spool.damaged_bytes > 0
    assert "00000001.seg is damaged" in caplog.text
    assert len(whole) > HEADER_SIZE
    async with world.life() as life:
        assert "00000001.damaged" in files.names()
        assert life.seen()["0"] == kept
    assert len(world.columns.stored) == 3


async def test_the_reserved_pattern_becomes_an_ordinary_nan(world: World) -> None:
    """Nobody outside can make a sample vanish by sending the bits that mean: no sample."""
    async with world.life() as life:
        refs = life.index.refs(SERIES[:1])
        value = np.array([ABSENT_BITS], np.uint64).view(np.float64)
        await life.pipeline.append_samples(SampleBatch("a", refs, np.array([5]), value))
        assert points(life.samples.select(named("m"), 0, 9)) == {SERIES[0]: {5: NAN_BITS}}


async def test_segments_are_sealed_by_age_and_by_size() -> None:
    """Neither a quiet nor a busy application waits long for its flush."""
    world = World()
    async with world.life(IngestSettings(spool=SpoolSettings(segment_bytes=10))) as life:
        await life.push(world.now, 1.0)
        assert await life.pipeline.flush(60_000) == 0
        await life.push(world.now + 1, 1.0)
        assert await life.pipeline.flush(60_000) == 1
        await world.clock.advance(61)
        assert await life.pipeline.flush(60_000) == 1
        assert await life.pipeline.flush(0) == 0


def test_ranges_that_an_insert_reached_are_known() -> None:
    """A cache keeps what no later insert touched, and gives up what it cannot know."""
    ranges = FlushedRanges(remembered=2)
    ranges.add(100)
    position = ranges.position
    assert ranges.unchanged(position, 500)
    ranges.add(300)
    assert ranges.unchanged(position, 299)
    assert not ranges.unchanged(position, 300)
    ranges.add(900)
    ranges.add(900)
    assert not ranges.unchanged(position, 0)
