"""Sending on, wired: the spool as backlog, cursors in the state, one loop per destination.

Destinations may change while it runs: what is new starts, what is gone lets go of the spool, what
has changed goes on at its cursor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client.metrics_core import Metric

from vedette.app.families import counter, gauge
from vedette.app.storage import StorageRooms
from vedette.forward.ports import Page
from vedette.forward.sender import Forwarder, ForwardStats
from vedette.forward.settings import Destination
from vedette.kit.clock import Clock
from vedette.model.arrays import I32
from vedette.model.metadata import MetricMetadata
from vedette.scrape.manager import ScrapeManager

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

    def release(self, name: str) -> None:
        """Keep nothing for ``name`` any more."""
        self._tail.release(name)

    def canonical(self, refs: I32) -> list[bytes]:
        """Return the canonical labels of each ref."""
        return self._storage.index.canonical(refs)


class KnownMetrics:
    """Implements ``Descriptions``: what targets say, then what senders say."""

    def __init__(self, scrape: ScrapeManager, storage: StorageRooms) -> None:
        self._scrape = scrape
        self._storage = storage

    def described(self) -> Mapping[str, MetricMetadata]:
        """Return one statement for each metric family."""
        found = {
            name: statements[0]
            for name, statements in self._storage.metadata.metadata().items()
            if statements
        }
        for name, entries in self._scrape.metadata().items():
            if entries:
                first = entries[0]
                found[name] = MetricMetadata(name, first.type, first.help, first.unit)
        return found


class Forwarding:
    """All destinations of remote write, outwards. ``run`` it until it is cancelled."""

    def __init__(
        self,
        destinations: tuple[Destination, ...],
        storage: StorageRooms,
        scrape: ScrapeManager,
        clock: Clock,
        version: str,
    ) -> None:
        # Threads of its own, begun when needed: a slow disk of the state must not hold up scrapes.
        self._threads = ThreadPoolExecutor(2, "forward")
        self._wanted = destinations
        self._since: int | None = None
        self._changed = asyncio.Event()
        self._backlog = SpoolBacklog(storage)
        self._known = KnownMetrics(scrape, storage)
        self._storage = storage
        self._clock = clock
        self._version = version
        self._running: dict[str, tuple[Forwarder, asyncio.Task[None]]] = {}
        self._stats: dict[str, ForwardStats] = {}

    def apply(self, destinations: tuple[Destination, ...]) -> None:
        """Send to ``destinations``, and to no others, from now on."""
        self._wanted = destinations
        # What is stored from this moment on is sent, also before the loops have begun.
        self._since = self._backlog.sequence
        self._changed.set()

    async def run(self) -> None:
        """Keep one loop running per destination; a loop that fails ends this with its error."""
        try:
            while True:
                self._changed.clear()
                await self._reconcile()
                changed = asyncio.create_task(self._changed.wait())
                loops = [task for _, task in self._running.values()]
                done, _ = await asyncio.wait([changed, *loops], return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                for task in done - {changed}:
                    task.result()
        finally:
            await self._end(list(self._running))

    async def _reconcile(self) -> None:
        wanted = {each.name: each for each in self._wanted}
        running = self._running
        await self._end([n for n, (f, _) in running.items() if wanted.get(n) != f.destination])
        for name in self._stats.keys() - wanted.keys():
            self._backlog.release(name)
            del self._stats[name]
        for name, destination in wanted.items():
            if name not in running:
                forwarder = self._forwarder(destination)
                task = asyncio.create_task(forwarder.run(), name=f"remote write to {name}")
                running[name] = forwarder, task

    def _forwarder(self, destination: Destination) -> Forwarder:
        return Forwarder(
            destination,
            self._backlog,
            self._storage.cursors,
            self._clock,
            self._offload,
            version=self._version,
            descriptions=self._known,
            stats=self._stats.setdefault(destination.name, ForwardStats()),
            since=self._since,
        )

    async def _end(self, names: list[str]) -> None:
        tasks = [self._running.pop(name)[1] for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _offload(self, function: Callable[[], T], /) -> T:
        return await finished(asyncio.get_running_loop().run_in_executor(self._threads, function))

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def families(self) -> Iterator[Metric]:
        """Yield the metrics of all destinations."""
        stats = dict(self._stats)
        yield counter(
            "vedette_remote_write_samples",
            "Samples sent on to other stores, by what became of them.",
            ("remote", "outcome"),
            {(name, o): n for name, each in stats.items() for o, n in each.samples.items()},
        )
        yield counter(
            "vedette_remote_write_left_out_samples",
            "Samples that the settings of another store keep from being sent, by reason.",
            ("remote", "reason"),
            {(name, why): n for name, each in stats.items() for why, n in each.left_out.items()},
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


async def finished(call: asyncio.Future[T]) -> T:
    """Return what ``call`` returns; whoever is cancelled meanwhile ends after it has ended.

    A thread cannot be stopped: one that still reads for a destination must not meet the thread of
    the loop that takes over.
    """
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        if not call.cancelled():
            call.exception()  # looked at, so that nobody misses it
        raise
