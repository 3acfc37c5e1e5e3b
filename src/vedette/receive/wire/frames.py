"""The usual shape of a remote-write request, found by array operations instead of a parse.

Almost every sender writes, per series, its labels and then one sample whose timestamp takes six
bytes (every ms from 1971 to 2109). A value of 0.0 is left out by Go's generated code, and version 2
may add a start timestamp of six bytes, so a sample has one of four forms:

    0x12 size [0x09 value] 0x10 timestamp [0x18 start timestamp]

The ends of samples then show as byte patterns; a candidate is believed only when the framing of
its series closes exactly. What lies between such series (histograms, exemplars, several samples) is
found by following the framing, and left to the decoder of single fields.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask
from vedette.receive.wire.errors import TooLargeError
from vedette.receive.wire.protobuf import field_end

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Span = tuple[int, int]

_MOST_OTHERS = 100_000

_SAMPLE = 0x12
_FULL, _BARE, _STARTED = 18, 9, 7
_STAMP = 6
_WORD = 8
_VALUE_INDEX = np.arange(_WORD)
_STAMP_INDEX = np.arange(_STAMP)
_EVEN, _ODD, _ONE = np.uint64(0x007F_007F_007F_0000), np.uint64(0x7F00_7F00_7F00_0000), np.uint64(1)
_PAIRS = tuple((np.uint64(16 + 2 * k), np.uint64(0x3FFF << 14 * k)) for k in range(3))
# The second byte of the word that ends with a timestamp is its tag; then come six bytes of which
# all but the last one say that the number goes on.
_FIXED = np.uint64(0x8080_8080_8080_FF00)
_TIME, _START = np.uint64(0x0080_8080_8080_1000), np.uint64(0x0080_8080_8080_1800)
_MAGIC = np.zeros(256, np.uint8)
_MAGIC[[_FULL - 2, _BARE - 2, _FULL + _STARTED - 2, _BARE + _STARTED - 2]] = 1, 2, 3, 4

STAMP_WORD = 8
"""So far before the end of a timestamp begins the word whose last six bytes it is."""

VALUE_WORD = 15
"""So far before the end of a timestamp begins the value that stands before it."""


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
    where its sample begins; the timestamp of that ends at ``tail``, and ``full`` tells whether it
    has a value. ``started`` bool[n] tells whether a start timestamp ends seven bytes behind.
    """

    begin: I64
    labels: I64
    sample: I64
    tail: I64
    end: I64
    full: Mask
    started: Mask

    def __len__(self) -> int:
        return len(self.begin)

    def take(self, rows: NDArray[np.integer]) -> Frames:
        """Return only ``rows``, in that order."""
        return Frames(
            self.begin[rows],
            self.labels[rows],
            self.sample[rows],
            self.tail[rows],
            self.end[rows],
            self.full[rows],
            self.started[rows],
        )


class Others:
    """Fields of a body that are no series of the usual shape; neighbours become one span."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._count = 0

    def add(self, data: memoryview, at: int) -> int:
        """Take the field at ``at`` and return its end.

        Raises:
            TooLargeError: it is one too many; each costs time, however small.
            WireError: it is malformed.
        """
        self._count += 1
        if self._count > _MOST_OTHERS:
            message = f"the request holds more than {_MOST_OTHERS} fields of unusual shape"
            raise TooLargeError("too_many_fields", message)
        end = field_end(data, at, len(data))
        if self.spans and self.spans[-1][1] == at:
            self.spans[-1] = self.spans[-1][0], end
        else:
            self.spans.append((at, end))
        return end


@dataclass(frozen=True, slots=True)
class Shape:
    """How a version of the protocol frames a series.

    Attributes:
        tag: of a series in the request.
        packed: whether the labels are one packed field, in front of which stand tag and size.
        metadata: whether a field 5 of less than 128 bytes follows the sample.
    """

    tag: int
    packed: bool = False
    metadata: bool = False


VERSION_1 = Shape(0x0A)
_METADATA = 0x2A
_PACKED = 0x0A


def find_frames(buf: Bytes, shape: Shape = VERSION_1, at: int = 0) -> tuple[Frames, list[Span]]:
    """Return the usual frames of ``buf`` from ``at`` on, and the spans of all other fields.

    Raises:
        WireError: between usual frames the framing does not close.
    """
    guess = _candidates(buf, shape, at)
    good = _closes(buf, guess, shape)
    if len(guess) and good.all() and guess.end[-1] == len(buf):
        return guess, []
    kept, begins, others = _follow(buf.data, shape, guess, good, at)
    rows = np.array(kept, np.int64)
    frames = guess.take(rows)
    frames.begin[:] = begins
    _closes(buf, frames, shape)
    return frames, others


def _candidates(buf: Bytes, shape: Shape, first: int) -> Frames:
    """Return what may be frames, each from the end of the one before."""
    at = np.flatnonzero(buf[first : len(buf) - _BARE + 1] == _SAMPLE) + first
    form = _MAGIC[buf[at + 1]]
    at, form = at[form > 0], form[form > 0]
    full, started = (form & 1) == 1, form > 2
    tail = at + np.where(full, _FULL, _BARE)
    stamps = tail + np.where(started, _STARTED, 0)
    fits = stamps <= len(buf)
    at, full, started, tail, stamps = at[fits], full[fits], started[fits], tail[fits], stamps[fits]
    words = words_of(buf) if len(at) else np.zeros(0, np.uint64)
    right = (words[tail - STAMP_WORD] & _FIXED) == _TIME
    right &= ~full | (buf[at + 2] == 0x09)
    right &= ~started | ((words[stamps - STAMP_WORD] & _FIXED) == _START)
    if not shape.packed:
        right &= ~started
    at, full, started, tail, end = (
        at[right],
        full[right],
        started[right],
        tail[right],
        stamps[right],
    )
    if shape.metadata:
        inside = np.minimum(end + 1, len(buf) - 1)
        end = np.where(buf[inside - 1] == _METADATA, end + 2 + buf[inside], -1)
    begin = np.concatenate([[first], end[:-1]])[: len(end)]
    return Frames(begin, np.zeros_like(at), at, tail, end, full, started)


def _closes(buf: Bytes, frames: Frames, shape: Shape) -> Mask:
    """Return whether each frame closes exactly, and set where its labels begin."""
    last = len(buf) - 1
    begin = np.minimum(frames.begin, last - 2) if last >= 2 else np.zeros_like(frames.begin)
    good: Mask = (begin == frames.begin) & (buf[begin] == shape.tag) & (frames.end <= len(buf))
    size, at = _sizes(buf, begin + 1)
    good &= (at + size == frames.end) & (at <= frames.sample)
    if shape.packed:
        at = np.minimum(at, last - 2)
        good &= buf[at] == _PACKED
        size, at = _sizes(buf, at + 1)
        good &= at + size == frames.sample
    frames.labels[:] = at
    return good


def _sizes(buf: Bytes, at: I64) -> tuple[I64, I64]:
    """Return numbers of one or two bytes, −1 for longer ones, and the places behind them."""
    low = buf[at].astype(np.int64)
    high = buf[np.minimum(at + 1, len(buf) - 1)].astype(np.int64)
    long = low >= 0x80
    size = np.where(long, (low & 0x7F) | (high << 7), low)
    size[long & (high >= 0x80)] = -1
    return size, at + np.where(long, 2, 1)


def _follow(
    data: memoryview, shape: Shape, guess: Frames, good: Mask, at: int
) -> tuple[list[int], list[int], list[Span]]:
    """Follow the framing where the guesses do not close.

    Returns:
        The guesses that are frames, where each begins, and all other fields.
    """
    begin, sample, end = guess.begin.tolist(), guess.sample.tolist(), guess.end.tolist()
    bad = [*np.flatnonzero(~good).tolist(), len(begin)]
    kept: list[int] = []
    begins: list[int] = []
    others = Others()
    k = 0
    while at < len(data):
        if k < len(begin) and begin[k] == at and good[k]:
            stop = bad[bisect_left(bad, k)]
            kept += range(k, stop)
            begins += begin[k:stop]
            k, at = stop, end[stop - 1]
            continue
        usual = frame_at(data, at, shape)
        while k < len(sample) and sample[k] < (usual.sample if usual else at):
            k += 1
        if usual and k < len(sample) and sample[k] == usual.sample and end[k] == usual.end:
            kept.append(k)
            begins.append(at)
            k, at = k + 1, usual.end
        else:
            at = others.add(data, at)
    return kept, begins, others.spans


def words_of(buf: Bytes) -> Words:
    """Return every eight bytes of ``buf``, at each byte, as a number: one look-up instead of eight.

    ``buf`` has at least eight bytes.
    """
    return np.ndarray((len(buf) - _WORD + 1,), "<u8", buffer=buf, strides=(1,))


def samples_of(words: Words, tail: I64, full: Mask) -> tuple[I64, F64]:
    """Return timestamps int64[n] and values float64[n] of samples, bit for bit.

    ``tail`` int64[n] is where their timestamps end, ``full`` bool[n] whether they have a value.
    """
    ts = stamps_of(words[tail - STAMP_WORD])
    if full.all():
        return ts, words[tail - VALUE_WORD].view(np.float64)
    values = np.zeros(len(tail))
    values[full] = words[tail[full] - VALUE_WORD].view(np.float64)
    return ts, values


def starts_of(words: Words, frames: Frames) -> I64 | None:
    """Return start timestamps int64[n], 0 where a sample has none; ``None`` when all have none."""
    if not frames.started.any():
        return None
    starts = np.zeros(len(frames), np.int64)
    tail = frames.tail[frames.started] + _STARTED
    starts[frames.started] = stamps_of(words[tail - STAMP_WORD])
    return starts


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


def frame_at(data: memoryview, at: int, shape: Shape = VERSION_1) -> Frame | None:
    """Return the series at ``at`` if it has the usual shape.

    Its labels may hold anything; whoever knows them knows that the shape is right.
    """
    size, labels = _size(data, at, shape.tag)
    end = labels + size
    if size < 0 or end > len(data):
        return None
    if not shape.packed:
        return _sample_before(data, labels, end)
    size, refs = _size(data, labels, _PACKED)
    sample = refs + size
    if size < 0 or sample + _BARE > end:
        return None
    return _sample_at(data, refs, sample, end, shape)


def _size(data: memoryview, at: int, tag: int) -> tuple[int, int]:
    """Return the size of the field ``tag``, −1 when none is there, and where its content begins."""
    head = bytes(data[at : at + 3])
    if len(head) < 3 or head[0] != tag:
        return -1, at
    if head[1] < 0x80:
        return head[1], at + 2
    return (head[1] & 0x7F | head[2] << 7, at + 3) if head[2] < 0x80 else (-1, at)


def _is_stamp(tail: bytes, tag: int) -> bool:
    stamp = tail[-_STAMP - 1 :]
    return stamp[0] == tag and stamp[-1] < 0x80 and min(stamp[1:-1]) >= 0x80


def _sample_before(data: memoryview, labels: int, end: int) -> Frame | None:
    tail = bytes(data[max(labels, end - _FULL) : end])
    if len(tail) < _BARE or not _is_stamp(tail, 0x10):
        return None
    for length, tag in ((_FULL, b"\x12\x10\x09"), (_BARE, b"\x12\x07\x10")):
        if len(tail) >= length and tail.startswith(tag, len(tail) - length):
            return Frame(labels, end - length, end, end, length == _FULL)
    return None


def _sample_at(data: memoryview, refs: int, sample: int, end: int, shape: Shape) -> Frame | None:
    head = bytes(data[sample : sample + _FULL + _STARTED + 2])
    form = int(_MAGIC[head[1]])
    full, started = form & 1 == 1, form > 2
    stop = _FULL if full else _BARE
    whole = stop + _STARTED * started
    if not form or head[0] != _SAMPLE or len(head) < whole or not _is_stamp(head[:stop], 0x10):
        return None
    if (full and head[2] != 0x09) or (started and not _is_stamp(head[:whole], 0x18)):
        return None
    after = head[whole : whole + 2] if shape.metadata else b""
    if shape.metadata and (len(after) < 2 or after[0] != _METADATA):
        return None
    if sample + whole + (2 + after[1] if after else 0) != end:
        return None
    return Frame(refs, sample, sample + stop, end, full)


def fixed_bits(size: int, tail: I64, full: Mask) -> Bytes:
    """Return uint8[size] with the bits that another round of the same series must share.

    ``tail`` int64[n] is where their samples end, ``full`` bool[n] whether these have a value. All
    bits are fixed but the value and the number in the timestamp; those that tell its length are.
    """
    mask = np.full(size, 0xFF, np.uint8)
    mask[tail[full][:, None] - VALUE_WORD + _VALUE_INDEX] = 0
    mask[tail[:, None] - _STAMP + _STAMP_INDEX] = 0x80
    return mask
