"""Aggregation groups: which alerts are told together, and when each group is due; pure.

``tick_ms`` is monotonic time, so that a wall clock that is set neither delays nor hastens a group;
``now_ms`` is wall time, compared with the times of alerts only.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from vedette.alerting.dedup import Reason
from vedette.alerting.route import Destination, Router
from vedette.model.alerts import Alert
from vedette.model.labels import Labels
from vedette.model.notifications import Delivery


class Insertion(StrEnum):
    """What became of a posted alert in one group."""

    NEW_GROUP = "new_group"
    JOINED = "joined"
    UPDATED = "updated"


class Mute(StrEnum):
    """Whether an alert may be told, and if not, why."""

    AUDIBLE = "audible"
    INHIBITED = "inhibited"
    MUTED_BY_TIME = "muted_by_time"
    SILENCED = "silenced"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a flush made of one alert; ``by`` names the inhibiting alert or the silence."""

    mute: Mute
    by: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a flush came to for one integration.

    ``reason`` is ``None`` while the delivery before is still under way; ``delivery`` is ``None``
    where nothing had to be sent.
    """

    at: int
    reason: Reason | None
    delivery: Delivery | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do for what the flush held."""
        return self.reason is not None and (self.delivery is None or self.delivery.ok)


@dataclass(slots=True)
class Group:
    """Alerts of one route with the same group labels.

    Attributes:
        due: ``tick_ms`` of the next flush.
        flushed: whether it was flushed before, and so waits ``group_interval``.
        alerts: by labels.
        verdicts: what the latest flush made of each alert.
        outcomes: by integration, what the latest flush came to.
    """

    destination: Destination
    due: int
    flushed: bool = False
    alerts: dict[Labels, Alert] = field(default_factory=dict)
    verdicts: dict[Labels, Verdict] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)


class Groups:
    """All aggregation groups of one routing tree."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._groups: dict[tuple[int, Labels], Group] = {}
        # Entries are (due, number, key); those that do not agree with their group are outdated.
        self._queue: list[tuple[int, int, tuple[int, Labels]]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups.values())

    def insert(self, alert: Alert, now_ms: int, tick_ms: int) -> tuple[Insertion, ...]:
        """Put ``alert`` into its groups.

        An alert that has fired for longer than ``group_wait`` makes a new group due at once: after
        a restart nobody should wait again.
        """
        return tuple(
            self._insert(destination, alert, now_ms, tick_ms)
            for destination in self._router.destinations(alert.labels)
        )

    def _insert(
        self, destination: Destination, alert: Alert, now_ms: int, tick_ms: int
    ) -> Insertion:
        key = (destination.index, destination.group_labels)
        group = self._groups.get(key)
        wait = destination.route.group_wait_ms
        overdue = alert.starts_at + wait <= now_ms
        outcome = Insertion.JOINED
        if group is None:
            group = self._groups[key] = Group(destination, tick_ms + (0 if overdue else wait))
            self._enqueue(key, group)
            outcome = Insertion.NEW_GROUP
        elif alert.labels in group.alerts:
            outcome = Insertion.UPDATED
        elif overdue and not group.flushed and group.due > tick_ms:
            group.due = tick_ms
            self._enqueue(key, group)
        group.alerts[alert.labels] = alert
        return outcome

    def _enqueue(self, key: tuple[int, Labels], group: Group) -> None:
        self._number += 1
        heapq.heappush(self._queue, (group.due, self._number, key))

    def next_due(self) -> int | None:
        """Return the ``tick_ms`` at which the next group is due."""
        while self._queue:
            due, _, key = self._queue[0]
            group = self._groups.get(key)
            if group is not None and group.due == due:
                return due
            heapq.heappop(self._queue)
        return None

    def take_due(self, tick_ms: int) -> list[Group]:
        """Return the groups that are due, and put each off by its ``group_interval``."""
        found = []
        while (due := self.next_due()) is not None and due <= tick_ms:
            _, _, key = heapq.heappop(self._queue)
            group = self._groups[key]
            group.flushed = True
            group.due = tick_ms + group.destination.route.group_interval_ms
            self._enqueue(key, group)
            found.append(group)
        return found

    def settle(self, group: Group, told: Collection[Alert]) -> bool:
        """Forget resolved alerts that everyone was told of, unless they changed meanwhile.

        Returns whether the group was forgotten with them, because none is left.
        """
        for alert in told:
            if alert.resolved and group.alerts.get(alert.labels) == alert:
                del group.alerts[alert.labels]
        key = (group.destination.index, group.destination.group_labels)
        if group.alerts or self._groups.get(key) is not group:
            return False
        del self._groups[key]
        return True
