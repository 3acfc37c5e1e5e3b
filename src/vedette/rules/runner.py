"""The loops of all rule groups, run by the one process that holds the lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from vedette.rules.alignment import align
from vedette.rules.group import GroupRunner as GroupRunner
from vedette.rules.group import offset_of as offset_of
from vedette.rules.ports import Leases
from vedette.rules.rule import RuleGroup
from vedette.rules.status import GroupStatus, RuleCounters
from vedette.rules.surroundings import ADVICE
from vedette.rules.surroundings import Surroundings as Surroundings
from vedette.storage.interface import StorageError

_log = logging.getLogger(__name__)

LEASE_NAME = "rules"
LEASE_TTL_MS = 15_000


class RulesRunner:
    """Evaluates all groups while it holds the lease, so that one process at a time does."""

    def __init__(
        self, groups: Sequence[RuleGroup], around: Surroundings, leases: Leases, holder: str
    ) -> None:
        self._around = around
        self._leases = leases
        self._holder = holder
        self._groups = self._runners(groups)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held = False
        # A reload and the taking of the lease both change which groups run.
        self._changing = asyncio.Lock()

    def _runners(self, groups: Sequence[RuleGroup]) -> list[GroupRunner]:
        aligned = align(groups, self._around.query_offset_ms)
        return [GroupRunner(group, self._around, aligned[group.key]) for group in groups]

    @property
    def counters(self) -> RuleCounters:
        """Counts since the start."""
        return self._around.counters

    @property
    def leading(self) -> bool:
        """Whether this process holds the lease, and so evaluates."""
        return self._held

    def snapshot(self) -> tuple[GroupStatus, ...]:
        """Return all groups and rules with their health, last error and alerts."""
        return tuple(runner.status() for runner in self._groups)

    async def run(self) -> None:
        """Evaluate until cancelled."""
        try:
            while True:
                async with self._changing:
                    await self._turn()
                await self._around.clock.sleep(LEASE_TTL_MS / 3000)
        finally:
            await self._stop(self._groups)
            if self._held:
                self._held = False
                await self._release()

    async def _turn(self) -> None:
        held = await self._acquire()
        if held and not self._held:
            held = await self._begin()
        if self._held and not held:
            _log.warning("another process evaluates the rules now")
            await self._stop(self._groups)
        self._held = held

    async def _acquire(self) -> bool:
        now = self._around.clock.now_ms()
        try:
            return await self._around.offload(
                lambda: self._leases.acquire(LEASE_NAME, self._holder, LEASE_TTL_MS, now)
            )
        except StorageError as error:
            # Nobody else can take the lease meanwhile either: who has it goes on.
            self.counters.state_failures += 1
            self._around.complaints.warn("the rules' lease cannot be renewed", error, ADVICE)
            return self._held

    async def _release(self) -> None:
        try:
            await self._around.offload(lambda: self._leases.release(LEASE_NAME, self._holder))
        except StorageError as error:
            # It expires by itself.
            self._around.complaints.warn("the rules' lease cannot be given up", error, ADVICE)

    async def _retire_unknown(self) -> None:
        """Resolve what fires in groups that were taken from the files while nobody looked."""
        known = {runner.group.key for runner in self._groups}
        for key in await self._around.offload(self._around.states.groups):
            if key not in known:
                file, _, name = key.partition(";")
                gone = GroupRunner(RuleGroup(name, file, 60_000, ()), self._around)
                await gone.restore()
                await gone.retire()

    async def _begin(self) -> bool:
        """Restore every group, post what fires, then let the loops run."""
        try:
            for runner in self._groups:
                await runner.restore()
            await self._retire_unknown()
        except StorageError as error:
            # Evaluating without the stored states would begin every pending alert anew; try later.
            self.counters.state_failures += 1
            self._around.complaints.warn("alert states cannot be loaded", error, ADVICE)
            return False
        for runner in self._groups:
            await self._around.sink.post(runner.alerts())
        await self._around.sink.settled()
        self._start(self._groups)
        return True

    def _start(self, runners: Sequence[GroupRunner]) -> None:
        for runner in runners:
            name = f"rules {runner.group.key}"
            self._tasks[runner.group.key] = asyncio.create_task(runner.run(), name=name)

    async def _stop(self, runners: Sequence[GroupRunner]) -> None:
        tasks = []
        for runner in runners:
            task = self._tasks.pop(runner.group.key, None)
            if task is not None:
                async with runner.busy:
                    task.cancel()
                tasks.append(task)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def reload(self, groups: Sequence[RuleGroup]) -> None:
        """Go on with ``groups``; alerts of rules that stay keep their state.

        Raises:
            StorageError: the state of a new group cannot be loaded; the running groups go on.
        """
        async with self._changing:
            await self._reload(groups)

    async def _reload(self, groups: Sequence[RuleGroup]) -> None:
        old = {runner.group.key: runner for runner in self._groups}
        new = self._runners(groups)
        if not self._held:
            self._groups = new
            return
        for runner in new:
            if runner.group.key not in old:
                await runner.restore()
        await self._stop(self._groups)
        for runner in new:
            if runner.group.key in old:
                runner.succeed(old.pop(runner.group.key))
        self._groups = new
        for gone in old.values():
            await gone.retire()
        for runner in new:
            await self._around.sink.post(runner.alerts())
        self._start(new)
