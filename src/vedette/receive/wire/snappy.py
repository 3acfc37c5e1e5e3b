"""Decompression of snappy blocks, bounded before it begins."""

from __future__ import annotations

import cramjam

from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.protobuf import varint

_LONGEST_HEADER = 5
_MOST_KEPT = 4 << 20


class Inflater:
    """Decompresses snappy blocks, one after another, into memory that it keeps.

    Fresh memory for every body would cost several times what the decompression does.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def decompress(self, body: bytes, limit: int) -> memoryview:
        """Return the content of a snappy block; it holds until the next call.

        Raises:
            TooLargeError: it says that it holds more than ``limit`` bytes; nothing was
                decompressed.
            WireError: it is no snappy block.
        """
        try:
            size, _ = varint(body, 0, min(len(body), _LONGEST_HEADER))
        except WireError:
            raise WireError("snappy", "the body is not a snappy block") from None
        if size > limit:
            raise TooLargeError("body_size", f"the body holds {size} bytes, more than {limit}")
        room = self._kept
        if len(room) < size:
            room = bytearray(size)
            if size <= _MOST_KEPT:
                self._kept = room
        try:
            written = cramjam.snappy.decompress_raw_into(body, room)
        except cramjam.DecompressionError as error:
            raise WireError("snappy", f"the body is not a snappy block: {error}") from None
        if written != size:
            raise WireError("snappy", f"the body holds {written} bytes and says {size}")
        return memoryview(room)[:size]


def decompress(body: bytes, limit: int) -> bytes:
    """Return the content of one snappy block; raises as :meth:`Inflater.decompress`."""
    return bytes(Inflater().decompress(body, limit))
