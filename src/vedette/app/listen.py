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
MAX_CONNECTIONS = 1_000


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes connections that never say what they want."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows the type in the same way
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.loop.call_later(_HEAD_SECONDS, self._close_if_silent, transport)

    def _close_if_silent(self, transport: asyncio.Transport) -> None:
        # After an upgrade the connection belongs to the WebSocket's protocol.
        asked = getattr(self, "cycle", None) is not None
        if not asked and transport.get_protocol() is self:
            transport.close()


class HttpServer(uvicorn.Server):
    """Serves an ASGI application on a socket until ``should_exit``."""

    def __init__(self, app: ASGIApp) -> None:
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the lifecycle, which has more to stop than HTTP."""
        yield
