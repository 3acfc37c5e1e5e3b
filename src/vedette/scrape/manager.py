"""All scrape loops: starts, replaces and stops them as the settings and the discoveries ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vedette.model.labels import Labels
from vedette.scrape.discovery.groups import TargetGroup
from vedette.scrape.discovery.settings import DiscoverySettings, StaticDiscovery
from vedette.scrape.grammar import Metadata
from vedette.scrape.loop import Rooms, ScrapeLoop, TargetStatus
from vedette.scrape.pool import PoolState, TargetPool
from vedette.scrape.settings import ScrapeJob, ScrapeSettings, settings_faults
from vedette.scrape.targets import Target

_SETTLE_SECONDS = 1.0
_AGAIN_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    loop: ScrapeLoop
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class DroppedTargets:
    """Targets that the rules of a job drop: the labels of some, and how many there are."""

    pool: str
    labels: tuple[Labels, ...]
    count: int


@dataclass(slots=True)
class _Pool:
    """One job at work: its targets, their loops, and the tasks that look for more."""

    targets: TargetPool
    discoveries: tuple[DiscoverySettings, ...] = ()
    searches: list[asyncio.Task[None]] = field(default_factory=list)
    follower: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    running: dict[str, _Running] = field(default_factory=dict)
    state: PoolState = field(default_factory=lambda: PoolState({}, (), 0, ()))

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that look for targets."""
        return [*self.searches, *([self.follower] if self.follower else [])]


class ScrapeManager:
    """Keeps one task per target, and one per discovery."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._pools: dict[str, _Pool] = {}
        # Settings and discoveries both change which loops there are; one at a time may.
        self._changing = asyncio.Lock()

    async def apply(self, settings: ScrapeSettings) -> None:
        """Make the loops those of ``settings``.

        Unchanged targets go on undisturbed; the series of removed ones end with staleness markers.

        Raises:
            ValueError: the settings have faults; nothing was changed.
        """
        faults = [fault.message for fault in settings_faults(settings)]
        if faults:
            raise ValueError("; ".join(faults))
        async with self._changing:
            jobs = _by_name(settings.jobs)
            for name in self._pools.keys() - jobs.keys():
                pool = self._pools.pop(name)
                await _cancelled(pool.tasks)
                await self._end(pool, list(pool.running))
            for name, job in jobs.items():
                await self._apply_job(name, job, settings)
            # The order is that of the settings.
            self._pools = {name: self._pools[name] for name in jobs}

    async def stop(self) -> None:
        """Stop all loops; no series ends by that, because a restart goes on with them."""
        pools = list(self._pools.values())
        self._pools.clear()
        loops = [running.task for pool in pools for running in pool.running.values()]
        await _cancelled([*(task for pool in pools for task in pool.tasks), *loops])

    def targets(self) -> tuple[TargetStatus, ...]:
        """Return the state of every target, in the order of the settings."""
        return tuple(loop.status for loop in self._loops())

    def pools(self) -> tuple[str, ...]:
        """Return the names of all jobs, those without targets too."""
        return tuple(self._pools)

    def dropped(self) -> tuple[DroppedTargets, ...]:
        """Return what the rules of each job drop."""
        return tuple(
            DroppedTargets(name, pool.state.dropped, pool.state.dropped_count)
            for name, pool in self._pools.items()
        )

    def target_metadata(self) -> Iterator[tuple[TargetStatus, Mapping[str, Metadata]]]:
        """Yield every target with what it says of its metric families."""
        for loop in self._loops():
            yield loop.status, loop.metadata

    def metadata(self) -> dict[str, tuple[Metadata, ...]]:
        """Return by metric family what the targets say of it, each different statement once."""
        found: dict[str, dict[Metadata, None]] = {}
        for loop in self._loops():
            for name, metadata in loop.metadata.items():
                found.setdefault(name, {})[metadata] = None
        return {name: tuple(statements) for name, statements in found.items()}

    def _loops(self) -> Iterator[ScrapeLoop]:
        for pool in self._pools.values():
            for running in list(pool.running.values()):
                yield running.loop

    async def _apply_job(self, name: str, job: ScrapeJob, settings: ScrapeSettings) -> None:
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = _Pool(TargetPool(job, settings))
        else:
            pool.targets.configure(job, settings)
        if pool.discoveries != job.discovery:
            await _cancelled(pool.tasks)
            self._search(pool, job.discovery)
        pool.targets.renew(len(job.discovery))
        await self._sync(pool)

    def _search(self, pool: _Pool, discoveries: tuple[DiscoverySettings, ...]) -> None:
        """Replace what looks for targets; targets of discoveries that stay are kept meanwhile."""
        old, pool.discoveries = pool.discoveries, discoveries
        for number, former in enumerate(old):
            if number >= len(discoveries) or discoveries[number] != former:
                pool.targets.forget(number)
        pool.searches = []
        pool.follower = None
        for number, wanted in enumerate(discoveries):
            if isinstance(wanted, StaticDiscovery):
                # What stands in the settings is there at once.
                pool.targets.update(number, wanted.groups)
                continue
            task = self._run_search(pool, number, wanted)
            pool.searches.append(asyncio.create_task(task, name="discovery"))
        if pool.searches:
            pool.follower = asyncio.create_task(self._follow(pool), name="discovery changes")

    async def _run_search(self, pool: _Pool, number: int, wanted: DiscoverySettings) -> None:
        def publish(groups: Sequence[TargetGroup]) -> None:
            pool.targets.update(number, groups)
            pool.changed.set()

        while True:
            try:
                await self._rooms.discover(wanted).run(publish)
            except Exception:  # noqa: BLE001 - a defect must not end the search for targets
                _log.exception("a discovery of job %s failed by a defect", pool.targets.job.job)
            await self._rooms.clock.sleep(_AGAIN_SECONDS)

    async def _follow(self, pool: _Pool) -> None:
        """Bring the loops up to what was discovered, many changes at once."""
        while True:
            await pool.changed.wait()
            pool.changed.clear()
            async with self._changing:
                await self._sync(pool)
            await self._rooms.clock.sleep(_SETTLE_SECONDS)

    async def _sync(self, pool: _Pool) -> None:
        """Make the loops of ``pool`` those of its targets."""
        before, pool.state = pool.state, pool.targets.state()
        for fault in sorted(set(pool.state.faults) - set(before.faults)):
            _log.warning("a discovered target is not scraped: %s", fault)
        wanted = pool.state.targets
        changed = {k: now for k, now in pool.running.items() if wanted.get(k) != now.loop.target}
        heirs = {k: now for k, now in changed.items() if _is_heir(wanted.get(k), now.loop.target)}
        ended = await self._end(pool, changed.keys() - heirs.keys())
        await _cancelled(now.task for now in heirs.values())
        for key, target in wanted.items():
            if key in heirs:
                pool.running[key] = self._start(target, 0, heirs[key].loop)
            elif key not in pool.running:
                pool.running[key] = self._start(target, ended.get(key, 0))
            pool.running[key].loop.describe(target, pool.state.excess)

    async def _end(self, pool: _Pool, keys: Iterable[str]) -> dict[str, int]:
        """End the loops ``keys``; return the ms of the last sample of each."""
        loops = {key: pool.running.pop(key) for key in keys}
        await _cancelled(running.task for running in loops.values())
        return {key: await running.loop.end() for key, running in loops.items()}

    def _start(self, target: Target, after: int, former: ScrapeLoop | None = None) -> _Running:
        loop = ScrapeLoop(target, self._rooms, after)
        if former is not None:
            loop.succeed(former)
        return _Running(loop, asyncio.create_task(loop.run(), name=f"scrape {target.key}"))


def _is_heir(new: Target | None, old: Target) -> bool:
    """Return whether ``new`` is ``old`` scraped in another way, so that its series go on."""
    return new is not None and new.labels == old.labels and new.job.app == old.job.app


def _by_name(jobs: Iterable[ScrapeJob]) -> dict[str, ScrapeJob]:
    """Return the jobs by their names; a second one of a name gets a number."""
    named: dict[str, ScrapeJob] = {}
    for job in jobs:
        name, number = job.job, 1
        while name in named:
            number += 1
            name = f"{job.job} ({number})"
        named[name] = job
    return named


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
