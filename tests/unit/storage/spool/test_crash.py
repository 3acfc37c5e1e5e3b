"""Power cuts, full disks and a dying engine: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.storage.chdb.chunks import labels
from tests.unit.storage.rich import Drawn, Exact, exact, rich_points, sample_batch
from vedette.kit.clock import FakeClock
from vedette.model.events import Event
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import Exemplar, SampleBatch
from vedette.storage.exemplars import StoredExemplars
from vedette.storage.head.head import Head, HeadSettings
from vedette.storage.ingest import IngestPipeline, IngestSettings
from vedette.storage.interface import StorageError
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.samples import StoredEvents, StoredSamples
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import CrashFiles
from vedette.storage.spool.spool import SpoolSettings

Shown = tuple[Labels, int, float, Labels]
SERIES = [labels("m", k=str(k)) for k in range(5)]
EVERYTHING = [Matcher("__name__", MatchOp.REGEX, ".*")]
FAR = 2**60


class System:
    """One life after another of a pipeline on a disk that forgets."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.files = CrashFiles()
        self.columns = MemoryColumns()
        self.clock = FakeClock()
        self.acknowledged: dict[tuple[Labels, int], Exact] = {}
        self.sent: dict[tuple[Labels, int], Exact] = {}
        self.shown: set[Shown] = set()
        self.shown_acknowledged: set[Shown] = set()
        self.unheard: list[tuple[list[int], int, Drawn, str]] = []
        self.event_ids: Counter[str] = Counter()
        self.sent_events = 0
        self.step = 0
        self.last_sequence = 0

    async def boot(self) -> None:
        index = MemorySeriesIndex()
        head = Head(index, HeadSettings(budget=12_288))
        spool = SpoolSettings(segment_bytes=600)
        self.index, self.head = index, head
        self.pipeline = IngestPipeline(
            self.files, index, head, self.columns, self.clock, IngestSettings(spool=spool)
        )
        await self.pipeline.start()
        # Other numbers in every life: segments must explain their own.
        index.refs(self.dice.sample(SERIES, len(SERIES)))

    async def crash(self) -> None:
        self.files.fuse = 0
        await self.pipeline.aclose()
        self.files = self.files.after_crash(self.dice)
        self.columns.fuse = -1
        self.columns.down = False
        for attempt in range(3):
            # The disk may fail while the spool recovers, too.
            self.files.fuse = (
                self.dice.choice([-1, self.dice.randint(0, 12)]) if attempt < 2 else -1
            )
            try:
                await self.boot()
            except StorageError:
                self.files = self.files.after_crash(self.dice)
                continue
            self.files.fuse = -1
            return

    async def append(self, count: int) -> None:
        """Send ``count`` batches at once: their frames share a group."""
        await asyncio.gather(*(self._append_one() for _ in range(count)))

    async def _append_one(self) -> None:
        self.step += 1
        ts = self.clock.now_ms() + self.step
        members = self.dice.sample(range(len(SERIES)), self.dice.randint(1, 5))
        count = float(self.step)
        value = self.dice.choice(
            [count, HistogramValue(3, count, -count, positive=((self.step % 7, count),))]
        )
        sample = value, self.dice.choice([0, ts - 5])
        rows = {(SERIES[k], ts): exact(*sample) for k in members}
        self.sent |= rows
        target = self.dice.choice(["", "t"])
        batch = self._batch(members, ts, sample, target)
        example = Exemplar(int(batch.refs[0]), ts, count, Labels.of({"trace": str(self.step)}))
        shown = SERIES[members[0]], ts, count, example.labels
        if self.dice.random() < 0.5:
            batch = replace(batch, exemplars=(example,))
            self.shown.add(shown)
        for _ in range(2):  # a sender comes again when it got no answer
            try:
                sequence = await self.pipeline.append_samples(batch)
            except StorageError:
                continue
            assert sequence > 0
            self.acknowledged |= rows
            if batch.exemplars:
                self.shown_acknowledged.add(shown)
            if self.dice.random() < 0.3:
                self.unheard.append((members, ts, sample, target))
            return

    def _batch(self, members: list[int], ts: int, sample: Drawn, target: str) -> SampleBatch:
        refs = self.index.refs([SERIES[k] for k in members]).tolist()
        return sample_batch(refs, [ts] * len(refs), [sample] * len(refs), target)

    async def delete(self, number: int) -> None:
        """Delete some series in some range; what failed may have happened or not."""
        self.unheard = []
        now = self.clock.now_ms()
        start, end = now + number, now + number + 6
        chosen = self.dice.sample(SERIES, 2)
        by = Matcher("k", MatchOp.REGEX, "|".join(one.get("k") for one in chosen))
        gone = {key for key in self.sent if key[0] in chosen and start <= key[1] <= end}
        shown = {e for e in self.shown if e[0] in chosen and start <= e[1] <= end}
        for key in gone & self.acknowledged.keys():
            del self.acknowledged[key]
        self.shown_acknowledged -= shown
        try:
            await self.pipeline.delete_series([[by]], start, end)
        except StorageError:
            return
        for key in gone:
            del self.sent[key]
        self.shown -= shown

    async def resend(self) -> None:
        """Send again what was acknowledged, as a sender that did not hear it does."""
        for unheard in self.unheard:
            try:
                await self.pipeline.append_samples(self._batch(*unheard))
            except StorageError:
                return
        self.unheard = []

    async def wait(self) -> None:
        """Let flushed segments grow old enough to go, and senders give up."""
        self.unheard = []
        await self.clock.advance(700)

    async def append_event(self) -> None:
        self.sent_events += 1
        event = Event(f"{self.sent_events:032d}", "a", "t", self.clock.now_ms(), b"{}")
        try:
            await self.pipeline.append_events([event])
        except StorageError:
            return
        self.event_ids[event.id] += 1

    async def flush(self) -> None:
        try:
            await self.pipeline.flush()
        except StorageError:
            return

    def hurt(self, what: str, number: int) -> None:
        if what == "fuse":
            self.files.fuse = number
        elif what == "engine":
            self.columns.fuse = number
        elif what == "full":
            self.files.full = bool(number)
        elif what == "sick":
            self.files.sick = bool(number)
        else:
            self.columns.down = bool(number)

    def check(self) -> None:
        """What was acknowledged is seen, once, with its value, and nothing that was not sent."""
        samples = StoredSamples(self.pipeline, self.head, self.columns)
        seen = rich_points(samples.select(EVERYTHING, 0, FAR))
        flat = {(series, ts): v for series, found in seen.items() for ts, v in found.items()}
        assert self.acknowledged.items() <= flat.items()
        assert flat.items() <= self.sent.items()
        stored = StoredExemplars(self.pipeline.exemplars, self.index, self.columns)
        examples = {
            (series, each.ts, each.value, each.labels)
            for series, row in stored.exemplars([EVERYTHING], 0, FAR)
            for each in row
        }
        assert self.shown_acknowledged <= examples <= self.shown
        events = StoredEvents(self.pipeline.events, self.columns)
        every = {"app": "", "type": "", "since": 0, "until": FAR}
        found_events, _ = events.find(**every, limit=1000, cursor="")
        ids = Counter(event.id for event in found_events)
        assert self.event_ids <= ids
        assert set(ids.values()) <= {1}
        counted = events.count(**every, by="")
        assert counted.get("", 0) == len(found_events)
        assert set(self.columns.stored.values()) <= {1}, "a sample was inserted twice"
        assert self.pipeline.sequence >= self.last_sequence
        self.last_sequence = self.pipeline.sequence


_step = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.sampled_from(["event", "flush", "flush", "crash", "wait", "resend"]), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.sampled_from(["fuse", "engine"]), st.integers(1, 12)),
    st.tuples(st.sampled_from(["full", "sick", "down"]), st.integers(0, 1)),
)


async def _act(system: System, action: str, number: int) -> None:
    match action:
        case "append":
            await system.append(number)
        case "delete":
            await system.delete(number)
        case "event":
            await system.append_event()
        case "flush":
            await system.flush()
        case "crash":
            await system.crash()
            system.check()
        case "wait":
            await system.wait()
        case "resend":
            await system.resend()
        case _:
            system.hurt(action, number)


async def _live(seed: int, steps: list[tuple[str, int]]) -> None:
    system = System(seed)
    await system.boot()
    for action, number in steps:
        await _act(system, action, number)
    system.files.full = system.files.sick = False
    await system.crash()
    system.check()
    await system.append(1)
    await system.flush()
    system.check()
    assert system.pipeline.health().backlog_segments == 0
    await system.pipeline.aclose()


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 2**32), st.lists(_step, max_size=25))
# A power cut undoes the renaming of a segment whose deletion was executed.
@example(0, [("append", 1), ("engine", 1), ("delete", 0), ("append", 3), ("delete", 0)])
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    seed: int, steps: list[tuple[str, int]]
) -> None:
    """Through crashes at any file operation, full disks and an engine that dies after an insert.

    That holds for floats, histograms, exemplars and events; what was deleted never comes back.
    """
    asyncio.run(_live(seed, steps))
