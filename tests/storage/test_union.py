"""``Samples`` and ``Events`` over head and column store, the same for every engine."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from tests.unit.storage.chdb.chunks import labels, named, points
from vedette.kit.clock import FakeClock
from vedette.model.blocks import Block
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import STALE_BITS, SampleBatch
from vedette.storage.columns import ColumnStore
from vedette.storage.head.head import Head, HeadSettings
from vedette.storage.ingest import IngestPipeline
from vedette.storage.interface import StorageError
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.samples import SelectionCache, StoredEvents, StoredSamples
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import CrashFiles

T0 = FakeClock().now_ms() - 7_200_000
STEP = 15_000
_BITS = [STALE_BITS, 0x7FF8000000000001, 0x8000000000000000, 0x7FF0000000000000, 2**62 + 12345]

Held = dict[Labels, dict[int, int]]


@dataclass
class Life:
    """A running pipeline over an engine."""

    pipeline: IngestPipeline
    index: MemorySeriesIndex
    head: Head
    samples: StoredSamples
    events: StoredEvents
    expected: Held

    async def send(self, series: Sequence[Labels], ts: int, target: str = "") -> None:
        refs = self.index.refs(series)
        patterns = [_BITS[(ts // STEP + k) % len(_BITS)] for k in range(len(series))]
        values = np.array(patterns, np.uint64).view(np.float64)
        batch = SampleBatch("a", refs, np.full(len(refs), ts), values, target)
        await self.pipeline.append_samples(batch)
        for labels_, value in zip(series, patterns, strict=True):
            self.expected.setdefault(labels_, {})[ts] = value

    def within(self, start: int, end: int) -> Held:
        cut = {
            s: {t: v for t, v in p.items() if start <= t <= end} for s, p in self.expected.items()
        }
        return {series: found for series, found in cut.items() if found}


@asynccontextmanager
async def life(
    columns: ColumnStore, files: CrashFiles | None = None, expected: Held | None = None
) -> AsyncIterator[Life]:
    """Run a pipeline; ``expected`` carries over what earlier lives sent."""
    index = MemorySeriesIndex()
    head = Head(index)
    pipeline = IngestPipeline(files or CrashFiles(), index, head, columns, FakeClock())
    await pipeline.start()
    try:
        samples = StoredSamples(pipeline, head, columns)
        events = StoredEvents(pipeline.events, columns)
        yield Life(pipeline, index, head, samples, events, {} if expected is None else expected)
    finally:
        await pipeline.aclose()


def _cut(found: Held, start: int, end: int) -> Held:
    cut = {s: {t: v for t, v in p.items() if start <= t <= end} for s, p in found.items()}
    return {series: points for series, points in cut.items() if points}


@pytest.mark.parametrize("seed", range(4))
async def test_the_union_is_what_was_sent(columns: ColumnStore, own: str, seed: int) -> None:
    """Whatever lies in the head, in the store or in both, every sample is selected once."""
    dice = random.Random(seed)
    series = [labels(f"{own}_{k % 2}", k=str(k)) for k in range(12)]
    files = CrashFiles()
    expected: Held = {}
    for _ in range(3):
        async with life(columns, files, expected) as now:
            for step in range(12):
                at = T0 + (len(expected.get(series[0], {})) + step) * STEP
                at = max([at, *(max(p) + STEP for p in expected.values())])
                members = [s for s in series if dice.random() < 0.8] or series[:1]
                await now.send(members, at, dice.choice(["", "t1"]))
                if dice.random() < 0.3:
                    await now.pipeline.flush()
                if dice.random() < 0.2:
                    now.head.settings = HeadSettings(age_ms=5 * STEP)
                start = T0 + dice.randint(-2, 30) * STEP
                end = start + dice.randint(0, 40) * STEP
                for metric in (f"{own}_0", f"{own}_1"):
                    found = points(now.samples.select(named(metric), start, end))
                    wanted = {s: p for s, p in now.within(start, end).items() if s.metric == metric}
                    assert _cut(found, start, end) == wanted
            await now.pipeline.flush()
            now.head.evict(2**60 if dice.random() < 0.5 else 0)


async def test_a_target_in_head_and_store_stays_one_dense_block(
    columns: ColumnStore, own: str
) -> None:
    """Joining both does not take apart what shares its timestamps."""
    series = [labels(own, k=str(k)) for k in range(8)]
    files = CrashFiles()
    expected: Held = {}
    async with life(columns, files, expected) as now:
        for k in range(10):
            await now.send(series, T0 + k * STEP, "t")
        await now.pipeline.flush()
    async with life(columns, CrashFiles(), expected) as now:
        for k in range(10, 20):
            await now.send(series, T0 + k * STEP, "t")
        (selection,) = now.samples.select(named(own), T0, T0 + 20 * STEP)
        assert points((selection,)) == expected
        assert [type(block) for block in selection.blocks] == [Block]


async def test_labels_come_from_head_and_store(columns: ColumnStore, own: str) -> None:
    """Series, names and values are the union of both, sorted, limited, and matched."""
    old, new = labels(f"{own}_old", a="1"), labels(f"{own}_new", b="2")
    mine = [[Matcher("__name__", MatchOp.REGEX, f"{own}_.*")]]
    async with life(columns) as now:
        await now.send([old], T0)
        await now.pipeline.flush()
    async with life(columns) as now:
        await now.send([new], T0 + STEP)
        span = T0 - STEP, T0 + 2 * STEP
        assert now.samples.series(mine, *span, 0) == [new, old]
        assert now.samples.series(mine, *span, 1) == [new]
        assert now.samples.series([named(f"{own}_old"), named(f"{own}_x")], *span, 0) == [old]
        assert now.samples.label_names(mine, *span) == ["__name__", "a", "b"]
        assert now.samples.label_values("__name__", mine, *span) == [f"{own}_new", f"{own}_old"]
        assert now.samples.label_values("a", mine, *span) == ["1"]


def _event(app: str, number: int, ts: int) -> Event:
    data = [b'{"state":"done","n":%d}', b'{"state":"cut","n":%d}', b'{"state":null,"n":%d}'][
        number % 3
    ]
    return Event(f"{number:032d}", app, "stream" if number % 2 else "chat", ts, data % number)


async def test_events_are_paged_and_counted_over_head_and_store(
    columns: ColumnStore, own: str
) -> None:
    """Each event stands on one page and counts once, before, between and after flushes."""
    events = [_event(own, k, T0 + k // 3) for k in range(40)]
    where = {"app": own, "type": "", "since": T0, "until": T0 + 100}
    async with life(columns) as now:
        for k in range(0, 40, 8):
            await now.pipeline.append_events(events[k : k + 8])
            if k in (8, 24):
                await now.pipeline.flush()
            sent = events[: k + 8]
            found: list[Event] = []
            cursor = "start"
            while cursor:
                page, cursor = now.events.find(
                    **where, limit=7, cursor="" if cursor == "start" else cursor
                )
                found += page
            assert found == sorted(sent, key=lambda e: (e.ts, e.id), reverse=True)
            states = Counter(["done", "cut", "null"][j % 3] for j in range(len(sent)))
            assert now.events.count(**where, by="state") == states
            assert now.events.count(**where, by="") == {"": len(sent)}
            assert now.events.count(**where, by="none") == {"": len(sent)}
        half = {**where, "type": "chat", "since": T0 + 2, "until": T0 + 5}
        chats = sum(e.type == "chat" and T0 + 2 <= e.ts < T0 + 5 for e in events)
        assert now.events.count(**half, by="") == {"": chats}


async def test_events_of_a_flush_that_was_cut_short_count_once(own: str) -> None:
    """While it is unknown whether the store has them, events are neither missed nor doubled."""
    columns = MemoryColumns()
    files = CrashFiles()
    where = {"app": own, "type": "", "since": 0, "until": T0 * 2}
    async with life(columns, files) as now:
        await now.pipeline.append_events([_event(own, k, T0) for k in range(5)])
        columns.fuse = 1
        with pytest.raises(StorageError, match="died"):
            await now.pipeline.flush()
        await now.pipeline.append_events([_event(own, 5, T0)])
        assert now.events.count(**where, by="") == {"": 6}
    async with life(columns, files) as now:
        assert now.events.count(**where, by="") == {"": 6}
        await now.pipeline.flush()
        assert now.events.count(**where, by="") == {"": 6}


async def test_a_wrong_cursor_is_named(own: str) -> None:
    """It is the caller's fault, and the message says where cursors come from."""
    async with life(MemoryColumns()) as now:
        with pytest.raises(ValueError, match='not a cursor: "x"'):
            now.events.find(app=own, type="", since=0, until=1, limit=1, cursor="x")


async def test_answers_of_the_store_are_kept_until_a_flush_reaches_their_time(own: str) -> None:
    """The cache answers a sliding window from memory, and never with what is out of date."""
    columns = MemoryColumns()
    async with life(columns) as now:
        await now.send([labels(own)], T0)
        await now.pipeline.flush()
        cache = SelectionCache(columns, now.pipeline.flushed_ranges, 1 << 20)
        start, end = T0 - 7_200_000, T0 + 7_200_000
        for slide in (0, 1000, 2000):
            found = cache.select(named(own), start + slide, end + slide)
            assert points(found) == now.expected
        assert (cache.hits, cache.misses) == (2, 1)
        await now.send([labels(own)], T0 + STEP)
        await now.pipeline.flush()
        assert points(cache.select(named(own), start, end)) == now.expected
        tiny = SelectionCache(columns, now.pipeline.flushed_ranges, 10)
        for _ in range(2):
            assert points(tiny.select(named(own), T0, T0 + STEP)) == now.expected
        assert tiny.hits == 0
