"""One destination: everything arrives in order, whatever the receiver and the disk do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import pytest

from tests.unit.forward.received import received
from vedette.forward.ports import Page
from vedette.forward.sender import Forwarder
from vedette.forward.settings import Destination
from vedette.kit.clock import FakeClock
from vedette.kit.http_settings import Authorization, HttpSettings, SecretSource
from vedette.kit.secrets import Secret
from vedette.model.arrays import I32
from vedette.model.labels import Labels, parse_canonical
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import SampleBatch
from vedette.storage.interface import StorageError
from vedette.storage.series_index import MemorySeriesIndex

T = TypeVar("T")
START = 1_767_225_600_000
PLACE = Destination(
    "other",
    Secret("http://me:secret@store:9009/write"),
    external_labels=(("site", "here"), ("k", "not this")),
    samples_per_request=3,
    shards=2,
    deadline_ms=1_000,
    http=HttpSettings(follow_redirects=False),
)


async def inline(function: Callable[[], T], /) -> T:
    """Run a blocking call at once, in place of a thread."""
    return function()


@dataclass
class Backlog:
    """Batches in memory, numbered from 1."""

    index: MemorySeriesIndex = field(default_factory=MemorySeriesIndex)
    batches: list[SampleBatch] = field(default_factory=list)
    held: int = -1
    gone: int = 0
    broken: bool = False

    @property
    def sequence(self) -> int:
        return len(self.batches)

    def push(self, ts: int, *values: float) -> None:
        labels = [Labels.of({"__name__": "m", "k": str(k)}) for k in range(len(values))]
        refs = self.index.refs(labels)
        stamps = np.full(len(values), ts, np.int64)
        self.batches.append(SampleBatch("a", refs, stamps, np.array(values)))

    def read(self, name: str, after: int, samples: int) -> Page:
        if self.broken:
            raise StorageError("no disk")
        first = max(after, self.gone)
        found = self.batches[first : first + max(1, samples // 4)]
        return Page(tuple(found), first + len(found), first > after)

    def hold(self, name: str, sequence: int) -> None:
        self.held = sequence

    def release(self, name: str) -> None:
        self.held = -1

    def canonical(self, refs: I32) -> list[bytes]:
        return self.index.canonical(refs)


@dataclass
class Cursors:
    """Cursors in memory."""

    saved: dict[str, int] = field(default_factory=dict)

    def load(self, name: str) -> int | None:
        return self.saved.get(name)

    def save(self, name: str, sequence: int) -> None:
        self.saved[name] = sequence


@dataclass
class Store:
    """The other store: answers by a list of statuses, then 204, and keeps what it took."""

    statuses: list[int] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    samples: list[tuple[Labels, int, float]] = field(default_factory=list)
    metadata: list[MetricMetadata] = field(default_factory=list)
    counts: bool = True

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 204
        if status == 0:
            raise httpx.ConnectError("refused")
        headers = {}
        if status < 300:
            index = MemorySeriesIndex()
            second = "v2.Request" in request.headers["content-type"]
            found = received(request.content, index, 2 if second else 1)
            names = [parse_canonical(each) for each in index.canonical(found.refs)]
            self.samples += zip(names, found.ts.tolist(), found.values.tolist(), strict=True)
            self.metadata += found.metadata
            if second and self.counts:
                headers["X-Prometheus-Remote-Write-Samples-Written"] = str(len(found.ts))
        return httpx.Response(status, headers=headers)


@dataclass
class World:
    """A forwarder and everything around it."""

    backlog: Backlog = field(default_factory=Backlog)
    cursors: Cursors = field(default_factory=Cursors)
    store: Store = field(default_factory=Store)
    clock: FakeClock = field(default_factory=FakeClock)
    destination: Destination = PLACE
    known: dict[str, MetricMetadata] = field(default_factory=dict)

    def described(self) -> dict[str, MetricMetadata]:
        return self.known

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Forwarder]:
        transport = httpx.MockTransport(self.store.answer)
        forwarder = Forwarder(
            self.destination,
            self.backlog,
            self.cursors,
            self.clock,
            inline,
            transport,
            descriptions=self,
        )
        task = asyncio.create_task(forwarder.run())
        await self.clock.advance(0)
        try:
            yield forwarder
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(20):
            await self.clock.advance(seconds / 20)


def _series(k: int) -> Labels:
    return Labels.of({"__name__": "m", "k": str(k), "site": "here"})


async def test_everything_arrives_in_order() -> None:
    """Samples arrive once, in order per series, with external labels, from the start on."""
    world = World()
    world.backlog.push(START - 1, 9.0)
    async with world.running() as forwarder:
        for k in range(6):
            world.backlog.push(START + k, float(k), float(-k))
        await world.pass_time(10)
        assert forwarder.stats.reached == 7
    for k, sign in ((0, 1), (1, -1)):
        got = [each[1:] for each in world.store.samples if each[0] == _series(k)]
        assert got == [(START + n, float(sign * n)) for n in range(6)]
    assert len(world.store.samples) == 12
    assert world.cursors.saved == {"other": 7}
    assert world.backlog.held == 7


async def test_requests_say_what_they_are() -> None:
    """A request has the headers of the protocol, and the password only in its own header."""
    world = World(cursors=Cursors({"other": 0}))
    world.backlog.push(START, 1.0)
    async with world.running():
        await world.pass_time(2)
    (request,) = world.store.requests
    assert request.headers["content-encoding"] == "snappy"
    assert request.headers["x-prometheus-remote-write-version"] == "0.1.0"
    assert request.headers["authorization"].startswith("Basic ")


async def test_what_fails_for_a_while_arrives_later() -> None:
    """Connection errors, 503 and 429 delay samples and lose none; the cursor waits for them."""
    world = World(cursors=Cursors({"other": 0}), store=Store([0, 503, 429, 500]))
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        assert world.cursors.saved["other"] == 0
        await world.pass_time(60)
        assert forwarder.stats.samples == {"retry": 4, "sent": 1}
    assert world.store.samples == [(_series(0), START, 1.0)]
    assert world.cursors.saved == {"other": 1}


async def test_what_is_refused_is_dropped_and_counted() -> None:
    """A request that the receiver calls wrong is not sent for ever."""
    world = World(cursors=Cursors({"other": 0}), store=Store([400]))
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        world.backlog.push(START + 1, 2.0)
        await world.pass_time(5)
        assert forwarder.stats.requests["dropped", "400"] == 1
    assert [ts for _, ts, _ in world.store.samples] == [START + 1]


async def test_a_restart_goes_on_at_the_cursor() -> None:
    """What was sent is not sent again by the next run; what came meanwhile is."""
    world = World(cursors=Cursors({"other": 0}))
    world.backlog.push(START, 1.0)
    async with world.running():
        await world.pass_time(2)
    world.backlog.push(START + 1, 2.0)
    async with world.running():
        await world.pass_time(2)
    assert [ts for _, ts, _ in world.store.samples] == [START, START + 1]


async def test_a_new_destination_is_noted_at_once() -> None:
    """What comes between its first start and its first request survives a restart."""
    world = World()
    world.backlog.push(START, 1.0)
    async with world.running():
        assert world.cursors.saved == {"other": 1}
    world.backlog.push(START + 1, 2.0)
    async with world.running():
        await world.pass_time(2)
    assert [ts for _, ts, _ in world.store.samples] == [START + 1]


async def test_a_backlog_that_is_gone_is_counted() -> None:
    """Samples that the spool no longer has are not waited for."""
    world = World(cursors=Cursors({"other": 0}))
    for k in range(3):
        world.backlog.push(START + k, 1.0)
    world.backlog.gone = 2
    async with world.running() as forwarder:
        await world.pass_time(2)
        assert forwarder.stats.gaps == 1
    assert [ts for _, ts, _ in world.store.samples] == [START + 2]


async def test_a_broken_disk_is_waited_for() -> None:
    """While the backlog cannot be read nothing is skipped."""
    world = World(cursors=Cursors({"other": 0}))
    world.backlog.push(START, 1.0)
    world.backlog.broken = True
    async with world.running():
        await world.pass_time(5)
        world.backlog.broken = False
        await world.pass_time(10)
    assert [ts for _, ts, _ in world.store.samples] == [START]


async def test_version_2_with_metadata() -> None:
    """Requests of 2.0 say so, are read as such, and carry what is known of metrics."""
    known = MetricMetadata("m", "gauge", "Help.")
    world = World(
        cursors=Cursors({"other": 0}),
        destination=replace(PLACE, version=2),
        known={"m": known},
    )
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        await world.pass_time(2)
        assert forwarder.stats.samples == {"sent": 1}
    (request,) = world.store.requests
    assert request.headers["x-prometheus-remote-write-version"] == "2.0.0"
    assert world.store.samples == [(_series(0), START, 1.0)]
    assert world.store.metadata == [known]


async def test_a_receiver_without_version_2_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A receiver that answers 204 and wrote nothing did not get the samples; the log says why."""
    world = World(
        cursors=Cursors({"other": 0}),
        store=Store(counts=False),
        destination=replace(PLACE, version=2),
    )
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        await world.pass_time(2)
        assert forwarder.stats.requests == {("dropped", "version"): 1}
        assert forwarder.stats.samples == {"dropped": 1}
    assert "protobuf_message: prometheus.WriteRequest" in caplog.text


async def test_metadata_of_version_1_come_each_minute() -> None:
    """They are requests of their own, once in an interval, and none where they are switched off."""
    known = {"m": MetricMetadata("m", "gauge", "Help."), "n": MetricMetadata("n", "counter")}
    for send, times in ((True, 3), (False, 0)):
        world = World(
            cursors=Cursors({"other": 0}),
            destination=replace(PLACE, send_metadata=send),
            known=known,
        )
        async with world.running():
            await world.pass_time(150)
        assert world.store.metadata == list(known.values()) * times


async def test_samples_grow_too_old_to_be_sent() -> None:
    """Beyond the age limit samples are left out, also while they wait for another try."""
    world = World(
        cursors=Cursors({"other": 0}),
        store=Store([503] * 1_000),
        destination=replace(PLACE, max_age_ms=10_000),
    )
    now = world.clock.now_ms()
    world.backlog.push(now - 10_001, 1.0)
    world.backlog.push(now - 5_000, 2.0)
    async with world.running() as forwarder:
        await world.pass_time(20)
        world.store.statuses.clear()
        world.backlog.push(world.clock.now_ms(), 3.0)
        await world.pass_time(10)
        assert forwarder.stats.left_out == {"too_old": 2}
    assert [value for *_, value in world.store.samples] == [3.0]


async def test_credentials_that_cannot_be_read_are_waited_for(tmp_path: Path) -> None:
    """A token's file may come later; until then nothing is lost."""
    token = tmp_path / "token"
    http = HttpSettings(authorization=Authorization("Bearer", SecretSource(file=str(token))))
    world = World(
        cursors=Cursors({"other": 0}),
        destination=replace(PLACE, url=Secret("http://store/write"), http=http),
    )
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        await world.pass_time(10)
        assert set(forwarder.stats.requests) == {("retry", "credentials")}
        token.write_text("abc")
        await world.pass_time(10)
    assert world.store.requests[0].headers["authorization"] == "Bearer abc"
    assert world.store.samples == [(_series(0), START, 1.0)]


async def test_redirects_are_not_followed() -> None:
    """An answer that points elsewhere is a refusal: samples go where the settings say."""
    world = World(cursors=Cursors({"other": 0}), store=Store([307]))
    world.backlog.push(START, 1.0)
    async with world.running() as forwarder:
        await world.pass_time(2)
        assert forwarder.stats.requests == {("dropped", "307"): 1}
    assert len(world.store.requests) == 1


def test_secrets_stay_out_of_messages() -> None:
    """The destination's own text names host and port only."""
    with_token = HttpSettings(authorization=Authorization("Bearer", SecretSource(Secret("secret"))))
    assert PLACE.place == "store:9009"
    assert "secret" not in repr(replace(PLACE, http=with_token))
