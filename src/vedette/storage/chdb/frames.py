"""Frames between the server and the engine's child process.

A frame is a header, a head in JSON, and a body of raw bytes; both ends are of the same version, as
the child is started from the same installation.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

_HEADER = struct.Struct("<BQIQ")
MAX_HEAD = 64 << 20
MAX_BODY = 4 << 30


class Kind(IntEnum):
    """What a frame is."""

    READY = 1
    QUERY = 2
    INSERT = 3
    RESULT = 4
    ERROR = 5
    FATAL = 6


class FrameError(Exception):
    """What arrived is no frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message; ``call`` pairs an answer with its question."""

    kind: Kind
    call: int
    head: Mapping[str, object]
    body: bytes | bytearray | memoryview = b""


def send(sock: socket.socket, frame: Frame) -> None:
    """Write one frame whole; the caller keeps writers apart.

    Raises:
        OSError: the other end is gone.
    """
    head = json.dumps(frame.head).encode()
    sock.sendall(_HEADER.pack(frame.kind, frame.call, len(head), len(frame.body)) + head)
    if frame.body:
        sock.sendall(frame.body)


def receive(sock: socket.socket) -> Frame | None:
    """Read one frame; ``None`` when the other end has closed, also in the middle of one.

    Raises:
        FrameError: the bytes are no frame.
    """
    header = _exactly(sock, _HEADER.size)
    if header is None:
        return None
    kind, call, head_size, body_size = _HEADER.unpack(header)
    if head_size > MAX_HEAD or body_size > MAX_BODY:
        raise FrameError(f"frame of {head_size} + {body_size} bytes is too large")
    head = _exactly(sock, head_size)
    body = _exactly(sock, body_size) if head is not None else None
    if head is None or body is None:
        return None
    try:
        return Frame(Kind(kind), call, json.loads(bytes(head)), body)
    except ValueError as error:
        raise FrameError(f"frame of kind {kind} is damaged: {error}") from error


def _exactly(sock: socket.socket, size: int) -> bytearray | None:
    buffer = bytearray(size)
    view = memoryview(buffer)
    while view:
        try:
            got = sock.recv_into(view)
        except ConnectionError:
            return None
        if not got:
            return None
        view = view[got:]
    return buffer
