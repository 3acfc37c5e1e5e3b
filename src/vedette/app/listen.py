"""The HTTP server around the web room: uvicorn, told to leave sockets and signals to us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import uvicorn

from vedette.web.http import ASGIApp

_GRACE_SECONDS = 2


class HttpServer(uvicorn.Server):
    """Serves an ASGI application on a socket until ``should_exit``."""

    def __init__(self, app: ASGIApp) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
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
