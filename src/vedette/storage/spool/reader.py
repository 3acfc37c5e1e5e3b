"""Taking a payload apart."""

from __future__ import annotations

import numpy as np


class Reader:
    """Takes arrays and texts off a payload, one after another."""

    def __init__(self, payload: memoryview, at: int) -> None:
        self._payload = payload
        self._at = at

    def array(self, dtype: str, count: int) -> np.ndarray[tuple[int], np.dtype[np.generic]]:
        """Return ``count`` numbers; they share the memory of the payload."""
        found = np.frombuffer(self._payload, dtype, count, self._at)
        self._at += found.nbytes
        return found

    def bytes(self, length: int) -> bytes:
        """Return ``length`` bytes."""
        found = self._payload[self._at : self._at + length]
        self._at += length
        return bytes(found)
