"""Sending on, wired: the spool as backlog, cursors in the state, one loop per destination."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client.metrics_core import Metric

from vedette.app.families import counter, gauge
from vedette.app.storage import StorageRooms
from vedette.forward.ports import Page
from vedette.forward.sender import Forwarder
from vedette.forward.settings import Destination
from vedette.kit.clock import Clock
from vedette.model.arrays import I32

T = TypeVar("T")


class SpoolBacklog:
    """Implements ``Backlog`` on the spool."""

    def __init__(self, storage: StorageRooms) -> None:
        self._storage = storage
        self._tail = storage.ingest.tail()

    @property
    def sequence(self) -> int:
        """Ingest sequence of the newest durable batch."""
        return self._storage.ingest.sequence

    def read(self, name: str, after: int, samples: int) -> Page:
        """Return what follows ``after``; see ``Backlog``."""
        page = self._tail.read(name, after, samples)
        return Page(page.batches, page.last, page.lost)

    def hold(self, name: str, sequence: int) -> None:
        """Keep what is newer than ``sequence``."""
        self._tail.hold(name, sequence)

    def canonical(self, refs: I32) -> list[bytes]:
        """Return the canonical labels of each ref."""
        return self._storage.index.canonical(refs)


class Forwarding:
    """All destinations of remote write, outwards."""

    def __init__(
        self,
        destinations: tuple[Destination, ...],
        storage: StorageRooms,
        clock: Clock,
        version: str,
    ) -> None:
        # Threads of its own: a slow disk of the state must not hold up scrapes.
        self._threads = ThreadPoolExecutor(2, "forward") if destinations else None
        backlog = SpoolBacklog(storage)
        self.forwarders = tuple(
            Forwarder(each, backlog, storage.cursors, clock, self._offload, version=version)
            for each in destinations
        )
        self._storage = storage

    async def _offload(self, function: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """Let go of the threads."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def families(self) -> Iterator[Metric]:
        """Yield the metrics of all destinations."""
        stats = {each.destination.name: each.stats for each in self.forwarders}
        yield counter(
            "vedette_remote_write_samples",
            "Samples sent on to other stores, by what became of them.",
            ("remote", "outcome"),
            {(name, o): n for name, each in stats.items() for o, n in each.samples.items()},
        )
        yield counter(
            "vedette_remote_write_requests",
            "Requests to other stores, by what became of them and why.",
            ("remote", "outcome", "reason"),
            {(name, *key): n for name, each in stats.items() for key, n in each.requests.items()},
        )
        yield counter(
            "vedette_remote_write_sent_bytes",
            "Compressed bytes that other stores took.",
            ("remote",),
            {(name,): each.bytes_sent for name, each in stats.items()},
        )
        yield counter(
            "vedette_remote_write_gaps",
            "Times that the backlog no longer had what another store was to get next.",
            ("remote",),
            {(name,): each.gaps for name, each in stats.items()},
        )
        yield gauge(
            "vedette_remote_write_pending_batches",
            "Batches that another store has not got yet.",
            ("remote",),
            {(n,): max(0, self._storage.ingest.sequence - e.reached) for n, e in stats.items()},
        )
        yield gauge(
            "vedette_remote_write_newest_sample_seconds",
            "Timestamp of the newest sample that another store got.",
            ("remote",),
            {(name,): each.newest_ts / 1000 for name, each in stats.items()},
        )
