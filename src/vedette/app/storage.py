"""Builds storage from its parts; the only module that names the engines."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics_core import Metric

from vedette.app.allocator import trim
from vedette.app.engine import ChdbColumns
from vedette.app.families import counter, gauge
from vedette.config.settings import Settings
from vedette.kit.clock import Clock
from vedette.storage.chdb.supervisor import ChildEngine
from vedette.storage.exemplars import StoredExemplars
from vedette.storage.head.head import Head, HeadSettings
from vedette.storage.head.quota import SeriesQuota
from vedette.storage.ingest import IngestPipeline, IngestSettings
from vedette.storage.interface import StorageError
from vedette.storage.retention import Expiry, RetentionSettings, expired_days
from vedette.storage.samples import StoredEvents, StoredSamples
from vedette.storage.series_index import MemorySeriesIndex
from vedette.storage.spool.files import OsFiles
from vedette.storage.state.alert_states import SqlAlertStates
from vedette.storage.state.cursors import SqlCursors
from vedette.storage.state.database import StateDatabase
from vedette.storage.state.leases import SqlLeases
from vedette.storage.state.notification_log import SqlNotificationLog

log = logging.getLogger(__name__)

_TIDY_SECONDS = 300


class StorageRooms:
    """Everything that is stored, under one folder.

    ``spool/`` holds what was acknowledged and not flushed, ``columns/`` the column store, and
    ``state.sqlite`` the transactional state.
    """

    def __init__(self, settings: Settings, columns: ChdbColumns, clock: Clock) -> None:
        folder, wanted = settings.server.data_dir, settings.storage
        self._clock = clock
        self._retention = RetentionSettings(wanted.retention_ms, wanted.retention_bytes)
        self._expired: Counter[Expiry] = Counter()
        self._stored_bytes = 0
        self._columns = columns
        self.database = StateDatabase(wanted.state or folder / "state.sqlite")
        self.index = MemorySeriesIndex(wanted.max_series)
        quota = SeriesQuota(
            wanted.max_series_per_metric, wanted.max_series_per_target, wanted.max_series_per_app
        )
        self._head = Head(self.index, HeadSettings(budget=wanted.head_bytes, quota=quota))
        self.ingest = IngestPipeline(
            OsFiles(_made(folder / "spool")),
            self.index,
            self._head,
            self._columns,
            clock,
            IngestSettings(flush_after_ms=round(wanted.segment_seconds * 1000)),
        )
        self.samples = StoredSamples(self.ingest, self._head, self._columns)
        self.exemplars = StoredExemplars(self.ingest.exemplars, self.index, self._columns)
        self.metadata = self.ingest.metadata
        self.events = StoredEvents(self.ingest.events, self._columns)
        self.alert_states = SqlAlertStates(self.database)
        self.leases = SqlLeases(self.database)
        self.cursors = SqlCursors(self.database)
        self.notification_log = SqlNotificationLog(self.database)

    def freeze(self, folder: Path, name: str, into: Path) -> dict[str, int]:
        """Put a snapshot of the column store, which lies in ``folder``, below ``into``."""
        return self._columns.freeze(folder, name, into)

    async def start(self) -> None:
        """Replay the spool, then accept."""
        await self.ingest.start()

    async def stop(self) -> None:
        """Write what is queued and close everything; segments stay for the next start."""
        await self.ingest.aclose()
        await asyncio.to_thread(self._columns.close)
        self.database.close()

    async def housekeeping(self) -> None:
        """Apply retention and forget old notification entries, now and then, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._tidy, self._clock.now_ms())
                await asyncio.to_thread(trim)
            except StorageError as error:
                log.warning("housekeeping failed, will try again later: %s", error)
            await self._clock.sleep(_TIDY_SECONDS)

    def _tidy(self, now_ms: int) -> None:
        days, beside = self._columns.days(), self.ingest.stored_bytes
        expired = expired_days(days, self._retention, now_ms, beside)
        if expired:
            try:
                self._columns.drop_days(expired)
            finally:  # some may be gone all the same
                self.ingest.flushed_ranges.add()
            self._expired.update(expired.values())
            log.info("retention: let go of %d days, %s", len(expired), _told(expired))
        self._stored_bytes = beside + sum(d.nbytes for d in days if d.day not in expired)
        most = self._retention.size_bytes
        if most and self._stored_bytes > most:
            log.warning(
                "storage holds %d bytes, more than storage.retention.size (%d), and there is no "
                "older day to let go: raise it, or send less",
                self._stored_bytes,
                most,
            )
        self.notification_log.expire(now_ms)

    def recent_series(self, metric: str, since: int) -> int:
        """Return how many series ``metric`` has, −1 where memory lacks samples since ``since``."""
        if since < self._head.complete_from:
            return -1
        return self.index.size(metric)

    def head_span(self) -> tuple[int, int]:
        """Return from when to when (ms) recent samples are in memory; zeros when there are none."""
        return self._head.span

    def families(self) -> Iterator[Metric]:
        """Yield storage's part of Vedette's own metrics."""
        stats, health = self.ingest.stats, self.ingest.health()
        yield counter(
            "vedette_storage_samples",
            "Samples by what became of them.",
            ("step",),
            {
                ("accepted",): stats.samples,
                ("flushed",): stats.flush.samples,
                ("replayed",): stats.samples_replayed,
            },
        )
        yield counter(
            "vedette_storage_events",
            "Events by what became of them.",
            ("step",),
            {("accepted",): stats.events, ("flushed",): stats.flush.events},
        )
        yield counter(
            "vedette_storage_refused",
            "Samples that were no news or not plausible, by reason.",
            ("reason",),
            {(reason.value,): n for reason, n in stats.refused.items()},
        )
        yield counter(
            "vedette_storage_exemplars",
            "Exemplars by what became of them.",
            ("step",),
            {("accepted",): stats.exemplars, ("flushed",): stats.flush.exemplars},
        )
        yield counter(
            "vedette_storage_exemplars_refused",
            "Exemplars that were no news or not plausible, by reason.",
            ("reason",),
            {(reason.value,): n for reason, n in stats.exemplars_refused.items()},
        )
        yield counter(
            "vedette_storage_metadata_refused",
            "Statements on metrics beyond the limits of number and length.",
            (),
            {(): self.metadata.refused},
        )
        yield counter(
            "vedette_storage_expired_partitions",
            "Days of the store that were let go, by the limit that they exceeded.",
            ("limit",),
            {(why.value,): self._expired[why] for why in Expiry},
        )
        yield gauge(
            "vedette_storage_bytes",
            "What counts towards the retention by size, as last looked at.",
            (),
            {(): self._stored_bytes},
        )
        yield counter(
            "vedette_storage_errors",
            "Failed attempts to write.",
            ("where",),
            {("spool",): stats.spool_errors, ("flush",): stats.flush_errors},
        )
        yield gauge("vedette_storage_series", "Series known.", (), {(): len(self.index)})
        yield gauge("vedette_head_bytes", "Memory of recent samples.", (), {(): self._head.nbytes})
        yield gauge(
            "vedette_spool_backlog_bytes",
            "Segments that wait for the column store.",
            (),
            {(): health.backlog_bytes},
        )
        yield from self._spool_families()
        yield from self._engine_families()

    def _spool_families(self) -> Iterator[Metric]:
        stats = self.ingest.stats
        yield counter(
            "vedette_spool_lost_bytes",
            "Bytes of the spool that could not be read: ends of unfinished writes, and damage.",
            ("reason",),
            {("torn",): stats.spool.torn_bytes, ("damaged",): stats.spool.damaged_bytes},
        )
        yield counter(
            "vedette_spool_damaged_segments",
            "Segments that were damaged; the files are kept as .damaged.",
            (),
            {(): stats.spool.damaged_segments},
        )

    def _engine_families(self) -> Iterator[Metric]:
        yield gauge(
            "vedette_storage_broken_parts",
            "Parts of the store that could not be opened at the start and are set aside.",
            (),
            {(): self._columns.broken_parts},
        )
        engine = self._columns.engine
        if isinstance(engine, ChildEngine):
            status = engine.status()
            yield gauge("vedette_engine_up", "Whether the engine runs.", (), {(): status.up})
            yield gauge("vedette_engine_pid", "Its process.", (), {(): status.pid})
            yield counter(
                "vedette_engine_restarts", "Restarts after a crash.", (), {(): status.restarts}
            )


def _told(expired: Mapping[int, Expiry]) -> str:
    return ", ".join(f"{why.value}: {n}" for why, n in Counter(expired.values()).items())


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
