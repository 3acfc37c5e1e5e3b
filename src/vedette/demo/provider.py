"""An OpenAI-compatible provider of chat and speech, with faults on command.

``POST /v1/chat/completions`` streams chunks as OpenAI's API reference describes them,
``POST /v1/audio/speech`` streams audio, ``PUT /faults`` sets the mode. One line of truth per chat
tells what was done to it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from vedette.demo import texts
from vedette.demo.decks import Deck, generator
from vedette.demo.options import PLAN_HEADER, STREAM_HEADER
from vedette.demo.serving import serve_fd
from vedette.demo.timeline import Mode
from vedette.demo.truth import Fault, ProviderLine, TruthFile
from vedette.kit.clock import Clock, SystemClock

LEAVE_PLAN = "leave"
"""Plan of a client that will leave: its answer is healthy, and does not end before it has left."""

_FAULTY = (
    *[Fault.NONE] * 13,
    Fault.ENDS_EARLY,
    Fault.DROPS,
    Fault.STALLS,
    Fault.DRIPS,
    Fault.HTTP_500,
    Fault.HTTP_500,
    Fault.HTTP_429,
)
_DRIP_SECONDS = 0.5
_AUDIO_CHUNKS, _CHUNK_BYTES = 6, 2048
AUDIO_BYTES = _AUDIO_CHUNKS * _CHUNK_BYTES
# Longer than anybody waits; also keeps a forgotten connection from living forever.
_FOREVER = 120.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Ranges of seconds to draw from."""

    first_token: tuple[float, float]
    between_tokens: tuple[float, float]
    first_audio: tuple[float, float]


_PACE = {
    Mode.HEALTHY: Pace((0.25, 0.45), (0.010, 0.040), (0.12, 0.25)),
    Mode.SLOW: Pace((1.1, 1.6), (0.015, 0.050), (0.3, 0.6)),
    Mode.FAULTY: Pace((1.1, 1.6), (0.015, 0.050), (0.3, 0.6)),
}


class ConnectionDropped(Exception):  # noqa: N818 - raised on purpose, so that the server hangs up
    """Ends an answer without its last chunk."""


class Provider:
    """The state of the provider: its mode, its deck of faults, its truth."""

    def __init__(self, truth: TruthFile, clock: Clock, seed: int) -> None:
        self._truth = truth
        self._clock = clock
        self._seed = seed
        self._deck = Deck(_FAULTY, generator(seed, "faults"))
        self._count = 0
        self.mode = Mode.HEALTHY

    def choose(self, plan: str) -> Fault:
        """Return what happens to the next chat: what ``plan`` asks for, else what the mode does."""
        if plan == LEAVE_PLAN:
            return Fault.NONE
        if plan.startswith("fault="):
            return Fault(plan.removeprefix("fault="))
        return self._deck.draw() if self.mode is Mode.FAULTY else Fault.NONE

    async def chat(self, request: Request) -> Response:
        """Answer a chat completion request by a stream of chunks."""
        try:
            asked = await request.json()
            model, words = str(asked["model"]), len(str(asked["messages"]).split())
        except (ValueError, KeyError, TypeError):
            return _error(400, "the body needs model and messages")
        self._count += 1
        stream_id = request.headers.get(STREAM_HEADER, f"unnamed-{self._count}")
        plan = request.headers.get(PLAN_HEADER, "")
        try:
            fault = self.choose(plan)
        except ValueError:
            return _error(400, f"no such plan: {plan!r}")
        self._truth.write(ProviderLine(stream_id, fault.value))
        rng = generator(self._seed, stream_id)
        pace = _PACE[self.mode]
        if fault is Fault.HTTP_500:
            return _error(500, "the model is overloaded")
        if fault is Fault.HTTP_429:
            return _error(429, "too many requests")
        chunks = self._chunks(model, words, fault, plan == LEAVE_PLAN, pace, rng)
        return StreamingResponse(chunks, media_type="text/event-stream")

    async def _chunks(
        self,
        model: str,
        words: int,
        fault: Fault,
        endless: bool,
        pace: Pace,
        rng: random.Random,
    ) -> AsyncIterator[str]:
        head = {"id": f"chatcmpl-{rng.randrange(16**12):012x}", "model": model}
        await self._clock.sleep(rng.uniform(*pace.first_token))
        break_at = rng.randint(4, 12)
        count = 0
        async for token in self._tokens(fault, endless, pace, rng):
            yield _event(head, {"content": token})
            count += 1
            if count < break_at:
                continue
            if fault is Fault.DROPS:
                raise ConnectionDropped
            if fault is Fault.ENDS_EARLY:
                return
            if fault is Fault.STALLS:
                await self._clock.sleep(_FOREVER)
                return
        yield _event(head, {}, "stop")
        usage = {
            "prompt_tokens": 40 + 2 * words,
            "completion_tokens": count,
            "total_tokens": 40 + 2 * words + count,
        }
        yield f"data: {json.dumps({**_HEAD, **head, 'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"

    async def _tokens(
        self, fault: Fault, endless: bool, pace: Pace, rng: random.Random
    ) -> AsyncIterator[str]:
        sentences = rng.randint(2, 4)
        while sentences > 0 or endless or fault is Fault.DRIPS:
            sentences -= 1
            for token in (*texts.tokens(texts.sentence(rng)), " "):
                yield token
                drips = fault is Fault.DRIPS
                await self._clock.sleep(
                    _DRIP_SECONDS if drips else rng.uniform(*pace.between_tokens)
                )

    async def speech(self, request: Request) -> Response:
        """Answer a speech request by a stream of audio."""
        try:
            text = str((await request.json())["input"])
        except (ValueError, KeyError, TypeError):
            return _error(400, "the body needs input")
        rng = generator(self._seed, text)
        pace = _PACE[self.mode]

        async def audio() -> AsyncIterator[bytes]:
            await self._clock.sleep(rng.uniform(*pace.first_audio))
            for _ in range(_AUDIO_CHUNKS):
                yield bytes(_CHUNK_BYTES)
                await self._clock.sleep(0.015)

        return StreamingResponse(audio(), media_type="audio/pcm")

    async def faults(self, request: Request) -> Response:
        """Tell the mode, or set it by ``PUT {"mode": …}``."""
        if request.method == "PUT":
            try:
                self.mode = Mode((await request.json())["mode"])
            except (ValueError, KeyError, TypeError):
                return _error(400, f"mode must be one of {', '.join(Mode)}")
        return JSONResponse({"mode": self.mode.value})


_HEAD = {"object": "chat.completion.chunk", "created": 1_767_225_600}


def _event(head: dict[str, str], delta: dict[str, str], reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({**_HEAD, **head, 'choices': [choice]})}\n\n"


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "demo"}}, status)


def create_provider(truth: TruthFile, clock: Clock, seed: int) -> Starlette:
    """Return the provider as an ASGI application."""
    provider = Provider(truth, clock, seed)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", provider.chat, methods=["POST"]),
            Route("/v1/audio/speech", provider.speech, methods=["POST"]),
            Route("/faults", provider.faults, methods=["GET", "PUT"]),
        ]
    )


def main(argv: list[str] | None = None) -> None:
    """Serve the provider on an inherited socket."""
    parser = argparse.ArgumentParser(description="The demo's provider of chat and speech.")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of a listening socket")
    parser.add_argument("--truth", type=Path, required=True, help="file for the lines of truth")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    arguments: Any = parser.parse_args(argv)
    truth = TruthFile(arguments.truth)
    serve_fd(create_provider(truth, SystemClock(), arguments.seed), arguments.fd)


if __name__ == "__main__":
    main()
