"""Serving an ASGI application on a socket that somebody else has bound."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn


def bind() -> socket.socket:
    """Return a listening socket on a free port of the loopback."""
    return socket.create_server(("127.0.0.1", 0), backlog=512)


def address(sock: socket.socket) -> str:
    """Return ``host:port`` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"


def make_server(app: Any, server_type: type[uvicorn.Server] = uvicorn.Server) -> uvicorn.Server:
    """Return a server for ``app`` that keeps its access log to itself."""
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        # Every request has a connection of its own: one that is reused could be closed by its
        # idle time-out just when the next request is on its way, a fault that nobody injected.
        timeout_keep_alive=1,
    )
    return server_type(config)


def serve_fd(app: Any, fd: int) -> None:
    """Serve on the inherited descriptor until SIGTERM."""
    make_server(app).run(sockets=[socket.socket(fileno=fd)])


class GuestServer(uvicorn.Server):
    """A server in a process whose signals belong to somebody else."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield
