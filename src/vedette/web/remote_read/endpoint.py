"""``POST /api/v1/read``: the samples of what matchers select, for another Prometheus."""

from __future__ import annotations

from vedette.query.errors import QueryError
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.snappy import decompress
from vedette.storage.interface import Check, SelectionTooLargeError, SelectLimits, StorageError
from vedette.web.connection import Lookout
from vedette.web.http import TEXT, Receive, Response, Scope, Send, read_body, respond
from vedette.web.remote_read.messages import (
    ReadRequest,
    ResponseType,
    decode_request,
    encode_chunks,
    encode_samples,
    gathered,
    holds_histograms,
)
from vedette.web.services import Services

MAX_SAMPLES = 5_000_000
"""Samples of one answer; all of it is in memory at once."""

_BODY_BYTES = 1 << 20
_SAMPLES = b"application/x-protobuf"
_STREAMED = b"application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"


class _UnacceptableError(Exception):
    """No response type that the sender takes can hold the answer."""


class RemoteRead:
    """The endpoint; its errors are plain text, as Prometheus' are."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lookout = Lookout()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await read_body(receive, _BODY_BYTES)
        try:
            request = decode_request(decompress(body, _BODY_BYTES))
            answer = await self._lookout.while_connected(receive, self._answer(request))
        except (WireError, SelectionTooLargeError, _UnacceptableError) as error:
            self._services.stats.rejected["remote_read"] += 1
            status = 413 if isinstance(error, TooLargeError) else 400
            answer = Response(status, f"{error}\n".encode(), TEXT)
        except (QueryError, StorageError) as error:
            answer = Response(503, f"{error}\n".encode(), TEXT)
        await respond(send, answer)

    async def _answer(self, request: ReadRequest) -> Response:
        return await self._services.queries.lookup(lambda check: self._read(request, check))

    def _read(self, request: ReadRequest, check: Check) -> Response:
        """Find and write the samples; on a thread of the queries."""
        results = []
        left = MAX_SAMPLES
        for query in request.queries:
            check()
            limits = SelectLimits(max(left, 1), check=check)
            found = self._services.samples.select(query.matchers, query.start, query.end, limits)
            results.append(gathered(found, query)[1])
            left -= len(results[-1].ts)
            if left < 0:
                raise SelectionTooLargeError(
                    f"the answer would hold more than {MAX_SAMPLES} samples; ask for less"
                )
        native = any(holds_histograms(result) for result in results)
        if _response_type(request.accepted, native=native) is ResponseType.SAMPLES:
            encoding = ((b"content-encoding", b"snappy"),)
            return Response(200, encode_samples(results), _SAMPLES, encoding)
        frames = []
        for frame in encode_chunks(results):
            check()
            frames.append(frame)
        return Response(200, b"".join(frames), _STREAMED)


def _response_type(accepted: tuple[int, ...], *, native: bool) -> ResponseType:
    """Return the first response type of ``accepted`` that can be written.

    Chunks hold floats only, so an answer with native histograms is written as samples.
    """
    for number in accepted or (ResponseType.SAMPLES,):
        if number == ResponseType.SAMPLES:
            return ResponseType.SAMPLES
        if number == ResponseType.STREAMED_XOR_CHUNKS and not native:
            return ResponseType.STREAMED_XOR_CHUNKS
    if ResponseType.STREAMED_XOR_CHUNKS in accepted:
        raise _UnacceptableError(
            "native histograms are answered as SAMPLES only; accept that response type too"
        )
    raise _UnacceptableError(f"none of the response types {list(accepted)[:9]} is known")
