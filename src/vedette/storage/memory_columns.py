"""The double of the column store: everything in dictionaries, tokens honoured."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
import orjson

from vedette.model.arrays import offsets_of
from vedette.model.blocks import LabelTable, Selection
from vedette.model.events import Event
from vedette.model.histograms import Histograms, HistogramValue, histogram_value, histograms_of
from vedette.model.labels import METRIC_NAME, Labels, parse_canonical
from vedette.model.matchers import Matcher
from vedette.model.metadata import MetricMetadata
from vedette.storage.bounds import refuse_beyond
from vedette.storage.columns import ChunkBatch, StoredExemplar
from vedette.storage.interface import NO_LIMITS, Check, SelectLimits, StorageError, never_stop
from vedette.storage.matching import matches
from vedette.storage.regroup import Runs, regroup
from vedette.storage.retention import StoredDay

_DAY_MS = 86_400_000

Sample = tuple[float, int, HistogramValue | None]


class MemoryColumns:
    """Implements ``ColumnStore`` in memory, without a limit.

    ``down`` makes every call fail; ``fuse`` counts inserts down, and the one that brings it to
    zero fails after it was stored, as when the engine dies before it can answer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens: set[str] = set()
        self._points: dict[tuple[str, Labels], dict[int, Sample]] = {}
        self._events: list[Event] = []
        self._exemplars: list[StoredExemplar] = []
        self._metadata: dict[MetricMetadata, int] = {}
        self.stored: Counter[tuple[str, Labels, int]] = Counter()
        """How often each sample was inserted: more than once is a fault of the flush."""
        self.down = False
        self.fuse = -1

    def _check(self) -> None:
        if self.down:
            raise StorageError("the column store is down")

    def _burn(self) -> None:
        if self.fuse > 0:
            self.fuse -= 1
            if self.fuse == 0:
                raise StorageError("the column store died")

    def insert_samples(self, chunks: ChunkBatch, token: str) -> None:
        """Insert unless ``token`` is known."""
        self._check()
        with self._lock:
            if token not in self._tokens:
                self._tokens.add(token)
                self._insert(chunks)
        self._burn()

    def _insert(self, chunks: ChunkBatch) -> None:
        offsets = chunks.offsets.tolist()
        series = map(parse_canonical, chunks.canonical)
        for k, (app, labels) in enumerate(zip(chunks.apps, series, strict=True)):
            points = self._points.setdefault((app, labels), {})
            for i in range(offsets[k], offsets[k + 1]):
                ts = int(chunks.ts[i])
                start = int(chunks.start[i]) if chunks.start is not None else 0
                # Bits, because a float that passes through Python keeps them, but NaN ≠ NaN.
                points.setdefault(ts, (chunks.values[i], start, _histogram(chunks, i)))
                self.stored[app, labels, ts] += 1

    def insert_events(self, events: Sequence[Event], token: str) -> None:
        """Insert unless ``token`` is known."""
        self._check()
        with self._lock:
            if token not in self._tokens:
                self._tokens.add(token)
                self._events.extend(events)
        self._burn()

    def insert_exemplars(self, exemplars: Sequence[StoredExemplar], token: str) -> None:
        """Insert unless ``token`` is known."""
        self._check()
        with self._lock:
            if token not in self._tokens:
                self._tokens.add(token)
                self._exemplars.extend(exemplars)
        self._burn()

    def find_exemplars(
        self, matchers: Sequence[Matcher], start: int, end: int, limit: int
    ) -> list[StoredExemplar]:
        """Return the newest ``limit`` exemplars per metric."""
        self._check()
        with self._lock:
            found = [
                each
                for each in self._exemplars
                if start <= each.ts <= end and matches(matchers, each.series)
            ]
        by_metric: dict[str, list[StoredExemplar]] = {}
        for each in sorted(found, key=lambda e: e.ts, reverse=True):
            by_metric.setdefault(each.series.metric, []).append(each)
        return [each for shown in by_metric.values() for each in shown[:limit]]

    def delete_series(self, matchers: Sequence[Sequence[Matcher]], start: int, end: int) -> None:
        """Delete samples and exemplars."""
        self._check()

        def doomed(labels: Labels, ts: int) -> bool:
            return start <= ts <= end and any(matches(one, labels) for one in matchers)

        with self._lock:
            self._points = {
                key: left
                for key, points in self._points.items()
                if (left := {ts: s for ts, s in points.items() if not doomed(key[1], ts)})
            }
            self._exemplars = [e for e in self._exemplars if not doomed(e.series, e.ts)]
        self._burn()

    def insert_metadata(self, statements: Sequence[MetricMetadata], seen: int) -> None:
        """Remember statements."""
        self._check()
        with self._lock:
            self._metadata.update(dict.fromkeys(statements, seen))

    def load_metadata(self) -> list[MetricMetadata]:
        """Return all statements, oldest first."""
        self._check()
        with self._lock:
            return sorted(self._metadata, key=self._metadata.__getitem__)

    def days(self) -> list[StoredDay]:
        """Return the days that hold anything, a sample or exemplar counting 16 bytes."""
        self._check()
        with self._lock:
            every = [ts for points in self._points.values() for ts in points]
            every += [e.ts for e in self._exemplars] + [e.ts for e in self._events]
        counts = Counter(ts // _DAY_MS for ts in every)
        return [StoredDay(day, 16 * counts[day]) for day in sorted(counts)]

    def drop_days(self, days: Collection[int]) -> None:
        """Let go of ``days``."""
        self._check()
        with self._lock:
            for key, points in list(self._points.items()):
                self._points[key] = {ts: s for ts, s in points.items() if ts // _DAY_MS not in days}
            self._exemplars = [e for e in self._exemplars if e.ts // _DAY_MS not in days]
            self._events = [e for e in self._events if e.ts // _DAY_MS not in days]

    def bounds(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp."""
        self._check()
        with self._lock:
            every = [ts for points in self._points.values() for ts in points]
        return (min(every), max(every)) if every else None

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric."""
        self._check()
        limits.check()
        merged: dict[str, dict[Labels, dict[int, Sample]]] = {}
        with self._lock:
            for (_, labels), points in self._points.items():
                inside = {ts: sample for ts, sample in points.items() if start <= ts <= end}
                if inside and matches(matchers, labels):
                    series = merged.setdefault(labels.metric, {})
                    series[labels] = inside | series.get(labels, {})
        points_ = (points for series in merged.values() for points in series.values())
        refuse_beyond(limits, sum(map(len, points_)))
        return tuple(_selection(metric, merged[metric]) for metric in sorted(merged))

    def series(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        limit: int,
        check: Check = never_stop,
    ) -> list[Labels]:
        """Return the label sets with samples in the range."""
        self._check()
        check()
        with self._lock:
            found = {
                labels
                for (_, labels), points in self._points.items()
                if any(start <= ts <= end for ts in points)
                and (not matchers or any(matches(one, labels) for one in matchers))
            }
        ordered = sorted(found, key=lambda labels: labels.pairs)
        return ordered[:limit] if limit else ordered

    def label_names(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the label names of the selected series."""
        return sorted(
            {n for labels in self.series(matchers, start, end, 0, check) for n, _ in labels}
        )

    def label_values(
        self,
        name: str,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the values of one label among the selected series."""
        found = {labels.get(name) for labels in self.series(matchers, start, end, 0, check)}
        return sorted(found - {""})

    def find_events(
        self, *, app: str, type: str, since: int, until: int, limit: int, before: tuple[int, str]
    ) -> list[Event]:
        """Return events from the newest to the oldest."""
        self._check()
        found = [
            event for event in self._matching(app, type, since, until) if event_key(event) < before
        ]
        return sorted(found, key=event_key, reverse=True)[:limit]

    def _matching(self, app: str, type: str, since: int, until: int) -> list[Event]:
        with self._lock:
            return [
                e
                for e in self._events
                if since <= e.ts < until and app in ("", e.app) and type in ("", e.type)
            ]

    def count_events(
        self, *, app: str, type: str, since: int, until: int, by: str
    ) -> dict[str, int]:
        """Return the number of events per value of a member."""
        self._check()
        return dict(Counter(event_member(e, by) for e in self._matching(app, type, since, until)))


def event_key(event: Event) -> tuple[int, str]:
    """Return what events are ordered by."""
    return event.ts, event.id


def event_member(event: Event, name: str) -> str:
    """Return the data's member ``name`` as ``ColumnStore.count_events`` groups by it."""
    if not name:
        return ""
    data = orjson.loads(event.data)
    if not isinstance(data, dict) or name not in data:
        return ""
    value = data[name]
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _histogram(chunks: ChunkBatch, i: int) -> HistogramValue | None:
    row = int(chunks.histograms.index[i]) if chunks.histograms is not None else -1
    return histogram_value(chunks.histograms, row) if chunks.histograms and row >= 0 else None


def _histograms(values: list[HistogramValue | None]) -> Histograms | None:
    held = [value for value in values if value is not None]
    if not held:
        return None
    index = np.full(len(values), -1, np.int32)
    index[[k for k, value in enumerate(values) if value is not None]] = np.arange(len(held))
    return histograms_of(held, index)


def _selection(metric: str, series: dict[Labels, dict[int, Sample]]) -> Selection:
    rows = sorted(series, key=lambda labels: labels.pairs)
    ordered = [sorted(series[labels].items()) for labels in rows]
    lengths = np.array([len(points) for points in ordered], np.int64)
    flat = [point for points in ordered for point in points]
    start = np.array([sample[1] for _, sample in flat], np.int64)
    runs = Runs(
        np.arange(len(rows), dtype=np.int32),
        offsets_of(lengths),
        np.array([ts for ts, _ in flat], np.int64),
        np.array([sample[0] for _, sample in flat], np.float64),
        start if start.any() else None,
        _histograms([sample[2] for _, sample in flat]),
    )
    table = LabelTable.of([labels.without(METRIC_NAME) for labels in rows])
    return Selection(metric, table, regroup(runs))
