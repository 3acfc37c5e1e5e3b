"""The HTTP server around the web room: uvicorn, told to leave sockets and signals to us."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from vedette.web.http import ASGIApp

_GRACE_SECONDS = 2
_BACKLOG = 2048


class StartError(Exception):
    """The server cannot start; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        StartError: the address is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; "
            "choose another with --port, or stop what uses it"
        ) from None
    sock.listen(_BACKLOG)
    sock.set_inheritable(False)
    return sock


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
