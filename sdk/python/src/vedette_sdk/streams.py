"""The stream tracker: what a chat answer was like, and how it ended.

Figures are written once, when the stream ends. The end is found in this order: the block's own
end, or, where the server abandoned the generator that holds the block, its collection.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar, overload
from uuid import uuid4

from vedette_sdk.chunks import read_chunk
from vedette_sdk.clock import Clock
from vedette_sdk.verdict import (
    OTHER,
    Evidence,
    StreamInterrupted,
    StreamStalled,
    StreamState,
    StreamTimedOut,
    Verdict,
    classify,
    decide,
)

T = TypeVar("T")

_CHARACTERS_PER_TOKEN = 4
"""The usual rule of thumb, for streams whose provider told no usage."""


@dataclass(slots=True)
class RequestInfo:
    """The HTTP request that is being answered, as the middleware knows it.

    ``started`` is the monotonic time of its receipt in seconds.
    """

    started: float
    disconnected: bool = False


current_request: ContextVar[RequestInfo | None] = ContextVar("vedette_request", default=None)


class StreamRecord:
    """Everything known of one stream. Outlives its tracker, and ends once.

    Times are monotonic seconds; ``received`` is when the request came, ``begun`` when the block
    was entered; 0 tokens are told apart from unknown ones by ``None``.
    """

    __slots__ = (
        "begun",
        "characters",
        "chatbot_id",
        "client_id",
        "completion_tokens",
        "error_counts",
        "failure",
        "finished",
        "first_audio",
        "first_token",
        "in_word",
        "interrupted",
        "last_token",
        "model",
        "must_finish",
        "pieces",
        "prompt_tokens",
        "provider_class",
        "received",
        "request",
        "source_begun",
        "source_error",
        "stream_id",
        "verdict",
        "words",
    )

    def __init__(self, stream_id: str, client_id: str, chatbot_id: str, model: str) -> None:
        self.stream_id = stream_id
        self.client_id = client_id
        self.chatbot_id = chatbot_id
        self.model = model
        self.must_finish = True
        self.provider_class = OTHER
        self.request: RequestInfo | None = None
        self.received = 0.0
        self.begun = 0.0
        self.first_token: float | None = None
        self.last_token = 0.0
        self.first_audio: float | None = None
        self.pieces = 0
        self.words = 0
        self.characters = 0
        self.in_word = False
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.error_counts: dict[str, int] = {}
        self.finished = False
        self.failure: Verdict | None = None
        self.interrupted: StreamInterrupted | None = None
        self.source_begun = False
        self.source_error: BaseException | None = None
        self.verdict: Verdict | None = None

    def evidence(self, raised: BaseException | None) -> Evidence:
        """Return what was seen, for the decision."""
        return Evidence(
            raised=raised,
            failure=self.failure,
            finished=self.finished,
            must_finish=self.must_finish,
            interrupted=self.interrupted,
            source_error=self.source_error,
            begun=self.source_begun or self.pieces > 0,
            disconnected=self.request is not None and self.request.disconnected,
            provider_class=self.provider_class,
        )

    @property
    def tokens_estimated(self) -> bool:
        """Whether the provider told no usage."""
        return self.completion_tokens is None

    @property
    def tokens_out(self) -> int:
        """Completion tokens as told, or estimated from the text."""
        if self.completion_tokens is not None:
            return self.completion_tokens
        return -(-self.characters // _CHARACTERS_PER_TOKEN)


class StreamSink(Protocol):
    """Where a tracker reports to; neither call ever raises."""

    @property
    def clock(self) -> Clock:
        """The clock that the figures are taken from."""
        ...

    def stream_started(self, record: StreamRecord) -> None:
        """Count a stream as begun and active."""
        ...

    def stream_ended(self, record: StreamRecord) -> None:
        """Write the figures of a stream whose verdict has been set."""
        ...

    def stream_abandoned(self, record: StreamRecord) -> None:
        """Remember a stream that nobody will end. Called from the collector: takes no lock."""
        ...


class StreamTracker:
    """One answer stream; a context manager for ``async with`` and ``with``.

    Put the block *inside* the generator that yields the answer, so that it sees the client leave.
    ``async with`` belongs to asyncio; in a plain ``with`` the time limits are only looked at when
    the provider sends something.
    """

    def __init__(
        self,
        sink: StreamSink,
        record: StreamRecord,
        *,
        stall_after: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self._sink = sink
        self._clock = sink.clock
        self._record = record
        self._stall_after = stall_after
        self._timeout = timeout
        self._finalizer: weakref.finalize[[StreamRecord], StreamTracker] | None = None

    @property
    def stream_id(self) -> str:
        """The id by which the stream's event can be found."""
        return self._record.stream_id

    @property
    def verdict(self) -> Verdict | None:
        """How the stream ended; ``None`` while it runs."""
        return self._record.verdict

    @property
    def state(self) -> StreamState | None:
        """The end state; ``None`` while it runs."""
        return self._record.verdict.state if self._record.verdict else None

    @property
    def finished(self) -> bool:
        """Whether the provider's finish marker was seen."""
        return self._record.finished

    def token(self, text: str) -> None:
        """Count a piece of the answer, of any length; call it just before sending the piece."""
        if not text:
            return
        record = self._record
        now = self._clock.monotonic()
        if record.first_token is None:
            record.first_token = now
        record.last_token = now
        record.pieces += 1
        record.characters += len(text)
        record.words += len(text.split()) - (record.in_word and not text[0].isspace())
        record.in_word = not text[-1].isspace()

    def chunk(self, payload: object) -> str:
        """Take in one chunk of an OpenAI-compatible provider and return its text.

        Counts the text, the usage where the chunk has it, and the finish marker.
        """
        chunk = read_chunk(payload)
        self.token(chunk.text)
        self.tokens(prompt=chunk.prompt_tokens, completion=chunk.completion_tokens)
        if chunk.finish_reason:
            self.finish()
        return chunk.text

    def audio(self) -> None:
        """Tell that an audio chunk is about to be sent."""
        if self._record.first_audio is None:
            self._record.first_audio = self._clock.monotonic()

    def tokens(self, *, prompt: int | None = None, completion: int | None = None) -> None:
        """Set the provider's own token counts."""
        if prompt is not None:
            self._record.prompt_tokens = prompt
        if completion is not None:
            self._record.completion_tokens = completion

    def finish(self) -> None:
        """Tell that the provider's finish marker was seen."""
        self._record.finished = True

    def fail(self, error: BaseException | None = None, error_class: str | None = None) -> None:
        """Tell that the answer has failed, also where the error goes no further.

        The first call decides the end state: what ``error`` stands for, else ``error``.
        """
        record = self._record
        if record.failure is not None:
            return
        if error is None:
            record.failure = Verdict(
                StreamState.ERROR, "failed", error_class or record.provider_class
            )
            return
        seen = record.evidence(error)
        verdict = decide(seen)
        if verdict.error_class is None:  # fail() was called, so the client's leaving is not it
            verdict = classify(error, begun=seen.begun, provider_class=seen.provider_class)
        record.failure = Verdict(verdict.state, verdict.reason, error_class or verdict.error_class)

    def error(self, error_class: str) -> None:
        """Count an error that the answer survived, such as speech that could not be made."""
        counts = self._record.error_counts
        counts[error_class] = counts.get(error_class, 0) + 1

    @overload
    def watch(self, source: AsyncIterable[T]) -> AsyncIterator[T]: ...

    @overload
    def watch(self, source: Iterable[T]) -> Iterator[T]: ...

    def watch(self, source: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T] | Iterator[T]:
        """Return ``source`` with the time limits on it.

        Raises, from the iterator:
            StreamStalled: it gave nothing for ``stall_after`` seconds of waiting.
            StreamTimedOut: the stream as a whole took longer than ``timeout`` seconds.
        """
        if isinstance(source, AsyncIterable):
            return _Watch(self, source)
        return _watch_sync(self, source)

    def _patience(self) -> tuple[float | None, StreamInterrupted | None]:
        """Return how many seconds may be waited, and what it means when they have passed."""
        limit = self._stall_after
        meaning: StreamInterrupted | None = None
        if limit is not None:
            meaning = StreamStalled(f"the provider sent nothing for {limit:g} s")
        if self._timeout is not None:
            left = self._record.begun + self._timeout - self._clock.monotonic()
            if limit is None or left < limit:
                limit = left
                meaning = StreamTimedOut(f"the stream took longer than {self._timeout:g} s")
        return limit, meaning

    def _interrupt(self, meaning: StreamInterrupted) -> StreamInterrupted:
        self._record.interrupted = meaning
        return meaning

    def __enter__(self) -> Self:
        record = self._record
        record.begun = self._clock.monotonic()
        record.request = current_request.get()
        record.received = record.request.started if record.request else record.begun
        self._finalizer = weakref.finalize(self, self._sink.stream_abandoned, record)
        # A process that ends is not a client that leaves.
        self._finalizer.atexit = False
        self._sink.stream_started(record)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        record = self._record
        if self._finalizer is None or record.verdict is not None:
            return
        self._finalizer.detach()
        record.verdict = decide(record.evidence(error))
        # Tracebacks hold frames, and with them the caller's whole request.
        record.interrupted = record.source_error = None
        self._sink.stream_ended(record)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing is awaited here: a cancelled task must be able to end its stream.
        self.__exit__(kind, error, trace)


class _Watch(Generic[T]):
    """An asynchronous iterator under the tracker's time limits."""

    def __init__(self, tracker: StreamTracker, source: AsyncIterable[T]) -> None:
        self._tracker = tracker
        self._source = aiter(source)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        record = self._tracker._record
        limit, meaning = self._tracker._patience()
        if limit is None or meaning is None:
            return await self._next(record)
        if limit <= 0:
            raise self._tracker._interrupt(meaning)
        scope = self._tracker._clock.timeout(limit)
        try:
            async with scope:
                return await self._next(record)
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._tracker._interrupt(meaning) from None

    async def _next(self, record: StreamRecord) -> T:
        try:
            item = await anext(self._source)
        # Whatever ended the source decides the end state, and goes on to the application.
        except Exception as error:
            if not isinstance(error, StopAsyncIteration):
                record.source_error = error
            raise
        record.source_begun = True
        return item


def _watch_sync(tracker: StreamTracker, source: Iterable[T]) -> Iterator[T]:
    record = tracker._record
    iterator = iter(source)
    while True:
        asked = tracker._clock.monotonic()
        limit, meaning = tracker._patience()
        try:
            item = next(iterator)
        except StopIteration:
            return
        # As in the asynchronous one: noted, and passed on.
        except Exception as error:
            record.source_error = error
            raise
        record.source_begun = True
        waited = tracker._clock.monotonic() - asked
        if limit is not None and meaning is not None and waited > limit:
            raise tracker._interrupt(meaning)
        yield item


def new_record(
    *,
    client_id: str,
    chatbot_id: str,
    model: str,
    stream_id: str | None,
    must_finish: bool,
    provider_class: str,
) -> StreamRecord:
    """Return the record of a stream that has not begun."""
    record = StreamRecord(stream_id or uuid4().hex, client_id, chatbot_id, model)
    record.must_finish = must_finish
    record.provider_class = provider_class
    return record


def abandoned(record: StreamRecord) -> None:
    """Set the verdict of a stream whose block was never left."""
    if record.verdict is None:
        record.verdict = decide(record.evidence(GeneratorExit()))
        record.interrupted = record.source_error = None


@contextlib.contextmanager
def request_context(info: RequestInfo) -> Iterator[None]:
    """Make ``info`` the request that trackers measure from."""
    token = current_request.set(info)
    try:
        yield
    finally:
        current_request.reset(token)
