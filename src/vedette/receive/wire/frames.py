"""The usual shape of a remote-write request, found by array operations instead of a parse.

Almost every sender writes, per series, its labels and then one sample whose timestamp takes six
bytes (every ms from 1971 to 2109): 18 bytes in all, or 9 when the value is 0.0, which Go's
generated code leaves out. The ends of the series then show as byte patterns; a candidate is
believed only when the framing of every series closes exactly, from the first byte to the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask

Bytes = NDArray[np.uint8]

_SERIES, _SAMPLE, _VALUE, _TIMESTAMP = 0x0A, 0x12, 0x09, 0x10
_FULL, _BARE = 18, 9
_STAMP = 6
_WORD = 8
_VALUE_INDEX = np.arange(8)
_STAMP_INDEX = np.arange(_STAMP)
_SEVEN_BITS = tuple((np.uint64(k), np.uint64(0x7F << 7 * k)) for k in range(_STAMP))


@dataclass(frozen=True, slots=True)
class Frames:
    """n series of one sample each, as places in the body: int64[n] all, ``full`` bool[n].

    A series lies from ``begin`` to ``end``; its labels from ``labels`` to ``sample``, which is
    where its sample begins; ``full`` tells whether that has a value.
    """

    begin: I64
    labels: I64
    sample: I64
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
    return Frames(begin, labels, sample, end, full)


def samples_of(buf: Bytes, end: I64, full: Mask) -> tuple[I64, F64]:
    """Return timestamps int64[n] and values float64[n] of series, bit for bit.

    ``end`` int64[n] is where the series end, ``full`` bool[n] whether they have a value.
    """
    # Every eight bytes of the body as a number: one look-up each instead of eight.
    words = np.ndarray((len(buf) - _WORD + 1,), "<u8", buffer=buf, strides=(1,))
    stamps = words[end - _WORD] >> np.uint64(8 * (_WORD - _STAMP))
    ts = np.zeros(len(end), np.uint64)
    for shift, mask in _SEVEN_BITS:
        ts |= (stamps >> shift) & mask
    if full.all():
        return ts.view(np.int64), words[end - (_FULL - 3)].view(np.float64)
    values = np.zeros(len(end))
    values[full] = words[end[full] - (_FULL - 3)].view(np.float64)
    return ts.view(np.int64), values


def frame_at(data: memoryview, at: int) -> tuple[int, int, int, bool] | None:
    """Return labels, sample, end and full of the series at ``at`` if it has the usual shape.

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
            return labels, end - length, end, length == _FULL
    return None


def fixed_bits(end: I64, full: Mask) -> Bytes:
    """Return uint8 with the bits that another round of series, one after another, must share.

    ``end`` int64[n] is where they end, ``full`` bool[n] whether they have a value. All bits are
    fixed but the value and the number in the timestamp; those that tell its length are.
    """
    mask = np.full(int(end[-1]), 0xFF, np.uint8)
    mask[end[full][:, None] - (_FULL - 3) + _VALUE_INDEX] = 0
    mask[end[:, None] - _STAMP + _STAMP_INDEX] = 0x80
    return mask
