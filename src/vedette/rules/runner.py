"""The loop that evaluates rule groups: reads, decides through ``evaluate``, writes, hands on.

Order within one evaluation of a group: each rule is asked and its samples are written, so that the
next rule sees them; then the states are persisted; then the alerts are posted. A crash between the
last two tells an alert again, which the notification log recognises; it never loses one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from urllib.parse import quote

import numpy as np

from vedette.kit.clock import Clock
from vedette.kit.complaints import Complaints
from vedette.model.alerts import Alert, AlertInstance, AlertState
from vedette.model.labels import Labels
from vedette.model.samples import STALE, SampleBatch
from vedette.rules.evaluate import Evaluation, Series, evaluate, restore
from vedette.rules.ports import AlertSink, AlertStates, Evaluate, Leases, Offload, T
from vedette.rules.rule import Rule, RuleGroup
from vedette.rules.status import GroupStatus, RuleCounters, RuleHealth, RuleStatus
from vedette.storage.interface import Ingest, SeriesIndex, StorageError

_log = logging.getLogger(__name__)

_ADVICE = (
    "rules go on from memory, and it is tried again; "
    "free space on the disk, or see whether the state's database answers"
)

LEASE_NAME = "rules"
LEASE_TTL_MS = 15_000


async def in_thread(function: Callable[[], T], /) -> T:
    """Run a blocking call in a thread of the event loop's pool."""
    return await asyncio.to_thread(function)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that the rule loop acts on.

    Attributes:
        app: the application that recorded series belong to.
        external_url: address of this Vedette in the links of alerts, without a trailing slash.
        outage_tolerance_ms: see :class:`vedette.rules.settings.RulesSettings`.
    """

    clock: Clock
    engine: Evaluate
    states: AlertStates
    sink: AlertSink
    index: SeriesIndex
    ingest: Ingest
    offload: Offload = in_thread
    app: str = "default"
    external_url: str = ""
    outage_tolerance_ms: int = 3_600_000
    counters: RuleCounters = field(default_factory=RuleCounters)
    complaints: Complaints = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "complaints", Complaints(_log, self.clock))


def offset_of(key: str, interval_ms: int) -> int:
    """Return the ms by which a group's evaluations lie behind multiples of its interval.

    The offset hangs on the name alone, so that it is the same after a restart, and groups with
    the same interval do not all begin at once.
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % interval_ms


class GroupRunner:
    """Evaluates one group, and keeps what its rules know."""

    def __init__(self, group: RuleGroup, around: Surroundings) -> None:
        self.group = group
        self._around = around
        self._offset = offset_of(group.key, group.interval_ms)
        self._status = {rule.key: RuleStatus.of(rule) for rule in group.rules}
        self._instances: dict[str, tuple[AlertInstance, ...]] = {}
        self._persisted = False
        self._written: dict[str, frozenset[Labels]] = {}
        self._last_ms = 0
        self._seconds = 0.0
        self._missed = 0
        # Held during an evaluation: a reload waits for its end instead of cutting it.
        self.busy = asyncio.Lock()

    async def restore(self) -> None:
        """Load the instances that an earlier process has left."""
        self._adopt(await self._around.offload(lambda: self._around.states.load(self.group.key)))

    def succeed(self, old: GroupRunner) -> None:
        """Go on from where ``old``, the same group of the configuration before, stands."""
        self._adopt(old.instances())
        self._written = old._written
        self._missed = old._missed

    def _adopt(self, stored: Sequence[AlertInstance]) -> None:
        now = self._around.clock.now_ms()
        self._persisted = bool(stored)
        kept = restore(self.group.rules, stored, now, self._around.outage_tolerance_ms)
        self._count(kept)
        self._instances = {}
        for one in kept.instances:
            self._instances[one.rule] = (*self._instances.get(one.rule, ()), one)
        for rule in self.group.rules:
            status = self._status[rule.key]
            self._status[rule.key] = replace(status, alerts=self._instances.get(rule.key, ()))

    async def run(self) -> None:
        """Evaluate at every slot until cancelled."""
        clock, interval = self._around.clock, self.group.interval_ms
        last = self._slot(clock.now_ms())
        while True:
            await clock.sleep((self._slot(clock.now_ms()) + interval - clock.now_ms()) / 1000)
            slot = self._slot(clock.now_ms())
            if slot == last:
                continue
            # A clock that was set back begins anew from where it stands now.
            missed = max(0, (slot - last) // interval - 1)
            self._missed += missed
            self._around.counters.missed += missed
            last = slot
            async with self.busy:
                try:
                    await self.evaluate(slot)
                # A fault in one evaluation must not end the watch: the next slot tries again.
                except Exception:  # noqa: BLE001
                    self._around.counters.failures += 1
                    _log.exception("an evaluation of group %s failed", self.group.key)

    def _slot(self, now_ms: int) -> int:
        """Return the latest slot at or before ``now_ms``."""
        return now_ms - (now_ms - self._offset) % self.group.interval_ms

    async def evaluate(self, ts: int) -> None:
        """Evaluate all rules at ``ts`` (ms), persist their states, post their alerts."""
        started = self._around.clock.monotonic()
        for rule in self.group.rules:
            await self._evaluate_rule(rule, ts)
        self._drop_orphans(ts)
        await self._persist(ts)
        await self._around.sink.post(self.alerts())
        self._last_ms = ts
        self._seconds = self._around.clock.monotonic() - started

    async def _evaluate_rule(self, rule: Rule, ts: int) -> None:
        around = self._around
        started = around.clock.monotonic()
        around.counters.evaluations += 1
        error = ""
        try:
            sequence = around.engine.sequence
            result = await around.engine.instant(
                rule.expr,
                ts - (self.group.query_offset_ms or 0),
                first_occurrence=rule.first_occurrence,
            )
            previous = self._instances.get(rule.key, ())
            done = evaluate(rule, result, previous, ts, sequence, self.group.limit)
        # Whatever an engine can raise fails this rule alone: its alerts stay as they were, the
        # other rules go on, and the status tells.
        except Exception as fault:  # noqa: BLE001
            error = str(fault) or type(fault).__name__
        else:
            self._count(done)
            self._instances[rule.key] = done.instances
            error = await self._write(rule, done.samples, ts)
        if error:
            around.counters.failures += 1
            if error != self._status[rule.key].last_error:
                # Said when it begins or changes; the status and the counter tell the rest.
                _log.warning("rule %s of group %s failed: %s", rule.name, self.group.key, error)
        self._status[rule.key] = replace(
            self._status[rule.key],
            health=RuleHealth.ERR if error else RuleHealth.OK,
            last_error=error,
            last_evaluation_ms=ts,
            evaluation_seconds=around.clock.monotonic() - started,
            alerts=self._instances.get(rule.key, ()),
        )

    def _count(self, done: Evaluation) -> None:
        self._around.counters.changes.update(change.change for change in done.changes)

    async def _write(self, rule: Rule, samples: Sequence[Series], ts: int) -> str:
        """Write the rule's series, end those that are gone; return what went wrong."""
        around = self._around
        labels = [one.labels for one in samples]
        gone = sorted(
            self._written.get(rule.key, frozenset()).difference(labels), key=lambda one: one.pairs
        )
        self._written[rule.key] = frozenset(labels)
        if not labels and not gone:
            return ""
        values = np.array([one.value for one in samples] + [STALE] * len(gone), np.float64)
        refs = around.index.refs([*labels, *gone])
        taken = refs >= 0
        refused = int((~taken).sum())
        around.counters.samples_refused += refused
        times = np.full(int(taken.sum()), ts, np.int64)
        batch = SampleBatch(around.app, refs[taken], times, values[taken])
        try:
            await around.ingest.append_samples(batch)
        except StorageError as error:
            around.counters.samples_refused += len(batch)
            around.complaints.warn("series of rules cannot be written", error, _ADVICE)
            return f"its series could not be written: {error}"
        around.counters.samples += len(batch)
        return f"{refused} of its series are beyond the limit of series" if refused else ""

    def _drop_orphans(self, now_ms: int) -> None:
        """Forget resolved alerts of rules that no longer exist, once their time has passed."""
        known = {rule.key for rule in self.group.rules}
        for key in [key for key in self._instances if key not in known]:
            kept = restore((), self._instances[key], now_ms, 0).instances
            self._instances[key] = kept
            if not kept:
                del self._instances[key]

    async def _persist(self, now_ms: int) -> None:
        instances = self.instances()
        if not instances and not self._persisted:
            return
        around, key = self._around, self.group.key
        try:
            await around.offload(lambda: around.states.replace(key, instances, now_ms))
        except StorageError as error:
            # Alerts must be told all the same; the next evaluation writes the whole state again.
            around.counters.state_failures += 1
            around.complaints.warn("alert states cannot be stored", error, _ADVICE)
        else:
            self._persisted = bool(instances)

    async def retire(self) -> None:
        """Resolve everything that fires: the group is gone from the configuration."""
        now = self._around.clock.now_ms()
        gone = restore((), self.instances(), now, 0)
        self._count(gone)
        self._instances = {"": gone.instances}
        await self._around.sink.post(self.alerts())
        self._instances = {}
        await self._persist(now)

    def instances(self) -> tuple[AlertInstance, ...]:
        """Return the instances of all rules."""
        return tuple(one for each in self._instances.values() for one in each)

    def alerts(self) -> list[Alert]:
        """Return what the notification pipeline must know: firing and recently resolved alerts."""
        expressions = {rule.key: rule.expr for rule in self.group.rules}
        return [
            Alert(
                labels=one.labels,
                annotations=one.annotations,
                starts_at=one.fired_at,
                ends_at=one.resolved_at if one.state is AlertState.RESOLVED else 0,
                value=one.value,
                generator_url=self._link(expressions.get(one.rule, "")),
            )
            for one in self.instances()
            if one.state is not AlertState.PENDING
        ]

    def _link(self, expr: str) -> str:
        # The form that Prometheus gives; tools that read alerts expect it.
        return f"{self._around.external_url}/graph?g0.expr={quote(expr, safe='')}&g0.tab=1"

    def status(self) -> GroupStatus:
        """Return the group as the rules API shows it."""
        rules = tuple(self._status[rule.key] for rule in self.group.rules)
        return GroupStatus(self.group, rules, self._last_ms, self._seconds, self._missed)


class RulesRunner:
    """Evaluates all groups while it holds the lease, so that one process at a time does."""

    def __init__(
        self, groups: Sequence[RuleGroup], around: Surroundings, leases: Leases, holder: str
    ) -> None:
        self._around = around
        self._leases = leases
        self._holder = holder
        self._groups = [GroupRunner(group, around) for group in groups]
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._held = False
        # A reload and the taking of the lease both change which groups run.
        self._changing = asyncio.Lock()

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
            self._around.complaints.warn("the rules' lease cannot be renewed", error, _ADVICE)
            return self._held

    async def _release(self) -> None:
        try:
            await self._around.offload(lambda: self._leases.release(LEASE_NAME, self._holder))
        except StorageError as error:
            # It expires by itself.
            self._around.complaints.warn("the rules' lease cannot be given up", error, _ADVICE)

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
            self._around.complaints.warn("alert states cannot be loaded", error, _ADVICE)
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
        new = [GroupRunner(group, self._around) for group in groups]
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
