"""The usual shape of a remote-write request, found by array operations instead of a parse.

Almost every sender writes, per series, its labels and then one sample whose timestamp takes six
bytes (every ms from 1971 to 2109): 18 bytes in all, or 9 when the value is 0.0, which Go's
generated code leaves out. The ends of the series then show as byte patterns; a candidate is
believed only when the framing of every series closes exactly, from the first byte to the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

_SERIES, _SAMPLE, _VALUE, _TIMESTAMP = 0x0A, 0x12, 0x09, 0x10
_FULL, _BARE = 18, 9
_STAMP = 6
_WORD = 8
_VALUE_INDEX = np.arange(_WORD)
_STAMP_INDEX = np.arange(_STAMP)
_EVEN, _ODD, _ONE = np.uint64(0x007F_007F_007F_0000), np.uint64(0x7F00_7F00_7F00_0000), np.uint64(1)
_PAIRS = tuple((np.uint64(16 + 2 * k), np.uint64(0x3FFF << 14 * k)) for k in range(3))

STAMP_WORD = 8
"""So far before the end of a sample begins the word whose last six bytes are its timestamp."""

VALUE_WORD = 15
"""So far before the end of a sample with a value begins its value."""


class Frame(NamedTuple):
    """One series, with the places of :class:`Frames`."""

    labels: int
    sample: int
    tail: int
    end: int
    full: bool


@dataclass(frozen=True, slots=True)
class Frames:
    """n series of one sample each, as places in the body: int64[n] all, ``full`` bool[n].

    A series lies from ``begin`` to ``end``; its labels from ``labels`` to ``sample``, which is
    where its sample begins; that ends at ``tail``, and ``full`` tells whether it has a value.
    """

    begin: I64
    labels: I64
    sample: I64
    tail: I64
    end: I64
    full: Mask

    def __len__(self) -> int:
        return len(self.begin)


def find_frames(buf: Bytes) -> Frames | None:
    """Return the frames of ``buf``, or ``None`` when it has any other shape."""
    n = len(buf)
    if n < _BARE + 2 or buf[0] != _SERIES:
        return None
    at = np.flatnonzero(buf[: n - _BARE + 1] == _SAMPLE)
    first, second = buf[at + 1], buf[at + 2]
    full = (first == _FULL - 2) & (second == _VALUE)
    either = full | ((first == _BARE - 2) & (second == _TIMESTAMP))
    sample, full = at[either], full[either]
    if not len(sample):
        return None
    end = sample + np.where(full, _FULL, _BARE)
    begin = np.empty_like(end)
    begin[0] = 0
    begin[1:] = end[:-1]
    if end[-1] != n or (buf[begin] != _SERIES).any():
        return None
    low = buf[begin + 1].astype(np.int64)
    high = buf[begin + 2].astype(np.int64)
    long = low >= 0x80
    size = np.where(long, (low & 0x7F) | (high << 7), low)
    labels = begin + np.where(long, 3, 2)
    if (labels + size != end).any() or (long & (high >= 0x80)).any() or (labels > sample).any():
        return None
    # The timestamp's tag stands behind the value, and its six bytes must be exactly one number.
    stamps = buf[end[:, None] - _STAMP + _STAMP_INDEX]
    if (buf[end - _STAMP - 1] != _TIMESTAMP).any() or (stamps[:, -1] >= 0x80).any():
        return None
    if (stamps[:, :-1] < 0x80).any():
        return None
    return Frames(begin, labels, sample, end, end, full)


def words_of(buf: Bytes) -> Words:
    """Return every eight bytes of ``buf``, at each byte, as a number: one look-up instead of eight.

    ``buf`` has at least eight bytes.
    """
    return np.ndarray((len(buf) - _WORD + 1,), "<u8", buffer=buf, strides=(1,))


def samples_of(words: Words, tail: I64, full: Mask) -> tuple[I64, F64]:
    """Return timestamps int64[n] and values float64[n] of samples, bit for bit.

    ``tail`` int64[n] is where the samples end, ``full`` bool[n] whether they have a value.
    """
    ts = stamps_of(words[tail - STAMP_WORD])
    if full.all():
        return ts, words[tail - VALUE_WORD].view(np.float64)
    values = np.zeros(len(tail))
    values[full] = words[tail[full] - VALUE_WORD].view(np.float64)
    return ts, values


def stamps_of(words: Words) -> I64:
    """Return int64[n] timestamps from the words that end with their six bytes."""
    # Seven bits of each byte, joined in pairs and the pairs in a row.
    even, odd = words & _EVEN, words & _ODD
    odd >>= _ONE
    even |= odd
    ts: Words = even >> _PAIRS[0][0]
    ts &= _PAIRS[0][1]
    for shift, mask in _PAIRS[1:]:
        np.right_shift(even, shift, out=odd)
        odd &= mask
        ts |= odd
    return ts.view(np.int64)


def frame_at(data: memoryview, at: int) -> Frame | None:
    """Return the series at ``at`` if it has the usual shape.

    Its labels may hold anything; whoever knows them knows that the shape is right.
    """
    head = bytes(data[at : at + 3])
    if len(head) < 3 or head[0] != _SERIES:
        return None
    size, labels = head[1], at + 2
    if size >= 0x80:
        if head[2] >= 0x80:
            return None
        size, labels = size & 0x7F | head[2] << 7, at + 3
    end = labels + size
    tail = bytes(data[max(labels, end - _FULL) : end])
    stamp = tail[-_STAMP - 1 :]
    if end > len(data) or len(tail) < _BARE or stamp[0] != _TIMESTAMP:
        return None
    if stamp[-1] >= 0x80 or min(stamp[1:-1]) < 0x80:
        return None
    for length, tag in ((_FULL, b"\x12\x10\x09"), (_BARE, b"\x12\x07\x10")):
        if len(tail) >= length and tail.startswith(tag, len(tail) - length):
            return Frame(labels, end - length, end, end, length == _FULL)
    return None


def fixed_bits(size: int, tail: I64, full: Mask) -> Bytes:
    """Return uint8[size] with the bits that another round of the same series must share.

    ``tail`` int64[n] is where their samples end, ``full`` bool[n] whether these have a value. All
    bits are fixed but the value and the number in the timestamp; those that tell its length are.
    """
    mask = np.full(size, 0xFF, np.uint8)
    mask[tail[full][:, None] - VALUE_WORD + _VALUE_INDEX] = 0
    mask[tail[:, None] - _STAMP + _STAMP_INDEX] = 0x80
    return mask
