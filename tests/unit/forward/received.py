"""Reads requests as a receiver does."""

from __future__ import annotations

from vedette.receive.wire.remote_write import decode
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCache
from vedette.receive.wire.snappy import decompress
from vedette.storage.series_index import MemorySeriesIndex


def received(body: bytes, index: MemorySeriesIndex) -> WriteRequest:
    """Return what ``body`` holds; its series are numbered by ``index``."""
    return decode(decompress(body, 1 << 26), SenderCache(), index, WriteLimits())
