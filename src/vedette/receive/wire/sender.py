"""What is remembered of one sender, so that the same series need not be read again.

A sender sends the same series in the same order round after round, cut into requests at places
that move, with series missing now and then. The ring holds the bytes of one round; a request is
compared with it run by run, without looking at single series.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32, I64, Mask
from vedette.receive.wire.frames import Bytes, Frames, fixed_bits, frame_at

_ENTRY_OVERHEAD = 150
_LONGEST_PAUSE = 64
_FEWEST = 8
_FREE_RUNS = 16
_FEW_ODD = 4
_RENEWAL = 512
_FIRST_STEP = 4096
_SMALL = 2048
_STEP_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Match:
    """n known series of one sample each: where they end in the body, and what they are.

    ``end`` int64[n]; ``full`` bool[n], whether the sample has a value; ``refs`` int32[n].
    """

    end: I64
    full: Mask
    refs: I32


class Ring:
    """Series of a sender in the order in which they came: their refs and their bytes."""

    def __init__(self) -> None:
        self._pause = 0
        self._next_pause = 1
        self.clear()

    def clear(self) -> None:
        """Forget the order."""
        self._place: dict[bytes, int] = {}
        # What every round has in common; the bits that differ are 0 here and in the mask.
        self._fixed = b""
        self._mask: Bytes = np.zeros(0, np.uint8)
        self._scratch: Bytes = np.zeros(0, np.uint8)
        self._begin: I64 = np.zeros(1, np.int64)
        self._full: Mask = np.zeros(0, np.bool_)
        self._refs: I32 = np.zeros(0, np.int32)
        # Series that became 0.0, or ceased to be, since: their bytes, and whether with a value.
        self._changed: dict[int, tuple[bytes, bool]] = {}
        self._odd = 0

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return 3 * len(self._fixed) + len(self._refs) * _ENTRY_OVERHEAD

    def match(self, buf: Bytes) -> Match | None:
        """Return the series of ``buf`` if all of them are known, mostly in the known order.

        Values and timestamps may differ. Series may be missing, come again, or have become or
        ceased to be 0.0, which changes their length: the comparison goes on behind them.
        """
        data, at, known = buf.data, 0, 0
        ends: list[I64] = []
        fulls: list[Mask] = []
        refs: list[I32] = []
        while at < len(buf):
            frame = frame_at(data, at)
            if frame is None or len(ends) > _FREE_RUNS + known // _FEWEST:
                return None
            labels, sample, end, full = frame
            row = self._place.get(bytes(data[labels:sample]))
            if row is None:
                return None
            if full == self._full[row]:
                last = self._run(buf, at, row)
                ends.append(self._begin[row + 1 : last + 1] + (at - self._begin[row]))
                fulls.append(self._full[row:last])
            else:
                last = row + 1
                ends.append(np.array([end]))
                fulls.append(np.array([full]))
                self._changed[row] = bytes(data[at:end]), full
                self._odd += 1
            refs.append(self._refs[row:last])
            known += last - row
            if last == row:
                return None
            at = int(ends[-1][-1])
        if not ends:
            return None
        self._next_pause = 1
        # A renewal copies the ring; an odd series costs as much as copying some hundred others.
        if self._odd > _FEW_ODD + len(self._refs) // _RENEWAL:
            self._renew()
        if len(ends) == 1:
            return Match(ends[0], fulls[0], refs[0])
        return Match(np.concatenate(ends), np.concatenate(fulls), np.concatenate(refs))

    def _run(self, buf: Bytes, at: int, row: int) -> int:
        """Return the row behind the last one that agrees with the body, which is at ``row``."""
        there = begin = int(self._begin[row])
        size = min(len(buf) - at, len(self._fixed) - begin)
        shift, limit, step = at - begin, begin + size, _FIRST_STEP
        while there < limit:
            stop = min(there + step, limit)
            seen = self._scratch[: stop - there]
            np.bitwise_and(buf[there + shift : stop + shift], self._mask[there:stop], out=seen)
            if not self._fixed.startswith(seen.data, there):
                there += self._first_difference(seen, there)
                break
            there, step = stop, step * _STEP_GROWTH
        return int(self._begin.searchsorted(there, "right")) - 1

    def _first_difference(self, seen: Bytes, there: int) -> int:
        """Return where ``seen`` differs from what stands at ``there``, which it does."""
        same = 0
        while len(seen) > _SMALL:
            half = len(seen) // 2
            if self._fixed.startswith(seen[:half].data, there + same):
                seen, same = seen[half:], same + half
            else:
                seen = seen[:half]
        fixed = np.frombuffer(self._fixed, np.uint8, len(seen), there + same)
        return same + int((seen != fixed).argmax())

    def _renew(self) -> None:
        """Take over the new form of the series that changed theirs."""
        fixed: list[bytes] = []
        mask: list[Bytes] = []
        done = 0
        lengths = np.diff(self._begin)
        self._full = self._full.copy()
        for row in sorted(self._changed):
            content, full = self._changed[row]
            begin, end = self._begin[row : row + 2].tolist()
            own = fixed_bits(np.array([len(content)]), np.array([full]))
            fixed += self._fixed[done:begin], (np.frombuffer(content, np.uint8) & own).tobytes()
            mask += self._mask[done:begin], own
            lengths[row], self._full[row], done = len(content), full, end
        self._fixed = b"".join([*fixed, self._fixed[done:]])
        self._mask = np.concatenate([*mask, self._mask[done:]])
        if len(self._scratch) < len(self._mask):
            self._scratch = np.zeros(len(self._mask) + _FIRST_STEP, np.uint8)
        self._begin = np.concatenate([self._begin[:1], np.cumsum(lengths)])
        self._changed, self._odd = {}, 0

    def learn(self, data: bytes, buf: Bytes, frames: Frames, refs: I32) -> None:
        """Take in a request that did not match; ``refs`` int32[n] may hold −1: nothing is learned.

        Learning costs; a sender without a constant order is left alone for longer and longer.
        """
        if self._pause > 0:
            self._pause -= 1
            return
        if (refs < 0).any():
            return
        keys = [
            data[a:b] for a, b in zip(frames.labels.tolist(), frames.sample.tolist(), strict=True)
        ]
        places = np.array([self._place.get(key, -1) for key in keys])
        known = places[places >= 0]
        new = {keys[k]: k for k in np.flatnonzero(places < 0).tolist()}
        if not new or int((np.diff(known) != 1).sum()) > len(keys) // _FEWEST:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
            self.clear()
            new = {key: k for k, key in enumerate(keys)}
        self._append(new, buf, frames, refs)

    def _append(self, new: dict[bytes, int], buf: Bytes, frames: Frames, refs: I32) -> None:
        """Append the series at the places ``new`` of ``frames``."""
        rows = np.fromiter(new.values(), np.int64, len(new))
        begin, end = frames.begin[rows], frames.end[rows]
        pieces = zip(begin.tolist(), end.tolist(), strict=True)
        content = np.concatenate([buf[first:last] for first, last in pieces])
        ends, full = np.cumsum(end - begin), frames.full[rows]
        mask = fixed_bits(ends, full)
        base = len(self._refs)
        self._place.update(zip(new, range(base, base + len(new)), strict=True))
        self._fixed += (content & mask).tobytes()
        self._mask = np.concatenate([self._mask, mask])
        self._scratch = np.zeros(len(self._mask) + _FIRST_STEP, np.uint8)
        self._begin = np.concatenate([self._begin, ends + self._begin[-1]])
        self._full = np.concatenate([self._full, full])
        self._refs = np.concatenate([self._refs, refs[rows]])


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
