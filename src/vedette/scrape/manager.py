"""All scrape loops: starts, replaces and stops them as the settings ask."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vedette.scrape.grammar import Metadata
from vedette.scrape.loop import Rooms, ScrapeLoop, TargetStatus
from vedette.scrape.settings import ScrapeSettings, settings_faults
from vedette.scrape.target import Target, targets_of


@dataclass(frozen=True, slots=True)
class _Running:
    loop: ScrapeLoop
    task: asyncio.Task[None]


class ScrapeManager:
    """Keeps one task per target."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._running: dict[str, _Running] = {}

    async def apply(self, settings: ScrapeSettings) -> None:
        """Make the loops those of ``settings``.

        Unchanged targets go on undisturbed; the series of removed ones end with staleness markers.

        Raises:
            ValueError: the settings have faults; nothing was changed.
        """
        faults = [fault.message for fault in settings_faults(settings)]
        if faults:
            raise ValueError("; ".join(faults))
        wanted = {target.key: target for target in targets_of(settings)}
        ended: dict[str, int] = {}
        for key, running in list(self._running.items()):
            if wanted.get(key) != running.loop.target:
                del self._running[key]
                await _cancelled([running.task])
                ended[key] = await running.loop.end()
        for key, target in wanted.items():
            if key not in self._running:
                self._running[key] = self._start(target, ended.get(key, 0))

    async def stop(self) -> None:
        """Stop all loops; no series ends by that, because a restart goes on with them."""
        tasks = [running.task for running in self._running.values()]
        self._running.clear()
        await _cancelled(tasks)

    def targets(self) -> tuple[TargetStatus, ...]:
        """Return the state of every target, in the order of the settings."""
        return tuple(running.loop.status for running in self._running.values())

    def target_metadata(self) -> Iterator[tuple[TargetStatus, Mapping[str, Metadata]]]:
        """Yield every target with what it says of its metric families."""
        for running in self._running.values():
            yield running.loop.status, running.loop.metadata

    def metadata(self) -> dict[str, tuple[Metadata, ...]]:
        """Return by metric family what the targets say of it, each different statement once."""
        found: dict[str, dict[Metadata, None]] = {}
        for running in self._running.values():
            for name, metadata in running.loop.metadata.items():
                found.setdefault(name, {})[metadata] = None
        return {name: tuple(statements) for name, statements in found.items()}

    def _start(self, target: Target, after: int) -> _Running:
        loop = ScrapeLoop(target, self._rooms, after)
        return _Running(loop, asyncio.create_task(loop.run(), name=f"scrape {target.key}"))


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
