"""The loop of one target: when to scrape, and what becomes of each scrape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from hashlib import blake2b
from typing import Protocol

from vedette.kit.clock import Clock
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.scrape.discovery.groups import Discovery
from vedette.scrape.discovery.settings import Discoverer, DiscoverySettings
from vedette.scrape.fetch import Fetcher
from vedette.scrape.formats import Answer
from vedette.scrape.grammar import Metadata
from vedette.scrape.offload import Offload
from vedette.scrape.parsed import Reading
from vedette.scrape.target import ScrapeError, ScrapeRow, TargetScrape
from vedette.scrape.targets import Target
from vedette.storage.interface import Ingest, OverloadedError, SeriesIndex, StorageError

WAY = "scrape"
_FIRST_WITHIN_MS = 1_000
_LARGEST_TOLERANCE_MS = 150
_QUICK_BYTES = 256 * 1024
_QUICK_LINES = 4_000
_NUMBERED_AT_ONCE = 500

_log = logging.getLogger(__name__)


class Health(StrEnum):
    """Whether the latest scrape of a target succeeded."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


class IntakeCounts(Protocol):
    """Counts what came in and what did not; ``way`` and ``reason`` become metric labels."""

    def accepted(self, way: str, count: int) -> None:
        """Count stored samples."""
        ...

    def rejected(self, way: str, reason: str, count: int = 1) -> None:
        """Count samples or whole scrapes that were refused."""
        ...


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """A target as the API shows it; times in ms since the epoch, 0 for never.

    ``pool`` is the name of its job in the configuration; rules may give the label another value.
    """

    pool: str
    job: str
    app: str
    instance: str
    scrape_url: str
    labels: Labels
    discovered: Labels
    interval_ms: int
    timeout_ms: int
    health: Health = Health.UNKNOWN
    last_error: str = ""
    last_scrape: int = 0
    scrape_seconds: float = 0.0
    samples: int = 0


def _none(settings: DiscoverySettings) -> Discovery:
    raise LookupError(f"there is no discovery here for {type(settings).__name__}")


def _forget(statements: Sequence[MetricMetadata]) -> None:
    """Keep nothing: what targets say is at hand while they are scraped."""


@dataclass(frozen=True, slots=True)
class Rooms:
    """What loops work with.

    ``offload`` does what would hold the event loop for long, ``discover`` makes discoveries,
    ``statements`` takes what targets say of their metrics.
    """

    index: SeriesIndex
    ingest: Ingest
    fetcher: Fetcher
    counts: IntakeCounts
    clock: Clock
    offload: Offload = asyncio.to_thread
    discover: Discoverer = _none
    statements: Callable[[Sequence[MetricMetadata]], None] = _forget


def phase(key: str, interval_ms: int) -> int:
    """Return where in the interval a target is scraped, so that targets spread over it."""
    digest = blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % interval_ms


def next_tick(now: int, interval_ms: int, phase_ms: int) -> int:
    """Return the first ms after ``now`` that lies ``phase_ms`` behind a multiple of the interval.

    Ticks hang on the epoch, not on the start of the process: a restart changes none.
    """
    return now + interval_ms - (now - phase_ms) % interval_ms


def sample_time(tick: int, now: int, interval_ms: int) -> int:
    """Return the timestamp of a scrape that was due at ``tick`` and begins ``now``.

    A small delay is ignored, because regular timestamps store and evaluate better: 1 % of the
    interval, at most 150 ms.
    """
    tolerance = min(interval_ms // 100, _LARGEST_TOLERANCE_MS)
    return tick if 0 <= now - tick <= tolerance else now


class ScrapeLoop:
    """Scrapes one target again and again; slow answers delay only itself.

    ``after`` is the ms of the latest sample that an earlier loop of this target stored. While
    ``refusal`` says why, nothing is fetched and every scrape fails.
    """

    def __init__(self, target: Target, rooms: Rooms, after: int = 0) -> None:
        self.target = target
        self._rooms = rooms
        self._scrape = TargetScrape(target, rooms.index)
        self._last_ts = after
        self.refusal = ""
        self._told: Mapping[str, Metadata] = {}
        self.status = TargetStatus(
            pool=target.job.job,
            job=target.labels.get("job"),
            app=target.job.app,
            instance=target.labels.get("instance"),
            scrape_url=target.url,
            labels=target.labels,
            discovered=target.discovered,
            interval_ms=target.interval_ms,
            timeout_ms=target.timeout_ms,
        )

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """Metadata by metric family, as of the latest scrape."""
        return self._scrape.metadata

    def succeed(self, former: ScrapeLoop) -> None:
        """Go on with the series of ``former``, which has stopped and has the same labels."""
        self._last_ts = former._last_ts
        self._scrape.succeed(former._scrape)

    def describe(self, target: Target, refusal: str) -> None:
        """Take what is known of the target by now, which changes not how it is scraped."""
        self.refusal = refusal
        if self.status.discovered != target.discovered:
            self.status = replace(self.status, discovered=target.discovered)

    async def run(self) -> None:
        """Scrape at every tick until cancelled; the first time soon after the start."""
        clock, interval = self._rooms.clock, self.target.interval_ms
        offset = phase(self.target.key, interval)
        now = clock.now_ms()
        tick = next_tick(now, interval, offset)
        if tick - now > _FIRST_WITHIN_MS:
            await clock.sleep(offset % _FIRST_WITHIN_MS / 1000)
            await self.scrape(clock.now_ms())
            tick = next_tick(clock.now_ms(), interval, offset)
        while True:
            await clock.sleep((tick - clock.now_ms()) / 1000)
            await self.scrape(sample_time(tick, clock.now_ms(), interval))
            tick = next_tick(max(tick, clock.now_ms()), interval, offset)

    async def scrape(self, ts: int) -> None:
        """Scrape once and store the samples at ``ts`` ms; failures are kept in the status."""
        ts = max(ts, self._last_ts + 1)
        clock = self._rooms.clock
        begun = clock.monotonic()
        error = ""
        found = (0, 0)
        try:
            if self.refusal:
                raise ScrapeError("target_limit", self.refusal)
            answer = await self._rooms.fetcher.fetch(self.target)
            row = await self._taken(answer, ts, clock.monotonic() - begun)
        except ScrapeError as failure:
            error, found = str(failure), failure.found
            self._rooms.counts.rejected(WAY, failure.reason)
        except Exception as failure:  # noqa: BLE001 - a defect must not end a target's scrapes
            _log.exception("scrape of %s failed by a defect", self.target.key)
            error = f"internal error: {type(failure).__name__}"
            self._rooms.counts.rejected(WAY, "internal")
        seconds = clock.monotonic() - begun
        if error:
            row = self._scrape.failure(ts, seconds, found)
        storing = await self._store(row)
        self._last_ts = ts
        self.status = replace(
            self.status,
            health=Health.DOWN if error else Health.UP,
            last_error="; ".join(filter(None, (error or _refusals(row), storing))),
            last_scrape=ts,
            scrape_seconds=seconds,
            samples=sum(map(len, row.batches)),
        )

    async def _taken(self, answer: Answer, ts: int, seconds: float) -> ScrapeRow:
        """Return what to store of ``answer``, holding the event loop for milliseconds at most."""
        scrape, offload = self._scrape, self._rooms.offload
        body = answer.body
        large = len(body) > _QUICK_BYTES or body.count(b"\n") > _QUICK_LINES
        if large:
            reading = await offload(partial(_read, scrape, answer))
        else:
            reading = scrape.begin(answer)
            if reading.laborious:
                await offload(reading.read)
            else:
                reading.read()
        # The index has one writer, which is the event loop.
        while scrape.number(reading, _NUMBERED_AT_ONCE):
            await self._rooms.clock.sleep(0)
        if large:
            return await offload(partial(scrape.row, reading, ts, seconds))
        return scrape.row(reading, ts, seconds)

    async def end(self) -> int:
        """Mark every series of a removed target as ended; return the ms of that."""
        ts = max(self._rooms.clock.now_ms(), self._last_ts + 1)
        batch = self._scrape.gone(ts)
        try:
            await self._rooms.ingest.append_samples(batch)
        except StorageError as error:
            _log.warning("could not mark the end of %s: %s", self.target.key, error)
        return ts

    async def _store(self, row: ScrapeRow) -> str:
        """Store ``row``; returns why that failed, or the empty string."""
        counts = self._rooms.counts
        for reason, count in row.rejected.items():
            counts.rejected(WAY, reason, count)
        try:
            for batch in row.batches:
                await self._rooms.ingest.append_samples(batch)
                counts.accepted(WAY, len(batch))
        except StorageError as error:
            reason = "overloaded" if isinstance(error, OverloadedError) else "storage"
            counts.rejected(WAY, reason, sum(map(len, row.batches)))
            return f"the samples were not stored: {error}"
        self._scrape.commit(row)
        self._tell()
        return ""

    def _tell(self) -> None:
        """Hand on what the target says of its metrics, if that has changed."""
        if self.metadata is not self._told:
            self._told = self.metadata
            self._rooms.statements(
                [
                    MetricMetadata(name, each.type, each.help, each.unit)
                    for name, each in self._told.items()
                ]
            )


def _read(scrape: TargetScrape, answer: Answer) -> Reading:
    reading = scrape.begin(answer)
    reading.read()
    return reading


def _refusals(row: ScrapeRow) -> str:
    """Return in one line what of a scrape was refused."""
    if not row.rejected:
        return ""
    total = sum(row.rejected.values())
    text = f"{total} samples refused ({', '.join(sorted(row.rejected))})"
    if row.errors:
        text += f", first in line {row.errors[0].line}: {row.errors[0].message}"
    return text
