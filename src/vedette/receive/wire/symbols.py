"""Texts of remote write 2.0: every request brings a table of its own, a sender's texts recur.

A sender's texts are numbered once. A series is then the numbers of its label names and values,
int32 each behind minus their count, which are the same bytes in every request.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import I32, I64, Mask
from vedette.receive.wire.errors import WireError
from vedette.receive.wire.frames import Bytes, Frame, Frames
from vedette.receive.wire.protobuf import Reader, varint

TAG = 0x22
_WIDTH = 4
_MOST_TEXTS = 1_000_000
_MOST_BYTES = 32 << 20
_ENTRY_OVERHEAD = 200


class Symbols:
    """Numbers the texts of one sender; what is not UTF-8 is numbered too, and has no text."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all numbers."""
        self._numbers: dict[bytes, int] = {}
        self.texts: list[str | None] = []
        self._bytes = 0
        self._table = b""
        self._table_numbers: I32 = np.zeros(0, np.int32)

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return self._bytes + len(self.texts) * _ENTRY_OVERHEAD + len(self._table)

    @property
    def overflows(self) -> bool:
        """Whether it is time to forget."""
        return len(self.texts) > _MOST_TEXTS or self._bytes > _MOST_BYTES

    def read_table(self, data: memoryview, reader: Reader, most: int) -> tuple[I32, int]:
        """Return the numbers int32[S] of the texts at the beginning of a body, and their end.

        At most ``most`` texts are read.

        Raises:
            WireError: they are malformed.
        """
        end = len(self._table)
        after = data[end] if len(data) > end else -1
        if end and after != TAG and bytes(data[:end]) == self._table:
            return self._table_numbers, end
        found: list[int] = []
        whole, at = reader.data, 0
        number_of, size = self._numbers.get, len(whole)
        while at < size and whole[at] == TAG and len(found) < most:
            length, begin = varint(whole, at + 1, size)
            at = begin + length
            if at > size:
                raise WireError(
                    "truncated", f"a text of {length} bytes ends beyond the body", begin
                )
            text = whole[begin:at]
            number = number_of(text)
            found.append(self.number(text) if number is None else number)
        self._table, self._table_numbers = whole[:at], np.array(found, np.int32)
        return self._table_numbers, at

    def number(self, text: bytes) -> int:
        """Return the number of ``text``, a new one if need be."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = len(self.texts)
            self._bytes += 2 * len(text)
            try:
                self.texts.append(text.decode())
            except UnicodeDecodeError:
                self.texts.append(None)
        return number


def key_of(numbers: list[int]) -> bytes:
    """Return the bytes of a series whose label names and values have ``numbers``."""
    return np.array([-len(numbers), *numbers], np.int32).tobytes()


def numbers_of(key: bytes) -> list[int]:
    """Return the numbers in ``key``."""
    found: list[int] = np.frombuffer(key, np.int32)[1:].tolist()
    return found


def stream_of(buf: Bytes, frames: Frames, table: I32) -> tuple[Bytes, I64] | None:
    """Return the keys of all series one after another, and where each begins and the last ends.

    ``frames.labels`` to ``frames.sample`` are packed references to ``table``. Returns ``None``
    where a reference is beyond the table, or longer than two bytes.
    """
    refs, counts = _references(buf, frames)
    if refs is None or not len(table) or int(refs.max()) >= len(table):
        return None
    edges = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts + 1, out=edges[1:])
    stream = table.take(refs)
    stream[edges[:-1]] = -counts
    return stream.view(np.uint8), edges * _WIDTH


def _references(buf: Bytes, frames: Frames) -> tuple[NDArray[np.uint16] | None, I64]:
    """Return a 0 and the references of each series, and the number of the latter per series.

    ``None`` for references of three bytes.
    """
    # The byte before the first reference makes the place for the 0.
    lengths = frames.sample - frames.labels + 1
    ends = np.cumsum(lengths)
    begins = ends - lengths
    packed = buf[np.arange(int(ends[-1])) + np.repeat(frames.labels - 1 - begins, lengths)]
    packed[begins] = 0
    refs = packed.astype(np.uint16)
    low = np.flatnonzero(packed >= 0x80)
    if not len(low):
        return refs, lengths - 1
    high = low + 1
    owner = ends.searchsorted(low, "right")
    if (high == ends[owner]).any() or (packed[high] >= 0x80).any():
        return None, lengths
    refs[high] = (refs[high] << 7) | (refs[low] & 0x7F)
    last = np.ones(len(refs), bool)
    last[low] = False
    return refs[last], lengths - 1 - np.bincount(owner, minlength=len(lengths))


def stream_frames(edges: I64) -> Frames:
    """Return the series of a stream as frames; ``edges`` int64[n + 1]."""
    begin, end = edges[:-1], edges[1:]
    return Frames(
        begin, begin, end, end, end, np.ones(len(begin), bool), np.zeros(len(begin), bool)
    )


def numbers_at(data: memoryview, at: int) -> Frame | None:
    """Return the series at ``at`` of a stream."""
    count = -int.from_bytes(data[at : at + _WIDTH], "little", signed=True)
    end = at + _WIDTH * (count + 1)
    return Frame(at, end, end, end, True)


def all_bits(size: int, _tail: I64, _full: Mask) -> Bytes:
    """Return uint8[size]: every bit of a stream is the same in every round."""
    return np.full(size, 0xFF, np.uint8)
