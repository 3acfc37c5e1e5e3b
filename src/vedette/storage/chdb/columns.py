"""``ColumnStore`` on ClickHouse: an engine in this process, in a child, or later on a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from vedette.model.arrays import I64
from vedette.model.blocks import Selection
from vedette.model.events import Event
from vedette.model.labels import METRIC_NAME, Labels, series_id
from vedette.model.matchers import Matcher
from vedette.model.metadata import MetricMetadata
from vedette.storage.bounds import answer_bytes, count_samples, refuse_beyond
from vedette.storage.chdb import deletion, events, exemplars, histograms, metadata, snapshot
from vedette.storage.chdb.catalog import Catalog, Registration, StoredSeries
from vedette.storage.chdb.decode import Vectors, blocks, stored_rows
from vedette.storage.chdb.detached import tell_broken
from vedette.storage.chdb.encode import (
    DAY_MS,
    SAMPLE_COLUMNS,
    Rows,
    bucket_of,
    day_of,
    days_of,
    sample_blocks,
    split,
)
from vedette.storage.chdb.engine import Engine
from vedette.storage.chdb.ids import id_list
from vedette.storage.chdb.library import EngineError, LocalEngine
from vedette.storage.chdb.migrate import migrate
from vedette.storage.chdb.native import Column, nested, numbers
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.chdb.supervisor import ChildEngine
from vedette.storage.columns import ChunkBatch, StoredExemplar
from vedette.storage.interface import NO_LIMITS, Check, SelectLimits, StorageError, never_stop
from vedette.storage.retention import StoredDay

# A selection of more series of a metric reads the whole metric instead of naming each.
_MAX_NAMED = 2000
T = TypeVar("T")

_LOOK_SECONDS = 0.05
_I64 = np.iinfo(np.int64)
_PARTITIONED = ("series", "events", "exemplars", "histograms", "samples")


def open_in_child(path: Path, *, sessions: int = 3, timeout: float = 20.0) -> ChdbColumns:
    """Open the store at ``path`` in a child process, and migrate it.

    Tries for ``timeout`` seconds: the child of a server that was killed may still be ending.

    Raises:
        StorageError: it does not open; another process may have it.
    """
    engine = ChildEngine(path, sessions=sessions)
    try:
        engine.start(timeout)
        return ChdbColumns(engine)
    except StorageError:
        engine.close()
        raise


def open_in_process(path: Path, *, sessions: int = 3) -> ChdbColumns:
    """Open the store at ``path`` in this process, and migrate it; raises as above."""
    try:
        engine = LocalEngine(path, sessions)
    except EngineError as error:
        raise StorageError(str(error)) from error
    return ChdbColumns(engine)


class ChdbColumns:
    """Implements ``ColumnStore``. Inserts come one after the other, queries side by side."""

    def __init__(self, engine: Engine) -> None:
        self._run = StatementRunner(engine)
        migrate(self._run)
        self.broken_parts = tell_broken(self._run)
        self._catalog = Catalog(self._run)
        self._inserting = threading.Lock()
        self._helpers = ThreadPoolExecutor(4, "store-query")
        self._waiters = ThreadPoolExecutor(8, "store-wait")
        self._bounds: tuple[int, int] | None = None
        self._bounds_known = False

    @property
    def engine(self) -> Engine:
        """What runs the statements."""
        return self._run.engine

    def close(self) -> None:
        """Close the engine."""
        self._waiters.shutdown()
        self._helpers.shutdown()
        self._run.engine.close()

    def freeze(self, columns: Path, name: str, into: Path) -> dict[str, int]:
        """Put a snapshot of the store, which lies at ``columns``, below ``into``; see there."""
        with self._inserting:
            return snapshot.freeze(self._run, columns, name, into)

    def attach(self, columns: Path, source: Path) -> int:
        """Take in a snapshot; the store, which lies at ``columns``, must be empty."""
        with self._inserting:
            attached = snapshot.attach(self._run, columns, source)
            self._bounds, self._bounds_known = None, False
            self._catalog.forget()
        return attached

    def insert_samples(self, chunks: ChunkBatch, token: str) -> None:
        """Insert; see ``ColumnStore``. Each day that the chunks touch is one atomic insert."""
        if not len(chunks):
            return
        rows = split(chunks)
        with self._inserting:
            self._catalog.register(self._unregistered(chunks, rows))
            # First, so that no query finds a histogram's sample without its buckets.
            self._insert_histograms(chunks, token)
            for day, chosen, data in sample_blocks(chunks, rows):
                row = int(chosen[0])
                first = int(chunks.ts[rows.offsets[row]])
                chunk = int(rows.chunk[row])
                self._insert_once(
                    "samples",
                    SAMPLE_COLUMNS,
                    data,
                    f"{token}/{day}",
                    partial(self._has_sample, "samples", chunks, chunk, first),
                )
            self._widen_bounds(int(chunks.ts.min()), int(chunks.ts.max()))

    def _insert_histograms(self, chunks: ChunkBatch, token: str) -> None:
        for day, chunk, ts, data in histograms.histogram_blocks(chunks):
            self._insert_once(
                "histograms",
                histograms.HISTOGRAM_COLUMNS,
                data,
                f"{token}/h/{day}",
                partial(self._has_sample, "histograms", chunks, chunk, ts),
            )

    def _unregistered(self, chunks: ChunkBatch, rows: Rows) -> list[Registration]:
        """Return the series and days of ``rows`` that this process has not registered yet."""
        days = days_of(rows.bucket)
        found = []
        for day in np.unique(days).tolist():
            written = self._catalog.written(day)
            for c in np.unique(rows.chunk[days == day]).tolist():
                own = chunks.apps[c], chunks.ids[16 * c : 16 * c + 16]
                if own not in written:
                    found.append(Registration(own[0], chunks.canonical[c], own[1], day))
        return found

    def insert_events(self, events_: Sequence[Event], token: str) -> None:
        """Insert; see ``ColumnStore``. Each day that the events touch is one atomic insert."""
        if not events_:
            return
        days = days_of(np.array([event.ts for event in events_], np.int64))
        with self._inserting:
            for day in np.unique(days).tolist():
                chosen = [events_[k] for k in np.flatnonzero(days == day).tolist()]
                self._insert_once(
                    "events",
                    events.EVENT_COLUMNS,
                    events.event_block(chosen),
                    f"{token}/{day}",
                    partial(self._has_event, chosen[0]),
                )

    def insert_exemplars(self, exemplars_: Sequence[StoredExemplar], token: str) -> None:
        """Insert; see ``ColumnStore``. Each day that the exemplars touch is one atomic insert."""
        if not exemplars_:
            return
        days = days_of(np.array([each.ts for each in exemplars_], np.int64))
        with self._inserting:
            for day in np.unique(days).tolist():
                chosen = [exemplars_[k] for k in np.flatnonzero(days == day).tolist()]
                series = {(e.app, e.series): None for e in chosen}
                self._catalog.register(
                    [Registration(app, s.canonical(), series_id(s), day) for app, s in series]
                )
                self._insert_once(
                    "exemplars",
                    exemplars.EXEMPLAR_COLUMNS,
                    exemplars.exemplar_block(chosen),
                    f"{token}/{day}",
                    partial(self._has_exemplar, chosen[0]),
                )

    def _has_exemplar(self, exemplar: StoredExemplar) -> bool:
        found = self._run.rows(
            "SELECT count() AS n FROM exemplars WHERE app = {app:String}"
            " AND metric = {metric:String} AND id = unhex({id:String}) AND ts = {ts:Int64}",
            {
                "app": exemplar.app,
                "metric": exemplar.series.metric,
                "id": series_id(exemplar.series).hex(),
                "ts": exemplar.ts,
            },
        )
        return bool(numbers(found["n"])[0])

    def find_exemplars(
        self, matchers: Sequence[Matcher], start: int, end: int, limit: int
    ) -> list[StoredExemplar]:
        """Return the newest exemplars of each matching metric; see ``ColumnStore``."""
        start, end = max(start, _I64.min + DAY_MS), min(end, _I64.max - DAY_MS)
        return [
            each
            for series in self._catalog.select(matchers, *_days(start, end))
            for each in exemplars.find(self._run, series, start, end, limit)
        ]

    def delete_series(self, matchers: Sequence[Sequence[Matcher]], start: int, end: int) -> None:
        """Delete samples and exemplars; see ``ColumnStore``."""
        start, end = max(start, _I64.min + DAY_MS), min(end, _I64.max - DAY_MS)
        with self._inserting:
            for one in matchers:
                for series in self._catalog.select(one, *_days(start, end)):
                    deletion.delete(self._run, series, start, end)
            self._bounds, self._bounds_known = None, False
            self._catalog.forget()

    def insert_metadata(self, statements: Sequence[MetricMetadata], seen: int) -> None:
        """Remember ``statements``; see ``ColumnStore``."""
        with self._inserting:
            metadata.insert(self._run, statements, seen)

    def load_metadata(self) -> list[MetricMetadata]:
        """Return all statements, oldest first."""
        return metadata.load(self._run)

    def _insert_once(
        self, table: str, columns: str, data: bytes, token: str, present: Callable[[], bool]
    ) -> None:
        # The engine writes its log of tokens before it commits the part: after a crash between
        # the two the token is known and the rows are not there. So a dropped block is looked for.
        for attempt in range(8):
            before = self._dropped_blocks()
            name = f"{token}/{attempt}" if attempt else token
            self._run.insert(
                f"INSERT INTO {table} ({columns})"
                f" SETTINGS insert_deduplication_token = '{_safe(name)}'",
                data,
            )
            if self._dropped_blocks() <= before or present():
                return
        raise StorageError(f"the store keeps dropping the insert {token} as a repetition")

    def _dropped_blocks(self) -> int:
        found = self._run.rows(
            "SELECT value FROM system.events WHERE event = 'DuplicatedInsertedBlocks'"
        )
        return int(numbers(found["value"])[0]) if found else 0

    def _has_sample(self, table: str, chunks: ChunkBatch, chunk: int, ts: int) -> bool:
        found = self._run.rows(
            f"SELECT count() AS n FROM {table} WHERE app = {{app:String}}"  # noqa: S608 # fixed
            " AND metric = {metric:String} AND id = unhex({id:String})"
            " AND bucket = {bucket:Int64} AND has(ts, {ts:Int64})",
            {
                "app": chunks.apps[chunk],
                "metric": chunks.metrics[chunk],
                "id": chunks.ids[16 * chunk : 16 * chunk + 16].hex(),
                "bucket": bucket_of(ts),
                "ts": ts,
            },
        )
        return bool(numbers(found["n"])[0])

    def _has_event(self, event: Event) -> bool:
        found = self._run.rows(
            "SELECT count() AS n FROM events WHERE app = {app:String} AND type = {type:String}"
            " AND ts = {ts:Int64} AND id = {id:String}",
            {"app": event.app, "type": event.type, "ts": event.ts, "id": event.id},
        )
        return bool(numbers(found["n"])[0])

    def _widen_bounds(self, low: int, high: int) -> None:
        if self._bounds_known:
            old = self._bounds or (low, high)
            self._bounds = (min(old[0], low), max(old[1], high))

    def bounds(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp of all samples, or ``None``."""
        if self._bounds_known:
            return self._bounds
        with self._inserting:
            found = self._run.rows(
                "SELECT min(min_ts) AS low, max(max_ts) AS high, count() AS n FROM samples"
            )
            if int(numbers(found["n"])[0]):
                self._bounds = (
                    int(numbers(found["low"])[0]),
                    int(numbers(found["high"])[0]),
                )
            self._bounds_known = True
            return self._bounds

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric; see ``ColumnStore``."""
        start, end = max(start, _I64.min + DAY_MS), min(end, _I64.max - DAY_MS)
        first, last = day_of(bucket_of(start)), day_of(bucket_of(end))
        chosen = self._waited(lambda: self._catalog.select(matchers, first, last), limits.check)
        found, held = [], 0
        for series in chosen:
            run = partial(self._selection, series, start, end, answer_bytes(limits, held))
            selection = self._waited(run, limits.check)
            if selection is not None:
                held += count_samples(selection, start, end)
                refuse_beyond(limits, held)
                found.append(selection)
        return tuple(found)

    def _waited(self, work: Callable[[], T], check: Check) -> T:
        """Return what ``work`` returns, or stop waiting for it when ``check`` says so.

        The engine finishes a statement that nobody waits for; its own limit of time bounds that.
        """
        if check is never_stop:
            return work()
        check()
        pending = self._waiters.submit(work)
        try:
            while not wait([pending], _LOOK_SECONDS).done:
                check()
            return pending.result()
        finally:
            pending.cancel()

    def _selection(self, series: StoredSeries, start: int, end: int, most: int) -> Selection | None:
        where = (
            "metric = {metric:String} AND bucket BETWEEN {low:Int64} AND {high:Int64}"
            " AND min_ts <= {end:Int64} AND max_ts >= {start:Int64}"
        )
        if not series.whole and len(series.ids) <= _MAX_NAMED:
            where += f" AND id IN ({id_list(series.ids)})"
        parameters: dict[str, str | int] = {
            "metric": series.metric,
            "low": bucket_of(start),
            "high": bucket_of(end),
            "start": start,
            "end": end,
        }
        # Two statements side by side: the shared timestamps come once, not with every row.
        times = self._helpers.submit(self._vectors, where, parameters)
        columns = self._run.rows(
            f"SELECT {_ROW} FROM samples WHERE {where}"  # noqa: S608 # fixed texts
            f" SETTINGS max_result_bytes = {int(most)}",
            parameters,
        )
        vectors = times.result()
        if not columns:
            return None
        found = vectors.find(numbers(columns["time_set"])) if vectors else None
        if vectors is None or found is None:
            # Rows were merged meanwhile, or equal sets of times are stored in different order.
            columns = self._run.rows(
                f"SELECT {_ROW}, ts, cityHash64(ts) AS time_list FROM samples"  # noqa: S608 # fixed
                f" WHERE {where} SETTINGS max_result_bytes = {int(most)}",
                parameters,
            )
            if not columns:
                return None
            keys = numbers(columns["time_list"])
            vectors = Vectors.of(keys, nested(columns["ts"]))
            found = np.searchsorted(vectors.keys, keys)
        rows = stored_rows(columns, _numbered(series, columns["id"]), found)
        parts = blocks(rows, vectors, start, end)
        if histograms.may_hold(columns["raw"]):
            named = self._run.rows(
                f"SELECT {histograms.READ_COLUMNS} FROM histograms"  # noqa: S608 # fixed texts
                f" WHERE {where}",
                parameters,
            )
            held = histograms.StoredHistograms.of(named, partial(_numbered, series))
            parts = tuple(held.beside(block) for block in parts)
        return Selection(series.metric, series.table, parts) if parts else None

    def _vectors(self, where: str, parameters: Mapping[str, str | int]) -> Vectors | None:
        """Return the distinct timestamp vectors of the rows by ``time_set``.

        ``None`` without any, and where rows of equal set have their samples in different order.
        """
        columns = self._run.rows(
            "SELECT time_set, any(ts) AS times,"  # noqa: S608 # fixed texts
            " toUInt8(uniq(ts) > 1) AS mixed"
            f" FROM samples WHERE {where} GROUP BY time_set",
            parameters,
        )
        if not columns or numbers(columns["mixed"]).any():
            return None
        return Vectors.of(numbers(columns["time_set"]), nested(columns["times"]))

    def series(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        limit: int,
        check: Check = never_stop,
    ) -> list[Labels]:
        """Return label sets that any of ``matchers`` selects, sorted; see ``ColumnStore``."""
        found: set[Labels] = set()
        for series in self._any(matchers, start, end, check):
            found.update(series.table.with_name(series.metric).rows())
        ordered = sorted(found, key=lambda labels: labels.pairs)
        return ordered[:limit] if limit else ordered

    def label_names(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the label names of the selected series, sorted."""
        names: set[str] = set()
        for series in self._any(matchers, start, end, check):
            names.add(METRIC_NAME)
            table = series.table
            names.update(n for n, row in zip(table.names, table.codes, strict=True) if row.any())
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
        if name == METRIC_NAME and not any(matchers):
            return self._waited(lambda: self._catalog.metrics(*_days(start, end)), check)
        found: set[str] = set()
        for series in self._any(matchers, start, end, check):
            found |= _values(series, name)
        return sorted(found - {""})

    def _any(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int, check: Check
    ) -> Iterator[StoredSeries]:
        days = _days(start, end)
        for each in matchers or ((),):
            for series in self._waited(partial(self._catalog.select, each, *days), check):
                check()
                yield series

    def find_events(
        self, *, app: str, type: str, since: int, until: int, limit: int, before: tuple[int, str]
    ) -> list[Event]:
        """Return events from the newest to the oldest; see ``ColumnStore``."""
        return events.find(
            self._run, app=app, type=type, since=since, until=until, limit=limit, before=before
        )

    def count_events(
        self, *, app: str, type: str, since: int, until: int, by: str
    ) -> dict[str, int]:
        """Return the number of events per value of a member; see ``ColumnStore``."""
        return events.count(self._run, app=app, type=type, since=since, until=until, by=by)

    def days(self) -> list[StoredDay]:
        """Return the days that hold anything, in order; see ``ColumnStore``."""
        found = self._run.rows(
            "SELECT toInt64OrZero(partition) AS day, sum(bytes_on_disk) AS size FROM system.parts"
            " WHERE active AND database = currentDatabase()"
            " AND table IN ('series', 'events', 'exemplars', 'histograms', 'samples')"
            " GROUP BY day ORDER BY day"
        )
        if not found:
            return []
        pairs = zip(numbers(found["day"]).tolist(), numbers(found["size"]).tolist(), strict=True)
        return [StoredDay(day, size) for day, size in pairs]

    def drop_days(self, days: Collection[int]) -> None:
        """Drop the partitions of ``days``; see ``ColumnStore``."""
        if not days:
            return
        with self._inserting:
            for day in sorted(days):
                # Samples last: as long as they are there, a day that is dropped in part is found.
                for table in _PARTITIONED:
                    self._run.do(f"ALTER TABLE {table} DROP PARTITION {int(day)}")
            self._bounds, self._bounds_known = None, False
            self._catalog.forget()


_ROW = "id, exponent, min_ts, max_ts, time_set, mantissas, raw, starts"


def _days(start: int, end: int) -> tuple[int, int]:
    low, high = max(start, _I64.min + DAY_MS), min(end, _I64.max - DAY_MS)
    return day_of(bucket_of(low)), day_of(bucket_of(high))


def _safe(token: str) -> str:
    """Return a token that may stand between quotes; tokens are names of segments.

    Raises:
        StorageError: it holds anything but ASCII letters, digits and ``-_./:``.
    """
    if not token.isascii() or not all(c.isalnum() or c in "-_./:" for c in token):
        raise StorageError(f"not a token for an insert: {token!r}")
    return token


def _numbered(series: StoredSeries, ids: Column) -> I64:
    """Return int64[R], the position of each row's series in ``series``, −1 where it is not."""
    rows = numbers(ids)
    at = np.minimum(np.searchsorted(series.ids, rows), len(series.ids) - 1)
    return np.where(series.ids[at] == rows, at, -1)


def _values(series: StoredSeries, name: str) -> set[str]:
    if name == METRIC_NAME:
        return {series.metric}
    column = series.table.column(name)
    if column is None:
        return set()
    codes, values = column
    return {values[code] for code in np.unique(codes).tolist()}
