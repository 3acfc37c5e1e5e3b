"""The address that the server listens on."""

from __future__ import annotations

import socket

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
