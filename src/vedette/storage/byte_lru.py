"""A cache that is bounded by the memory of what it keeps."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from vedette.model.blocks import AnyBlock

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLru(Generic[K, V]):
    """Least recently used values, of at most ``budget`` bytes together; safe for any thread."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._nbytes = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept."""
        return self._nbytes

    def get(self, key: K, valid: Callable[[V], bool]) -> V | None:
        """Return what is kept for ``key`` if it is ``valid`` still."""
        with self._lock:
            found = self._entries.get(key)
            if found is None or not valid(found[0]):
                return None
            self._entries.move_to_end(key)
            return found[0]

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep ``value`` unless it is larger than the budget, in place of an older one."""
        with self._lock:
            old = self._entries.pop(key, None)
            self._nbytes -= old[1] if old else 0
            if nbytes > self._budget:
                return
            self._entries[key] = value, nbytes
            self._nbytes += nbytes
            while self._nbytes > self._budget:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._nbytes -= dropped

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0


def block_bytes(block: AnyBlock) -> int:
    """Return the memory of the arrays of ``block``."""
    size = block.ts.nbytes + block.values.nbytes + block.columns.nbytes
    size += block.start.nbytes if block.start is not None else 0
    return size + (block.histograms.nbytes if block.histograms is not None else 0)
