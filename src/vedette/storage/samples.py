"""What queries see: the union of the head and the column store."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vedette.model.blocks import Selection
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.storage.bounds import count_present, count_samples, refuse_beyond
from vedette.storage.byte_lru import ByteLru, block_bytes
from vedette.storage.columns import ColumnStore
from vedette.storage.flush import FlushedRanges
from vedette.storage.head.events import UnflushedEvents
from vedette.storage.head.head import Head
from vedette.storage.ingest import IngestPipeline
from vedette.storage.interface import (
    NO_LIMITS,
    Check,
    InvalidCursorError,
    SelectLimits,
    never_stop,
)
from vedette.storage.label_tables import unite
from vedette.storage.memory_columns import event_key, event_member
from vedette.storage.regroup import combine, renumber

_HOUR_MS = 3_600_000
_PAGE = 10_000
_LAST = (2**63 - 1, "~")


class StoredSamples:
    """Implements ``Samples`` over a head and a column store.

    The store is asked only for times before those that the head holds completely.
    """

    def __init__(
        self, pipeline: IngestPipeline, head: Head, columns: ColumnStore, cache: int = 64 << 20
    ):
        """Keep at most ``cache`` bytes of the store's answers."""
        self._pipeline = pipeline
        self._head = head
        self._cache = SelectionCache(columns, pipeline.flushed_ranges, cache)
        self._columns = columns

    @property
    def sequence(self) -> int:
        """The ingest sequence of the newest durable batch."""
        return self._pipeline.sequence

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms).

        Raises:
            InvalidRegexError: a pattern is not RE2.
            StorageError: the column store cannot answer.
        """
        if start > end:
            return ()
        limits.check()
        # The head raises its bound before it evicts: an unchanged one means that nothing went.
        while True:
            complete_from = self._head.complete_from
            recent = self._head.select(matchers, start, end)
            if complete_from == self._head.complete_from:
                break
        held = _counted(recent, start, end, limits)
        if start >= complete_from:
            return recent
        last = min(end, complete_from - 1)
        stored = self._cache.select(matchers, start, last, _left(limits, held))
        if not stored:
            return recent
        _counted(stored, start, last, _left(limits, held))
        limits.check()
        by_metric = {selection.metric: selection for selection in recent}
        merged = []
        for old in stored:
            new = by_metric.pop(old.metric, None)
            merged.append(old if new is None else merge_selections(new, old))
        return tuple(sorted([*merged, *by_metric.values()], key=lambda s: s.metric))

    def series(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        limit: int,
        check: Check = never_stop,
    ) -> list[Labels]:
        """Return the label sets that any of ``matchers`` selects (empty: all), sorted.

        ``limit`` 0 means no limit.
        """
        found = set(self._head.series(matchers, start, end).values())
        check()
        if start < self._head.complete_from:
            found.update(self._columns.series(matchers, start, end, limit, check))
        if limit:
            return heapq.nsmallest(limit, found, key=lambda labels: labels.pairs)
        return sorted(found, key=lambda labels: labels.pairs)

    def label_names(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the label names of the selected series, sorted."""
        names = self._head.label_names(matchers, start, end)
        check()
        if start < self._head.complete_from:
            names.update(self._columns.label_names(matchers, start, end, check))
        return sorted(names)

    def label_values(
        self,
        name: str,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the values of label ``name`` among the selected series, sorted."""
        values = self._head.label_values(name, matchers, start, end)
        check()
        if start < self._head.complete_from:
            values.update(self._columns.label_values(name, matchers, start, end, check))
        return sorted(values)


@dataclass(frozen=True, slots=True)
class _Entry:
    position: int
    end: int
    selections: tuple[Selection, ...]


class SelectionCache:
    """Least recently used answers of the column store, for ranges rounded to whole hours.

    An answer is dropped when samples of its range have been inserted since.
    """

    def __init__(self, columns: ColumnStore, flushed: FlushedRanges, budget: int) -> None:
        self._columns = columns
        self._flushed = flushed
        self._entries = ByteLru[tuple[tuple[Matcher, ...], int, int], _Entry](budget)
        self.hits = 0
        self.misses = 0

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return what the store has of ``start <= ts <= end``, and perhaps some around it."""
        first, last = start - start % _HOUR_MS, end - end % _HOUR_MS + _HOUR_MS - 1
        if end - start < _HOUR_MS:
            # An hour for five minutes would be a bad bargain.
            first, last = start - start % 300_000, end - end % 300_000 + 299_999
        key = (tuple(matchers), first, last)
        entry = self._entries.get(key, lambda e: self._flushed.unchanged(e.position, e.end))
        if entry is not None:
            self.hits += 1
            return entry.selections
        self.misses += 1
        position = self._flushed.position
        # What is loaded around the range is not what the limit of samples is about.
        wider = limits.max_samples * (last - first + 1) // (end - start + 1)
        around = replace(limits, max_samples=wider)
        selections = self._columns.select(matchers, first, last, around)
        nbytes = 256 + sum(_selection_bytes(selection) for selection in selections)
        self._entries.put(key, _Entry(position, last, selections), nbytes)
        return selections


def _left(limits: SelectLimits, held: int) -> SelectLimits:
    """Return ``limits`` of what may be loaded beside ``held`` samples."""
    if not limits.max_samples:
        return limits
    return replace(limits, max_samples=max(1, limits.max_samples - held))


def _counted(selections: tuple[Selection, ...], start: int, end: int, limits: SelectLimits) -> int:
    """Return the number of samples in the range; raises when they are too many."""
    limits.check()
    if not limits.max_samples:
        return 0
    held = sum(count_samples(selection, start, end) for selection in selections)
    if held > limits.max_samples:
        held = sum(count_present(selection, start, end) for selection in selections)
    refuse_beyond(limits, held)
    return held


def _selection_bytes(selection: Selection) -> int:
    size = selection.labels.codes.nbytes
    size += sum(60 + len(value) for values in selection.labels.values for value in values)
    return size + sum(map(block_bytes, selection.blocks))


def merge_selections(new: Selection, old: Selection) -> Selection:
    """Return both selections of one metric as one; at equal timestamps ``new`` wins."""
    table, of_new, of_old = unite(new.labels, old.labels)
    blocks = [renumber(block, of_new) for block in new.blocks]
    blocks += [renumber(block, of_old) for block in old.blocks]
    return Selection(new.metric, table, combine(blocks))


class StoredEvents:
    """Implements ``Events`` over the unflushed events and the column store."""

    def __init__(self, unflushed: UnflushedEvents, columns: ColumnStore) -> None:
        self._unflushed = unflushed
        self._columns = columns

    def find(
        self, *, app: str, type: str, since: int, until: int, limit: int, cursor: str
    ) -> tuple[list[Event], str]:
        """Return events newest first and the cursor of the next page ("" at the end).

        Raises:
            ValueError: the cursor is none that this method returned.
            StorageError: the column store cannot answer.
        """
        before = parse_cursor(cursor)
        with self._unflushed.flushing:
            certain, uncertain = self._unflushed.find(app=app, type=type, since=since, until=until)
            stored = self._columns.find_events(
                app=app, type=type, since=since, until=until, limit=limit + 1, before=before
            )
        every = {e.id: e for e in (*certain, *uncertain, *stored) if event_key(e) < before}
        page = heapq.nlargest(limit + 1, every.values(), key=event_key)
        if len(page) <= limit:
            return page, ""
        last = page[limit - 1]
        return page[:limit], f"{last.ts}:{last.id}"

    def count(self, *, app: str, type: str, since: int, until: int, by: str) -> dict[str, int]:
        """Return the number of events per value of the data's member ``by`` ("": all as "").

        Raises:
            StorageError: the column store cannot answer.
        """
        with self._unflushed.flushing:
            certain, uncertain = self._unflushed.find(app=app, type=type, since=since, until=until)
            totals = Counter(
                self._columns.count_events(app=app, type=type, since=since, until=until, by=by)
            )
            known = self._stored_ids(uncertain, app, type) if uncertain else set()
        fresh = [*certain, *(event for event in uncertain if event.id not in known)]
        totals.update(event_member(event, by) for event in fresh)
        return dict(totals)

    def _stored_ids(self, events: list[Event], app: str, type: str) -> set[str]:
        """Return the ids that the store has in the span of ``events``."""
        since, until = min(e.ts for e in events), max(e.ts for e in events) + 1
        return {event.id for event in self._pages(app, type, since, until)}

    def _pages(self, app: str, type: str, since: int, until: int) -> Iterator[Event]:
        before = _LAST
        while True:
            page = self._columns.find_events(
                app=app, type=type, since=since, until=until, limit=_PAGE, before=before
            )
            yield from page
            if len(page) < _PAGE:
                return
            before = event_key(page[-1])


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Return the (ts, id) that a page ended with; beyond all events for an empty cursor.

    Raises:
        InvalidCursorError: ``cursor`` is not one.
    """
    if not cursor:
        return _LAST
    ts, _, id_ = cursor.partition(":")
    if not (ts.lstrip("-").isdigit() and id_):
        raise InvalidCursorError(f'not a cursor: "{cursor}"; take it from the page before')
    return int(ts), id_
