"""The loop that sends one destination what is new, in order, and notes how far it got."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import httpx
import numpy as np

from vedette.forward.encode import Outgoing, encode_labels, encode_request
from vedette.forward.judge import Outcome, Verdict, judge, pause_ms
from vedette.forward.ports import Backlog, Cursors, Page
from vedette.forward.settings import Destination
from vedette.kit.clock import Clock
from vedette.model.arrays import I32, I64
from vedette.model.histograms import joined
from vedette.model.labels import Labels
from vedette.model.samples import Exemplar, SampleBatch, is_histogram
from vedette.storage.interface import StorageError

log = logging.getLogger(__name__)

T = TypeVar("T")
_QUIET_MS = 60_000


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
        requests: by outcome and reason.
        gaps: times that the backlog no longer had what was to be sent next.
        bytes_sent: compressed.
        reached: ingest sequence that the destination has.
        newest_ts: timestamp (ms) of the newest sample sent.
    """

    samples: Counter[str] = field(default_factory=Counter)
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
    ) -> None:
        self.destination = destination
        self.stats = ForwardStats()
        self._backlog = backlog
        self._cursors = cursors
        self._clock = clock
        self._offload = offload
        self._chance = random.Random()  # noqa: S311 - only spreads retries
        self._labels = _LabelCache(backlog, destination.external_labels)
        self._told_ms = -_QUIET_MS
        self._client = httpx.AsyncClient(
            headers=_headers(destination, version),
            auth=_auth(destination),
            timeout=destination.timeout_ms / 1000,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def run(self) -> None:
        """Send until cancelled; a destination that starts now gets what comes from now on."""
        name = self.destination.name
        reached = await self._saved()
        self._backlog.hold(name, reached)
        wanted = self.destination.samples_per_request * self.destination.shards
        try:
            while True:
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
            await self._client.aclose()

    async def _saved(self) -> int:
        name = self.destination.name
        found = await self._patiently(lambda: self._cursors.load(name))
        self.stats.reached = self._backlog.sequence if found is None else found
        return self.stats.reached

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
        shards = await self._offload(
            lambda: split_page(page.batches, self.destination, self._labels)
        )
        await asyncio.gather(*(self._send_shard(shard) for shard in shards))

    async def _send_shard(self, requests: list[Outgoing]) -> None:
        for outgoing in requests:
            body = await self._offload(lambda outgoing=outgoing: encode_request(outgoing))  # type: ignore[misc]
            await self._send(body, len(outgoing.ts))
            self.stats.newest_ts = max(self.stats.newest_ts, int(outgoing.ts.max(initial=0)))

    async def _send(self, body: bytes, samples: int) -> None:
        attempt = 0
        while True:
            attempt += 1
            verdict = await self._attempt(body)
            self.stats.requests[verdict.outcome.value, verdict.reason] += 1
            self.stats.samples[verdict.outcome.value] += samples
            if verdict.outcome is Outcome.SENT:
                self.stats.bytes_sent += len(body)
                return
            if verdict.outcome is Outcome.DROPPED:
                self._tell(f"it refused {samples} samples ({verdict.reason}); they are dropped")
                return
            self._tell(f"no success ({verdict.reason}); trying again until it takes them")
            await self._pause(attempt, verdict.wait_ms)

    async def _attempt(self, body: bytes) -> Verdict:
        try:
            # The host stands in the settings of the operator, who may well mean a private address.
            response = await self._client.post(self.destination.url.reveal(), content=body)
        except httpx.TimeoutException:
            return Verdict(Outcome.RETRY, "timeout")
        except httpx.HTTPError:
            return Verdict(Outcome.RETRY, "connection")
        return judge(response.status_code, response.headers.get("retry-after", ""))

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


class _LabelCache:
    """Encoded labels by ref, as the destination gets them."""

    def __init__(self, backlog: Backlog, external: tuple[tuple[str, str], ...]) -> None:
        self._backlog = backlog
        self._external = dict(external)
        self._encoded: dict[int, bytes] = {}

    def encoded(self, refs: I32) -> list[bytes]:
        """Return the encoded labels of each ref."""
        known = self._encoded
        new = [ref for ref in refs.tolist() if ref not in known]
        if new:
            for ref, canonical in zip(
                new, self._backlog.canonical(np.array(new, np.int32)), strict=True
            ):
                labels = dict(self._external) | _parsed(canonical)
                known[ref] = encode_labels(Labels.of(labels))
        return [known[ref] for ref in refs.tolist()]


def _parsed(canonical: bytes) -> dict[str, str]:
    parts = [part.decode() for part in canonical.split(b"\xff")[:-1]]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def split_page(
    batches: tuple[SampleBatch, ...], destination: Destination, labels: _LabelCache
) -> list[list[Outgoing]]:
    """Return per shard its requests in order; a series is always in the same shard."""
    whole = _whole(batches, destination)
    order = np.lexsort((whole.ts, whole.refs))
    shard_of = whole.refs[order] % destination.shards
    size = destination.samples_per_request
    examples: dict[int, list[Exemplar]] = {}
    for each in whole.exemplars:
        examples.setdefault(each.series, []).append(each)
    shards = []
    for shard in range(destination.shards):
        mine = order[shard_of == shard]
        chunks = [mine[at : at + size] for at in range(0, len(mine), size)]
        if chunks:
            shards.append([_outgoing(whole, chunk, examples, labels) for chunk in chunks])
    return shards


def _whole(batches: tuple[SampleBatch, ...], destination: Destination) -> SampleBatch:
    """Return one batch of all ``batches``, without what the destination is not to get."""
    sizes = [len(batch) for batch in batches]
    index = np.full(sum(sizes), -1, np.int32)
    parts, at, rows = [], 0, 0
    for batch, size in zip(batches, sizes, strict=True):
        if batch.histograms is not None:
            own = batch.histograms.index
            index[at : at + size] = np.where(own >= 0, own + rows, -1)
            parts.append(batch.histograms)
            rows += batch.histograms.rows
        at += size
    whole = SampleBatch(
        "",
        np.concatenate([batch.refs for batch in batches]),
        np.concatenate([batch.ts for batch in batches]),
        np.concatenate([batch.values for batch in batches]),
        histograms=joined(parts, index) if parts else None,
        exemplars=tuple(e for b in batches for e in b.exemplars)
        if destination.send_exemplars
        else (),
    )
    if parts and not destination.send_histograms:
        floats = ~is_histogram(whole.values)
        return replace(
            whole,
            refs=whole.refs[floats],
            ts=whole.ts[floats],
            values=whole.values[floats],
            histograms=None,
        )
    return whole


def _outgoing(
    whole: SampleBatch, chosen: I64, examples: dict[int, list[Exemplar]], labels: _LabelCache
) -> Outgoing:
    """Return the samples ``chosen``; the exemplars of a series go with its first samples."""
    refs, rows = np.unique(whole.refs[chosen], return_inverse=True)
    histograms = whole.histograms
    if histograms is not None:
        histograms = histograms.at(histograms.index[chosen])
    exemplars = [
        replace(each, series=row)
        for row, ref in enumerate(refs.tolist())
        for each in examples.pop(ref, ())
    ]
    return Outgoing(
        labels.encoded(refs),
        rows.astype(np.int32),
        whole.ts[chosen],
        whole.values[chosen],
        histograms,
        tuple(exemplars),
    )


def _headers(destination: Destination, version: str) -> dict[str, str]:
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "User-Agent": f"Vedette/{version}",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    if destination.token is not None:
        headers["Authorization"] = f"Bearer {destination.token.reveal()}"
    return headers | {name: value.reveal() for name, value in destination.headers}


def _auth(destination: Destination) -> httpx.BasicAuth | None:
    url = httpx.URL(destination.url.reveal())
    return httpx.BasicAuth(url.username, url.password) if url.userinfo else None
