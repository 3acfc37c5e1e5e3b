"""The HTTP server around the web room: uvicorn, told to leave sockets and signals to us."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vedette.web.http import ASGIApp

_GRACE_SECONDS = 2
_HEAD_SECONDS = 30
_DATE_SECONDS = 1.0
MAX_CONNECTIONS = 1_000


class Together(asyncio.Transport):
    """A transport that sends what is written within one turn of the loop in one piece.

    uvicorn writes the head of an answer and its body apart; a short answer then costs two system
    calls, and wakes its client twice.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._soon = loop.call_soon
        self._held: list[bytes] = []
        # What is not about writing goes to the transport itself, without a detour.
        for name in _PASSED_ON:
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hold ``data`` until the end of the turn."""
        if not self._held:
            self._soon(self._flush)
        self._held.append(bytes(data))

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held.clear()
        self._transport.abort()

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))


_PASSED_ON = (
    "get_extra_info",
    "get_protocol",
    "get_write_buffer_size",
    "is_closing",
    "is_reading",
    "pause_reading",
    "resume_reading",
    "set_protocol",
    "set_write_buffer_limits",
)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections that never say what they want."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows the type in the same way
        """Begin to wait for the first request."""
        super().connection_made(Together(transport, self.loop))
        self.loop.call_later(_HEAD_SECONDS, self._close_if_silent, transport)

    def _close_if_silent(self, transport: asyncio.Transport) -> None:
        # After an upgrade the connection belongs to the WebSocket's protocol.
        asked = getattr(self, "cycle", None) is not None
        if not asked and transport.get_protocol() is self:
            transport.close()


class HttpServer(uvicorn.Server):
    """Serves an ASGI application on a socket until ``should_exit``."""

    def __init__(self, app: ASGIApp) -> None:
        self._leave = asyncio.Event()
        config = uvicorn.Config(
            app,
            loop="none",
            http=PatientProtocol,
            limit_concurrency=MAX_CONNECTIONS,
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            ws_max_size=64 << 10,
            h11_max_incomplete_event_size=64 << 10,
        )
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether to end; whoever sets it wakes the server."""
        return self._leave.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self._leave.set()
        else:
            self._leave.clear()

    async def main_loop(self) -> None:
        """Renew the date of answers each second until ``should_exit``.

        uvicorn looks ten times a second whether to end, which is most of what an idle server does.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DATE_SECONDS):
                    await self._leave.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the lifecycle, which has more to stop than HTTP."""
        yield
