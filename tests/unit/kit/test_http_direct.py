"""The transport that gets answers straight from their hosts: framing, kept connections, faults."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.kit.clock import SystemClock
from vedette.kit.http_direct import DirectTransport

BODY = b"m 1\n" * 50
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\nX-A: b\r\n\r\n" + BODY
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"64\r\n%b\r\n64;q=1\r\n%b\r\n0\r\nX-Trailer: t\r\n\r\n" % (BODY[:100], BODY[100:])
)
UNTIL_END = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
PROVISIONAL = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + SIZED
OFFERED = SIZED.replace(b"X-A: b", b"Connection: Upgrade\r\nUpgrade: h2c")
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"

Write = Callable[[bytes], Awaitable[None]]


class Peer:
    """Counts connections and keeps the heads that were sent to it."""

    def __init__(self, answers: Sequence[Sequence[bytes]], ends: bool) -> None:
        self._answers = list(answers)
        self._ends = ends
        self.connections = 0
        self.heads: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests one after another, each in its pieces."""
        self.connections += 1
        try:
            while self._answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                for piece in self._answers.pop(0):
                    writer.write(piece)
                    await writer.drain()
                if self._ends:
                    break
            else:
                await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(
    *answers: Sequence[bytes], ends: bool = False
) -> AsyncIterator[tuple[httpx.AsyncClient, str, Peer]]:
    """Run a server that gives ``answers``; ``ends`` closes behind each."""
    peer = Peer(answers, ends)
    server = await asyncio.start_server(peer, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(299, text=request.method)

    transport = DirectTransport(ssl.create_default_context(), httpx.MockTransport(refuse))
    async with httpx.AsyncClient(transport=transport, timeout=None) as client:
        yield client, f"http://127.0.0.1:{port}/metrics?a=b%20c", peer
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("answer", [SIZED, CHUNKED, PROVISIONAL, OFFERED])
async def test_a_connection_is_kept_behind_an_answer_of_known_length(answer: bytes) -> None:
    """Two answers come over one connection, whatever frames them; what was sent is HTTP/1.1."""
    async with serving([answer], [answer]) as (client, url, peer):
        for _ in range(2):
            got = await client.get(url, headers={"X-Who": "v"})
            assert (got.status_code, got.content) == (200, BODY)
    assert peer.connections == 1
    assert peer.heads[0].startswith(b"GET /metrics?a=b%20c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-Who: v\r\n" in peer.heads[0]
    assert peer.heads[0] == peer.heads[1]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (UNTIL_END, BODY),
        (SIZED.replace(b"X-A: b", b"Connection: close"), BODY),
        (SIZED + b"surplus", BODY),
        (EMPTY + SIZED, b""),
    ],
)
async def test_a_connection_that_cannot_go_on_is_not_kept(answer: bytes, body: bytes) -> None:
    """An end that is the length, a wish to close, and bytes behind the answer each end it."""
    async with serving([answer], [SIZED], ends=True) as (client, url, peer):
        assert (await client.get(url)).content == body
        assert (await client.get(url)).content == BODY
    assert peer.connections == 2


@given(
    answer=st.sampled_from([SIZED, CHUNKED, UNTIL_END, PROVISIONAL]),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_it_does_not_matter_how_an_answer_is_cut(answer: bytes, cuts: list[int]) -> None:
    """Status, headers and body are those of the whole, in whatever pieces it is sent."""
    places = sorted({0, len(answer), *(min(cut, len(answer)) for cut in cuts)})
    pieces = [answer[a:b] for a, b in pairwise(places)]

    async def scenario() -> httpx.Response:
        async with serving(pieces, ends=True) as (client, url, _):
            return await client.get(url)

    got = asyncio.run(scenario())
    assert (got.status_code, got.content) == (200, BODY)
    assert got.headers.get("x-a") == ("b" if b"X-A" in answer else None)
    assert not {"link", "x-trailer"} & set(got.headers)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        SIZED[:20],
        SIZED[:-1],
        CHUNKED[:-30],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 100_000,
        CHUNKED[:-2] + b"X: a\r\n" * 100_000,
    ],
)
async def test_what_is_no_whole_answer_is_a_fault_of_the_server(answer: bytes) -> None:
    """Silence, cut answers, other protocols and endless heads or trailers are protocol errors."""
    async with serving([answer], ends=True) as (client, url, _):
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)) as caught:
            await client.get(url)
    assert str(caught.value)


async def test_a_kept_connection_that_the_server_ends_is_replaced() -> None:
    """Whether the end is noticed before or behind the next request, that is answered."""
    async with serving([SIZED], [SIZED], ends=True) as (client, url, peer):
        assert (await client.get(url)).content == BODY
        assert (await client.get(url)).content == BODY
    assert peer.connections == 2


async def test_a_large_answer_that_is_read_slowly_waits_at_the_server() -> None:
    """What was sent and not read stays bounded, and all of it comes in the end."""
    size = 30_000_000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    async with (
        serving([head, b"x" * size]) as (client, url, _),
        client.stream("GET", url) as response,
    ):
        largest = total = 0
        async for part in response.aiter_raw():
            largest, total = max(largest, len(part)), total + len(part)
            for _ in range(5):
                await SystemClock().sleep(0)
    assert total == size
    assert largest < 2_000_000


async def test_who_leaves_an_answer_early_closes_its_connection() -> None:
    """The rest of a body that nobody wants is not taken for the next answer."""
    async with serving([SIZED[:-10]], [SIZED]) as (client, url, peer):
        async with client.stream("GET", url) as response:
            assert response.status_code == 200
        assert (await client.get(url)).content == BODY
    assert peer.connections == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    """A time-out while waiting for the head leaves no connection that would answer later."""
    async with serving([b""], [SIZED]) as (client, url, peer):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.get(url)
        assert (await client.get(url)).content == BODY
    assert peer.connections == 2


async def test_headers_that_would_forge_others_are_not_sent() -> None:
    """Line breaks in a value and signs that no name has are refused before anything is sent."""
    async with serving([SIZED]) as (client, url, peer):
        for headers in ({"X": "a\r\nY: b"}, {"X Y": "a"}, {"": "a"}):
            with pytest.raises(httpx.LocalProtocolError, match="cannot be sent"):
                await client.get(url, headers=headers)
    assert not peer.connections


async def test_no_server_is_a_connect_error() -> None:
    """The message says why; a name that cannot be one is the same."""
    async with serving() as (client, _, _):
        for url in ("http://127.0.0.1:1/", f"http://{'a' * 70}.invalid/"):
            with pytest.raises(httpx.ConnectError, match=r"\w"):
                await client.get(url)
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/")


async def test_requests_with_a_body_go_the_other_way() -> None:
    """Only GET without a body is sent directly."""
    async with serving([SIZED]) as (client, url, peer):
        assert (await client.post(url, content=b"x")).text == "POST"
        assert (await client.request("GET", url, content=b"x")).text == "GET"
    assert not peer.connections
