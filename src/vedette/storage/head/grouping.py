"""Pushed series grouped into blocks, kept for the next query of the same series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32
from vedette.model.blocks import AnyBlock
from vedette.storage.byte_lru import ByteLru, block_bytes
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


class GroupingCache:
    """Least recently used blocks, valid until a sample of their metric comes in."""

    def __init__(self, budget: int) -> None:
        self._entries = ByteLru[tuple[bytes, int], _Entry](budget)
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
        self._entries.clear()

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
        entry = self._entries.get(key, lambda e: e.version == version and e.since <= start)
        if entry is None:
            since = start - start % max(_ALIGN_MS, (end - start) // 4)
            blocks = _grouped(pool, refs, since)
            entry = _Entry(version, since, blocks)
            self._entries.put(key, entry, sum(map(block_bytes, blocks)))
        found = (crop(block, start, end) for block in entry.blocks)
        return [block for block in found if block is not None]


def _grouped(pool: RaggedPool, refs: I32, since: int) -> tuple[AnyBlock, ...]:
    blocks: list[AnyBlock] = []
    # In slices, so that the pool's writer never waits long and little memory is taken twice.
    for first in range(0, len(refs), _SLICE):
        part = refs[first : first + _SLICE]
        numbers = np.arange(first, first + len(part), dtype=np.int32)
        blocks += [renumber(block, numbers) for block in regroup(pool.gather(part, since))]
    return tuple(blocks)
