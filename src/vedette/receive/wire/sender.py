"""What is remembered of one sender, so that the same series need not be read again.

A sender sends the same series in the same order round after round, cut into requests at places
that move. The ring holds the bytes of one round; a request that goes on where a known series
stands is compared with it as a whole, without looking at single series.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from vedette.model.samples import I32, I64
from vedette.receive.wire.frames import Bytes, Frames

_ENTRY_OVERHEAD = 150
_LONGEST_PAUSE = 64
_FEWEST = 8


class Ring:
    """Series of a sender in the order in which they came: their refs and their bytes."""

    def __init__(self) -> None:
        self._place: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._bytes: Bytes = np.zeros(0, np.uint8)
        self._mask: Bytes = np.zeros(0, np.uint8)
        self._begin: I64 = np.zeros(1, np.int64)
        self._refs: I32 = np.zeros(0, np.int32)
        self._pause = 0
        self._next_pause = 1

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return 2 * len(self._bytes) + len(self._keys) * _ENTRY_OVERHEAD

    def match(self, data: bytes, buf: Bytes, frames: Frames) -> I32 | None:
        """Return the refs int32[n] of ``frames`` if all are what the ring holds, in its order."""
        n = len(frames)
        place = self._place.get(data[int(frames.labels[0]) : int(frames.sample[0])])
        if place is None or n > len(self._keys):
            return None
        rows = np.arange(place, place + n) % len(self._keys)
        lengths = self._begin[rows + 1] - self._begin[rows]
        # A series whose value turns 0.0 or ceases to be it changes its length; it is compared by
        # itself and the runs between as wholes.
        changed = np.flatnonzero(lengths != frames.end - frames.begin)
        if len(changed) > n // _FEWEST:
            return None
        for i in changed.tolist():
            if data[int(frames.labels[i]) : int(frames.sample[i])] != self._keys[int(rows[i])]:
                return None
        wrap = [len(self._keys) - place] if place + n > len(self._keys) else []
        for first, last in _runs(n, changed.tolist(), wrap):
            begin, end = int(frames.begin[first]), int(frames.end[last - 1])
            there = int(self._begin[rows[first]])
            piece = slice(there, there + end - begin)
            if ((buf[begin:end] ^ self._bytes[piece]) & self._mask[piece]).any():
                return None
        self._next_pause = 1
        return self._refs[rows]

    def learn(self, data: bytes, buf: Bytes, frames: Frames, refs: I32) -> None:
        """Take in a request that did not match; ``refs`` int32[n] may hold −1, which is skipped.

        Learning costs; a sender without a constant order is left alone for longer and longer.
        """
        if self._pause > 0:
            self._pause -= 1
            return
        places = zip(frames.labels.tolist(), frames.sample.tolist(), strict=True)
        keys = [data[a:b] for a, b in places]
        if (refs < 0).any() or len(set(keys)) != len(keys):
            return
        if not self._place.keys().isdisjoint(keys):
            self._pause, self._next_pause = (
                self._next_pause,
                min(2 * self._next_pause, _LONGEST_PAUSE),
            )
            self.clear()
        base, offset = len(self._keys), int(self._begin[-1])
        self._place.update(zip(keys, range(base, base + len(keys)), strict=True))
        self._keys += keys
        self._bytes = np.concatenate([self._bytes, buf])
        self._mask = np.concatenate([self._mask, _label_mask(len(buf), frames)])
        self._begin = np.concatenate([self._begin, frames.end + offset])
        self._refs = np.concatenate([self._refs, refs])

    def clear(self) -> None:
        """Forget the order."""
        self._place, self._keys = {}, []
        self._bytes = self._mask = np.zeros(0, np.uint8)
        self._begin, self._refs = np.zeros(1, np.int64), np.zeros(0, np.int32)


def _runs(n: int, changed: list[int], cuts: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of 0 to n between ``changed`` places, cut before each of ``cuts``."""
    first = 0
    for at, width in sorted([*((i, 1) for i in changed), *((i, 0) for i in cuts), (n, 0)]):
        if at > first:
            yield first, at
        first = max(first, at + width)


def _label_mask(size: int, frames: Frames) -> Bytes:
    """Return uint8[size], 255 where labels stand and 0 elsewhere."""
    edges = np.zeros(size + 1, np.int8)
    edges[frames.labels] += 1
    edges[frames.sample] -= 1
    mask: Bytes = (np.cumsum(edges[:-1], dtype=np.int8) * np.int8(-1)).view(np.uint8)
    return mask


class SenderCache:
    """Refs of one sender's series by the bytes of their labels, and the order of them."""

    def __init__(self) -> None:
        self.refs: dict[bytes, int] = {}
        self.ring = Ring()
        self._key_bytes = 0

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return self._key_bytes + self.ring.size

    def remember(self, key: bytes, ref: int) -> None:
        """Keep the ref of a series."""
        self.refs[key] = ref
        self._key_bytes += len(key) + _ENTRY_OVERHEAD


class SenderCaches:
    """The caches of all senders, together at most about ``max_bytes``; the least used go first."""

    def __init__(self, max_bytes: int = 128 * 1024 * 1024, max_senders: int = 256) -> None:
        self._max_bytes = max_bytes
        self._max_senders = max_senders
        self._caches: OrderedDict[str, SenderCache] = OrderedDict()

    def __len__(self) -> int:
        return len(self._caches)

    def of(self, sender: str) -> SenderCache:
        """Return the cache of ``sender``, a new one if need be."""
        cache = self._caches.get(sender)
        if cache is None:
            cache = self._caches[sender] = SenderCache()
        self._caches.move_to_end(sender)
        return cache

    def bound(self) -> None:
        """Drop caches until the bounds hold; one that is too large by itself is dropped too."""
        total = sum(cache.size for cache in self._caches.values())
        while self._caches and (total > self._max_bytes or len(self._caches) > self._max_senders):
            _, cache = self._caches.popitem(last=False)
            total -= cache.size
