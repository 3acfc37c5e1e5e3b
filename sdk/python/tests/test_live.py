"""A real Starlette application behind a real server, with clients that leave mid-stream."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from vedette_sdk.client import Client, Options
from vedette_sdk.clock import FakeClock
from vedette_sdk.middleware import instrument

STREAMS = 30


class _Watched(Client):
    """Tells when the last of a number of streams has ended."""

    def __init__(self) -> None:
        super().__init__(Options(stall_after=30, timeout=60), registry=CollectorRegistry())
        self.states: list[str] = []
        self.complete = asyncio.Event()

    def send_event(self, kind: str, data: object) -> None:
        assert isinstance(data, dict)
        self.states.append(data["state"])
        if len(self.states) == STREAMS:
            self.complete.set()


def _chat(client: Client) -> Starlette:
    async def provider(kind: str) -> AsyncIterator[str]:
        for word in ("one ", "two ", "three "):
            yield word
        if kind == "leave":
            yield "go "
            # Nothing but the client's leaving can end this answer.
            await asyncio.Event().wait()
        if kind == "busy":
            while True:
                yield "x" * 1000
                await FakeClock.settle()  # a provider that never waits would starve the server

    async def answer(kind: str) -> AsyncIterator[str]:
        async with client.track_stream() as stream:
            async for word in stream.watch(provider(kind)):
                stream.token(word)
                yield word
            stream.finish()

    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(answer(request.path_params["kind"]))

    return Starlette(routes=[Route("/chat/{kind}", chat)])


@contextlib.asynccontextmanager
async def _served(app: object) -> AsyncIterator[str]:
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off")  # type: ignore[arg-type] # structural twins
    server = uvicorn.Server(config)
    with contextlib.closing(sock):
        task = asyncio.create_task(server._serve([sock]))
        try:
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def _ask(http: httpx.AsyncClient, number: int) -> None:
    kind = ("read", "leave", "busy")[number % 3]
    async with http.stream("GET", f"/chat/{kind}") as response:
        async for _ in response.aiter_text():
            if kind != "read":
                return  # leaving the block closes the connection


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "behind BaseHTTPMiddleware"])
async def test_every_stream_is_told_right(wrapped: bool) -> None:
    """Of readers and leavers at once, waiting or being sent to, each ends in its own state."""
    client = _Watched()
    app = _chat(client)
    if wrapped:

        async def passing(request: Request, call_next):  # type: ignore[no-untyped-def] # theirs
            return await call_next(request)

        app.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch=passing))
    async with (
        _served(instrument(app, client)) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        await asyncio.gather(*(_ask(http, number) for number in range(STREAMS)))
        async with asyncio.timeout(20):
            await client.complete.wait()
        page = (await http.get("/metrics")).text
    assert client.states.count("completed") == STREAMS // 3
    assert client.states.count("client_left") == 2 * STREAMS // 3
    assert "chatbot_active_streams 0.0" in page
    assert f'chatbot_streams_total{{state="client_left"}} {2 * STREAMS // 3}.0' in page
