"""Servers on loopback and what discoveries work with, for their tests."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from vedette.kit.clock import FakeClock
from vedette.kit.complaints import Complaints
from vedette.kit.http_client import HttpClients
from vedette.scrape.discovery.groups import (
    Around,
    Discovery,
    DiscoveryStats,
    Pairs,
    TargetGroup,
)

T = TypeVar("T")
PATIENCE = 20.0


class ImpatientClock(FakeClock):
    """A clock on which every wait is over at once, and the time passes by it."""

    async def sleep(self, seconds: float) -> None:
        self._now_ms += round(max(seconds, 0.0) * 1000)
        await super().sleep(0)


@dataclass
class Request:
    """One request that a server got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """What a server answers; ``parts`` are sent as they come, until the last one."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    parts: AsyncIterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)


Serve = Callable[[Request], Awaitable[Reply]]


@asynccontextmanager
async def http_server(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve on a free port of loopback; yield ``host:port``."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _exchange(reader, writer, serve)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        host, port = server.sockets[0].getsockname()[:2]
        yield f"{host}:{port}"
    finally:
        server.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    reply = await serve(Request(method, parts.path, query, headers))
    further = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
    writer.write(
        f"HTTP/1.1 {reply.status} X\r\nContent-Type: {reply.kind}\r\n{further}"
        "Connection: close\r\n\r\n".encode()
    )
    writer.write(reply.body)
    if reply.parts is not None:
        async for part in reply.parts:
            writer.write(part)
            await writer.drain()
    await writer.drain()


async def at_once(work: Callable[[], T]) -> T:
    """Do ``work`` here."""
    return work()


def around(clock: FakeClock | None = None) -> Around:
    """Return what a discovery works with; its waits are over at once unless ``clock`` is given."""
    clock = clock or ImpatientClock()
    complaints = Complaints(logging.getLogger("test.discovery"), clock)
    return Around(
        HttpClients("Vedette/1", clock=clock), clock, at_once, DiscoveryStats(), complaints
    )


class Seen:
    """Takes what a discovery publishes; groups by source, those without targets left out."""

    def __init__(self) -> None:
        self.groups: dict[str, TargetGroup] = {}
        self.times = 0
        self._news = asyncio.Event()

    def publish(self, groups: list[TargetGroup]) -> None:
        self.times += 1
        for group in groups:
            self.groups[group.source] = group
            if not group.targets:
                del self.groups[group.source]
        self._news.set()

    def addresses(self) -> list[str]:
        """Return the addresses of all targets, sorted."""
        return sorted(
            dict(target)["__address__"]
            for group in self.groups.values()
            for target in group.targets
        )

    async def until(self, check: Callable[[], object]) -> None:
        """Wait until ``check`` is true of what was published."""
        async with asyncio.timeout(PATIENCE):
            while not check():
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def running(discovery: Discovery) -> AsyncIterator[Seen]:
    """Run ``discovery``; yield what it publishes."""
    seen = Seen()
    task = asyncio.create_task(discovery.run(seen.publish))  # type: ignore[arg-type]
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def labels_of(group: TargetGroup, number: int = 0) -> dict[str, str]:
    """Return all labels of one target."""
    pairs: Pairs = group.targets[number]
    return {**dict(group.labels), **dict(pairs)}
