"""Retries around a channel: bounded in time, farther and farther apart, never for others' cost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field

from vedette.kit.clock import Clock
from vedette.model.notifications import Delivery, DeliveryOutcome, DeliveryReason, Notification
from vedette.notify.channel import Channel

_log = logging.getLogger(__name__)

FIRST_WAIT_MS = 500
MAX_WAIT_MS = 60_000
_AT_ONCE = 16


@dataclass(slots=True)
class NotifyCounters:
    """Counts since the start, for the metrics endpoint.

    Attributes:
        attempts: by integration key, outcome and reason.
        retries: attempts that followed another one, by integration key.
    """

    attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)


def wait_ms(delivery: Delivery, attempt: int, left_ms: int, jitter: float) -> int | None:
    """Return how long to wait before the next attempt, or ``None`` to give up.

    Args:
        delivery: how the latest attempt ended.
        attempt: number of attempts so far, from 1.
        left_ms: what is left of the budget.
        jitter: a random number of [0, 1), so that many that failed together do not return together.
    """
    if delivery.outcome is not DeliveryOutcome.RECOVERABLE:
        return None
    ceiling = min(MAX_WAIT_MS, FIRST_WAIT_MS * 2 ** min(attempt - 1, 20))
    wait = max(int(ceiling * (0.5 + jitter / 2)), delivery.retry_after_ms)
    return wait if wait < left_ms else None


class Retrying:
    """One channel of one receiver: the ``Integration`` that the pipeline of alerts asks for.

    At most ``at_once`` notifications of it are under way at a time; others of it wait, which
    counts against their budget, and no other channel notices.
    """

    def __init__(
        self,
        channel: Channel,
        key: str,
        send_resolved: bool,
        clock: Clock,
        counters: NotifyCounters,
        chance: random.Random,
        at_once: int = _AT_ONCE,
    ) -> None:
        self.key = key
        self.send_resolved = send_resolved
        self._channel = channel
        self._clock = clock
        self._counters = counters
        self._chance = chance
        self._slots = asyncio.Semaphore(at_once)

    async def send(self, notification: Notification, budget_ms: int) -> Delivery:
        """Deliver, trying again for ``budget_ms`` at most."""
        started = self._clock.monotonic()
        attempt = 0
        async with self._slots:
            while True:
                attempt += 1
                left = budget_ms - int((self._clock.monotonic() - started) * 1000)
                delivery = await self._attempt(notification, left)
                left = budget_ms - int((self._clock.monotonic() - started) * 1000)
                wait = wait_ms(delivery, attempt, left, self._chance.random())
                if wait is None:
                    return delivery
                self._counters.retries[self.key] += 1
                await self._clock.sleep(wait / 1000)

    async def _attempt(self, notification: Notification, left_ms: int) -> Delivery:
        try:
            async with asyncio.timeout(max(left_ms, 1) / 1000):
                delivery = await self._channel.send(notification)
        except TimeoutError:
            detail = "the time for this notification is up"
            delivery = Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.TIMEOUT, detail)
        # A fault of one channel's code must not take the others, or later alerts, with it.
        except Exception as error:  # noqa: BLE001
            _log.error("the channel %s failed: %s", self.key, type(error).__name__)
            detail = f"the channel itself failed ({type(error).__name__})"
            delivery = Delivery(DeliveryOutcome.RECOVERABLE, DeliveryReason.INTERNAL, detail)
        self._counters.attempts[self.key, delivery.outcome.value, delivery.reason.value] += 1
        return delivery

    async def close(self) -> None:
        """Let go of the channel's connections."""
        await self._channel.close()
