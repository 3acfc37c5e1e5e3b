"""Typed events: what an application reports about one thing that happened (ING-01)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One accepted event.

    Attributes:
        id: 32 hexadecimal digits, given at receipt; sorts by time of receipt.
        app: the application that sent it.
        type: the envelope's ``type``.
        ts: milliseconds; the data's ``timestamp`` where it has one, else the time of receipt.
        data: the envelope's ``data`` as compact JSON text in UTF-8.
    """

    id: str
    app: str
    type: str
    ts: int
    data: bytes
