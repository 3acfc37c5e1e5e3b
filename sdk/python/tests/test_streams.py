"""The stream tracker: figures, limits, and one end whatever happens."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vedette_sdk.streams import RequestInfo, request_context
from vedette_sdk.testing import RecordingClient
from vedette_sdk.verdict import StreamStalled, StreamState, StreamTimedOut


async def _source(*items: object) -> AsyncIterator[object]:
    for item in items:
        if isinstance(item, BaseException):
            raise item
        yield item


async def _silence() -> AsyncIterator[str]:
    await asyncio.Event().wait()
    yield "never"


def _openai_chunk(text: str = "", finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"delta": {"content": text}, "finish_reason": finish}]}


async def test_figures_of_a_completed_stream(client: RecordingClient) -> None:
    """First token and first audio count from the receipt of the request, the end is written once,
    and the event carries the same figures."""
    client.time.pass_time(10)
    with request_context(RequestInfo(client.time.monotonic())):
        client.time.pass_time(0.1)
        async with client.track_stream(client_id="c", chatbot_id="b", model="m") as stream:
            assert client.value("chatbot_active_streams") == 1
            client.time.pass_time(0.3)
            stream.token("Hel")
            client.time.pass_time(0.2)
            stream.token("lo  wor")
            stream.token("ld ")
            client.time.pass_time(0.2)
            stream.audio()
            stream.audio()
            stream.tokens(prompt=7, completion=3)
            client.time.pass_time(0.2)
            stream.finish()
    assert client.states() == {"completed": 1}
    assert client.value("chatbot_active_streams") == 0
    assert client.value("chatbot_streams_started_total") == 1
    assert client.value("chatbot_stream_first_token_seconds_sum") == pytest.approx(0.4)
    assert client.value("chatbot_stream_first_audio_seconds_sum") == pytest.approx(0.8)
    assert client.value("chatbot_stream_complete_seconds_sum") == pytest.approx(1.0)
    assert client.value("chatbot_stream_words_total") == 2
    assert client.value("chatbot_ai_tokens_total", model="m", kind="prompt") == 7
    assert client.value("chatbot_ai_tokens_total", model="m", kind="completion") == 3
    [(kind, data)] = client.events
    assert kind == "stream_end"
    assert data == {
        "stream_id": stream.stream_id,
        "timestamp": client.time.now_ms(),
        "state": "completed",
        "reason": "finished",
        "client_id": "c",
        "chatbot_id": "b",
        "model": "m",
        "first_token_ms": 400.0,
        "first_token_from_start_ms": 300.0,
        "inter_token_ms": 100.0,
        "first_audio_ms": 800.0,
        "duration_ms": 1000.0,
        "words": 2,
        "prompt_tokens": 7,
        "completion_tokens": 3,
        "tokens_estimated": False,
        "error_class": None,
    }
    json.dumps(data)


@given(st.text(alphabet="ab \n", max_size=40), st.lists(st.integers(0, 40)))
def test_words_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    """However a text is cut into tokens, its words are those of the whole text."""
    client = RecordingClient()
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    with client.track_stream() as stream:
        for start, end in itertools.pairwise(ends):
            stream.token(text[start:end])
    assert client.value("chatbot_stream_words_total") == len(text.split())


async def test_provider_chunks(client: RecordingClient) -> None:
    """Chunks of an OpenAI-compatible provider bring text, finish marker and usage by themselves."""
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    chunks = _source(
        _openai_chunk("Hello "), _openai_chunk("you"), _openai_chunk(finish="stop"), usage
    )
    async with client.track_stream(model="m") as stream:
        text = "".join([stream.chunk(chunk) async for chunk in stream.watch(chunks)])
    assert text == "Hello you"
    assert stream.state is StreamState.COMPLETED
    assert client.value("chatbot_ai_tokens_total", model="m", kind="completion") == 2


async def test_tokens_are_estimated_without_usage(client: RecordingClient) -> None:
    """Where the provider tells no usage, the tokens are estimated and the event says so."""
    async with client.track_stream() as stream:
        stream.token("x" * 41)
        stream.finish()
    assert client.events[0][1]["completion_tokens"] == 11
    assert client.events[0][1]["tokens_estimated"] is True


async def test_stall(client: RecordingClient) -> None:
    """A provider that sends nothing for stall_after seconds raises StreamStalled, not earlier."""

    async def answer() -> None:
        async with client.track_stream(stall_after=10, timeout=60) as stream:
            async for _ in stream.watch(_silence()):
                pass

    task = asyncio.create_task(answer())
    await client.time.advance(9.9)
    assert not task.done()
    await client.time.advance(0.2)
    with pytest.raises(StreamStalled):
        await task
    assert client.states() == {"stalled": 1}
    assert client.value("chatbot_stream_errors_total", **{"class": "openai"}) == 1


async def test_timeout_despite_a_steady_drip(client: RecordingClient) -> None:
    """A stream that never stalls still ends after ``timeout`` seconds in all."""
    ready: asyncio.Queue[str] = asyncio.Queue()

    async def drip() -> AsyncIterator[str]:
        while True:
            yield await ready.get()

    async def answer() -> None:
        async with client.track_stream(stall_after=10, timeout=30) as stream:
            async for text in stream.watch(drip()):
                stream.token(text)

    task = asyncio.create_task(answer())
    for _ in range(4):
        await client.time.advance(7)
        ready.put_nowait("a ")
    await client.time.advance(2.5)
    with pytest.raises(StreamTimedOut):
        await task
    assert client.states() == {"timed_out": 1}
    assert client.value("chatbot_stream_words_total") == 4


async def test_a_slow_reader_is_not_a_stall(client: RecordingClient) -> None:
    """Only waiting for the provider counts as stalling, not the client's own slowness."""
    async with client.track_stream(stall_after=1) as stream:
        async for _ in stream.watch(_source("a", "b")):
            client.time.pass_time(5)
        stream.finish()
    assert stream.state is StreamState.COMPLETED


async def test_survived_errors_are_counted_beside_the_end(client: RecordingClient) -> None:
    """An error that the answer survived is counted by class and leaves the end state alone."""
    async with client.track_stream() as stream:
        stream.error("tts")
        stream.error("no such class")
        stream.finish()
    assert client.states() == {"completed": 1}
    assert client.value("chatbot_stream_errors_total", **{"class": "tts"}) == 1
    assert client.value("chatbot_stream_errors_total", **{"class": "other"}) == 1


async def test_fail_holds_for_errors_that_go_no_further(client: RecordingClient) -> None:
    """A caught error that was told by fail() makes the stream a failed one, with its class."""
    async with client.track_stream() as stream:
        try:
            raise RuntimeError
        except RuntimeError as error:
            stream.fail(error, "tts")
        stream.finish()
    assert client.states() == {"error": 1}
    assert client.events[0][1]["error_class"] == "tts"


async def test_abandoned_generator_counts_as_client_left(client: RecordingClient) -> None:
    """A generator that the server drops without closing ends as client_left at the next look."""

    async def answer() -> AsyncIterator[str]:
        async with client.track_stream() as stream:
            async for text in stream.watch(_source("a", "b")):
                yield str(text)

    generator = answer()
    await anext(generator)
    del generator
    gc.collect()
    await client.time.settle()
    client.sweep()
    assert client.states() == {"client_left": 1}
    assert client.value("chatbot_active_streams") == 0


def test_tracker_lost_without_its_block_ending(client: RecordingClient) -> None:
    """A tracker that is collected although its block never ended is counted all the same."""
    tracker = client.track_stream()
    tracker.__enter__()
    del tracker
    gc.collect()
    assert client.states() == {}
    client.sweep()
    assert client.states() == {"client_left": 1}


def test_synchronous_stream(client: RecordingClient) -> None:
    """A plain ``with`` measures the same, and sees limits when the provider sends something."""

    def slow() -> Iterator[str]:
        yield "a"
        client.time.pass_time(20)
        yield "b"

    def answer() -> None:
        with client.track_stream(stall_after=10) as stream:
            for text in stream.watch(slow()):
                stream.token(text)

    with pytest.raises(StreamStalled):
        answer()
    with client.track_stream() as stream:
        for text in stream.watch(["a", "b"]):
            stream.token(text)
        stream.finish()
    assert client.states() == {"stalled": 1, "completed": 1}


STEPS = st.lists(
    st.sampled_from(["token", "audio", "finish", "fail", "error", "tokens", "wait"]), max_size=8
)
ENDS = st.sampled_from(["return", "raise", "cancel", "close", "drop", "stall", "source_error"])


async def _provider(steps: list[str], end: str) -> AsyncIterator[str]:
    for step in steps:
        yield step
    if end == "source_error":
        raise ConnectionResetError
    if end in ("cancel", "stall"):
        await asyncio.Event().wait()


async def _answer(client: RecordingClient, steps: list[str], end: str) -> AsyncIterator[str]:
    async with client.track_stream(stall_after=5) as stream:
        actions: dict[str, Callable[[], None]] = {
            "token": lambda: stream.token("word "),
            "audio": stream.audio,
            "finish": stream.finish,
            "fail": stream.fail,
            "error": lambda: stream.error("tts"),
            "tokens": lambda: stream.tokens(completion=3),
            "wait": lambda: client.time.pass_time(1),
        }
        async for step in stream.watch(_provider(steps, end)):
            actions[step]()
            yield step
        if end == "raise":
            raise ValueError
    stream.__exit__(None, None, None)


async def _consume(answer: AsyncIterator[str], steps: list[str], end: str) -> None:
    if end not in ("close", "drop"):
        async for _ in answer:
            pass
        return
    if steps:
        await anext(answer)
    if end == "close" and isinstance(answer, AsyncGenerator):
        await answer.aclose()


async def _play(client: RecordingClient, plans: list[tuple[list[str], str]]) -> None:
    for steps, end in plans:
        task = asyncio.create_task(_consume(_answer(client, steps, end), steps, end))
        await client.time.settle()
        if end == "cancel":
            task.cancel()
        elif end == "stall":
            await client.time.advance(6)
        await asyncio.gather(task, return_exceptions=True)
        del task
    await client.time.settle()


@given(st.lists(st.tuples(STEPS, ENDS), min_size=1, max_size=4))
def test_exactly_one_end(plans: list[tuple[list[str], str]]) -> None:
    """Whatever a stream does and however it ends, even twice: one state, and all counters agree."""
    client = RecordingClient()
    asyncio.run(_play(client, plans))
    client.sweep()
    started = client.value("chatbot_streams_started_total")
    assert client.value("chatbot_active_streams") == 0
    assert sum(client.states().values()) == started
    assert len(client.events) == started
    failures = ("provider_cut", "stalled", "timed_out", "error")
    failed = sum(client.states().get(state, 0) for state in failures)
    assert sum(data["error_class"] is not None for _, data in client.events) == failed
