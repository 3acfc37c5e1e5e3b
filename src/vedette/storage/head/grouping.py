"""Pushed series grouped into blocks, kept for the next query of the same series."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32
from vedette.model.blocks import AnyBlock
from vedette.storage.head.ragged import RaggedPool
from vedette.storage.regroup import crop, regroup, renumber
from vedette.storage.series_index import MemorySeriesIndex

_ALIGN_MS = 60_000
_SLICE = 1024


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    since: int
    blocks: tuple[AnyBlock, ...]
    nbytes: int


class GroupingCache:
    """Least recently used blocks, valid until a sample of their metric comes in."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._entries: OrderedDict[tuple[bytes, int], _Entry] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()
        self._clock = 0
        self._versions = np.zeros(256, np.int64)

    def touch(self, metrics: I32) -> None:
        """Invalidate what is kept of ``metrics``; called after their samples were stored."""
        self._clock += 1
        highest = int(metrics.max())
        if highest >= len(self._versions):
            more = np.zeros(highest + 1, np.int64)
            self._versions = np.concatenate([self._versions, more])
        self._versions[metrics] = self._clock

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0

    def blocks(
        self, pool: RaggedPool, index: MemorySeriesIndex, refs: I32, start: int, end: int
    ) -> list[AnyBlock]:
        """Return blocks of ``refs``, all of one metric, in ``start <= ts <= end`` (ms).

        Columns of the blocks count from 0 in the order of ``refs``.
        """
        metric = int(index.metric_numbers(refs[:1])[0])
        # Spans of like length share an entry: its beginning is early enough for a while.
        key = refs.tobytes(), (end - start).bit_length()
        # The version is read before the samples: one that comes in between costs a repetition.
        version = int(self._versions[metric]) if metric < len(self._versions) else 0
        entry = self._get(key, version, start)
        if entry is None:
            since = start - start % max(_ALIGN_MS, (end - start) // 4)
            blocks = _grouped(pool, refs, since)
            entry = _Entry(version, since, blocks, sum(map(_nbytes, blocks)))
            self._put(key, entry)
        found = (crop(block, start, end) for block in entry.blocks)
        return [block for block in found if block is not None]

    def _get(self, key: tuple[bytes, int], version: int, start: int) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.version != version or entry.since > start:
                return None
            self._entries.move_to_end(key)
            return entry

    def _put(self, key: tuple[bytes, int], entry: _Entry) -> None:
        with self._lock:
            old = self._entries.pop(key, None)
            self._nbytes -= old.nbytes if old else 0
            if entry.nbytes > self._budget:
                return
            self._entries[key] = entry
            self._nbytes += entry.nbytes
            while self._nbytes > self._budget:
                _, oldest = self._entries.popitem(last=False)
                self._nbytes -= oldest.nbytes


def _grouped(pool: RaggedPool, refs: I32, since: int) -> tuple[AnyBlock, ...]:
    blocks: list[AnyBlock] = []
    # In slices, so that the pool's writer never waits long and little memory is taken twice.
    for first in range(0, len(refs), _SLICE):
        part = refs[first : first + _SLICE]
        numbers = np.arange(first, first + len(part), dtype=np.int32)
        blocks += [renumber(block, numbers) for block in regroup(pool.gather(part, since))]
    return tuple(blocks)


def _nbytes(block: AnyBlock) -> int:
    start = block.start.nbytes if block.start is not None else 0
    return block.ts.nbytes + block.values.nbytes + start + block.columns.nbytes
