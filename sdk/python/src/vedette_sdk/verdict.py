"""How a stream ended: one pure decision from what was seen, with its reason.

Every stream ends in exactly one of six states. The evidence is gathered by the tracker; nothing
here touches a clock, a metric or a connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import httpx


class StreamState(StrEnum):
    """The end of a stream."""

    COMPLETED = "completed"
    CLIENT_LEFT = "client_left"
    PROVIDER_CUT = "provider_cut"
    STALLED = "stalled"
    TIMED_OUT = "timed_out"
    ERROR = "error"


FAILURES = frozenset(
    {StreamState.PROVIDER_CUT, StreamState.STALLED, StreamState.TIMED_OUT, StreamState.ERROR}
)
"""The states that count against the service; a client that leaves does not."""

NETWORK = "network"
VALIDATION = "validation"
OTHER = "other"


class StreamInterrupted(TimeoutError):  # noqa: N818 - named for what happened, as TimeoutError is
    """The tracker gave up waiting for the provider."""

    state = StreamState.TIMED_OUT


class StreamStalled(StreamInterrupted):
    """The provider sent nothing for longer than ``stall_after`` seconds."""

    state = StreamState.STALLED


class StreamTimedOut(StreamInterrupted):
    """The whole stream took longer than ``timeout`` seconds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end state, a few words why, and the class of the error where the service failed."""

    state: StreamState
    reason: str
    error_class: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the tracker saw until the block ended.

    Attributes:
        raised: the exception that left the block, ``None`` when it ended normally.
        failure: what ``fail()`` said.
        finished: the provider's finish marker was seen.
        must_finish: a normal end without the marker means that the provider cut the stream.
        interrupted: the tracker itself gave up (stalled or timed out).
        source_error: what the provider's iterator raised, also when the application caught it.
        begun: the provider had sent something.
        disconnected: the middleware was told that the client is gone.
        provider_class: error class of the provider's own failures.
    """

    raised: BaseException | None = None
    failure: Verdict | None = None
    finished: bool = False
    must_finish: bool = True
    interrupted: StreamInterrupted | None = None
    source_error: BaseException | None = None
    begun: bool = False
    disconnected: bool = False
    provider_class: str = OTHER


def decide(seen: Evidence) -> Verdict:
    """Return the one end state that ``seen`` amounts to."""
    if seen.failure is not None:
        return seen.failure
    if seen.raised is None:
        return _ended_normally(seen)
    if isinstance(seen.raised, asyncio.CancelledError | GeneratorExit):
        return _left_early(seen)
    return _raised(seen, seen.raised)


def _left_early(seen: Evidence) -> Verdict:
    # Where the provider had failed before, the application was only telling the client so.
    if seen.interrupted is not None or (seen.source_error is not None and not seen.finished):
        return _provider_failed(seen)
    if seen.disconnected:
        return Verdict(StreamState.CLIENT_LEFT, "the client disconnected")
    if isinstance(seen.raised, GeneratorExit):
        return Verdict(StreamState.CLIENT_LEFT, "the response was closed before its end")
    return Verdict(StreamState.CLIENT_LEFT, "the request was cancelled before its end")


def _ended_normally(seen: Evidence) -> Verdict:
    if seen.finished:
        return Verdict(StreamState.COMPLETED, "finished")
    if seen.interrupted is not None or seen.source_error is not None:
        return _provider_failed(seen)
    if seen.disconnected:
        return Verdict(StreamState.CLIENT_LEFT, "the client disconnected")
    if not seen.must_finish:
        return Verdict(StreamState.COMPLETED, "ended")
    return Verdict(
        StreamState.PROVIDER_CUT,
        "the provider ended the stream without its finish marker",
        seen.provider_class,
    )


def _provider_failed(seen: Evidence) -> Verdict:
    if seen.interrupted is not None:
        return Verdict(seen.interrupted.state, str(seen.interrupted), seen.provider_class)
    error = seen.source_error
    assert error is not None  # noqa: S101 - both callers have asked
    return classify(error, begun=seen.begun, provider_class=seen.provider_class, from_source=True)


def _raised(seen: Evidence, error: BaseException) -> Verdict:
    if isinstance(error, StreamInterrupted):
        return Verdict(error.state, str(error), seen.provider_class)
    from_source = seen.source_error is not None and seen.source_error in _chain(error)
    if not from_source and _client_is_gone(error, seen.disconnected):
        return Verdict(StreamState.CLIENT_LEFT, "the client disconnected")
    return classify(
        error, begun=seen.begun, provider_class=seen.provider_class, from_source=from_source
    )


_GONE = frozenset({"ClientDisconnect", "ClientDisconnected", "WebSocketDisconnect"})


def _client_is_gone(error: BaseException, disconnected: bool) -> bool:
    if any(kind.__name__ in _GONE for kind in type(error).__mro__):
        return True
    return disconnected and isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and its causes; client libraries wrap what the transport raised."""
    current: BaseException | None = error
    for _ in range(8):
        if current is None:
            return
        yield current
        current = current.__cause__


_DROPPED = (
    httpx.RemoteProtocolError,
    httpx.ReadError,
    httpx.CloseError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    EOFError,  # asyncio.IncompleteReadError is one
)
# aiohttp's and requests' words for it, known by name because neither is a dependency.
_DROPPED_NAMES = frozenset(
    {"ClientPayloadError", "ServerDisconnectedError", "ChunkedEncodingError", "ConnectionClosed"}
)


def classify(
    error: BaseException, *, begun: bool, provider_class: str = OTHER, from_source: bool = False
) -> Verdict:
    """Return what ``error`` says about the stream; the first known one of its causes decides."""
    for cause in _chain(error):
        known = _transport(cause, begun, provider_class) or _by_kind(cause, provider_class)
        if known is not None:
            return known
    return Verdict(
        StreamState.ERROR, type(error).__name__, provider_class if from_source else OTHER
    )


def _transport(error: BaseException, begun: bool, provider_class: str) -> Verdict | None:
    name = type(error).__name__
    if isinstance(error, httpx.ReadTimeout):
        return Verdict(StreamState.STALLED, f"{name}: the provider sent nothing", provider_class)
    if isinstance(error, _DROPPED) or name in _DROPPED_NAMES:
        if begun:
            return Verdict(
                StreamState.PROVIDER_CUT, f"{name}: the connection broke mid-stream", NETWORK
            )
        return Verdict(StreamState.ERROR, f"{name}: the connection broke", NETWORK)
    if isinstance(error, httpx.TransportError):
        return Verdict(StreamState.ERROR, name, NETWORK)
    if isinstance(error, TimeoutError):
        return Verdict(StreamState.TIMED_OUT, name, provider_class)
    if isinstance(error, OSError):
        return Verdict(StreamState.ERROR, name, NETWORK)
    return None


def _by_kind(error: BaseException, provider_class: str) -> Verdict | None:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return Verdict(StreamState.ERROR, f"the provider answered {status}", provider_class)
    kind = type(error)
    if kind.__module__.partition(".")[0] == provider_class:
        return Verdict(StreamState.ERROR, kind.__name__, provider_class)
    if "Validation" in kind.__name__:
        return Verdict(StreamState.ERROR, kind.__name__, VALIDATION)
    return None
