"""Reads requests as a receiver does."""

from __future__ import annotations

from vedette.receive.wire import remote_write, remote_write2
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCache
from vedette.receive.wire.snappy import decompress
from vedette.storage.series_index import MemorySeriesIndex


def received(body: bytes, index: MemorySeriesIndex, version: int = 1) -> WriteRequest:
    """Return what ``body`` holds; its series are numbered by ``index``."""
    decode = remote_write2.decode if version == 2 else remote_write.decode
    return decode(decompress(body, 1 << 26), SenderCache(), index, WriteLimits())
