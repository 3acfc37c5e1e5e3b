"""Fetching: what counts as an answer, and that its size is bounded."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import httpx
import pytest

from vedette.kit.http_client import HttpClients
from vedette.kit.http_settings import HttpSettings
from vedette.scrape.fetch import HttpFetcher
from vedette.scrape.settings import ScrapeJob, ScrapeLimits
from vedette.scrape.target import ScrapeError
from vedette.scrape.targets import Target

Answer = Callable[[httpx.Request], httpx.Response]
T = TypeVar("T")
TEXT = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}


async def fetch(answer: Answer, **changes: Any) -> bytes:
    """Fetch a target whose server is ``answer``."""
    clients = HttpClients("Vedette/1", httpx.MockTransport(answer))
    fetcher = HttpFetcher(clients)
    job = ScrapeJob("web", ("h:1",), **changes)
    try:
        return (await fetcher.fetch(Target(job, "h:1"))).body
    finally:
        await clients.aclose()


async def test_a_plain_and_a_compressed_answer_are_the_same() -> None:
    """gzip is asked for and undone; the request says who asks and for how long it waits."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        packed = len(seen) == 2
        headers = TEXT | ({"content-encoding": "gzip"} if packed else {})
        body = gzip.compress(b"m 1\n") if packed else b"m 1\n"
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))

    assert await fetch(answer) == await fetch(answer, params=(("a", "b"),)) == b"m 1\n"
    assert seen[0].headers["x-prometheus-scrape-timeout-seconds"] == "10"
    assert seen[0].headers["accept-encoding"] == "gzip"
    assert seen[0].headers["user-agent"] == "Vedette/1"
    assert str(seen[1].url) == "http://h:1/metrics?a=b"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (httpx.Response(500, text="m 1"), "status"),
        (httpx.Response(302, headers={"location": "http://other/"}), "status"),
        (httpx.Response(200, html="<html>"), "content_type"),
        (httpx.Response(200, headers=TEXT, stream=httpx.ByteStream(b"x" * 101)), "body_size"),
        (httpx.Response(200, headers={**TEXT, "content-encoding": "br"}), "encoding"),
    ],
)
async def test_what_is_no_answer(response: httpx.Response, reason: str) -> None:
    """Each has its reason for the counter and a message for people."""
    with pytest.raises(ScrapeError) as caught:
        await fetch(lambda _: response, limits=ScrapeLimits(body_bytes=100))
    assert caught.value.reason == reason
    assert str(caught.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(b"x" * 50_000_000, mtime=0), "body_size"),
        (gzip.compress(b"m 1\n", mtime=0)[:-4], "encoding"),
        (b"no gzip", "encoding"),
    ],
)
async def test_damaged_and_exploding_gzip(body: bytes, reason: str) -> None:
    """A body is never unpacked beyond the limit, and a damaged one is refused."""
    headers = TEXT | {"content-encoding": "gzip"}

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))

    with pytest.raises(ScrapeError) as caught:
        await fetch(answer, limits=ScrapeLimits(body_bytes=100_000))
    assert caught.value.reason == reason


async def test_what_inflates_to_much_is_inflated_elsewhere() -> None:
    """The event loop takes one step of a chunk; the whole body comes out all the same."""
    body = b"m 1\n" * 500_000
    elsewhere = 0

    async def offload(work: Callable[[], T]) -> T:
        nonlocal elsewhere
        elsewhere += 1
        return work()

    def answer(_: httpx.Request) -> httpx.Response:
        headers = TEXT | {"content-encoding": "gzip"}
        stream = httpx.ByteStream(gzip.compress(body))
        return httpx.Response(200, headers=headers, stream=stream)

    clients = HttpClients("Vedette/1", httpx.MockTransport(answer))
    fetcher = HttpFetcher(clients, offload)
    got = await fetcher.fetch(Target(ScrapeJob("web", ("h:1",)), "h:1"))
    await clients.aclose()
    assert got.body == body
    assert elsewhere == 1


async def test_redirects_are_followed_only_where_allowed() -> None:
    """Off by default; the message names the place."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(302, headers={"location": "/elsewhere"})
        return httpx.Response(200, headers=TEXT, stream=httpx.ByteStream(b"m 1\n"))

    with pytest.raises(ScrapeError, match="/elsewhere"):
        await fetch(answer)
    assert await fetch(answer, http=HttpSettings()) == b"m 1\n"


async def test_a_connection_that_was_closed_meanwhile_is_tried_once_more() -> None:
    """A kept connection may end just as it is used; that is no failure of the target."""
    calls = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(200, headers=TEXT, stream=httpx.ByteStream(b"m 1\n"))

    assert await fetch(answer) == b"m 1\n"


async def test_the_timeout_covers_the_whole_body() -> None:
    """An answer that begins in time and never ends fails as a time-out."""

    async def drip() -> AsyncIterator[bytes]:
        yield b"m 1\n"
        await asyncio.Event().wait()

    with pytest.raises(ScrapeError) as caught:
        await fetch(lambda _: httpx.Response(200, headers=TEXT, content=drip()), timeout_ms=20)
    assert caught.value.reason == "timeout"


async def test_a_refused_connection_says_so() -> None:
    """No server at the address is the reason "connect"."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("All connection attempts failed", request=request)

    with pytest.raises(ScrapeError, match="cannot connect") as caught:
        await fetch(refuse)
    assert caught.value.reason == "connect"
