"""A cache with a time to live, and a bound."""

from __future__ import annotations

from typing import Generic, TypeVar

import vedette_sdk

from vedette.kit.clock import Clock

V = TypeVar("V")


class TtlCache(Generic[V]):
    """Keeps up to ``size`` values for ``ttl`` seconds; counts its look-ups under its name."""

    def __init__(self, name: str, ttl: float, size: int, clock: Clock) -> None:
        self._counter = vedette_sdk.track_cache(name)
        self._ttl = ttl
        self._size = size
        self._clock = clock
        self._kept: dict[str, tuple[float, V]] = {}

    def get(self, key: str) -> V | None:
        """Return what is kept under ``key`` and is not too old."""
        until, value = self._kept.get(key, (0.0, None))
        if value is None or until < self._clock.monotonic():
            self._counter.miss()
            return None
        self._counter.hit()
        return value

    def put(self, key: str, value: V) -> None:
        """Keep ``value``; when it is full, the one that was put first makes room."""
        self._kept.pop(key, None)
        while len(self._kept) >= self._size:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._clock.monotonic() + self._ttl, value)
