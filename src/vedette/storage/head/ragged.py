"""Samples of series that come with timestamps of their own: pages of samples, chained per series.

Appending a batch is a handful of array operations, however many series it touches. One writer;
readers copy out under the pool's lock.
"""

from __future__ import annotations

import threading
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask, offsets_of
from vedette.model.histograms import Histograms
from vedette.storage.histogram_rows import HistogramArena, collected, named_rows, picked, through
from vedette.storage.regroup import Runs

PAGE = 32
_NONE = -1
_STRIDE = 1024

_Number = TypeVar("_Number", np.int32, np.int64, np.float64)


class RaggedPool:
    """Pages of 32 samples, each linked to the earlier page of its series.

    ``reserve`` bytes of address space are set aside; memory is taken as pages are first written,
    and what is needed beyond the reserve comes by growth and copying.
    """

    def __init__(self, reserve: int = 96 << 20) -> None:
        self._lock = threading.RLock()
        self._capacity = max(16, reserve // (PAGE * 16))
        self._ts = np.empty((self._capacity, PAGE), np.int64)
        self._values = np.empty((self._capacity, PAGE))
        self._start: I64 | None = None
        self._rows: I32 | None = None
        self._arena: HistogramArena | None = None
        self._dead = 0
        self._fill = np.zeros(self._capacity, np.int64)
        self._previous = np.full(self._capacity, _NONE, np.int32)
        self._sequence = np.zeros(self._capacity, np.int64)
        self._last = np.full(1024, _NONE, np.int32)
        self._free: list[int] = []
        self._used = 0

    @property
    def nbytes(self) -> int:
        """Memory of the pages in use."""
        width = 16 if self._start is None else 24
        width += 4 if self._rows is not None else 0
        arena = self._arena.nbytes if self._arena is not None else 0
        return (self._used - len(self._free)) * PAGE * width + arena

    def reserve_refs(self, count: int) -> None:
        """Make room for refs below ``count``."""
        if count > len(self._last):
            more = np.full(max(count, 2 * len(self._last)) - len(self._last), _NONE, np.int32)
            self._last = np.concatenate([self._last, more])

    def holds(self, refs: I32) -> Mask:
        """Return bool[n], whether the pool has samples of each ref."""
        last = self._last
        known = refs < len(last)
        held: Mask = known & (last[np.where(known, refs, 0)] != _NONE)
        return held

    def append(
        self,
        refs: I32,
        ts: I64,
        values: F64,
        start: I64 | None,
        sequence: int,
        histograms: Histograms | None = None,
    ) -> None:
        """Append samples, each newer than all of its series, of series in any order.

        Samples of one series stand together and ascend. ``refs`` int32[n], ``ts`` int64[n],
        ``values`` float64[n], ``start`` int64[n] or ``None``; ``sequence`` of the batch;
        ``histograms`` with ``index`` int32[n], or ``None``.
        """
        if not len(refs):
            return
        with self._lock:
            first = np.flatnonzero(np.concatenate([[True], refs[1:] != refs[:-1]]))
            if len(first) == len(refs):
                pages, slots = self._places_single(refs)
            else:
                pages, slots = self._places(refs, first)
            self._put(pages, slots, ts, values, start, histograms)
            self._sequence[pages] = sequence

    def append_single(
        self,
        refs: I32,
        ts: I64,
        values: F64,
        start: I64 | None,
        sequence: int,
        histograms: Histograms | None = None,
    ) -> None:
        """Append one sample to each of ``refs``, which are all different, as :meth:`append`."""
        with self._lock:
            pages, slots = self._places_single(refs)
            self._put(pages, slots, ts, values, start, histograms)
            self._sequence[pages] = sequence

    def _put(
        self,
        pages: NDArray[np.integer],
        slots: I64,
        ts: I64,
        values: F64,
        start: I64 | None,
        histograms: Histograms | None,
    ) -> None:
        # One index is faster than two.
        at = pages * np.int64(PAGE) + slots
        self._ts.reshape(-1)[at] = ts
        self._values.reshape(-1)[at] = values
        if start is not None and self._start is None:
            self._start = np.zeros(self._ts.shape, np.int64)
        if self._start is not None:
            self._start.reshape(-1)[at] = 0 if start is None else start
        if histograms is not None and self._rows is None:
            self._rows = np.full(self._ts.shape, -1, np.int32)
        if self._rows is not None:
            self._rows.reshape(-1)[at] = -1 if histograms is None else self._kept(histograms)
        # Of samples in one page the last assignment wins: it is the highest slot.
        self._fill[pages] = slots + 1

    def _kept(self, histograms: Histograms) -> I32:
        """Take histograms into the arena and return the rows that they have there."""
        if self._arena is not None:
            return self._arena.append(histograms)
        new = named_rows(histograms)
        self._arena = HistogramArena(new)
        return new.index

    def _collect(self) -> None:
        """Give up histograms that no sample names, once they are a quarter."""
        if self._rows is None or self._arena is None or 4 * self._dead < self._arena.rows:
            return
        used = self._rows[: self._used]
        valid = np.arange(PAGE) < self._fill[: self._used, None]
        self._arena = collected(self._arena, used, valid)
        self._dead = 0
        if not self._arena.rows:
            self._rows = self._arena = None

    def _places_single(self, refs: I32) -> tuple[NDArray[np.integer], I64]:
        """Return page and slot of one new sample for each ref."""
        pages = self._last[refs]
        # Without a page, what stands at −1 was read, which is somebody else's.
        slots = self._fill[pages]
        slots[pages == _NONE] = PAGE
        full = np.flatnonzero(slots == PAGE)
        if len(full):
            fresh = self._allocate(len(full))
            self._previous[fresh] = pages[full]
            self._last[refs[full]] = fresh
            pages[full] = fresh
            slots[full] = 0
        return pages, slots

    def _places(self, refs: I32, first: I64) -> tuple[NDArray[np.integer], I64]:
        """Return page and slot of each sample; ``first`` is where each series begins."""
        counts = np.diff(np.append(first, len(refs)))
        series = refs[first]
        last = self._last[series]
        fill = np.where(last == _NONE, PAGE, self._fill[last])
        added = -(-(fill + counts - PAGE) // PAGE)
        added[fill + counts <= PAGE] = 0
        fresh = self._allocate(int(added.sum()))
        ends = np.cumsum(added)
        begins = ends - added
        # A fresh page follows the fresh page before it, the first of a series its last page.
        self._previous[fresh[1:]] = fresh[:-1]
        grown = added > 0
        self._previous[fresh[begins[grown]]] = last[grown]
        self._last[series[grown]] = fresh[ends[grown] - 1]
        position = np.repeat(fill - first, counts) + np.arange(len(refs))
        step = position // PAGE
        owner = np.repeat(np.arange(len(series)), counts)
        pages = last[owner]
        later = np.flatnonzero(step)
        pages[later] = fresh[begins[owner[later]] + step[later] - 1]
        return pages, position % PAGE

    def _allocate(self, count: int) -> I32:
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        fresh = count - len(reused)
        if self._used + fresh > self._capacity:
            self._grow(self._used + fresh)
        pages = np.array([*reused, *range(self._used, self._used + fresh)], np.int32)
        self._used += fresh
        self._previous[pages] = _NONE
        self._fill[pages] = 0
        return pages

    def _grow(self, need: int) -> None:
        more = max(need, self._capacity + self._capacity // 4) - self._capacity
        self._ts = np.concatenate([self._ts, np.empty((more, PAGE), np.int64)])
        self._values = np.concatenate([self._values, np.empty((more, PAGE))])
        if self._start is not None:
            self._start = np.concatenate([self._start, np.zeros((more, PAGE), np.int64)])
        if self._rows is not None:
            self._rows = np.concatenate([self._rows, np.full((more, PAGE), -1, np.int32)])
        self._fill = np.concatenate([self._fill, np.zeros(more, np.int64)])
        self._previous = np.concatenate([self._previous, np.full(more, _NONE, np.int32)])
        self._sequence = np.concatenate([self._sequence, np.zeros(more, np.int64)])
        self._capacity += more

    def gather(self, refs: I32, start: int) -> Runs:
        """Return a copy of the samples of ``refs`` with ``ts >= start``, and some before it.

        ``series`` of the result counts from 0 in the order of ``refs``; series without samples
        have empty runs.
        """
        with self._lock:
            return self._gather(refs, start)

    def _gather(self, refs: I32, start: int) -> Runs:
        rows, pages = self._chain(refs, start)
        fill = self._fill[pages]
        lengths = np.bincount(rows, weights=fill, minlength=len(refs)).astype(np.int64)
        ts = self._used_slots(self._ts, pages, fill)
        values = self._used_slots(self._values, pages, fill)
        begin = self._used_slots(self._start, pages, fill) if self._start is not None else None
        numbers = np.arange(len(refs), dtype=np.int32)
        histograms = None
        if self._rows is not None and self._arena is not None:
            index = self._used_slots(self._rows, pages, fill)
            histograms = through(self._arena.seen_through(index), index)
        return Runs(numbers, offsets_of(lengths), ts, values, begin, histograms)

    @staticmethod
    def _used_slots(array: NDArray[_Number], pages: I32, fill: I64) -> NDArray[_Number]:
        """Return what ``pages`` hold of ``array``, one page after another."""
        ends = np.cumsum(fill)
        out = np.empty(int(ends[-1]) if len(ends) else 0, array.dtype)
        slot = np.arange(PAGE)
        # Little by little: fresh memory for all pages at once costs more than the copying.
        for first in range(0, len(pages), _STRIDE):
            part = slice(first, first + _STRIDE)
            found = array[pages[part]][slot < fill[part, None]]
            end = int(ends[min(first + _STRIDE, len(pages)) - 1])
            out[end - len(found) : end] = found
        return out

    def _chain(self, refs: I32, start: int) -> tuple[I64, I32]:
        """Return the pages that reach back to ``start``, oldest first per row, rows ascending."""
        rows = np.arange(len(refs))
        pages = self._last[refs]
        levels: list[tuple[I64, I32]] = []
        while True:
            there = pages != _NONE
            rows, pages = rows[there], pages[there]
            if not len(rows):
                break
            levels.append((rows, pages))
            on = self._ts[pages, 0] > start
            rows, pages = rows[on], self._previous[pages[on]]
        if not levels:
            return np.zeros(0, np.int64), np.zeros(0, np.int32)
        levels.reverse()
        all_rows = np.concatenate([r for r, _ in levels])
        order = np.argsort(all_rows, kind="stable")
        return all_rows[order], np.concatenate([p for _, p in levels])[order]

    def rewrite(self, refs: I32, since: int, merged: Runs, sequence: int) -> None:
        """Replace the pages of ``refs`` that reach back to ``since`` by the samples of ``merged``.

        ``merged`` holds, in the order of ``refs``, what :meth:`gather` returned for the same
        arguments with late samples put in.
        """
        with self._lock:
            rows, pages = self._chain(refs, since)
            oldest = np.searchsorted(rows, np.arange(len(refs)))
            has = oldest < len(rows)
            has[has] = rows[oldest[has]] == np.flatnonzero(has)
            self._last[refs] = _NONE
            self._last[refs[has]] = self._previous[pages[oldest[has]]]
            self._release(pages)
            series = refs[np.repeat(merged.series, np.diff(merged.offsets))]
            self.append(series, merged.ts, merged.values, merged.start, sequence, merged.histograms)
            self._collect()

    def delete(self, refs: I32, start: int, end: int, sequence: int) -> None:
        """Forget the samples of ``refs`` with ``start <= ts <= end``; ``sequence`` as above."""
        with self._lock:
            held = self.gather(refs, start)
            inside = (held.ts >= start) & (held.ts <= end)
            if not inside.any():
                return
            owner = np.repeat(held.series, np.diff(held.offsets))
            keep = ~inside
            lengths = np.bincount(owner[keep], minlength=len(refs))
            self.rewrite(
                refs,
                start,
                Runs(
                    held.series,
                    offsets_of(lengths),
                    held.ts[keep],
                    held.values[keep],
                    held.start[keep] if held.start is not None else None,
                    picked(held.histograms, keep),
                ),
                sequence,
            )

    def _release(self, pages: NDArray[np.integer]) -> None:
        if self._rows is not None:
            used = np.arange(PAGE) < self._fill[pages, None]
            self._dead += int((used & (self._rows[pages] >= 0)).sum())
        self._fill[pages] = 0
        self._free.extend(pages.tolist())

    def _newest(self) -> tuple[I64, I64]:
        """Return the pages that hold samples, and the newest timestamp of each."""
        fill = self._fill[: self._used]
        pages = np.flatnonzero(fill)
        return pages, self._ts[pages, fill[pages] - 1]

    def oldest(self) -> int | None:
        """Return the newest timestamp of the oldest page, ``None`` when the pool is empty."""
        _, newest = self._newest()
        return int(newest.min()) if len(newest) else None

    def _evictable_pages(self, before: int, sequence: int) -> tuple[I64, I64]:
        pages, newest = self._newest()
        gone = (newest < before) & (self._sequence[pages] <= sequence)
        return pages[gone], newest[gone]

    def evictable(self, before: int, sequence: int) -> int:
        """Return the newest timestamp that :meth:`evict` would drop, −1 when it is none."""
        _, newest = self._evictable_pages(before, sequence)
        return int(newest.max(initial=-1))

    def evict(self, before: int, sequence: int) -> None:
        """Drop pages whose samples are all older than ``before`` and flushed up to ``sequence``."""
        with self._lock:
            pages, _ = self._evictable_pages(before, sequence)
            if not len(pages):
                return
            gone = np.zeros(self._used, bool)
            gone[pages] = True
            previous = self._previous[: self._used]
            cut = previous != _NONE
            cut[cut] = gone[previous[cut]]
            previous[cut] = _NONE
            last = self._last
            ended = last != _NONE
            ended[ended] = gone[last[ended]]
            last[ended] = _NONE
            self._release(pages)
            self._collect()
