"""The one way in: head, spool, acknowledgement, and later the column store.

A batch is judged and shown to queries at once, on the event loop; a thread writes it to the spool
together with whatever else came in meanwhile, and only then is it acknowledged. A batch that the
disk refused stays in the queue, unacknowledged: when its sender comes again, the samples are known
already, and the new acknowledgement waits for the old write.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from queue import Empty, SimpleQueue

import numpy as np

from vedette.kit.clock import Clock
from vedette.model.arrays import I32
from vedette.model.events import Event
from vedette.model.labels import parse_canonical
from vedette.model.matchers import Matcher
from vedette.model.samples import SampleBatch
from vedette.storage.columns import ColumnStore
from vedette.storage.flush import Flusher, FlushStats
from vedette.storage.head.admission import Refusal
from vedette.storage.head.events import UnflushedEvents
from vedette.storage.head.exemplars import ExemplarRefusal, RecentExemplars
from vedette.storage.head.head import Head
from vedette.storage.incoming import plain
from vedette.storage.interface import OverloadedError, StorageError
from vedette.storage.matching import predicate
from vedette.storage.metadata import KnownMetadata
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import SpoolFiles
from vedette.storage.spool.frames import (
    DeletionRecord,
    SamplesRecord,
    SeriesRecord,
    encode_deletion,
    encode_events,
)
from vedette.storage.spool.spool import Segment, Spool, SpoolSettings, SpoolStats, Write
from vedette.storage.spool.tail import SpoolTail

log = logging.getLogger(__name__)

_ENDLESS = 2**62


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Limits of the way in.

    Attributes:
        queue_bytes: samples and events that may wait for the disk.
        backlog_bytes: segments that may wait for the column store before senders are turned away.
        flush_after_ms: a segment is sealed and flushed when it is this old.
        check_ms: how often :meth:`IngestPipeline.run` looks for work.
        retry_max_ms: longest pause between attempts while the column store refuses.
        spool: of the segments.
        exemplars: the most recent ones that are held in memory.
    """

    queue_bytes: int = 64 << 20
    backlog_bytes: int = 8 << 30
    flush_after_ms: int = 60_000
    check_ms: int = 1_000
    retry_max_ms: int = 30_000
    spool: SpoolSettings = field(default_factory=SpoolSettings)
    exemplars: int = 100_000


@dataclass(slots=True)
class IngestStats:
    """Counters of the way in; those of its parts stand in ``spool`` and ``flush``."""

    spool: SpoolStats
    flush: FlushStats
    refused: Counter[Refusal]
    exemplars_refused: Counter[ExemplarRefusal]
    samples: int = 0
    exemplars: int = 0
    events: int = 0
    batches: int = 0
    overloaded: int = 0
    spool_errors: int = 0
    flush_errors: int = 0
    samples_replayed: int = 0
    events_replayed: int = 0
    unflushed_evictions: int = 0


@dataclass(frozen=True, slots=True)
class IngestHealth:
    """How the way in stands.

    Attributes:
        queued_bytes: waiting for the disk.
        backlog_bytes, backlog_segments: waiting for the column store.
        lag_ms: age of the oldest sealed segment that waits, 0 without any.
        spool_error, flush_error: text of the latest failure, "" when the latest attempt went well.
    """

    queued_bytes: int
    backlog_bytes: int
    backlog_segments: int
    lag_ms: int
    spool_error: str
    flush_error: str


@dataclass(slots=True)
class _Entry:
    """One thing for the writer: a batch, events, or (neither) a request to wait or to seal."""

    sequence: int
    size: int
    future: asyncio.Future[None]
    samples: SampleBatch | None = None
    events: tuple[Event, ...] = ()
    frame: bytes = b""
    seal_after_ms: int | None = None


class IngestPipeline:
    """Implements ``Ingest``. ``start`` it, keep ``run`` running, ``aclose`` it."""

    def __init__(
        self,
        files: SpoolFiles,
        index: MemorySeriesIndex,
        head: Head,
        columns: ColumnStore,
        clock: Clock,
        settings: IngestSettings | None = None,
    ) -> None:
        self.settings = settings or IngestSettings()
        self.events = UnflushedEvents()
        self._index = index
        self._head = head
        self._columns = columns
        self._clock = clock
        self._spool = Spool(files, index.canonical, self.settings.spool)
        self._flusher = Flusher(self._spool, columns, self.events)
        self.exemplars = RecentExemplars(self.settings.exemplars)
        self.metadata = KnownMetadata()
        self.stats = IngestStats(
            self._spool.stats, self._flusher.stats, head.stats.refused, self.exemplars.refused
        )
        self._next = 1
        self._sequence = 0
        self._queued = 0
        # None ends the writer.
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._kept: list[_Entry] = []
        self._stopping = False
        self._writer: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flushing = asyncio.Lock()
        self._spool_error = ""
        self._flush_error = ""
        self.flushed_ranges = self._flusher.ranges

    # Life

    async def start(self) -> None:
        """Recover what earlier runs acknowledged, then accept.

        Raises:
            StorageError: the spool's folder cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._recover)
        except OSError as error:
            raise StorageError(
                f"cannot open the spool: {error}; check the data folder's rights and space"
            ) from error
        self._writer = threading.Thread(target=self._write_loop, name="spool", daemon=True)
        self._writer.start()

    async def run(self) -> None:
        """Seal, flush and evict until cancelled."""
        pause = self.settings.check_ms
        while True:
            await self._clock.sleep(pause / 1000)
            try:
                await self.flush(self.settings.flush_after_ms)
                pause = self.settings.check_ms
            except StorageError as error:
                pause = min(2 * pause, self.settings.retry_max_ms)
                log.warning("cannot flush, will try again in %d ms: %s", pause, error)

    async def aclose(self) -> None:
        """Write what is queued, stop the writer and close the spool."""
        if self._writer is None:
            return
        async with self._flushing:
            self._stopping = True
            self._queue.put(None)
            await asyncio.to_thread(self._writer.join)
            self._writer = None
            self._spool.close()

    def _recover(self) -> None:
        now = self._clock.now_ms()
        self._spool.open(now, lambda: self._store_newest(now))
        self._sequence = self._spool.sequence
        self._next = self._sequence + 1
        self._head.incomplete_until(self._spool.floor)
        with contextlib.suppress(StorageError):  # the next scrapes tell it again
            self.metadata.restore(self._columns.load_metadata())
        flushed = 0
        for segment in self._spool.segments():
            self._replay(segment)
            if segment.flushed:
                flushed = segment.last_sequence
            self._evict(flushed)

    def _store_newest(self, now: int) -> int:
        """Return the newest timestamp that a store from before this spool may hold."""
        try:
            bounds = self._columns.bounds()
        except StorageError:
            return now
        return bounds[1] if bounds else -_ENDLESS

    def _replay(self, segment: Segment) -> None:
        """Show queries what a segment of an earlier run holds."""
        refs = np.full(1, -1, np.int32)
        for record in self._spool.read(segment):
            if isinstance(record, SeriesRecord):
                highest = int(record.refs.max(initial=0))
                if highest >= len(refs):
                    refs = np.append(refs, np.full(highest + 1, -1, np.int32))
                refs[record.refs] = self._index.refs(
                    [parse_canonical(canonical) for canonical in record.canonical]
                )
            elif isinstance(record, SamplesRecord):
                self._replay_samples(record, refs)
            elif isinstance(record, DeletionRecord):
                self._hide(record)
            elif not segment.flushed:
                self.events.uncertain_until = record.sequence
                self.events.add(record.sequence, record.events)
                self.stats.events_replayed += len(record.events)

    def _replay_samples(self, record: SamplesRecord, refs: I32) -> None:
        batch = record.batch
        inside = batch.refs < len(refs)
        mapped: I32 = np.where(inside, refs[np.where(inside, batch.refs, 0)], np.int32(-1))
        if len(batch) and (mapped < 0).any():
            # The limit of series was lowered, or a definition was damaged.
            self._head.incomplete_until(int(batch.ts.max()))
        for each in batch.exemplars:
            ref = int(refs[each.series]) if 0 <= each.series < len(refs) else -1
            self.exemplars.replay(replace(each, series=ref))
        self._head.append(replace(batch, refs=mapped), record.sequence, _ENDLESS)
        self.stats.samples_replayed += len(batch)

    def tail(self) -> SpoolTail:
        """Return a reader of everything that is acknowledged from now on, and of what is kept."""
        return SpoolTail(self._spool, self._index.refs)

    # Acceptance, on the event loop

    @property
    def sequence(self) -> int:
        """The ingest sequence of the newest durable batch."""
        return self._sequence

    async def append_samples(self, batch: SampleBatch) -> int:
        """Write a batch and return its ingest sequence; its arrays must not change afterwards.

        Samples that are no news (duplicates, too old, …) are counted in ``stats.refused``, the
        others are stored.

        Raises:
            OverloadedError: the queue is full; nothing was taken.
            StorageError: the disk refused; nothing was acknowledged.
        """
        size = _size(batch)
        self._admit(size)
        sequence = self._next
        self._next += 1
        now = self._clock.now_ms()
        taken = self._head.append(plain(batch), sequence, now)
        if batch.exemplars:
            shown = self.exemplars.take(self._head.exemplars_within_limits(batch), now)
            taken = replace(taken, exemplars=shown)
            self.stats.exemplars += len(shown)
        if not len(taken) and not taken.exemplars:
            # Its samples may be known from a batch that is still on its way to the disk.
            await self._enqueue(_Entry(sequence, 0, self._future()))
            return self._sequence
        await self._enqueue(_Entry(sequence, size, self._future(), samples=taken))
        self.stats.batches += 1
        self.stats.samples += len(taken)
        return sequence

    async def append_events(self, events: Sequence[Event]) -> int:
        """Write events and return their ingest sequence; raises as :meth:`append_samples`."""
        if not events:
            return self._sequence
        sequence = self._next
        frame = encode_events(sequence, events)
        self._admit(len(frame))
        self._next += 1
        entry = _Entry(sequence, len(frame), self._future(), events=tuple(events), frame=frame)
        await self._enqueue(entry)
        self.stats.batches += 1
        self.stats.events += len(events)
        return sequence

    async def delete_series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> None:
        """Delete what any of ``matchers`` selects in ``start <= ts <= end``; see ``Deletion``."""
        for one in matchers:
            for matcher in one:
                predicate(matcher)  # a pattern that cannot be read must not reach the disk
        sequence = self._next
        record = DeletionRecord(sequence, tuple(map(tuple, matchers)), start, end)
        frame = encode_deletion(record)
        self._admit(len(frame))
        self._next += 1
        self._hide(record)
        await self._enqueue(
            _Entry(sequence, len(frame), self._future(), frame=frame, seal_after_ms=0)
        )
        await self.flush()

    async def clean_tombstones(self) -> None:
        """Return when the column store has executed every deletion; see ``Deletion``."""
        await self.flush()

    def _hide(self, deletion: DeletionRecord) -> None:
        """Take from memory what a deletion selects."""
        for one in deletion.matchers:
            refs = self._head.delete(one, deletion.start, deletion.end, deletion.sequence)
            self.exemplars.delete(refs, deletion.start, deletion.end)

    def _admit(self, size: int) -> None:
        if self._writer is None or self._stopping:
            raise StorageError("storage is not running")
        backlog = sum(s.size for s in self._spool.segments() if not s.flushed)
        if self._queued + size > self.settings.queue_bytes:
            self.stats.overloaded += 1
            raise OverloadedError(f"{self._queued} bytes wait for the disk; send again later")
        if backlog > self.settings.backlog_bytes:
            self.stats.overloaded += 1
            raise OverloadedError(
                f"{backlog} bytes wait for the column store; see its error in the log", 30.0
            )

    def _future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def _enqueue(self, entry: _Entry) -> None:
        self._queued += entry.size
        self._queue.put(entry)
        # A sender that goes away does not take its batch back.
        await asyncio.shield(entry.future)

    def _settle(self, entries: list[_Entry], released: int, sequence: int, error: str) -> None:
        """Acknowledge what the writer wrote, or tell that it could not; runs on the loop."""
        self._spool_error = error
        self._queued -= released
        if error:
            self.stats.spool_errors += 1
        else:
            self._sequence = max(self._sequence, sequence)
            for entry in entries:
                if entry.events:
                    self.events.add(entry.sequence, entry.events)
        for entry in entries:
            if entry.future.done():
                continue
            if error:
                entry.future.set_exception(StorageError(error))
                # The sender may be gone; an error that nobody fetches is not worth a warning.
                entry.future.exception()
            else:
                entry.future.set_result(None)

    # Writing, on the writer's thread

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            found = self._waiting()
            entries = [entry for entry in found if entry is not None]
            stopping = len(entries) < len(found)
            # A deletion ends its segment: what comes after it must not be deleted.
            ends = [k + 1 for k, entry in enumerate(entries) if entry.seal_after_ms is not None]
            for first, last in pairwise([0, *ends, len(entries)]):
                if last > first or (self._kept and not entries):
                    self._write_group(entries[first:last])

    def _waiting(self) -> list[_Entry | None]:
        """Return all that waits; with kept batches, nothing after a second."""
        found: list[_Entry | None] = []
        with contextlib.suppress(Empty):
            found.append(self._queue.get(timeout=1.0 if self._kept else None))
            while True:
                found.append(self._queue.get_nowait())
        return found

    def _write_group(self, entries: list[_Entry]) -> None:
        """Write what was kept and what is new, sync once, and tell the senders."""
        group = [*self._kept, *entries]
        writes = [
            Write(entry.sequence, entry.samples, entry.frame)
            for entry in group
            if entry.samples is not None or entry.frame
        ]
        error = ""
        now = self._clock.now_ms()
        try:
            if writes:
                self._spool.write(writes, now)
            self._kept = []
        except OSError as cause:
            error = f"cannot write to the spool: {cause}; free space or mend the disk"
            # Samples are in the head already, so they stay until they are written; events are
            # not, and are sent again by whoever sent them.
            self._kept = [entry for entry in group if entry.samples is not None]
        except Exception as cause:  # a writer that dies would hang every sender
            log.exception("the spool could not encode a batch; it is dropped")
            error = f"cannot encode for the spool: {cause}"
            self._kept = []
        for age in (e.seal_after_ms for e in entries if e.seal_after_ms is not None):
            # The segment is sealed even where the next cannot be begun; the next write tells.
            with contextlib.suppress(OSError):
                self._spool.seal(now, age)
        released = sum(e.size for e in group) - sum(e.size for e in self._kept)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(
                self._settle, group, released, self._spool.sequence, error
            )

    # Flushing

    async def flush(self, age_ms: int = 0) -> int:
        """Seal a segment of at least ``age_ms`` and move sealed ones to the column store.

        Returns the number of segments that moved.

        Raises:
            StorageError: the store or the disk refused; what did not move stays in the spool.
        """
        async with self._flushing:
            if self._writer is None:
                raise StorageError("storage is not running")
            # A disk that refuses writes may still be read: what is sealed can go.
            with contextlib.suppress(StorageError):
                await self._enqueue(_Entry(self._next - 1, 0, self._future(), seal_after_ms=age_ms))
            waiting = [s for s in self._spool.segments() if not s.flushed]
            moved = 0
            try:
                for segment in waiting:
                    await asyncio.to_thread(self._flusher.flush, segment)
                    moved += 1
                    self._evict(segment.last_sequence)
            except (StorageError, OSError) as error:
                self.stats.flush_errors += 1
                self._flush_error = str(error)
                if self._head.nbytes > self._head.settings.budget:
                    self._evict(waiting[moved].first_sequence - 1)
                raise StorageError(f"segment {waiting[moved].name}: {error}") from error
            await self._persist_metadata()
            self._flush_error = ""
            return moved

    async def _persist_metadata(self) -> None:
        new = self.metadata.unsaved()
        if not new:
            return
        try:
            await asyncio.to_thread(self._columns.insert_metadata, new, self._clock.now_ms())
        except StorageError as error:
            self.stats.flush_errors += 1
            self._flush_error = str(error)
            raise
        self.metadata.saved(new)

    @property
    def stored_bytes(self) -> int:
        """Bytes beside the column store: segments of the spool, and recent samples."""
        return self._head.nbytes + sum(extent.size for extent in self._spool.extents())

    def _evict(self, flushed: int) -> None:
        """Let the head forget what is flushed; in need, what the spool alone has."""
        self._head.evict(flushed)
        if self._head.nbytes > 2 * self._head.settings.budget:
            # Better not to see old samples for a while than to die for lack of memory.
            self.stats.unflushed_evictions += 1
            self._head.evict(_ENDLESS)

    def health(self) -> IngestHealth:
        """Return how the way in stands."""
        waiting = [s for s in self._spool.segments() if not s.flushed]
        lag = self._clock.now_ms() - waiting[0].sealed_at if waiting else 0
        size = sum(segment.size for segment in waiting)
        return IngestHealth(
            self._queued, size, len(waiting), lag, self._spool_error, self._flush_error
        )


def _size(batch: SampleBatch) -> int:
    """Return about how many bytes ``batch`` takes on its way to the disk."""
    histograms = batch.histograms.nbytes if batch.histograms is not None else 0
    return 24 * len(batch) + histograms + 256 * len(batch.exemplars) + 256
