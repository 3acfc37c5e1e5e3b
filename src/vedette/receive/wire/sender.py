"""What is remembered of one sender, so that the same series need not be read again.

A sender sends the same series in the same order round after round, cut into requests at places
that move. The ring holds the bytes of one round; a request that goes on where a known series
stands is compared with it as a whole, without looking at single series.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from vedette.model.samples import I32, I64, Mask
from vedette.receive.wire.frames import Bytes, Frames, first_key, fixed_bits

_ENTRY_OVERHEAD = 150
_LONGEST_PAUSE = 64
_FEWEST = 8


class Ring:
    """Series of a sender in the order in which they came: their refs and their bytes."""

    def __init__(self) -> None:
        self._pause = 0
        self._next_pause = 1
        self.clear()

    def clear(self) -> None:
        """Forget the order."""
        self._place: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._bytes: Bytes = np.zeros(0, np.uint8)
        self._mask: Bytes = np.zeros(0, np.uint8)
        self._begin: I64 = np.zeros(1, np.int64)
        self._labels: I64 = np.zeros(0, np.int64)
        self._sample: I64 = np.zeros(0, np.int64)
        self._full: Mask = np.zeros(0, np.bool_)
        self._refs: I32 = np.zeros(0, np.int32)

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return 2 * len(self._bytes) + len(self._keys) * _ENTRY_OVERHEAD

    def match_whole(self, data: bytes, buf: Bytes) -> tuple[Frames, I32] | None:
        """Return frames and refs int32[n] of a body that repeats a piece of the ring.

        Only values and timestamps may differ; their places need not be searched for then.
        """
        first = first_key(data)
        place = self._place.get(first) if first is not None else None
        if place is None:
            return None
        there, n = int(self._begin[place]), len(buf)
        last = int(np.searchsorted(self._begin, there + n))
        if last == len(self._begin) or self._begin[last] != there + n:
            return None
        piece = slice(there, there + n)
        if ((buf ^ self._bytes[piece]) & self._mask[piece]).any():
            return None
        self._next_pause = 1
        rows = slice(place, last)
        frames = Frames(
            self._begin[rows] - there,
            self._labels[rows] - there,
            self._sample[rows] - there,
            self._begin[place + 1 : last + 1] - there,
            self._full[rows],
        )
        return frames, self._refs[rows]

    def match(self, data: bytes, buf: Bytes, frames: Frames) -> I32 | None:
        """Return the refs int32[n] of ``frames`` if all are what the ring holds, in its order.

        The body may go over the ring's end, and single values may have become or ceased to be
        0.0, which changes the length of their series.
        """
        n = len(frames)
        place = self._place.get(data[int(frames.labels[0]) : int(frames.sample[0])])
        if place is None or n > len(self._keys):
            return None
        rows = np.arange(place, place + n) % len(self._keys)
        lengths = self._begin[rows + 1] - self._begin[rows]
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
        """Take in a request that did not match; ``refs`` int32[n] may hold −1: nothing is learned.

        Learning costs; a sender without a constant order is left alone for longer and longer.
        """
        if self._pause > 0:
            self._pause -= 1
            return
        places = zip(frames.labels.tolist(), frames.sample.tolist(), strict=True)
        keys = [data[a:b] for a, b in places]
        if (refs < 0).any() or len(set(keys)) != len(keys):
            return
        known = next((i for i, key in enumerate(keys) if key in self._place), len(keys))
        if known == 0 or (known < len(keys) and self._place[keys[known]] != 0):
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
            self.clear()
            known = len(keys)
        # Where the rest is the ring's beginning, a round is complete and the ring closes.
        self._append(keys[:known], buf[: int(frames.end[known - 1])], frames, refs[:known])

    def _append(self, keys: list[bytes], buf: Bytes, frames: Frames, refs: I32) -> None:
        n, base, there = len(keys), len(self._keys), int(self._begin[-1])
        self._place.update(zip(keys, range(base, base + n), strict=True))
        self._keys += keys
        self._bytes = np.concatenate([self._bytes, buf])
        self._mask = np.concatenate([self._mask, fixed_bits(len(buf), frames, n)])
        self._begin = np.concatenate([self._begin, frames.end[:n] + there])
        self._labels = np.concatenate([self._labels, frames.labels[:n] + there])
        self._sample = np.concatenate([self._sample, frames.sample[:n] + there])
        self._full = np.concatenate([self._full, frames.full[:n]])
        self._refs = np.concatenate([self._refs, refs])


def _runs(n: int, changed: list[int], cuts: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the spans of 0 to n between ``changed`` places, cut before each of ``cuts``."""
    first = 0
    for at, width in sorted([*((i, 1) for i in changed), *((i, 0) for i in cuts), (n, 0)]):
        if at > first:
            yield first, at
        first = max(first, at + width)


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
