"""What a channel is: something that tells one place about one group of alerts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from vedette.model.notifications import Delivery, Notification

T = TypeVar("T")


class Channel(Protocol):
    """One way out. Retries are not its business, and it knows no other channel."""

    @property
    def name(self) -> str:
        """Kind of the channel, such as ``webhook``."""
        ...

    async def send(self, notification: Notification) -> Delivery:
        """Make one attempt within the channel's own time-out; failures are returned."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Offload(Protocol):
    """Runs a blocking call off the event loop."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what ``function`` returns."""
        ...
