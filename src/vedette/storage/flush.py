"""From a sealed segment to the column store."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vedette.storage.columns import ColumnStore, StoredExemplar
from vedette.storage.head.events import UnflushedEvents
from vedette.storage.spool.chunks import event_parts, exemplar_parts, sample_parts
from vedette.storage.spool.frames import (
    DeletionRecord,
    EventsRecord,
    Record,
    SamplesRecord,
    SeriesRecord,
)
from vedette.storage.spool.spool import Segment, Spool

_ALL = -(2**62)


@dataclass(slots=True)
class FlushStats:
    """Counters of the flush."""

    segments: int = 0
    samples: int = 0
    events: int = 0
    exemplars: int = 0
    deletions: int = 0


@dataclass(slots=True)
class _Aside:
    """What is not a sample, kept while the samples of a segment go by."""

    events: list[EventsRecord] = field(default_factory=list)
    exemplars: list[SamplesRecord] = field(default_factory=list)
    series: list[SeriesRecord] = field(default_factory=list)
    deletions: list[DeletionRecord] = field(default_factory=list)

    def passing(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records of samples and series; the others are kept here."""
        for record in records:
            if isinstance(record, EventsRecord):
                self.events.append(record)
                continue
            if isinstance(record, DeletionRecord):
                self.deletions.append(record)
                continue
            if isinstance(record, SeriesRecord):
                self.series.append(record)
            elif record.batch.exemplars:
                self.exemplars.append(record)
            yield record


class Flusher:
    """Moves segments, one after another, on any thread."""

    def __init__(self, spool: Spool, columns: ColumnStore, events: UnflushedEvents) -> None:
        self._spool = spool
        self._columns = columns
        self._events = events
        self.stats = FlushStats()
        self.ranges = FlushedRanges()

    def flush(self, segment: Segment) -> None:
        """Insert all of ``segment`` and retire it.

        Raises:
            StorageError: the store refused; repeating changes nothing that was inserted.
            OSError: the segment cannot be read or renamed.
        """
        # A deletion that is executed again must not find what came after it.
        self._spool.settle()
        aside = _Aside()
        for part, chunks in enumerate(sample_parts(aside.passing(self._spool.read(segment)))):
            try:
                # Parts called "s" were smaller ones, of earlier versions.
                self._columns.insert_samples(chunks, self._spool.token(segment, f"m{part}"))
            finally:  # an insert that failed may have happened all the same
                self.ranges.add(int(chunks.ts.min()))
            self.stats.samples += len(chunks.ts)
        self._flush_exemplars(segment, exemplar_parts(aside.exemplars, aside.series))
        self._flush_events(segment, aside.events)
        self._delete(aside.deletions)
        self._spool.retire(segment, final=bool(aside.deletions))
        self.stats.segments += 1

    def _flush_exemplars(
        self, segment: Segment, parts: Iterable[tuple[StoredExemplar, ...]]
    ) -> None:
        for part, exemplars in enumerate(parts):
            self._columns.insert_exemplars(exemplars, self._spool.token(segment, f"x{part}"))
            self.stats.exemplars += len(exemplars)

    def _delete(self, deletions: Iterable[DeletionRecord]) -> None:
        """Delete from the store, which now has all that was written before."""
        for deletion in deletions:
            try:
                self._columns.delete_series(deletion.matchers, deletion.start, deletion.end)
            finally:  # it may have happened all the same
                self.ranges.add()
            self.stats.deletions += 1

    def _flush_events(self, segment: Segment, records: Sequence[EventsRecord]) -> None:
        if not records:
            return
        with self._events.flushing:
            self._events.uncertain_until = max(self._events.uncertain_until, segment.last_sequence)
            for part, events in enumerate(event_parts(records)):
                self._columns.insert_events(events, self._spool.token(segment, f"e{part}"))
                self.stats.events += len(events)
            self._events.drop(segment.last_sequence)


class FlushedRanges:
    """Tells caches of the column store which times are not as they were.

    Written by the flush and by whoever drops days, read by any thread.
    """

    def __init__(self, remembered: int = 1024) -> None:
        self._inserts: deque[tuple[int, int]] = deque(maxlen=remembered)
        self._lock = threading.Lock()
        self.position = 0
        """How many inserts there have been."""

    def add(self, oldest: int = _ALL) -> None:
        """Note a change of samples whose oldest is ``oldest`` (ms); by default of any."""
        with self._lock:
            self._inserts.append((self.position, oldest))
            self.position += 1

    def unchanged(self, position: int, end: int) -> bool:
        """Return whether no insert since ``position`` reached back to ``end`` (ms)."""
        later = [(at, oldest) for at, oldest in list(self._inserts) if at >= position]
        forgotten = self.position - position > len(later)
        return not forgotten and all(oldest > end for _, oldest in later)
