"""What is remembered of one sender, so that the same series need not be read again.

A sender sends the same series in the same order round after round, cut into requests at places
that move, with series missing now and then. The ring holds the bytes of one round; a request is
compared with it run by run, without looking at single series.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import I32, I64, Mask
from vedette.receive.wire.frames import Bytes, Frame, Frames, Others, Span, fixed_bits, frame_at
from vedette.receive.wire.symbols import Symbols, all_bits, numbers_at

FixedBits = Callable[[int, I64, Mask], Bytes]
FrameAt = Callable[[memoryview, int], Frame | None]

_ENTRY_OVERHEAD = 150
_LONGEST_PAUSE = 64
_FEWEST = 8
_FREE_RUNS = 16
_FEW_ODD = 4
_RENEWAL = 512
_FIRST_STEP = 4096
_BOLD_RUNS = 4
_SMALL = 2048
_METADATA_ROUNDS = 64
_STEP_GROWTH = 4


class Patience:
    """Says when to try again what costs much and seldom pays: after longer and longer pauses."""

    def __init__(self) -> None:
        self._left = 0
        self._next = 1

    def waits(self) -> bool:
        """Return whether a pause goes on; each call is one of its rounds."""
        if self._left:
            self._left -= 1
            return True
        return False

    def lose(self) -> None:
        """Begin a pause, twice as long as the one before."""
        self._left, self._next = self._next, min(2 * self._next, _LONGEST_PAUSE)

    def reset(self) -> None:
        """Note that all goes well: the next pause is a short one."""
        self._next = 1


@dataclass(frozen=True, slots=True)
class Match:
    """n known series of one sample each: where they stand in the body, and what they are.

    ``tail`` int64[n] is where their samples end; ``full`` bool[n], whether those have a value;
    ``refs`` int32[n]; ``others`` are spans of the body that hold anything else.
    """

    tail: I64
    full: Mask
    refs: I32
    others: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class _Changed:
    """A series that became 0.0, or ceased to be: its bytes and where in them its sample ends."""

    content: bytes
    tail: int
    full: bool


class _Runs:
    """What a comparison has found: rows of the ring, run by run."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.tails: list[I64] = []
        self.fulls: list[Mask] = []
        self.others = Others()
        self.known = 0

    def add(self, row: int, last: int, tail: I64, full: Mask) -> None:
        self.rows.append((row, last))
        self.tails.append(tail)
        self.fulls.append(full)
        self.known += last - row

    def match(self, refs: I32) -> Match:
        parts = [refs[row:last] for row, last in self.rows]
        others = tuple(self.others.spans)
        if len(parts) == 1:
            return Match(self.tails[0], self.fulls[0], parts[0], others)
        tails, fulls = np.concatenate(self.tails), np.concatenate(self.fulls)
        return Match(tails, fulls, np.concatenate(parts), others)


class Ring:
    """Series of a sender in the order in which they came: their refs and their bytes."""

    def __init__(self, frame_at: FrameAt = frame_at, fixed_bits: FixedBits = fixed_bits) -> None:
        """Take what reads a series of a body, and which bits of series every round must share."""
        self._frame_at = frame_at
        self._fixed_bits = fixed_bits
        self._learning = Patience()
        self._mending = Patience()
        self.clear()

    def clear(self) -> None:
        """Forget the order."""
        self._place: dict[bytes, int] = {}
        # What every round has in common; the bits that differ are 0 here and in the mask.
        self._fixed = b""
        self._mask: Bytes = np.zeros(0, np.uint8)
        self._scratch: Bytes = np.zeros(0, np.uint8)
        self._begin: I64 = np.zeros(1, np.int64)
        self._tail: I64 = np.zeros(0, np.int64)
        self._full: Mask = np.zeros(0, np.bool_)
        self._refs: I32 = np.zeros(0, np.int32)
        self._changed: dict[int, _Changed] = {}
        self._odd = 0

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return 3 * len(self._fixed) + len(self._refs) * _ENTRY_OVERHEAD

    @property
    def refs(self) -> I32:
        """The series, int32[n], in their order."""
        return self._refs

    def match(self, buf: Bytes, at: int = 0) -> Match | None:
        """Return the series of ``buf`` from ``at`` on if all are known, mostly in the known order.

        Values and timestamps may differ. Series may be missing, come again, or have become or
        ceased to be 0.0, which changes their length: the comparison goes on behind them.

        Raises:
            WireError: what is no series of the usual shape is malformed.
        """
        data, runs = buf.data, _Runs()
        while at < len(buf):
            frame = self._frame_at(data, at)
            if frame is None:
                at = runs.others.add(data, at)
                continue
            if len(runs.rows) > _FREE_RUNS + runs.known // _FEWEST:
                return None
            row = self._place.get(bytes(data[frame.labels : frame.sample]))
            if row is None:
                return None
            if frame.full == self._full[row]:
                bold = len(runs.rows) < _BOLD_RUNS
                last = self._run(buf, at, row, len(buf) if bold else _FIRST_STEP)
                if last == row:
                    return None
                shift = at - int(self._begin[row])
                runs.add(row, last, self._tail[row:last] + shift, self._full[row:last])
                at = int(self._begin[last]) + shift
            else:
                runs.add(row, row + 1, np.array([frame.tail]), np.array([frame.full]))
                content = bytes(data[at : frame.end])
                self._changed[row] = _Changed(content, frame.tail - at, frame.full)
                self._odd += 1
                at = frame.end
        if not runs.rows:
            return None
        self._learning.reset()
        found = runs.match(self._refs)
        # A renewal copies the ring; an odd series costs as much as copying some hundred others.
        if self._odd > _FEW_ODD + len(self._refs) // _RENEWAL:
            self._renew()
        self._mend_order(runs.rows)
        return found

    def _run(self, buf: Bytes, at: int, row: int, step: int) -> int:
        """Return the row behind the last one that agrees with the body, which is at ``row``.

        ``step`` bytes are compared first, and more and more after them.
        """
        there = begin = int(self._begin[row])
        size = min(len(buf) - at, len(self._fixed) - begin)
        shift, limit = at - begin, begin + size
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

    def _mend_order(self, runs: list[tuple[int, int]]) -> None:
        """Put series into the order in which they came, unless that changes all the time.

        A step forwards skips what is missing and is no disorder; one step back is the beginning
        of a new round.
        """
        back = sum(run[0] < before[1] for before, run in pairwise(runs))
        if back < 2:
            self._mending.reset()
            return
        if self._mending.waits():
            return
        self._mending.lose()
        rows = np.concatenate([np.arange(row, last) for row, last in runs])
        rows = rows[np.sort(np.unique(rows, return_index=True)[1])]
        n = len(self._refs)
        place = np.full(n, -1)
        place[rows] = np.arange(len(rows))
        # Series that did not come stay behind the series that they stood behind.
        there = place >= 0
        anchor = np.maximum.accumulate(np.where(there, np.arange(n), -1))
        key = np.where(anchor >= 0, place[anchor], -1)
        self._reorder(np.lexsort((np.arange(n), key)))

    def _reorder(self, order: NDArray[np.integer]) -> None:
        begin = self._begin.tolist()
        spans = [(begin[row], begin[row + 1]) for row in order.tolist()]
        self._fixed = b"".join([self._fixed[first:last] for first, last in spans])
        self._mask = np.concatenate([self._mask[first:last] for first, last in spans])
        lengths, tails = np.diff(self._begin), self._tail - self._begin[:-1]
        self._begin = np.concatenate([[0], np.cumsum(lengths[order])])
        self._tail = self._begin[:-1] + tails[order]
        self._full, self._refs = self._full[order], self._refs[order]
        new = np.empty(len(order), np.int64)
        new[order] = np.arange(len(order))
        moved = new.tolist()
        self._place = {key: moved[row] for key, row in self._place.items()}
        self._changed = {moved[row]: change for row, change in self._changed.items()}

    def _renew(self) -> None:
        """Take over the new form of the series that changed theirs."""
        fixed: list[bytes] = []
        mask: list[Bytes] = []
        done = 0
        lengths, tails = np.diff(self._begin), self._tail - self._begin[:-1]
        self._full = self._full.copy()
        for row in sorted(self._changed):
            new = self._changed[row]
            begin, end = self._begin[row : row + 2].tolist()
            own = self._fixed_bits(len(new.content), np.array([new.tail]), np.array([new.full]))
            fixed += self._fixed[done:begin], (np.frombuffer(new.content, np.uint8) & own).tobytes()
            mask += self._mask[done:begin], own
            lengths[row], tails[row], self._full[row] = len(new.content), new.tail, new.full
            done = end
        self._fixed = b"".join([*fixed, self._fixed[done:]])
        self._mask = np.concatenate([*mask, self._mask[done:]])
        self._make_room()
        self._begin = np.concatenate([self._begin[:1], np.cumsum(lengths)])
        self._tail = self._begin[:-1] + tails
        self._changed, self._odd = {}, 0

    def _make_room(self) -> None:
        if len(self._scratch) < len(self._mask):
            self._scratch = np.zeros(len(self._mask) + _FIRST_STEP, np.uint8)

    def learn(self, data: bytes, buf: Bytes, frames: Frames, refs: I32) -> None:
        """Take in a request that did not match; ``refs`` int32[n] may hold −1: nothing is learned.

        Learning costs; a sender without a constant order is left alone for longer and longer.
        """
        if self._learning.waits() or (refs < 0).any():
            return
        keys = [
            data[a:b] for a, b in zip(frames.labels.tolist(), frames.sample.tolist(), strict=True)
        ]
        places = np.array([self._place.get(key, -1) for key in keys])
        known = places[places >= 0]
        new = {keys[k]: k for k in np.flatnonzero(places < 0).tolist()}
        if not new or int((np.diff(known) != 1).sum()) > len(keys) // _FEWEST:
            self._learning.lose()
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
        tail = ends - (end - frames.tail[rows])
        mask = self._fixed_bits(len(content), tail, full)
        base, old = len(self._refs), self._begin[-1]
        self._place.update(zip(new, range(base, base + len(new)), strict=True))
        self._fixed += (content & mask).tobytes()
        self._mask = np.concatenate([self._mask, mask])
        self._make_room()
        self._begin = np.concatenate([self._begin, ends + old])
        self._tail = np.concatenate([self._tail, tail + old])
        self._full = np.concatenate([self._full, full])
        self._refs = np.concatenate([self._refs, refs[rows]])


class SenderCache:
    """Refs of one sender's series by the bytes of their labels, and the order of them."""

    def __init__(self) -> None:
        self.refs: dict[bytes, int] = {}
        self.ring = Ring()
        # Of version 2: texts, and series as numbers of texts.
        self.symbols = Symbols()
        self.numbers = Ring(numbers_at, all_bits)
        self._key_bytes = 0
        self._rounds = 0

    def metadata_due(self) -> bool:
        """Return whether this request of known series is one whose metadata is read again."""
        self._rounds += 1
        return self._rounds % _METADATA_ROUNDS == 0

    @property
    def size(self) -> int:
        """Bytes held, roughly."""
        return self._key_bytes + self.ring.size + self.numbers.size + self.symbols.size

    def clear(self) -> None:
        """Forget everything."""
        self.refs.clear()
        self.ring.clear()
        self.symbols.clear()
        self.numbers.clear()
        self._key_bytes = 0

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
        # Sizes as they were when a cache was last asked for; only that one can have grown since.
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._latest = ""

    def __len__(self) -> int:
        return len(self._caches)

    def of(self, sender: str) -> SenderCache:
        """Return the cache of ``sender``, a new one if need be."""
        self._measure()
        self._latest = sender
        cache = self._caches.get(sender)
        if cache is None:
            cache = self._caches[sender] = SenderCache()
        self._caches.move_to_end(sender)
        return cache

    def bound(self) -> None:
        """Drop caches until the bounds hold; one that is too large by itself is dropped too."""
        self._measure()
        while self._caches and (
            self._total > self._max_bytes or len(self._caches) > self._max_senders
        ):
            sender, _ = self._caches.popitem(last=False)
            self._total -= self._sizes.pop(sender, 0)

    def _measure(self) -> None:
        """Take the size of the latest cache into the total."""
        cache = self._caches.get(self._latest)
        if cache is not None:
            size = cache.size
            self._total += size - self._sizes.get(self._latest, 0)
            self._sizes[self._latest] = size
