"""What the notification pipeline asks of the rooms around it; ``app`` wires the real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from vedette.model.notifications import Delivery, LogEntry, Notification

T = TypeVar("T")


class Integration(Protocol):
    """One channel of one receiver, with its retries."""

    @property
    def key(self) -> str:
        """Identity in the notification log, such as ``ops/webhook/0``."""
        ...

    @property
    def send_resolved(self) -> bool:
        """Whether it wants to know of the end of alerts."""
        ...

    async def send(self, notification: Notification, budget_ms: int) -> Delivery:
        """Deliver, trying again for ``budget_ms`` at most; failures are returned, not raised."""
        ...


class NotificationLog(Protocol):
    """What was told to whom; survives a restart; blocking; raises ``StorageError``."""

    def get(self, receiver: str, group_key: str) -> LogEntry | None:
        """Return the latest entry of an integration and a group."""
        ...

    def put(self, entry: LogEntry) -> None:
        """Replace the entry of the same integration and group."""
        ...


class MemoryLog:
    """A notification log that does not survive; the double of the Protocol."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], LogEntry] = {}

    def get(self, receiver: str, group_key: str) -> LogEntry | None:
        """Return the latest entry."""
        return self.entries.get((receiver, group_key))

    def put(self, entry: LogEntry) -> None:
        """Replace the entry."""
        self.entries[entry.receiver, entry.group_key] = entry


class Offload(Protocol):
    """Runs a blocking call off the event loop."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what ``function`` returns."""
        ...
