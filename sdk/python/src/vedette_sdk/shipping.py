"""Events on their way to the server: a bounded queue and one daemon thread.

The application's request never waits here and never sees an error (ING-03, ING-06): what cannot
be delivered is counted and let go, the oldest first.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from vedette_sdk.clock import Clock
from vedette_sdk.metrics import ShippingMetrics

_log = logging.getLogger("vedette_sdk.shipping")

Event = tuple[str, Mapping[str, Any]]
"""The two members of an envelope (ING-01): type and data."""

MAX_BATCH_BYTES = 512 * 1024
_ATEXIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ShippingOptions:
    """Where events go and in what portions; times in seconds."""

    url: str
    app: str
    ingest_key: str | None = field(default=None, repr=False)
    batch_size: int = 200
    flush_interval: float = 1.0
    queue_size: int = 10_000
    timeout: float = 5.0
    backoff_first: float = 0.5
    backoff_most: float = 30.0


def backoff(attempt: int, first: float, most: float, draw: float) -> float:
    """Return the seconds to wait after failure number ``attempt`` (from 1).

    "Full jitter": uniform between a tenth and the whole of the doubling ceiling; ``draw`` is a
    random number in [0, 1).
    """
    ceiling = min(most, first * 2.0 ** min(attempt - 1, 30))
    return ceiling * (0.1 + 0.9 * draw)


class Shipper:
    """Sends events in batches of NDJSON to ``POST /api/events``."""

    def __init__(
        self,
        options: ShippingOptions,
        metrics: ShippingMetrics,
        clock: Clock,
        *,
        transport: httpx.BaseTransport | None = None,
        sweep: Callable[[], None] = lambda: None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._options = options
        self._metrics = metrics
        self._clock = clock
        self._transport = transport
        self._sweep = sweep
        self._draw = draw
        self._complained = False
        self._reset()
        _shippers.add(self)

    def _reset(self) -> None:
        """Start over with empty hands; also what a forked child does."""
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._in_flight = 0
        self._hurry = False
        self._closed = False

    def put(self, kind: str, data: Mapping[str, Any]) -> None:
        """Queue an event; when the queue is full the oldest one makes room."""
        with self._changed:
            if self._closed:
                return
            if len(self._queue) >= self._options.queue_size:
                self._queue.popleft()
                self._metrics.dropped["queue_full"].inc()
            self._queue.append((kind, data))
            self._start()
            if len(self._queue) >= self._options.batch_size:
                self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="vedette-sdk-events", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down, or the machine has no threads left
            return
        self._thread = thread

    def flush(self, seconds: float) -> bool:
        """Send what is queued; return whether all of it left within ``seconds``."""
        self._sweep()
        deadline = self._clock.monotonic() + seconds
        with self._changed:
            while self._queue or self._in_flight:
                left = deadline - self._clock.monotonic()
                if left <= 0 or self._thread is None:
                    return False
                self._hurry = True
                self._changed.notify_all()
                self._changed.wait(left)
        return True

    def close(self, seconds: float) -> bool:
        """Flush, then take no more events; return whether the flush was complete."""
        done = self.flush(seconds)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        return done

    def _run(self) -> None:
        url = f"{self._options.url.rstrip('/')}/api/events"
        headers = {"Content-Type": "application/x-ndjson", "X-Vedette-App": self._options.app}
        if self._options.ingest_key:
            headers["Authorization"] = f"Bearer {self._options.ingest_key}"
        with httpx.Client(
            headers=headers,
            timeout=self._options.timeout,
            transport=self._transport,
            trust_env=False,
        ) as client:
            while (batch := self._take()) is not None:
                try:
                    self._deliver(client, url, batch)
                except Exception:  # noqa: BLE001 - the thread must outlive what nobody thought of
                    self._give_up("refused", len(batch), "sending failed unexpectedly")
                    _log.debug("sending events failed", exc_info=True)
                with self._changed:
                    self._in_flight = 0
                    if not self._queue:
                        self._hurry = False
                    self._changed.notify_all()

    def _take(self) -> list[Event] | None:
        """Wait for a batch's worth or the flush interval; ``None`` means that it is over."""
        while True:
            self._sweep()
            with self._changed:
                enough = len(self._queue) >= self._options.batch_size
                if not (enough or self._hurry or self._closed):
                    self._changed.wait(self._options.flush_interval)
                if self._closed:
                    return None
                count = min(len(self._queue), self._options.batch_size)
                if count:
                    self._in_flight = count
                    return [self._queue.popleft() for _ in range(count)]
                self._hurry = False
                self._changed.notify_all()

    def _deliver(self, client: httpx.Client, url: str, batch: Sequence[Event]) -> None:
        lines = []
        for kind, data in batch:
            try:
                lines.append(
                    json.dumps({"type": kind, "data": data}, allow_nan=False, default=str).encode()
                )
            except (TypeError, ValueError):
                self._give_up("unserialisable", 1, f"an event of type {kind} is not JSON")
        waiting = _portions(lines)
        while waiting:
            lines = waiting.popleft()
            if not self._send(client, url, lines):
                waiting.extendleft(reversed(_halves(lines)))
                if len(lines) == 1:
                    self._give_up("too_large", 1, "the server takes no event of this size")

    def _send(self, client: httpx.Client, url: str, lines: list[bytes]) -> bool:
        """Send until the server has decided; return false when it asks for less at a time."""
        body = b"\n".join(lines)
        attempt = 0
        while True:
            attempt += 1
            wait: float | None = None
            try:
                answer = client.post(url, content=body)
            except httpx.HTTPError as error:
                self._complain(f"cannot reach {url}: {type(error).__name__}")
            else:
                if answer.status_code == 413:
                    return False
                if answer.status_code < 500 and answer.status_code not in (408, 425, 429):
                    self._settle(answer, len(lines))
                    return True
                self._complain(f"{url} answered {answer.status_code}; trying again")
                wait = _retry_after(answer)
            if not self._pause(attempt, wait):
                self._give_up("refused", len(lines), "closed before the server took the events")
                return True

    def _settle(self, answer: httpx.Response, count: int) -> None:
        if answer.status_code >= 300:
            self._give_up(
                "refused", count, f"the server answered {answer.status_code}: {answer.text[:200]}"
            )
            return
        rejected = _rejected(answer, count)
        self._metrics.sent.inc(count - rejected)
        self._complained = False
        if rejected:
            self._give_up("rejected", rejected, f"the server said {answer.text[:200]}")

    def _pause(self, attempt: int, wait: float | None) -> bool:
        """Wait before the next attempt; return whether there should be one."""
        options = self._options
        seconds = backoff(attempt, options.backoff_first, options.backoff_most, self._draw())
        if wait is not None:
            seconds = min(max(seconds, wait), options.backoff_most)
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)
            return not self._closed

    def _give_up(self, reason: str, count: int, text: str) -> None:
        self._metrics.dropped[reason].inc(count)
        self._complain(f"{count} events dropped ({reason}): {text}")

    def _complain(self, text: str) -> None:
        # Once per outage: a monitor that floods the log is an outage of its own.
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        _log.log(level, "%s", text)


def _portions(lines: list[bytes]) -> deque[list[bytes]]:
    portions: deque[list[bytes]] = deque()
    size = MAX_BATCH_BYTES
    for line in lines:
        if size + len(line) > MAX_BATCH_BYTES:
            portions.append([])
            size = 0
        portions[-1].append(line)
        size += len(line) + 1
    return portions


def _halves(lines: list[bytes]) -> list[list[bytes]]:
    if len(lines) < 2:
        return []
    middle = len(lines) // 2
    return [lines[:middle], lines[middle:]]


def _rejected(answer: httpx.Response, count: int) -> int:
    try:
        rejected = answer.json().get("rejected", 0)
    except (ValueError, AttributeError):
        return 0
    return min(rejected, count) if isinstance(rejected, int) and rejected > 0 else 0


def _retry_after(answer: httpx.Response) -> float | None:
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


_shippers: weakref.WeakSet[Shipper] = weakref.WeakSet()


def _forget_in_child() -> None:
    # The parent still has these events and its thread; a copy of either would double them.
    for shipper in list(_shippers):
        shipper._reset()


def _flush_at_exit() -> None:
    for shipper in list(_shippers):
        shipper.close(_ATEXIT_SECONDS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
atexit.register(_flush_at_exit)
