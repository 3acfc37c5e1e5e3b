"""Doubles of what a scrape works with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from vedette.kit.clock import FakeClock
from vedette.model.arrays import I32
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.samples import STALE_BITS, SampleBatch, bits
from vedette.scrape.formats import Answer
from vedette.scrape.loop import Rooms
from vedette.scrape.target import ScrapeError
from vedette.scrape.targets import Target


class Index:
    """Numbers series up to a limit."""

    def __init__(self, limit: int = 10**9) -> None:
        self.series: dict[Labels, int] = {}
        self.limit = limit
        self.asked = 0

    def refs(self, series: Sequence[Labels]) -> I32:
        self.asked += len(series)
        out = []
        for labels in series:
            if labels not in self.series and len(self.series) < self.limit:
                self.series[labels] = len(self.series)
            out.append(self.series.get(labels, -1))
        return np.array(out, np.int32)

    def shown(self, batch: SampleBatch) -> dict[str, Any]:
        """Return the batch as value by series; a staleness marker is "stale"."""
        names = [str(labels) for labels in self.series]
        stale = (bits(batch.values) == STALE_BITS).tolist()
        values = ["stale" if s else v for s, v in zip(stale, batch.values.tolist(), strict=True)]
        shown = dict(zip([names[ref] for ref in batch.refs], values, strict=True))
        assert len(shown) == len(batch), "a series stands twice in the batch"
        return shown


class Store:
    """Keeps what is appended, or raises ``error``."""

    def __init__(self) -> None:
        self.batches: list[SampleBatch] = []
        self.error: Exception | None = None

    async def append_samples(self, batch: SampleBatch) -> int:
        if self.error:
            raise self.error
        self.batches.append(batch)
        return len(self.batches)

    async def append_events(self, events: Sequence[Event]) -> int:
        raise AssertionError("scrapes have no events")


class Counts:
    """Counts as the real one does."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def accepted(self, way: str, count: int) -> None:
        self.taken[way] += count

    def rejected(self, way: str, reason: str, count: int = 1) -> None:
        self.refused[reason] += count


class Answers:
    """Answers by address: a body, or what to raise; addresses in ``hanging`` never answer."""

    def __init__(self, **bodies: bytes) -> None:
        self.bodies: dict[str, bytes | Exception] = dict(bodies)
        self.default: bytes | Exception = b"m 1\n"
        self.hanging: set[str] = set()
        self.asked: Counter[str] = Counter()

    async def fetch(self, target: Target) -> Answer:
        self.asked[target.address] += 1
        if target.address in self.hanging:
            await asyncio.Event().wait()
        answer = self.bodies.get(target.address, self.default)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer)


DOWN = ScrapeError("connect", "cannot connect")


class Bench:
    """All of them together."""

    def __init__(self, start_ms: int = 1_767_225_600_000) -> None:
        self.index, self.store, self.counts = Index(), Store(), Counts()
        self.answers, self.clock = Answers(), FakeClock(start_ms)
        self.rooms = Rooms(self.index, self.store, self.answers, self.counts, self.clock)

    def last(self, target: str = "") -> dict[str, Any]:
        """Return the latest batch (of ``target``) as value by series."""
        batches = [batch for batch in self.store.batches if not target or batch.target == target]
        return self.index.shown(batches[-1])
