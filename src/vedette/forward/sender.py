"""The loop that sends one destination what is new, in order, and notes how far it got."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import httpx

from vedette.forward.describe import NOTHING_KNOWN, Described
from vedette.forward.encode import Outgoing, encode_metadata, encode_request
from vedette.forward.encode_v2 import encode_request_v2
from vedette.forward.judge import Outcome, Verdict, judge, judge_written, pause_ms
from vedette.forward.pages import LabelCache, split_page
from vedette.forward.ports import Backlog, Cursors, Descriptions, Page
from vedette.forward.settings import Destination
from vedette.kit.clock import Clock
from vedette.kit.http_client import CredentialsError, HttpClients
from vedette.storage.interface import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_QUIET_MS = 60_000
_METADATA_PER_REQUEST = 2_000
_REFRESH_MS = 5_000
"""How old metadata are, at most, that go with series in version 2."""
_MOST_ANSWER = 64 << 10


class Offload(Protocol):
    """Runs a blocking call off the event loop."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what ``function`` returns."""
        ...


@dataclass(slots=True)
class ForwardStats:
    """Counters of one destination.

    Attributes:
        samples: by outcome; retried ones count each time.
        left_out: samples that the settings keep from being sent, by reason.
        requests: by outcome and reason.
        gaps: times that the backlog no longer had what was to be sent next.
        bytes_sent: compressed.
        reached: ingest sequence that the destination has.
        newest_ts: timestamp (ms) of the newest sample sent.
    """

    samples: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    gaps: int = 0
    bytes_sent: int = 0
    reached: int = 0
    newest_ts: int = 0


class Forwarder:
    """Sends what ``backlog`` gets to one destination. ``run`` it until it is cancelled.

    Each sample is sent at least once: after a restart what came after the last saved cursor goes
    out again, with the same timestamps and values, which receivers take as duplicates.
    """

    def __init__(
        self,
        destination: Destination,
        backlog: Backlog,
        cursors: Cursors,
        clock: Clock,
        offload: Offload,
        transport: httpx.AsyncBaseTransport | None = None,
        version: str = "",
        descriptions: Descriptions = NOTHING_KNOWN,
        stats: ForwardStats | None = None,
        since: int | None = None,
    ) -> None:
        """Take ``stats`` of an earlier forwarder of the same name to count on.

        A destination without a cursor begins behind the ingest sequence ``since``, or now.
        """
        self.destination = destination
        self.stats = stats or ForwardStats()
        self._backlog = backlog
        self._cursors = cursors
        self._clock = clock
        self._offload = offload
        self._chance = random.Random()  # noqa: S311 - only spreads retries
        self._labels = LabelCache(backlog.canonical, destination)
        self._descriptions = descriptions
        self._since = since
        self._described = Described({})
        self._described_ms = -(1 << 62)
        self._told_ms = -_QUIET_MS
        self._headers = _headers(destination)
        self._clients = HttpClients(f"Vedette/{version}", transport, clock)

    async def run(self) -> None:
        """Send until cancelled; a destination that starts now gets what comes from now on."""
        name = self.destination.name
        reached = await self._saved()
        self._backlog.hold(name, reached)
        wanted = self.destination.samples_per_request * self.destination.shards
        try:
            while True:
                await self._tell_metadata()
                page = await self._read(reached, wanted)
                if page.lost:
                    self.stats.gaps += 1
                    self._tell("what was to be sent next is gone from the backlog")
                if page.batches:
                    await self._send_page(page)
                if page.last > reached:
                    reached = page.last
                    await self._note(reached)
                if sum(map(len, page.batches)) < wanted:
                    await self._clock.sleep(self.destination.deadline_ms / 1000)
        finally:
            await self._clients.aclose()

    async def _tell_metadata(self) -> None:
        """Send what is known of metrics, once in a while, where version 1 needs its own requests.

        They are not tried again: the next round says the same.
        """
        if self.destination.version == 2 or not self._metadata_due(self.destination.metadata_ms):
            return
        known = list(self._descriptions.described().values())
        for at in range(0, len(known), _METADATA_PER_REQUEST):
            part = known[at : at + _METADATA_PER_REQUEST]
            verdict = await self._attempt(encode_metadata(part), 0)
            self.stats.requests[verdict.outcome.value, verdict.reason] += 1
            if verdict.outcome is not Outcome.SENT:
                self._tell(f"it did not take what is known of metrics ({verdict.reason})")
                return

    def _metadata_due(self, interval_ms: int) -> bool:
        now = self._clock.now_ms()
        if not self.destination.send_metadata or now - self._described_ms < interval_ms:
            return False
        self._described_ms = now
        return True

    async def _saved(self) -> int:
        name = self.destination.name
        found = await self._patiently(lambda: self._cursors.load(name))
        if found is None:
            found = self._backlog.sequence if self._since is None else self._since
            # Without it a restart before the first samples would begin anew.
            await self._note(found)
        self.stats.reached = found
        return found

    async def _note(self, reached: int) -> None:
        name = self.destination.name
        await self._patiently(lambda: self._cursors.save(name, reached))
        self._backlog.hold(name, reached)
        self.stats.reached = reached

    async def _read(self, after: int, samples: int) -> Page:
        name = self.destination.name
        return await self._patiently(lambda: self._backlog.read(name, after, samples))

    async def _patiently(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, trying again while the disk refuses."""
        attempt = 0
        while True:
            try:
                return await self._offload(call)
            except StorageError as error:
                attempt += 1
                self._tell(str(error))
                await self._pause(attempt, 0)

    async def _send_page(self, page: Page) -> None:
        if self.destination.version == 2 and self._metadata_due(_REFRESH_MS):
            self._described = Described(self._descriptions.described())
        oldest = self._oldest()
        split = await self._offload(
            lambda: split_page(page.batches, self.destination, self._labels, oldest)
        )
        self.stats.left_out.update(split.left_out)
        await asyncio.gather(*(self._send_shard(shard) for shard in split.shards))

    def _oldest(self) -> int:
        """Return the timestamp (ms) from which on samples are sent."""
        age = self.destination.max_age_ms
        return self._clock.now_ms() - age if age else -(1 << 63)

    async def _send_shard(self, requests: tuple[Outgoing, ...]) -> None:
        for outgoing in requests:
            body = await self._offload(lambda outgoing=outgoing: self._encode(outgoing))  # type: ignore[misc]
            newest = int(outgoing.ts.max(initial=0))
            if await self._send(body, len(outgoing.ts), newest):
                self.stats.newest_ts = max(self.stats.newest_ts, newest)

    def _encode(self, outgoing: Outgoing) -> bytes:
        if self.destination.version == 2:
            return encode_request_v2(outgoing, self._described)
        return encode_request(outgoing)

    async def _send(self, body: bytes, samples: int, newest: int) -> bool:
        """Send until it is taken, refused or too old; return whether it was taken."""
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._attempt(body, samples)
            self.stats.requests[verdict.outcome.value, verdict.reason] += 1
            self.stats.samples[verdict.outcome.value] += samples - verdict.written
            if verdict.written:
                self.stats.samples[Outcome.SENT.value] += verdict.written
            if verdict.outcome is Outcome.SENT:
                self.stats.bytes_sent += len(body)
                return True
            if verdict.outcome is Outcome.DROPPED:
                refused = samples - verdict.written
                advice = f": {verdict.advice}" if verdict.advice else ""
                self._tell(
                    f"it refused {refused} samples ({verdict.reason}); they are dropped{advice}"
                )
                return False
            self._tell(f"no success ({verdict.reason}); trying again until it takes them")
            await self._pause(attempt, verdict.wait_ms)
            if newest < self._oldest():
                self.stats.left_out["too_old"] += samples
                return False

    async def _attempt(self, body: bytes, samples: int) -> Verdict:
        to = self.destination
        try:
            # The host stands in the settings of the operator, who may well mean a private address.
            async with (
                asyncio.timeout(to.timeout_ms / 1000),
                self._clients.stream(
                    to.http,
                    to.url.reveal(),
                    headers=self._headers,
                    method="POST",
                    content=body,
                ) as response,
            ):
                # Read to its end within bounds, so that the connection can be used again.
                await _drained(response)
        except (TimeoutError, httpx.TimeoutException):
            return Verdict(Outcome.RETRY, "timeout")
        except CredentialsError as error:
            self._tell(str(error))
            return Verdict(Outcome.RETRY, "credentials")
        except (httpx.HTTPError, httpx.InvalidURL):
            return Verdict(Outcome.RETRY, "connection")
        given = response.headers
        verdict = judge(response.status_code, given.get("retry-after", ""), retry_429=to.retry_429)
        return judge_written(verdict, given, samples) if to.version == 2 else verdict

    async def _pause(self, attempt: int, asked: int) -> None:
        least, most = self.destination.min_backoff_ms, self.destination.max_backoff_ms
        wait = pause_ms(attempt, least, most, asked, self._chance.random())
        await self._clock.sleep(wait / 1000)

    def _tell(self, what: str) -> None:
        """Log, at most once a minute: a destination that is down fails many times a second."""
        now = self._clock.now_ms()
        if now - self._told_ms >= _QUIET_MS:
            self._told_ms = now
            log.warning("remote write to %s: %s", self.destination.place, what)


def _headers(destination: Destination) -> dict[str, str]:
    second = destination.version == 2
    return {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf"
        + (";proto=io.prometheus.write.v2.Request" if second else ""),
        "X-Prometheus-Remote-Write-Version": "2.0.0" if second else "0.1.0",
    }


async def _drained(response: httpx.Response) -> None:
    if response.is_stream_consumed:
        return
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > _MOST_ANSWER:
            return
