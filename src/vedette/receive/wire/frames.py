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

from vedette.model.samples import F64, I64, Mask

Bytes = NDArray[np.uint8]

_SERIES, _SAMPLE, _VALUE, _TIMESTAMP = 0x0A, 0x12, 0x09, 0x10
_FULL, _BARE = 18, 9
_STAMP = 6
_VALUE_INDEX = np.arange(8)
_STAMP_INDEX = np.arange(_STAMP)
_STAMP_SHIFT = np.arange(0, 7 * _STAMP, 7, dtype=np.int64)


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


def samples_of(buf: Bytes, frames: Frames) -> tuple[I64, F64]:
    """Return timestamps int64[n] and values float64[n] of ``frames``, bit for bit."""
    stamps = buf[frames.end[:, None] - _STAMP + _STAMP_INDEX]
    if (stamps == stamps[0]).all():
        ts = np.full(len(frames), _stamp(stamps[:1])[0])
    else:
        ts = _stamp(stamps)
    values = np.zeros(len(frames))
    at = frames.sample[frames.full] + 3
    values[frames.full] = np.ascontiguousarray(buf[at[:, None] + _VALUE_INDEX]).view("<f8")[:, 0]
    return ts, values


def _stamp(stamps: Bytes) -> I64:
    parts = (stamps & 0x7F).astype(np.int64) << _STAMP_SHIFT
    total: I64 = parts.sum(axis=1, dtype=np.int64)
    return total


def first_key(data: bytes) -> bytes | None:
    """Return the bytes of the first series' labels if ``data`` begins in the usual shape."""
    if len(data) < 3 or data[0] != _SERIES:
        return None
    size, labels = (data[1], 2) if data[1] < 0x80 else (data[1] & 0x7F | data[2] << 7, 3)
    end = labels + size
    for length, head in ((_FULL, b"\x12\x10\x09"), (_BARE, b"\x12\x07\x10")):
        if data.startswith(head, end - length) and end - length > labels:
            return data[labels : end - length]
    return None


def fixed_bits(size: int, frames: Frames, n: int) -> Bytes:
    """Return uint8[size] with the bits that another round's first ``n`` series must share.

    All but the value and the number in the timestamp; the bits that tell its length are fixed.
    """
    mask = np.full(size, 0xFF, np.uint8)
    full = frames.sample[:n][frames.full[:n]]
    mask[full[:, None] + 3 + _VALUE_INDEX] = 0
    mask[frames.end[:n, None] - _STAMP + _STAMP_INDEX] = 0x80
    return mask
