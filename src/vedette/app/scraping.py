"""Scraping, wired: clients, threads of its own, discoveries, and the loops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from prometheus_client.metrics_core import Metric

from vedette.app.families import counter, gauge
from vedette.app.storage import StorageRooms
from vedette.kit.clock import Clock
from vedette.kit.complaints import Complaints
from vedette.kit.http_client import HttpClients
from vedette.scrape.discovery.groups import Around, DiscoveryStats
from vedette.scrape.discovery.registry import discoverer
from vedette.scrape.fetch import HttpFetcher
from vedette.scrape.loop import IntakeCounts, Rooms
from vedette.scrape.manager import ScrapeManager

_THREADS = 2

T = TypeVar("T")


class Scraping:
    """The room ``scrape`` of one server."""

    def __init__(
        self, storage: StorageRooms, counts: IntakeCounts, clock: Clock, version: str
    ) -> None:
        # Threads of its own: look-ups of names and disks of others must not hold up scrapes.
        self._threads = ThreadPoolExecutor(_THREADS, "scrape")
        self._clients = HttpClients(f"Vedette/{version}", clock=clock)
        self._stats = DiscoveryStats()
        around = Around(
            self._clients,
            clock,
            self._offload,
            self._stats,
            Complaints(logging.getLogger("vedette.scrape.discovery"), clock),
        )
        fetcher = HttpFetcher(self._clients, self._offload)
        self.manager = ScrapeManager(
            Rooms(
                storage.index,
                storage.ingest,
                fetcher,
                counts,
                clock,
                self._offload,
                discoverer(around),
                storage.metadata.put,
            )
        )

    async def aclose(self) -> None:
        """Close the connections and let go of the threads; the loops are stopped before."""
        await self._clients.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _offload(self, work: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def families(self) -> Iterator[Metric]:
        """Yield what the server's own metrics say of targets and discoveries."""
        health: dict[tuple[str, ...], float] = {}
        for status in self.manager.targets():
            key = (status.pool, status.health.value)
            health[key] = health.get(key, 0) + 1
        yield gauge(
            "vedette_scrape_targets", "Scrape targets, by job and state.", ("pool", "state"), health
        )
        yield gauge(
            "vedette_scrape_targets_dropped",
            "Discovered targets that the rules of their job drop.",
            ("pool",),
            {(each.pool,): each.count for each in self.manager.dropped()},
        )
        yield counter(
            "vedette_discovery_failures",
            "Look-ups of targets that failed; the former targets stay.",
            ("mechanism", "reason"),
            self._stats.failures,
        )
