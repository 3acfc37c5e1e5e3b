"""What a parser remembers of the series of one target.

Each series that a line can name is an *entry*: a place in flat arrays, so that whatever hangs on a
series is found for a whole scrape by one gather.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32

UNSTORED = -1
"""Ref of an entry whose values are used but not stored as a series of their own."""

NO_GROUP = -1


class Role(IntEnum):
    """What the value of an entry means for the histogram, summary or counter that it is part of."""

    PLAIN = 0
    CREATED = 1
    BUCKET = 2
    SUM = 3
    COUNT = 4


class SeriesCache:
    """Entries by the text that names them.

    A *group* is what shares one start timestamp: all series of one counter, histogram or summary
    with the same labels, ``le`` and ``quantile`` aside.
    """

    def __init__(self) -> None:
        self.entries: dict[bytes, int] = {}
        self.groups: dict[bytes, int] = {}
        self._refs = np.zeros(256, np.int32)
        self._group = np.zeros(256, np.int32)
        self._role = np.zeros(256, np.int8)
        self._bound = np.zeros(256)
        self._group_ref = np.full(64, UNSTORED, np.int32)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def refs(self) -> I32:
        """int32[len], the ref of each entry, or ``UNSTORED``."""
        return self._refs

    @property
    def group(self) -> I32:
        """int32[len], the group of each entry, or ``NO_GROUP``."""
        return self._group

    @property
    def role(self) -> NDArray[np.int8]:
        """int8[len], the ``Role`` of each entry."""
        return self._role

    @property
    def bound(self) -> F64:
        """float64[len], the upper bound of a bucket."""
        return self._bound

    @property
    def group_ref(self) -> I32:
        """int32[groups], the ref of the native histogram that a group becomes, or ``UNSTORED``."""
        return self._group_ref

    def add(
        self,
        key: bytes,
        ref: int,
        group: int = NO_GROUP,
        role: Role = Role.PLAIN,
        bound: float = 0.0,
    ) -> int:
        """Remember an entry; return its number."""
        entry = self.entries.setdefault(key, self._size)
        self._size = max(self._size, entry + 1)
        if entry >= len(self._refs):
            self._grow()
        self._refs[entry] = ref
        self._group[entry] = group
        self._role[entry] = role
        self._bound[entry] = bound
        return entry

    def group_of(self, key: bytes) -> int:
        """Return the number of the group that ``key`` names."""
        number = self.groups.setdefault(key, len(self.groups))
        if number >= len(self._group_ref):
            fresh = np.full_like(self._group_ref, UNSTORED)
            self._group_ref = np.concatenate([self._group_ref, fresh])
        return number

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self.groups.clear()
        self._group_ref[:] = UNSTORED
        self._size = 0

    def keep(self, alive: NDArray[np.integer]) -> I32:
        """Keep only the entries ``alive``; return the new number of each old one, −1 for gone."""
        alive = np.unique(alive)
        renumbered = np.full(self._size, -1, np.int32)
        renumbered[alive] = np.arange(len(alive), dtype=np.int32)
        self.entries = _renumbered(self.entries, renumbered)
        groups = self._group[alive]
        kept = np.unique(groups[groups >= 0])
        regrouped = np.full(len(self.groups) + 1, NO_GROUP, np.int32)
        regrouped[kept] = np.arange(len(kept), dtype=np.int32)
        self.groups = _renumbered(self.groups, regrouped)
        refs = self._group_ref[kept]
        self._group_ref[:] = UNSTORED
        self._group_ref[: len(kept)] = refs
        for array in (self._refs, self._role, self._bound):
            array[: len(alive)] = array[alive]
        self._group[: len(alive)] = regrouped[groups]
        self._size = len(alive)
        return renumbered

    def _grow(self) -> None:
        self._refs = np.concatenate([self._refs, np.zeros_like(self._refs)])
        self._group = np.concatenate([self._group, np.zeros_like(self._group)])
        self._role = np.concatenate([self._role, np.zeros_like(self._role)])
        self._bound = np.concatenate([self._bound, np.zeros_like(self._bound)])


def _renumbered(numbers: Mapping[bytes, int], new: I32) -> dict[bytes, int]:
    places = new.tolist()
    return {key: places[number] for key, number in numbers.items() if places[number] >= 0}
