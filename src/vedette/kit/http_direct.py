"""A transport for ``httpx`` that gets answers straight from their hosts, at little cost.

Answers are read in large pieces and parsed by llhttp, which takes a fraction of the CPU that the
transport of ``httpx`` takes. It sends GET without a body; every other request goes to the transport
of ``httpx``, which also remains the way through proxies.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import cast

import httptools
import httpx

_PIECE = 256 * 1024
_MOST_WAITING = 1024 * 1024
_MOST_HEAD = 128 * 1024
_KEPT_SECONDS = 120.0
_ATTEMPT_SECONDS = 0.25
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BREAKS = re.compile(rb"[\x00\r\n]")
_PORTS = {"http": 80, "https": 443}

_Place = tuple[str, str, int, str]


class DirectTransport(httpx.AsyncBaseTransport):
    """Connections to hosts, kept for two minutes; ``verify`` is the context of those over TLS.

    There is no time-out but the caller's: who is cancelled closes the connection.
    """

    def __init__(self, verify: ssl.SSLContext, others: httpx.AsyncBaseTransport) -> None:
        self._verify = verify
        self._verify.set_alpn_protocols(["http/1.1"])
        self._others = others
        self._kept: dict[_Place, list[_Connection]] = {}
        # Each piece has been parsed before the next one is read, whichever connection it is of.
        self._buffer = memoryview(bytearray(_PIECE))
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send ``request`` and return its answer, whose body is not read yet.

        Raises:
            httpx.ConnectError: no connection, or its certificate is not good.
            httpx.LocalProtocolError: a header cannot be sent.
            httpx.RemoteProtocolError: the answer is no HTTP, is cut off, or did not come at all.
            httpx.ReadError: the connection broke.
        """
        if request.method != "GET" or not _is_bare(request):
            return await self._others.handle_async_request(request)
        head = _head(request)
        place = _place(request)
        kept = self._take(place)
        connection = kept or await self._connect(place)
        try:
            await connection.ask(head)
        except httpx.RemoteProtocolError:
            if kept is None or kept.answered:
                raise
            # The server may close a kept connection just as the request is on its way.
            connection = await self._connect(place)
            await connection.ask(head)
        return httpx.Response(
            connection.status,
            headers=connection.headers,
            stream=_Stream(connection, self, place),
            extensions={"http_version": connection.version},
        )

    async def aclose(self) -> None:
        """Close the kept connections; those in use close behind their answers."""
        self._closed = True
        kept = [each for those in self._kept.values() for each in those]
        self._kept.clear()
        for connection in kept:
            connection.close()
        await self._others.aclose()

    def keep(self, place: _Place, connection: _Connection) -> None:
        """Keep a connection whose answer has been read, if it can take another request."""
        if self._closed or not connection.rest():
            connection.close()
            return
        self._kept.setdefault(place, []).append(connection)
        loop = asyncio.get_running_loop()
        connection.expiry = loop.call_later(_KEPT_SECONDS, self._drop, place, connection)
        connection.gone = lambda: self._drop(place, connection)

    def _take(self, place: _Place) -> _Connection | None:
        """Return the connection to ``place`` that was used last, if any is kept."""
        if place not in self._kept:
            return None
        connection = self._kept[place][-1]
        self._forget(place, connection)
        return connection

    def _drop(self, place: _Place, connection: _Connection) -> None:
        self._forget(place, connection)
        connection.close()

    def _forget(self, place: _Place, connection: _Connection) -> None:
        connection.gone = None
        if connection.expiry is not None:
            connection.expiry.cancel()
            connection.expiry = None
        those = self._kept.get(place, [])
        if connection in those:
            those.remove(connection)
        if not those:
            self._kept.pop(place, None)

    async def _connect(self, place: _Place) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(place[1], place[2], type=socket.SOCK_STREAM)
            # A host may have addresses that nothing answers on: the next one does not wait long.
            ways = [partial(self._connect_to, place, str(each[4][0])) for each in found]
            connection: _Connection | None
            connection, _, errors = await staggered_race(ways, _ATTEMPT_SECONDS)
        except (OSError, ValueError) as error:
            # ValueError: a host that cannot be a name.
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        if connection is None:
            said = {str(error) or type(error).__name__: None for error in errors if error}
            raise httpx.ConnectError("; ".join(said))
        return connection

    async def _connect_to(self, place: _Place, address: str) -> _Connection:
        scheme, host, port, name = place
        context = self._verify if scheme == "https" else None
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _Connection(self._buffer),
            address,
            port,
            ssl=context,
            server_hostname=(name or host) if context else None,
        )
        return connection


class _Connection(asyncio.BufferedProtocol):
    """One connection, which takes one request after another; fed by the event loop."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._wake: asyncio.Future[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._fault: httpx.TransportError | None = None
        self._paused = False
        self._used = False
        self.expiry: asyncio.TimerHandle | None = None
        self.gone: Callable[[], None] | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget the former answer."""
        self.status = 0
        self.version = b"HTTP/1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._waiting = 0
        self._head_bytes = 0
        self.answered = self._headed = self._complete = False
        self._until_end = self._lasting = False

    # What the transport asks for.

    async def ask(self, head: bytes) -> None:
        """Send a request and wait for the head of the answer; raises as the transport does."""
        self._begin()
        transport = self._transport
        if transport is None or transport.is_closing():
            raise self._fault or httpx.RemoteProtocolError("the server closed the connection")
        self._parser = httptools.HttpResponseParser(self)
        transport.write(head)
        try:
            while not self._headed:
                await self._news()
        except BaseException:  # Also a cancelled caller leaves an answer on its way.
            self.abort()
            raise
        self._used = True

    async def part(self) -> bytes:
        """Return the next bytes of the body, empty at its end; raises as the transport does."""
        while not self._parts:
            if self._complete:
                return b""
            await self._news()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._waiting = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def rest(self) -> bool:
        """End with the answer; return whether the connection can take another request."""
        self._parser = None
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        usable = self._complete and self._lasting and self._fault is None
        return usable and self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Close the connection in order."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, whatever is on its way."""
        if self._transport is not None:
            self._transport.abort()

    async def _news(self) -> None:
        if self._fault is not None:
            raise self._fault
        self._wake = asyncio.get_running_loop().create_future()
        try:
            await self._wake
        finally:
            self._wake = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse the ``nbytes`` that came."""
        parser = self._parser
        if parser is None:
            # Nothing was asked, so that nobody knows what this is.
            self._fail(httpx.RemoteProtocolError("bytes came that nothing had asked for"))
            return
        self.answered = True
        self._head_bytes += nbytes
        try:
            parser.feed_data(self._buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._lasting = False
            if not self._complete:
                self._fail(httpx.RemoteProtocolError(f"the answer is no good HTTP: {error}"))
                return
        if self._head_bytes > _MOST_HEAD and not self._complete:
            self._fail(httpx.RemoteProtocolError("the head of the answer is too long"))
            return
        if self._waiting > _MOST_WAITING and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> bool:
        """End a body that lasts until the connection ends."""
        if self._until_end and not self._complete:
            self._complete, self._lasting = True, False
            self._tell()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """Note why, for who waits or comes later."""
        if not self._complete and self._fault is None:
            self._fault = self._why(error)
        self._transport = None
        self._lasting = False
        self._tell()
        if self.gone is not None:
            self.gone()

    def _why(self, error: Exception | None) -> httpx.TransportError:
        if self._headed:
            if error is None:
                return httpx.RemoteProtocolError("the answer was cut off")
            return httpx.ReadError(str(error) or type(error).__name__)
        if error is None or self._used:
            # Also a reset: the server may have given up the kept connection meanwhile.
            return httpx.RemoteProtocolError("the server closed the connection without an answer")
        return httpx.ReadError(str(error) or type(error).__name__)

    def _fail(self, fault: httpx.TransportError) -> None:
        self._fault = fault
        self.abort()
        self._tell()

    def _tell(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Note an answer that nothing asked for."""
        if self._complete:
            self._lasting = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes behind the body is none."""
        if not self._headed:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Note the status; provisional answers are passed over."""
        parser = self._parser
        if parser is None or self._complete:
            return
        status = parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self.version = f"HTTP/{parser.get_http_version()}".encode()
        self._head_bytes = 0
        self._headed = True
        framed = {name.lower() for name, _ in self.headers}
        self._until_end = not framed & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body until it is asked for."""
        if not self._complete:
            self._parts.append(body)
            self._waiting += len(body)
            # The head ended before, and what frames the pieces of a body has no end.
            self._head_bytes = 0

    def on_message_complete(self) -> None:
        """Note the end of the answer, and whether the connection lasts."""
        if self._headed and not self._complete:
            self._complete = True
            self._lasting = self._parser is not None and self._parser.should_keep_alive()


class _Stream(httpx.AsyncByteStream):
    """The body of one answer; keeps or closes the connection when it is closed."""

    def __init__(self, connection: _Connection, home: DirectTransport, place: _Place) -> None:
        self._connection: _Connection | None = connection
        self._home = home
        self._place = place

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces as they come."""
        while self._connection is not None and (data := await self._connection.part()):
            yield data

    async def aclose(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._home.keep(self._place, connection)


def _is_bare(request: httpx.Request) -> bool:
    return "content-length" not in request.headers and "transfer-encoding" not in request.headers


def _place(request: httpx.Request) -> _Place:
    url = request.url
    if url.scheme not in _PORTS:
        raise httpx.UnsupportedProtocol(f'"{url.scheme}" is neither http nor https')
    name = str(request.extensions.get("sni_hostname", ""))
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme], name


def _head(request: httpx.Request) -> bytes:
    """Return the bytes of a request without a body; raises ``LocalProtocolError``."""
    lines = [b"GET %b HTTP/1.1" % request.url.raw_path]
    for name, value in request.headers.raw:
        if not _NAME.fullmatch(name) or _BREAKS.search(value):
            raise httpx.LocalProtocolError(f"the header {name!r} cannot be sent")
        lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
