"""The chat application that is watched: streams answers and their speech over SSE.

``POST /api/chat`` with ``{"message", "client_id", "chatbot_id"}`` answers with the events
``token``, ``audio``, and at the end ``done`` or ``error``. It is an ordinary application: what it
has of Vedette are the lines that mention ``vedette_sdk``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import vedette_sdk
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from vedette_sdk import StreamInterrupted, StreamTracker
from vedette_sdk.asgi import ASGIApp

from vedette.demo import texts
from vedette.demo.caches import TtlCache
from vedette.demo.decks import generator
from vedette.demo.options import APP, PLAN_HEADER, STALL_AFTER, STREAM_HEADER, TIMEOUT
from vedette.demo.page import PAGE
from vedette.demo.provider import AUDIO_BYTES
from vedette.demo.serving import serve_fd
from vedette.kit.clock import Clock, SystemClock

MODEL = "demo-gpt"
_CACHE_SECONDS, _CACHE_SIZE = 600.0, 500


@dataclass(frozen=True, slots=True)
class Question:
    """One chat request; ``forwarded`` are headers for the provider."""

    message: str
    client_id: str
    chatbot_id: str
    stream_id: str | None
    forwarded: dict[str, str]


class Speech:
    """Turns sentences into audio while the text is still coming."""

    def __init__(self, provider: httpx.AsyncClient, cache: TtlCache[bytes]) -> None:
        self._provider = provider
        self._cache = cache
        self._pending = ""
        self._ready: asyncio.Queue[bytes] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, text: str) -> None:
        """Take in a piece of the text; a sentence that is whole goes to be spoken."""
        self._pending += text
        if self._pending.rstrip().endswith((".", "?", "!")):
            sentence, self._pending = self._pending.strip(), ""
            self._tasks.append(asyncio.create_task(self._speak(sentence)))

    async def _speak(self, sentence: str) -> None:
        kept = self._cache.get(sentence)
        if kept is not None:
            self._ready.put_nowait(kept)
            return
        whole = b""
        body = {"model": "demo-tts", "voice": "alloy", "input": sentence}
        async with self._provider.stream("POST", "/v1/audio/speech", json=body) as response:
            response.raise_for_status()
            async for part in response.aiter_bytes():
                whole += part
                self._ready.put_nowait(part)
        self._cache.put(sentence, whole)

    def ready(self) -> list[bytes]:
        """Return the audio that is ready now."""
        parts = []
        while not self._ready.empty():
            parts.append(self._ready.get_nowait())
        return parts

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield the audio that is still to come, until every sentence was spoken."""
        for task in self._tasks:
            await asyncio.wait([task])
            for part in self.ready():
                yield part

    def failures(self) -> int:
        """Return how many sentences could not be spoken; for when all have ended."""
        return sum(task.exception() is not None for task in self._tasks if not task.cancelled())

    def cancel(self) -> None:
        """Give up what is not spoken yet."""
        for task in self._tasks:
            task.cancel()


class ChatApp:
    """The application's state: its provider and its caches."""

    def __init__(self, provider: httpx.AsyncClient, clock: Clock, seed: int) -> None:
        self._provider = provider
        self._clock = clock
        self._rng = generator(seed, "knowledge")
        self._knowledge: TtlCache[str] = TtlCache("kb", _CACHE_SECONDS, _CACHE_SIZE, clock)
        self._audio: TtlCache[bytes] = TtlCache("tts", _CACHE_SECONDS, _CACHE_SIZE, clock)
        self.active = 0
        # The usual questions and phrases are prepared, so that a fresh start is no cold start.
        for message in texts.POPULAR_QUESTIONS:
            self._knowledge.put(message, _found(message))
        for sentence in texts.POPULAR_SENTENCES:
            self._audio.put(sentence, bytes(AUDIO_BYTES))

    async def chat(self, request: Request) -> Response:
        """Answer a question by a stream."""
        try:
            body = await request.json()
            message = str(body["message"])
        except (ValueError, KeyError, TypeError):
            vedette_sdk.record_error("validation", "warning")
            return JSONResponse({"error": "the body needs a message"}, 422)
        names = (STREAM_HEADER, PLAN_HEADER)
        question = Question(
            message=message,
            client_id=str(body.get("client_id", "")),
            chatbot_id=str(body.get("chatbot_id", "")),
            stream_id=request.headers.get(STREAM_HEADER),
            forwarded={name: request.headers[name] for name in names if name in request.headers},
        )
        vedette_sdk.track_chat_message("user", "en")
        return StreamingResponse(self.answer(question), media_type="text/event-stream")

    async def answer(self, question: Question) -> AsyncIterator[str]:
        """Yield the events of one answer."""
        speech = Speech(self._provider, self._audio)
        self.active += 1
        try:
            async with vedette_sdk.track_stream(
                client_id=question.client_id,
                chatbot_id=question.chatbot_id,
                model=MODEL,
                stream_id=question.stream_id,
            ) as stream:
                try:
                    async with contextlib.aclosing(
                        self._events(question, stream, speech)
                    ) as events:
                        async for event in events:
                            yield event
                except (httpx.HTTPError, StreamInterrupted) as error:
                    stream.fail(error)
                    yield _sse("error", {"message": "The answer could not be completed."})
        finally:
            self.active -= 1
            speech.cancel()

    async def _events(
        self, question: Question, stream: StreamTracker, speech: Speech
    ) -> AsyncGenerator[str, None]:
        body = {
            "model": MODEL,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": await self._context(question.message)},
                {"role": "user", "content": question.message},
            ],
        }
        async with self._provider.stream(
            "POST", "/v1/chat/completions", json=body, headers=question.forwarded
        ) as response:
            response.raise_for_status()
            async for chunk in stream.watch(_chunks(response)):
                text = stream.chunk(chunk)
                if text:
                    speech.add(text)
                    yield _sse("token", {"text": text})
                for part in speech.ready():
                    stream.audio()
                    yield _audio(part)
        if not stream.finished:
            yield _sse("error", {"message": "The answer broke off."})
            return
        async for part in stream.watch(speech.rest()):
            stream.audio()
            yield _audio(part)
        for _ in range(speech.failures()):
            stream.error("tts")
        yield _sse("done", {})

    async def _context(self, message: str) -> str:
        kept = self._knowledge.get(message)
        if kept is not None:
            return kept
        # As long as a vector search takes.
        await self._clock.sleep(self._rng.uniform(0.01, 0.03))
        found = _found(message)
        self._knowledge.put(message, found)
        return found

    async def health(self, request: Request) -> Response:
        """Tell that the application is there, and how many answers are under way."""
        return JSONResponse({"status": "healthy", "active_streams": self.active})

    async def flush(self, request: Request) -> Response:
        """Wait until no answer is under way and every event is with the server."""
        deadline = self._clock.monotonic() + 5
        while self.active and self._clock.monotonic() < deadline:
            await self._clock.sleep(0.05)
        flushed = await asyncio.to_thread(vedette_sdk.flush, 5.0)
        return JSONResponse({"flushed": flushed, "active_streams": self.active})


async def _chunks(response: httpx.Response) -> AsyncIterator[Any]:
    """Yield the JSON of a provider's server-sent events, until ``[DONE]``."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        yield json.loads(data)


def _found(message: str) -> str:
    return f"What the shop knows about: {message}"


def _sse(event: str, data: dict[str, str]) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


def _audio(part: bytes) -> str:
    return _sse("audio", {"pcm": base64.b64encode(part).decode()})


async def _home(request: Request) -> Response:
    return HTMLResponse(PAGE)


def create_chatapp(provider: httpx.AsyncClient, clock: Clock, seed: int) -> ASGIApp:
    """Return the application with the SDK's middleware around it; ``init()`` comes before."""
    chat = ChatApp(provider, clock, seed)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await provider.aclose()
        await asyncio.to_thread(vedette_sdk.flush, 1.0)

    app = Starlette(
        routes=[
            Route("/", _home),
            Route("/api/chat", chat.chat, methods=["POST"]),
            Route("/api/health", chat.health),
            Route("/demo/flush", chat.flush, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    return vedette_sdk.instrument(app)


def provider_client(url: str) -> httpx.AsyncClient:
    """Return a client for the provider at ``url``, with a new connection for every request."""
    return httpx.AsyncClient(
        base_url=url,
        trust_env=False,
        # The stream tracker keeps the time of what is read.
        timeout=httpx.Timeout(5.0, read=60.0),
        limits=httpx.Limits(max_connections=400, max_keepalive_connections=0),
    )


def main(argv: list[str] | None = None) -> None:
    """Serve the application on an inherited socket."""
    parser = argparse.ArgumentParser(description="The demo's chat application.")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a listening socket")
    parser.add_argument("--provider", required=True, help="address of the provider")
    parser.add_argument("--vedette", help="address of the server; without it nothing is sent")
    parser.add_argument("--stall-after", type=float, default=STALL_AFTER, help="seconds")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    arguments: Any = parser.parse_args(argv)
    vedette_sdk.init(
        app=APP,
        url=arguments.vedette,
        caches=("kb", "tts"),
        stall_after=arguments.stall_after,
        timeout=arguments.timeout,
        flush_interval=0.5,
    )
    client = provider_client(arguments.provider)
    serve_fd(create_chatapp(client, SystemClock(), arguments.seed), arguments.fd)


if __name__ == "__main__":
    main()
