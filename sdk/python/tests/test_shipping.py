"""Shipping of events, against a transport that answers as it is told."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from vedette_sdk.clock import SystemClock
from vedette_sdk.metrics import shipping_metrics_of
from vedette_sdk.shipping import Shipper, ShippingOptions, backoff

Answer = Callable[[httpx.Request], httpx.Response]


class _Server:
    """Remembers what came, answers from a list, and then with 202."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.events: list[dict[str, Any]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.gate.wait(10)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else 202
        if isinstance(answer, Exception):
            raise answer
        if answer != 202:
            return httpx.Response(answer)
        lines = [json.loads(line) for line in request.content.splitlines()]
        self.events += lines
        rejected = sum(line["type"] == "bad" for line in lines)
        return httpx.Response(202, json={"success": True, "rejected": rejected})


class _Harness:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.shippers: list[Shipper] = []

    def shipper(self, server: Answer, **options: Any) -> Shipper:
        chosen: dict[str, Any] = {"flush_interval": 60, "backoff_first": 0.001, **options}
        shipper = Shipper(
            ShippingOptions(url="http://vedette.test", app="shop", **chosen),
            shipping_metrics_of(self.registry),
            SystemClock(),
            transport=httpx.MockTransport(server),
        )
        self.shippers.append(shipper)
        return shipper

    def sent(self) -> float | None:
        return self.registry.get_sample_value("vedette_sdk_events_sent_total")

    def dropped(self, reason: str) -> float | None:
        return self.registry.get_sample_value(
            "vedette_sdk_events_dropped_total", {"reason": reason}
        )


@pytest.fixture
def harness() -> Iterator[_Harness]:
    """Make shippers, and end their threads afterwards."""
    made = _Harness()
    yield made
    for shipper in made.shippers:
        shipper.close(0)


def test_envelopes_in_batches(harness: _Harness) -> None:
    """Events go out as NDJSON of {type, data} with the application's name and key."""
    server = _Server()
    shipper = harness.shipper(server, batch_size=3, ingest_key="key")
    for number in range(7):
        shipper.put("note", {"n": number})
    assert shipper.flush(10)
    assert server.events == [{"type": "note", "data": {"n": n}} for n in range(7)]
    request = server.requests[0]
    assert request.url == "http://vedette.test/api/events"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert request.headers["x-vedette-app"] == "shop"
    assert request.headers["authorization"] == "Bearer key"
    assert max(len(request.content.splitlines()) for request in server.requests) <= 3
    assert harness.sent() == 7


def test_outages_are_survived(harness: _Harness) -> None:
    """What could not be delivered is tried again, in order and once."""
    server = _Server(httpx.ConnectError("no"), 503, 429, httpx.ReadTimeout("slow"))
    shipper = harness.shipper(server)
    shipper.put("note", {"n": 1})
    assert shipper.flush(10)
    assert len(server.requests) == 5
    assert len(server.events) == 1


def test_the_oldest_make_room(harness: _Harness) -> None:
    """A full queue lets go of its oldest events, and counts them."""
    server = _Server()
    server.gate.clear()
    shipper = harness.shipper(server, queue_size=5, batch_size=5)
    for number in range(20):
        shipper.put("note", {"n": number})
    server.gate.set()
    assert shipper.flush(10)
    dropped = harness.dropped("queue_full")
    assert dropped is not None
    assert dropped >= 10
    assert [event["data"]["n"] for event in server.events][-5:] == [15, 16, 17, 18, 19]
    assert len(server.events) + dropped == 20


def test_a_wrong_key_is_not_retried(harness: _Harness) -> None:
    """A refusal that will not change drops the batch and counts it."""
    server = _Server(401)
    shipper = harness.shipper(server)
    shipper.put("note", {})
    assert shipper.flush(10)
    assert len(server.requests) == 1
    assert harness.dropped("refused") == 1


def test_too_large_batches_are_halved(harness: _Harness) -> None:
    """A batch that is too large goes in halves, in order; a single event that is gets dropped."""
    server = _Server(413, 202, 413)
    shipper = harness.shipper(server, batch_size=4)
    for number in range(3):
        shipper.put("note", {"n": number})
    assert shipper.flush(10)
    assert [event["data"]["n"] for event in server.events] == [0, 1, 2]
    server.answers = [413]
    shipper.put("note", {"n": 3})
    assert shipper.flush(10)
    assert harness.dropped("too_large") == 1


def test_what_is_not_json_harms_nobody_else(harness: _Harness) -> None:
    """An event that cannot be written is dropped alone; an unknown object is sent as its text."""
    server = _Server()
    shipper = harness.shipper(server)
    shipper.put("note", {"n": float("nan")})
    shipper.put("note", {"n": SystemClock})
    shipper.put("bad", {})
    assert shipper.flush(10)
    assert len(server.events) == 2
    assert harness.dropped("unserialisable") == 1
    assert harness.dropped("rejected") == 1
    assert harness.sent() == 1


def test_flush_is_bounded_and_close_is_final(harness: _Harness) -> None:
    """With the server away flush() gives up in time, and close() ends the sending."""
    server = _Server(*[httpx.ConnectError("no")] * 1000)
    shipper = harness.shipper(server, backoff_first=5)
    shipper.put("note", {})
    assert not shipper.flush(0.05)
    assert not shipper.close(0)
    shipper.put("note", {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_with_empty_hands(harness: _Harness) -> None:
    """After a fork the child sends its own events, never a second copy of the parent's."""
    server = _Server()
    server.gate.clear()
    shipper = harness.shipper(server)
    shipper.put("note", {"from": "parent"})
    child = os.fork()
    if child == 0:
        code = 1
        try:
            server.gate.set()
            server.events.clear()
            shipper.put("note", {"from": "child"})
            if shipper.flush(10) and [e["data"]["from"] for e in server.events] == ["child"]:
                code = 0
        finally:
            os._exit(code)
    server.gate.set()
    assert shipper.flush(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [event["data"]["from"] for event in server.events] == ["parent"]


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_grows_to_its_ceiling(attempt: int, draw: float) -> None:
    """Waits are positive, never above the ceiling, and spread by the draw."""
    wait = backoff(attempt, 0.5, 30, draw)
    assert 0 < wait <= 30
    assert wait <= 0.5 * 2.0 ** min(attempt - 1, 100)
