"""Reads requests as a receiver does."""

from __future__ import annotations

from vedette.receive.wire.remote_write import WriteLimits, WriteRequest, decode, decompress
from vedette.receive.wire.sender import SenderCache
from vedette.storage.series_index import MemorySeriesIndex


def received(body: bytes, index: MemorySeriesIndex) -> WriteRequest:
    """Return what ``body`` holds; its series are numbered by ``index``."""
    return decode(decompress(body, 1 << 26), SenderCache(), index, WriteLimits())
