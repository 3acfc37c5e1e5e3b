"""From posted alerts to deliveries: the order of decisions can be read in ``Pipeline._flush``.

Everything decided here is decided by the pure modules beside; this one keeps the alerts, waits,
and acts. A restart forgets the alerts and groups, which the rules post again, and keeps the
notification log, which knows what was told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from vedette.alerting.dedup import Decision, decide, idempotency_key, next_entry
from vedette.alerting.group import Group, Groups, Mute, Outcome, Verdict
from vedette.alerting.inhibit import Inhibitor
from vedette.alerting.ports import Integration, NotificationLog, Offload, T
from vedette.alerting.route import Router
from vedette.alerting.settings import AlertingSettings
from vedette.alerting.silence import NoSilences, Silences, silenced_by
from vedette.kit.clock import Clock
from vedette.kit.complaints import Complaints
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import (
    Delivery,
    DeliveryOutcome,
    DeliveryReason,
    LogEntry,
    Notification,
    alert_id,
)
from vedette.storage.interface import StorageError

_log = logging.getLogger(__name__)
_ADVICE = (
    "notifications go on from memory, and a restart could tell one twice; "
    "free space on the disk, or see whether the state's database answers"
)

MIN_BUDGET_MS = 10_000
_FORGET_AFTER_MS = 3_600_000
_FORGET_EVERY_MS = 60_000
_GRACE_SECONDS = 2.0

_id = lru_cache(maxsize=65_536)(alert_id)


def _ids(alerts: Iterable[Alert]) -> frozenset[bytes]:
    return frozenset(_id(one.labels) for one in alerts)


async def in_thread(function: Callable[[], T], /) -> T:
    """Run a blocking call in a thread of the event loop's pool."""
    return await asyncio.to_thread(function)


@dataclass(slots=True)
class AlertingCounters:
    """Counts since the start, for the metrics endpoint.

    Attributes:
        posted: alerts taken from the rules, each evaluation anew.
        flushes: groups that were due.
        verdicts: alerts in flushed groups by :class:`Mute`.
        decisions: decisions by integration key and reason.
        deliveries: ends of deliveries by integration key, outcome and reason.
        busy: flushes that found the delivery before still under way.
        log_failures: times that the notification log could not be read or written.
    """

    posted: int = 0
    flushes: int = 0
    verdicts: Counter[Mute] = field(default_factory=Counter)
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    deliveries: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    busy: int = 0
    log_failures: int = 0


@dataclass(frozen=True, slots=True)
class GroupView:
    """One aggregation group as it is shown; times in ms, ``due_in_ms`` from now."""

    key: str
    receiver: str
    labels: Labels
    due_in_ms: int
    alerts: tuple[tuple[Alert, Verdict | None], ...]
    outcomes: tuple[tuple[str, Outcome], ...]


@dataclass(frozen=True, slots=True)
class _Flush:
    """What one flush of a group holds: what fires and may be told, fires muted, and has ended.

    An end is muted by nothing: who was told that the alert fires waits for it.
    """

    group: Group
    now_ms: int
    firing: tuple[Alert, ...]
    muted: tuple[Alert, ...]
    ended: tuple[Alert, ...]


class Pipeline:
    """Takes alerts (it is the rules' ``AlertSink``) and tells the receivers of their routes.

    ``integrations`` holds every receiver's channels by the receiver's name. ``give_way_ms`` says
    how long this process waits for another one that may tell the same: 0 while it leads.
    """

    def __init__(
        self,
        settings: AlertingSettings,
        integrations: Mapping[str, Sequence[Integration]],
        log: NotificationLog,
        clock: Clock,
        *,
        silences: Silences | None = None,
        offload: Offload = in_thread,
        external_url: str = "",
        give_way_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self.counters = AlertingCounters()
        self._log = log
        self._clock = clock
        self._complaints = Complaints(_log, clock)
        self._silences = silences or NoSilences()
        self._offload = offload
        self._external_url = external_url
        self._give_way_ms = give_way_ms
        self._alerts: dict[Labels, Alert] = {}
        self._entries: dict[tuple[str, str], LogEntry] = {}
        self._unsaved: set[tuple[str, str]] = set()
        self._busy: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._started = self._tick()
        self._forgot = self._started
        self._settled = False
        self._stale = True
        self._use(settings, integrations)

    def _use(
        self, settings: AlertingSettings, integrations: Mapping[str, Sequence[Integration]]
    ) -> None:
        self._settings = settings
        self._integrations = integrations
        self._inhibitor = Inhibitor(settings.inhibit_rules)
        self._groups = Groups(Router(settings.route))
        self._stale = True

    def _tick(self) -> int:
        return int(self._clock.monotonic() * 1000)

    # --- alerts come in ---------------------------------------------------------------------------

    async def post(self, alerts: Sequence[Alert]) -> None:
        """Take firing and recently resolved alerts; the same alert comes again each evaluation."""
        now, tick = self._clock.now_ms(), self._tick()
        self.counters.posted += len(alerts)
        for alert in alerts:
            known = self._alerts.get(alert.labels)
            # Once told, a resolved alert is forgotten by its groups; its repetition is no news.
            if alert.resolved and known is not None and known.ends_at == alert.ends_at:
                continue
            self._alerts[alert.labels] = alert
            self._stale = True
            self._groups.insert(alert, now, tick)
        if tick - self._forgot >= _FORGET_EVERY_MS:
            self._forgot = tick
            self._alerts = {
                labels: one
                for labels, one in self._alerts.items()
                if not one.resolved or now - one.ends_at < _FORGET_AFTER_MS
            }
        self._wake.set()

    async def settled(self) -> None:
        """Begin to tell: everything that fired before the start has been posted."""
        self._settled = True
        self._wake.set()

    def reload(
        self, settings: AlertingSettings, integrations: Mapping[str, Sequence[Integration]]
    ) -> None:
        """Go on with other settings; groups are formed anew, the log keeps what was told."""
        self._use(settings, integrations)
        now, tick = self._clock.now_ms(), self._tick()
        for alert in self._alerts.values():
            self._groups.insert(alert, now, tick)
        self._wake.set()

    # --- groups become due ------------------------------------------------------------------------

    async def run(self) -> None:
        """Flush groups as they become due, until cancelled.

        What is being sent then gets two seconds to end: a notification that was taken but not
        recorded would be sent again after the next start.
        """
        try:
            while True:
                self._wake.clear()
                for group in self._due():
                    task = asyncio.create_task(self._guarded(group))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                await self._pause()
        finally:
            if tasks := set(self._tasks):
                _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    def _due(self) -> list[Group]:
        tick = self._tick()
        if not self._settled and tick - self._started < self._settings.settle_timeout_ms:
            return []
        return self._groups.take_due(tick)

    async def _pause(self) -> None:
        due = self._groups.next_due()
        if not self._settled:
            last = self._started + self._settings.settle_timeout_ms
            due = max(due, last) if due is not None else last
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._wake.wait())]
        if due is not None:
            waiting.append(
                asyncio.ensure_future(self._clock.sleep(max(1, due - self._tick()) / 1000))
            )
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _guarded(self, group: Group) -> None:
        try:
            await self._flush(group)
        # A fault in one group must not stop the others; the group is due again after its interval.
        except Exception:  # noqa: BLE001
            self.counters.deliveries[
                "", DeliveryOutcome.RECOVERABLE.value, DeliveryReason.INTERNAL.value
            ] += 1
            _log.exception("flushing the group %s failed", group.destination.key)

    # --- the pipeline: settle (see _due) → inhibit → mute → silence → wait → dedup → retry → record

    async def _flush(self, group: Group) -> None:
        self.counters.flushes += 1
        now = self._clock.now_ms()
        everything = tuple(sorted(group.alerts.values(), key=lambda one: one.labels.pairs))
        group.verdicts = self._verdicts(group, everything, now)
        self.counters.verdicts.update(verdict.mute for verdict in group.verdicts.values())
        flush = _split(group, everything, now)
        receivers = self._integrations.get(group.destination.route.receiver, ())
        outcomes = await asyncio.gather(*(self._tell(flush, each) for each in receivers))
        group.outcomes = dict(zip((each.key for each in receivers), outcomes, strict=True))
        if all(outcome.settled for outcome in outcomes) and self._groups.settle(group, everything):
            self._forget_entries(group.destination.log_key)

    def _verdicts(self, group: Group, alerts: Iterable[Alert], now: int) -> dict[Labels, Verdict]:
        route = group.destination.route
        if self._stale:
            self._inhibitor.update(self._alerts.values())
            self._stale = False
        muted = self._settings.times.muted(route.mute, route.active, now)
        silences = self._silences.active(now)

        def verdict(labels: Labels) -> Verdict:
            if (source := self._inhibitor.muted_by(labels)) is not None:
                return Verdict(Mute.INHIBITED, str(source))
            if muted:
                return Verdict(Mute.MUTED_BY_TIME)
            if (silence := silenced_by(silences, labels)) is not None:
                return Verdict(Mute.SILENCED, silence)
            return Verdict(Mute.AUDIBLE)

        return {one.labels: verdict(one.labels) for one in alerts}

    async def _tell(self, flush: _Flush, integration: Integration) -> Outcome:
        place = (integration.key, flush.group.destination.log_key)
        if place in self._busy:
            self.counters.busy += 1
            return Outcome(flush.now_ms, None)
        self._busy.add(place)
        try:
            if (wait := self._give_way_ms()) > 0:
                await self._clock.sleep(wait / 1000)
            entry = await self._entry(place)
            decision = self._dedup(flush, integration, entry)
            delivery = await self._retry(flush, integration, entry, decision)
            if decision.record and (delivery is None or delivery.ok):
                await self._record(flush, place, entry, decision)
            return Outcome(flush.now_ms, decision.reason, delivery)
        finally:
            self._busy.discard(place)

    def _dedup(self, flush: _Flush, integration: Integration, entry: LogEntry | None) -> Decision:
        decision = decide(
            entry,
            firing=_ids(flush.firing),
            muted=_ids(flush.muted),
            ended=_ids(flush.ended),
            now_ms=flush.now_ms,
            repeat_interval_ms=flush.group.destination.route.repeat_interval_ms,
            send_resolved=integration.send_resolved,
        )
        self.counters.decisions[integration.key, decision.reason.value] += 1
        return decision

    async def _retry(
        self, flush: _Flush, integration: Integration, entry: LogEntry | None, decision: Decision
    ) -> Delivery | None:
        if not decision.send:
            return None
        destination = flush.group.destination
        told = [one for one in flush.ended if _id(one.labels) in decision.resolved]
        notification = Notification(
            receiver=destination.route.receiver,
            group_key=destination.key,
            group_labels=destination.group_labels,
            alerts=(*flush.firing, *told),
            external_url=self._external_url,
            idempotency_key=idempotency_key(
                entry,
                integration.key,
                destination.log_key,
                _ids(flush.firing),
                decision.resolved,
            ),
            at=flush.now_ms,
        )
        budget = max(MIN_BUDGET_MS, destination.route.group_interval_ms)
        delivery = await integration.send(notification, budget)
        self.counters.deliveries[
            integration.key, delivery.outcome.value, delivery.reason.value
        ] += 1
        if not delivery.ok:
            _log.warning(
                "%s was not told of %s: %s", integration.key, destination.key, delivery.detail
            )
        return delivery

    async def _record(
        self, flush: _Flush, place: tuple[str, str], entry: LogEntry | None, decision: Decision
    ) -> None:
        route = flush.group.destination.route
        keep = max(self._settings.retention_ms, 2 * route.repeat_interval_ms)
        now = flush.now_ms
        blank = LogEntry(*place, frozenset(), frozenset(), now, now + keep)
        firing, muted, ended = _ids(flush.firing), _ids(flush.muted), _ids(flush.ended)
        new = next_entry(entry, decision, blank, firing, muted, ended)
        self._entries[place] = new
        try:
            await self._offload(lambda: self._log.put(new))
            self._unsaved.discard(place)
        except StorageError as error:
            # The entry stands in memory: nothing is told twice before a restart.
            self._unsaved.add(place)
            self.counters.log_failures += 1
            self._complaints.warn("the notification log cannot be written", error, _ADVICE)

    async def _entry(self, place: tuple[str, str]) -> LogEntry | None:
        if place in self._entries:
            return self._entries[place]
        try:
            entry = await self._offload(lambda: self._log.get(*place))
        except StorageError as error:
            # Rather tell twice than not at all.
            self.counters.log_failures += 1
            self._complaints.warn("the notification log cannot be read", error, _ADVICE)
            return None
        if entry is not None:
            self._entries[place] = entry
        return entry

    def _forget_entries(self, log_key: str) -> None:
        for place in [place for place in self._entries if place[1] == log_key]:
            if place not in self._unsaved:
                del self._entries[place]

    # --- what is shown ----------------------------------------------------------------------------

    def snapshot(self) -> tuple[GroupView, ...]:
        """Return all groups with their alerts, and what was decided and delivered last."""
        tick = self._tick()
        return tuple(
            GroupView(
                key=group.destination.key,
                receiver=group.destination.route.receiver,
                labels=group.destination.group_labels,
                due_in_ms=max(0, group.due - tick),
                alerts=_with_verdicts(group),
                outcomes=tuple(sorted(group.outcomes.items())),
            )
            for group in self._groups
        )


def _split(group: Group, alerts: Sequence[Alert], now: int) -> _Flush:
    alive = [one for one in alerts if not one.resolved]
    audible = {labels for labels, one in group.verdicts.items() if one.mute is Mute.AUDIBLE}
    return _Flush(
        group,
        now,
        firing=tuple(one for one in alive if one.labels in audible),
        muted=tuple(one for one in alive if one.labels not in audible),
        ended=tuple(one for one in alerts if one.resolved),
    )


def _with_verdicts(group: Group) -> tuple[tuple[Alert, Verdict | None], ...]:
    alerts: Iterable[Alert] = sorted(group.alerts.values(), key=lambda one: one.labels.pairs)
    return tuple((alert, group.verdicts.get(alert.labels)) for alert in alerts)
