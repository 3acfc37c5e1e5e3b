"""Pushed groups of metrics, compatible with Pushgateway, without the web framework.

What was pushed stays until it is replaced or deleted, and is stored again at every interval, as a
scrape of a Pushgateway with ``honor_labels`` would do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vedette.kit.clock import Clock, iso
from vedette.model.arrays import I32
from vedette.model.histograms import histograms_of
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import HISTOGRAM, STALE, SampleBatch
from vedette.receive.push_groups import (
    Group,
    GroupKey,
    PushedFamily,
    PushedSample,
    grouping_key,
    pushed,
    shown,
    type_conflict,
)
from vedette.receive.settings import PushSettings
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.events import gunzip
from vedette.storage.interface import Ingest, MetadataStore, SeriesIndex, StorageError

WAY = "push"
_BODY_BYTES = 16 * 1024 * 1024
_QUICKEST_SECONDS = 1.0
_NO_REFS = np.zeros(0, np.int32)

log = logging.getLogger(__name__)


class BodyReader(Protocol):
    """Reads a body in any exposition format; blocking, for another thread."""

    def __call__(self, body: bytes, content_type: str) -> tuple[PushedFamily, ...]:
        """Return the families.

        Raises:
            WireError: the body is malformed, or a sample has a timestamp.
        """
        ...


class GroupStore(Protocol):
    """Where groups outlive the process."""

    def load(self) -> list[Group]:
        """Return the groups that were saved last."""
        ...

    def save(self, groups: list[Group]) -> None:
        """Save all groups; raises ``OSError``."""
        ...


@dataclass(frozen=True, slots=True)
class PushOutcome:
    """The answer to one request: status, and what was wrong as text."""

    status: int
    message: str = ""


class PushHandler:
    """Takes pushes, and stores the groups at every interval."""

    def __init__(
        self,
        index: SeriesIndex,
        ingest: Ingest,
        stats: IntakeStats,
        clock: Clock,
        read: BodyReader,
        store: GroupStore,
        settings: PushSettings | None = None,
        metadata: MetadataStore | None = None,
    ) -> None:
        self._index = index
        self._ingest = ingest
        self._stats = stats
        self._clock = clock
        self._read = read
        self._store = store
        self._settings = settings or PushSettings()
        self._metadata = metadata
        self._groups: dict[GroupKey, Group] = {}
        self._alive: dict[str, I32] = {}
        self._news = asyncio.Event()
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Take the groups of an earlier process."""
        groups = await asyncio.to_thread(self._store.load)
        self._groups = {group.key: group for group in groups}

    async def handle(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], app: str
    ) -> PushOutcome:
        """Answer PUT, POST or DELETE of the group in the percent-encoded ``path``.

        ``path`` is what stands behind ``/metrics/``; ``headers`` have lower-case names.
        """
        try:
            key = grouping_key(path, app)
        except WireError as error:
            return self._refuse(error)
        if method == "DELETE":
            if self._groups.pop(key, None) is not None:
                return await self._saved(PushOutcome(202))
            return PushOutcome(202)
        try:
            families = await self._families(body, headers)
            self._take(key, families, replace_all=method == "PUT")
        except WireError as error:
            before = self._groups.get(key) or Group(key)
            if key in self._groups or len(self._groups) < self._settings.groups:
                self._groups[key] = replace(before, failed=self._clock.now_ms())
                await self._saved(PushOutcome(400))
            return self._refuse(error)
        if self._metadata is not None:
            self._metadata.put([MetricMetadata(f.name, f.type, f.help, f.unit) for f in families])
        return await self._saved(PushOutcome(200))

    async def wipe(self) -> None:
        """Delete all groups."""
        self._groups.clear()
        await self._saved(PushOutcome(202))

    def shown(self) -> list[dict[str, object]]:
        """Return all groups as Pushgateway's API shows them."""
        return [_with_times(shown(group)) for group in self._groups.values()]

    async def run(self) -> None:
        """Store all groups at every interval, and soon after a change, until cancelled."""
        while True:
            await self._append()
            self._news.clear()
            await self._clock.sleep(_QUICKEST_SECONDS)
            waiting = asyncio.create_task(self._news.wait())
            rest = self._settings.interval_ms / 1000 - _QUICKEST_SECONDS
            resting = asyncio.create_task(self._clock.sleep(rest))
            try:
                await asyncio.wait([waiting, resting], return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                resting.cancel()

    async def _families(self, body: bytes, headers: Mapping[str, str]) -> tuple[PushedFamily, ...]:
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            message = f'content encoding "{encoding[:40]}" is not supported; send gzip or nothing'
            raise WireError("encoding", message)
        if encoding == "gzip":
            body = gunzip(body, _BODY_BYTES)
        if len(body) > _BODY_BYTES:
            raise TooLargeError("body_size", f"the body holds more than {_BODY_BYTES} bytes")
        return await asyncio.to_thread(self._read, body, headers.get("content-type", ""))

    def _take(self, key: GroupKey, families: tuple[PushedFamily, ...], replace_all: bool) -> None:
        """Put the families into their group; raises ``WireError``."""
        others = [g for k, g in self._groups.items() if k != key and k.app == key.app]
        conflict = type_conflict(others, families)
        if conflict:
            raise WireError("inconsistent", conflict)
        group = pushed(
            self._groups.get(key), key, families, self._clock.now_ms(), replace_all=replace_all
        )
        if key not in self._groups and len(self._groups) >= self._settings.groups:
            message = f"there are {len(self._groups)} groups already; delete those of ended jobs"
            raise WireError("group_limit", message)
        held = sum(_size(g) for k, g in self._groups.items() if k != key)
        if held + _size(group) > self._settings.samples:
            message = f"all groups together would hold more than {self._settings.samples} samples"
            raise WireError("sample_limit", message)
        self._groups[key] = group

    async def _saved(self, outcome: PushOutcome) -> PushOutcome:
        """Return ``outcome`` once the groups are on disk."""
        self._news.set()
        # One at a time: the last one to save must save the last state.
        async with self._saving:
            try:
                await asyncio.to_thread(self._store.save, list(self._groups.values()))
            except OSError as error:
                self._stats.rejected(WAY, "storage")
                return PushOutcome(503, f"the group could not be kept: {error}")
        return outcome

    def _refuse(self, error: WireError) -> PushOutcome:
        self._stats.rejected(WAY, error.reason)
        return PushOutcome(413 if isinstance(error, TooLargeError) else 400, str(error))

    async def _append(self) -> None:
        """Store what all groups hold now, and staleness markers for what is gone."""
        now = self._clock.now_ms()
        apps = {key.app for key in self._groups} | self._alive.keys()
        for app in sorted(apps):
            samples = [s for k, g in self._groups.items() if k.app == app for s in g.samples()]
            batch, alive = self._batch(app, samples, now)
            try:
                await self._ingest.append_samples(batch)
            except StorageError as error:
                self._stats.rejected(WAY, "storage", len(batch))
                log.warning("pushed groups were not stored: %s", error)
                continue
            self._stats.accepted(WAY, len(batch))
            if len(alive):
                self._alive[app] = alive
            else:
                self._alive.pop(app, None)

    def _batch(self, app: str, samples: list[PushedSample], now: int) -> tuple[SampleBatch, I32]:
        """Return the samples with staleness markers for what is gone, and the series alive."""
        given = self._index.refs([sample.labels for sample in samples])
        refs, first = np.unique(given, return_index=True)
        first, refs = first[refs >= 0], refs[refs >= 0].astype(np.int32)
        refused = int((given < 0).sum())
        if refused:
            self._stats.rejected(WAY, "series_limit", refused)
        if len(refs) + refused < len(given):
            # Two groups may differ in a label that their samples have too.
            self._stats.rejected(WAY, "duplicate_series", len(given) - refused - len(refs))
        samples = [samples[i] for i in first.tolist()]
        gone = np.setdiff1d(self._alive.get(app, _NO_REFS), refs).astype(np.int32)
        n, total = len(refs), len(refs) + len(gone)
        values = np.full(total, STALE)
        values[:n] = [HISTOGRAM if s.histogram else s.value for s in samples]
        start = np.zeros(total, np.int64)
        start[:n] = [sample.start for sample in samples]
        native = [(i, s.histogram) for i, s in enumerate(samples) if s.histogram]
        histograms = None
        if native:
            at = np.full(total, -1, np.int32)
            at[[i for i, _ in native]] = np.arange(len(native))
            histograms = histograms_of([value for _, value in native], at)
        batch = SampleBatch(
            app,
            np.concatenate([refs, gone]),
            np.full(total, now, np.int64),
            values,
            target=f"push/{app}",
            start=start if start.any() else None,
            histograms=histograms,
        )
        return batch, refs


def _size(group: Group) -> int:
    return 2 + sum(len(family.samples) for family in group.families.values())


def _with_times(group: dict[str, object]) -> dict[str, object]:
    """Return the group with the times of its families as text."""
    for family in group.values():
        if isinstance(family, dict) and "ms" in family:
            family["time_stamp"] = iso(family.pop("ms"))
    return group
