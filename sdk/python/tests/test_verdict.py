"""The end state of a stream, from the evidence."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vedette_sdk.verdict import (
    FAILURES,
    Evidence,
    StreamStalled,
    StreamState,
    StreamTimedOut,
    Verdict,
    classify,
    decide,
)

REQUEST = httpx.Request("POST", "http://provider.test/v1/chat/completions")


class ClientDisconnect(Exception):  # noqa: N818 - Starlette's name for it
    pass


class APIConnectionError(Exception):
    """Client libraries wrap the transport's error."""


def _wrapped(cause: BaseException) -> Exception:
    error = APIConnectionError()
    error.__cause__ = cause
    return error


def _status_error(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError("", request=REQUEST, response=httpx.Response(status))


CASES: list[tuple[str, Evidence, StreamState]] = [
    ("finish marker, normal end", Evidence(finished=True), StreamState.COMPLETED),
    ("normal end without marker", Evidence(), StreamState.PROVIDER_CUT),
    ("no marker expected", Evidence(must_finish=False), StreamState.COMPLETED),
    ("polled the disconnect, broke off", Evidence(disconnected=True), StreamState.CLIENT_LEFT),
    ("cancelled", Evidence(raised=asyncio.CancelledError()), StreamState.CLIENT_LEFT),
    ("closed", Evidence(raised=GeneratorExit()), StreamState.CLIENT_LEFT),
    (
        "left although the provider had finished: the answer was not delivered",
        Evidence(raised=asyncio.CancelledError(), finished=True),
        StreamState.CLIENT_LEFT,
    ),
    (
        "left while being told of the stall",
        Evidence(raised=GeneratorExit(), interrupted=StreamStalled("x")),
        StreamState.STALLED,
    ),
    ("stalled", Evidence(raised=StreamStalled("x")), StreamState.STALLED),
    ("stall caught", Evidence(interrupted=StreamStalled("x")), StreamState.STALLED),
    ("too long", Evidence(raised=StreamTimedOut("x")), StreamState.TIMED_OUT),
    (
        "stall survived with another provider",
        Evidence(interrupted=StreamStalled("x"), finished=True),
        StreamState.COMPLETED,
    ),
    (
        "connection dropped mid-stream",
        Evidence(raised=httpx.RemoteProtocolError("x"), begun=True),
        StreamState.PROVIDER_CUT,
    ),
    (
        "dropped mid-stream, wrapped by a client library",
        Evidence(raised=_wrapped(httpx.ReadError("x")), begun=True),
        StreamState.PROVIDER_CUT,
    ),
    (
        "dropped mid-stream, caught",
        Evidence(source_error=ConnectionResetError(), begun=True),
        StreamState.PROVIDER_CUT,
    ),
    (
        "never connected",
        Evidence(raised=httpx.ConnectError("x")),
        StreamState.ERROR,
    ),
    ("provider said 500", Evidence(raised=_status_error(500)), StreamState.ERROR),
    ("read timeout of the client", Evidence(raised=httpx.ReadTimeout("x")), StreamState.STALLED),
    (
        "client gone, as Starlette says",
        Evidence(raised=ClientDisconnect()),
        StreamState.CLIENT_LEFT,
    ),
    (
        "sending failed after the disconnect",
        Evidence(raised=BrokenPipeError(), disconnected=True, begun=True),
        StreamState.CLIENT_LEFT,
    ),
    ("a bug", Evidence(raised=KeyError("x")), StreamState.ERROR),
    (
        "fail() outweighs everything",
        Evidence(raised=asyncio.CancelledError(), failure=Verdict(StreamState.ERROR, "x", "tts")),
        StreamState.ERROR,
    ),
]


@pytest.mark.parametrize(("evidence", "state"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_state(evidence: Evidence, state: StreamState) -> None:
    """Each kind of end has its state, and exactly the failures have an error class."""
    verdict = decide(evidence)
    assert verdict.state is state
    assert verdict.reason
    assert (verdict.error_class is not None) == (state in FAILURES)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (_status_error(429), "openai"),
        (httpx.ConnectTimeout("x"), "network"),
        (ConnectionRefusedError(), "network"),
        (type("ValidationError", (Exception,), {})(), "validation"),
        (type("RateLimitError", (Exception,), {"__module__": "openai._errors"})(), "openai"),
        (RuntimeError(), "other"),
    ],
)
def test_error_class(error: Exception, expected: str) -> None:
    """The class of an error follows from its type, without the libraries being installed."""
    assert classify(error, begun=False, provider_class="openai").error_class == expected


ERRORS = st.sampled_from(
    [
        None,
        asyncio.CancelledError(),
        GeneratorExit(),
        KeyboardInterrupt(),
        StreamStalled("s"),
        httpx.ReadError("x"),
        _wrapped(_wrapped(OSError())),
        TimeoutError(),
        ValueError("x"),
    ]
)


@given(
    st.builds(
        Evidence,
        raised=ERRORS,
        finished=st.booleans(),
        must_finish=st.booleans(),
        interrupted=st.sampled_from([None, StreamStalled("s"), StreamTimedOut("t")]),
        source_error=ERRORS,
        begun=st.booleans(),
        disconnected=st.booleans(),
    )
)
def test_always_a_verdict(evidence: Evidence) -> None:
    """Whatever was seen there is a verdict, a failure has a class, and a normal end after the
    finish marker is complete."""
    verdict = decide(evidence)
    assert (verdict.error_class is not None) == (verdict.state in FAILURES)
    if evidence.finished and evidence.raised is None:
        assert verdict.state is StreamState.COMPLETED


def test_circular_causes_end() -> None:
    """An exception that is its own cause does not hang the decision."""
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert decide(Evidence(raised=first)).state is StreamState.ERROR
