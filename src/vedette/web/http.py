"""The little that raw ASGI endpoints need: reading a limited body, parameters, answering.

The hot endpoints (queries, remote write, events, metrics) are dispatched before the router because
a framework's route costs several times what their own work does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from vedette.web.errors import ApiError

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"

FORM_LIMIT = 1 << 20
MOST_FIELDS = 10_000
BODY_SECONDS = 30.0


class ClientGoneError(Exception):
    """The client closed the connection before its request was read or answered."""


@dataclass(frozen=True, slots=True)
class Response:
    """A complete answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the request headers, names in lower case; the last of repeated ones counts."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def read_body(receive: Receive, limit: int) -> bytes:
    """Return the request body.

    Raises:
        ApiError: 413, it is longer than ``limit`` bytes; 408, it did not come within 30 s.
        ClientGoneError: the client left.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_all(receive, limit)
    except TimeoutError:
        hint = "send smaller batches, or faster"
        raise ApiError(408, "too_slow", "the request body did not come in time", hint) from None


async def _read_all(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise ApiError(
                413,
                "too_large",
                f"the request body is longer than {limit} bytes",
                "send smaller batches",
            )
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yield the request body as it comes, without a limit.

    Raises:
        ApiError: 408, nothing came for 30 s.
        ClientGoneError: the client left.
    """
    while True:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
        except TimeoutError:
            raise ApiError(408, "too_slow", "the request body did not go on in time") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def import_parameters(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], int]:
    """Return the labels of ``extra_label=NAME=VALUE``, and ``timestamp`` in ms, 0 for none.

    Raises:
        ApiError: 400, one of them is malformed.
    """
    labels: dict[str, str] = {}
    timestamp = 0
    for name, text in pairs:
        if name == "extra_label":
            label, equal, value = text.partition("=")
            if not (label and equal):
                hint = "write it like extra_label=job=old"
                raise ApiError(400, "bad_parameter", f'"{text[:80]}" is no label', hint)
            labels[label] = value
        elif name == "timestamp":
            if not text.isdecimal() or len(text) > 13:
                hint = "write it in milliseconds since 1970"
                raise ApiError(400, "bad_parameter", f'"{text[:80]}" is no timestamp', hint)
            timestamp = int(text)
    return labels, timestamp


async def parameters(scope: Scope, receive: Receive) -> dict[str, list[str]]:
    """Return the parameters of the query string and, for a POST or PUT, of the form.

    Raises:
        ApiError: 400, there are too many; 413 or 408, as :func:`read_body`.
        ClientGoneError: the client left.
    """
    pairs = _pairs(scope["query_string"].decode("latin-1"))
    if scope["method"] in ("POST", "PUT"):
        form = (await read_body(receive, FORM_LIMIT)).decode("utf-8", "replace")
        pairs = _pairs(form) + pairs
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    if not text:
        return []
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        raise ApiError(
            400, "bad_data", f"more than {MOST_FIELDS:,} parameters", "ask in parts"
        ) from None


def declared_length(headers: Mapping[str, str], limit: int) -> int:
    """Return the Content-Length of ``headers``, or ``limit`` where they have none.

    Raises:
        ApiError: 413, it is longer than ``limit`` bytes.
    """
    text = headers.get("content-length", "")
    length = int(text) if text.isdecimal() else limit
    if length > limit:
        hint = "send smaller batches"
        raise ApiError(413, "too_large", f"the request body is longer than {limit} bytes", hint)
    return length


def without_body(send: Send) -> Send:
    """Return a ``send`` for the answer to a HEAD request."""

    async def bare(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return bare


async def respond(send: Send, response: Response) -> None:
    """Send a complete answer."""
    headers: Iterable[tuple[bytes, bytes]] = (
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        *response.headers,
    )
    start = {"type": "http.response.start", "status": response.status, "headers": list(headers)}
    await send(start)
    await send({"type": "http.response.body", "body": response.body})
