"""The demo's customers: they ask over real HTTP, read the streams, and sometimes leave."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from dataclasses import dataclass, field
from uuid import UUID

import httpx

from vedette.demo import texts
from vedette.demo.decks import Deck, generator
from vedette.demo.options import PLAN_HEADER, STREAM_HEADER
from vedette.demo.provider import LEAVE_PLAN
from vedette.demo.truth import ClientLine, TruthFile
from vedette.kit.clock import Clock

CHATS_PER_SECOND = 4.0
_MAX_CONCURRENT = 80
_LEAVERS = (True, True, True, *[False] * 17)
_RECENT = 100


@dataclass(slots=True)
class LoadFigures:
    """What the customers saw, for the live summary."""

    started: int = 0
    under_way: int = 0
    ended: int = 0
    held_back: int = 0
    first_token_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def p95_first_token_ms(self) -> float | None:
        """Return the 95th percentile of the latest chats' first token, as the clients saw it."""
        if not self.first_token_ms:
            return None
        ordered = sorted(self.first_token_ms)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


class LoadGenerator:
    """Starts chats at random times, each on a connection of its own."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        truth: TruthFile,
        clock: Clock,
        seed: int,
        rate: float = CHATS_PER_SECOND,
    ) -> None:
        self._client = client
        self._truth = truth
        self._clock = clock
        self._rate = rate
        self._rng = generator(seed, "load")
        self._leavers = Deck(_LEAVERS, generator(seed, "leavers"))
        self._tasks: set[asyncio.Task[None]] = set()
        self.figures = LoadFigures()
        self.lines: list[ClientLine] = []

    async def run(self, until: asyncio.Event) -> None:
        """Start chats until ``until`` is set; arrivals are a Poisson process."""
        while not until.is_set():
            await self._clock.sleep(self._rng.expovariate(self._rate))
            if until.is_set():
                return
            if len(self._tasks) >= _MAX_CONCURRENT:
                self.figures.held_back += 1
                continue
            self._start()

    def _start(self) -> None:
        stream_id = UUID(int=self._rng.getrandbits(128), version=4).hex
        leave_after = self._rng.randint(2, 6) if self._leavers.draw() else None
        task = asyncio.create_task(self._chat(stream_id, leave_after, self._rng))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _chat(self, stream_id: str, leave_after: int | None, rng: random.Random) -> None:
        figures = self.figures
        figures.started += 1
        figures.under_way += 1
        try:
            line = await self.chat(stream_id, leave_after, texts.question(rng))
            self.lines.append(line)
            self._truth.write(line)
            if line.first_token_ms is not None:
                figures.first_token_ms.append(line.first_token_ms)
        finally:
            figures.under_way -= 1
            figures.ended += 1

    async def chat(self, stream_id: str, leave_after: int | None, message: str) -> ClientLine:
        """Ask ``message``, read the answer, or leave after so many tokens; say what was done."""
        headers = {STREAM_HEADER: stream_id}
        if leave_after is not None:
            headers[PLAN_HEADER] = LEAVE_PLAN
        body = {"message": message, "client_id": stream_id[:4], "chatbot_id": "shop"}
        began = self._clock.monotonic()
        tokens, status, first = 0, 0, None
        try:
            async with self._client.stream(
                "POST", "/api/chat", json=body, headers=headers
            ) as response:
                status = response.status_code
                if status != 200:
                    return ClientLine(stream_id, "refused", status=status)
                async for line in response.aiter_lines():
                    if line != "event: token":
                        continue
                    tokens += 1
                    if first is None:
                        first = round((self._clock.monotonic() - began) * 1000, 1)
                    if tokens == leave_after:
                        return ClientLine(stream_id, "left", tokens, status, first)
        except httpx.TransportError:
            if status == 0:
                return ClientLine(stream_id, "refused")
        return ClientLine(stream_id, "read", tokens, status, first)

    async def drain(self, seconds: float) -> bool:
        """Wait for the chats under way; return whether all ended within ``seconds``."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks

    async def stop(self) -> None:
        """Break off the chats under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def load_client(url: str) -> httpx.AsyncClient:
    """Return a client for the application at ``url``, with a new connection for every chat."""
    return httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        timeout=httpx.Timeout(5.0, read=60.0),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


async def set_mode(client: httpx.AsyncClient, mode: str) -> bool:
    """Tell the provider how it is; return whether it took it."""
    try:
        answer = await client.put("/faults", content=json.dumps({"mode": mode}))
    except httpx.TransportError:
        return False
    return answer.is_success
