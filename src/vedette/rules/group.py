"""The loop of one rule group: asks, decides through ``evaluate``, writes, hands on.

Order within one evaluation: the rules are asked wave by wave, and what a wave records is written
before the next one asks; then the states are persisted; then the alerts are posted. A crash between
the last two tells an alert again, which the notification log recognises; it never loses one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from urllib.parse import quote_plus

from vedette.model.alerts import Alert, AlertInstance, AlertState
from vedette.rules.alignment import Aligned, Part, align
from vedette.rules.evaluate import Evaluation, Outage, restore, state_series
from vedette.rules.ports import Session
from vedette.rules.round import Judged, Round, judge
from vedette.rules.rule import RuleGroup
from vedette.rules.series_writer import SeriesWriter
from vedette.rules.status import GroupStatus, RuleHealth, RuleStatus
from vedette.rules.surroundings import ADVICE, Surroundings
from vedette.storage.interface import StorageError

_log = logging.getLogger(__name__)

PERSIST_MS = 60_000
"""States that stay the same are stored again after it, so that an outage can be measured."""

_NOT_KNOWN = Outage(0, 0, 0)


def offset_of(key: str, interval_ms: int) -> int:
    """Return the ms by which a group's evaluations lie behind multiples of its interval.

    The offset hangs on the name alone, so that it is the same after a restart, and groups with
    the same interval do not all begin at once.
    """
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest()) % interval_ms


class GroupRunner:
    """Evaluates one group, and keeps what its rules know."""

    def __init__(
        self, group: RuleGroup, around: Surroundings, aligned: Aligned | None = None
    ) -> None:
        """Without ``aligned`` the group shares nothing with others."""
        aligned = aligned or align([group], around.query_offset_ms)[group.key]
        self.group = group
        self._around = around
        self._offset = offset_of(aligned.offset_key, group.interval_ms)
        self._back_ms = (
            around.query_offset_ms if group.query_offset_ms is None else group.query_offset_ms
        )
        self._waves = [_slices(wave, around.concurrency) for wave in aligned.waves]
        self._status = {rule.key: RuleStatus.of(rule) for rule in group.rules}
        self._instances: dict[str, tuple[AlertInstance, ...]] = {}
        self._writer = SeriesWriter(around)
        self._stored: tuple[object, ...] = ()
        self._stored_at = 0
        self._last_ms = 0
        self._seconds = 0.0
        self._iterations = 0
        self._missed = 0
        # Held during an evaluation: a reload waits for its end instead of cutting it.
        self.busy = asyncio.Lock()

    async def restore(self) -> None:
        """Load the instances that an earlier process has left."""
        self._adopt(await self._around.offload(lambda: self._around.states.load(self.group.key)))

    def succeed(self, old: GroupRunner) -> None:
        """Go on from where ``old``, the same group of the configuration before, stands."""
        self._adopt(old.instances())
        self._writer = old._writer
        self._missed = old._missed
        self._iterations = old._iterations

    def _adopt(self, stored: Sequence[AlertInstance]) -> None:
        now = self._around.clock.now_ms()
        self._stored = _mark(stored)
        brief = max(self._around.outage.brief, 2 * self.group.interval_ms + PERSIST_MS)
        outage = replace(self._around.outage, brief=brief)
        kept = restore(self.group.rules, stored, now, outage)
        self._count(kept)
        self._instances = {}
        for one in kept.instances:
            self._instances[one.rule] = (*self._instances.get(one.rule, ()), one)
        for rule in self.group.rules:
            alerts = self._instances.get(rule.key, ())
            self._status[rule.key] = replace(self._status[rule.key], alerts=alerts)
            # What they have written must end when they end.
            self._writer.remember(rule, state_series(alerts))

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
        for wave in self._waves:
            parts = await asyncio.gather(*(self._ask(slice_, ts) for slice_ in wave))
            await self._settle([one for part in parts for one in part], ts)
        await self._drop_orphans(ts)
        await self._persist(ts)
        await self._around.sink.post(self.alerts())
        self._last_ms = ts
        self._iterations += 1
        self._seconds = self._around.clock.monotonic() - started

    async def _ask(self, wave: Sequence[Part], ts: int) -> list[Judged]:
        around = self._around
        sequence = around.engine.sequence

        def work(session: Session) -> list[Judged]:
            return judge(
                wave,
                Round(
                    session,
                    now=ts,
                    asked=ts - self._back_ms,
                    previous=self._instances,
                    sequence=sequence,
                    limit=self.group.limit,
                    external_labels=around.external_labels,
                    external_url=around.external_url,
                    seconds=around.clock.monotonic,
                ),
            )

        try:
            return await around.engine.together(work)
        # The pool may refuse the whole round: each rule of it failed for that reason.
        except Exception as fault:  # noqa: BLE001
            error = str(fault) or type(fault).__name__
            rules = [rule for part in wave for rule in part.rules]
            return [Judged(rule, Evaluation(), error) for rule in rules]

    async def _settle(self, judged: Sequence[Judged], ts: int) -> None:
        """Keep what the rules decided, write their series, and note how they are."""
        good = [one for one in judged if not one.error]
        for one in good:
            if one.done.instances or one.rule.key in self._instances:
                self._count(one.done)
                self._instances[one.rule.key] = one.done.instances
        written = [(one.rule, one.done.samples) for one in good]
        unwritten = await self._writer.write(written, ts - self._back_ms)
        self._around.counters.evaluations += len(judged)
        for one in judged:
            self._note(one, one.error or unwritten.get(one.rule.key, ""), ts)

    def _note(self, one: Judged, error: str, ts: int) -> None:
        rule, counters = one.rule, self._around.counters
        before = self._status[rule.key]
        if error:
            counters.failures += 1
            if error != before.last_error:
                # Said when it begins or changes; the status and the counter tell the rest.
                _log.warning("rule %s of group %s failed: %s", rule.name, self.group.key, error)
        self._status[rule.key] = RuleStatus(
            rule,
            before.labels,
            before.annotations,
            RuleHealth.ERR if error else RuleHealth.OK,
            error,
            ts,
            one.seconds,
            self._instances.get(rule.key, ()),
        )

    def _count(self, done: Evaluation) -> None:
        self._around.counters.changes.update(change.change for change in done.changes)

    async def _drop_orphans(self, now_ms: int) -> None:
        """Forget alerts of rules that no longer exist, once their time has passed."""
        known = {rule.key for rule in self.group.rules}
        for key in [key for key in self._instances if key not in known]:
            kept = restore((), self._instances[key], now_ms, _NOT_KNOWN).instances
            self._instances[key] = kept
            if not kept:
                del self._instances[key]
        await self._writer.end_all_but(known, now_ms - self._back_ms)

    async def _persist(self, now_ms: int) -> None:
        instances = self.instances()
        mark = _mark(instances)
        due = bool(instances) and now_ms - self._stored_at >= PERSIST_MS
        if mark == self._stored and not due:
            return
        around, key = self._around, self.group.key
        try:
            await around.offload(lambda: around.states.replace(key, instances, now_ms))
        except StorageError as error:
            # Alerts must be told all the same; the next evaluation writes the whole state again.
            around.counters.state_failures += 1
            around.complaints.warn("alert states cannot be stored", error, ADVICE)
        else:
            self._stored, self._stored_at = mark, now_ms

    async def retire(self) -> None:
        """Resolve everything that fires and end its series: the group is gone."""
        now = self._around.clock.now_ms()
        gone = restore((), self.instances(), now, _NOT_KNOWN)
        self._count(gone)
        self._instances = {"": gone.instances}
        await self._around.sink.post(self.alerts())
        await self._writer.end_all_but(set(), now)
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
        return f"{self._around.external_url}/graph?g0.expr={quote_plus(expr)}&g0.tab=1"

    def status(self) -> GroupStatus:
        """Return the group as the rules API shows it."""
        rules = tuple(self._status[rule.key] for rule in self.group.rules)
        return GroupStatus(
            self.group, rules, self._last_ms, self._seconds, self._missed, self._iterations
        )


def _slices(wave: Sequence[Part], concurrency: int) -> list[tuple[Part, ...]]:
    """Return a wave in at most ``concurrency`` slices of about the same size."""
    count = min(len(wave), max(concurrency, 1))
    return [tuple(wave[k::count]) for k in range(count)]


def _mark(instances: Sequence[AlertInstance]) -> tuple[object, ...]:
    """Return what of ``instances`` must survive: all but when and how they were seen last."""
    return tuple(
        (
            one.rule,
            one.labels,
            one.annotations,
            one.state,
            one.active_at,
            one.fired_at,
            one.resolved_at,
        )
        for one in instances
    )
