"""The newest exemplars, in memory."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from enum import StrEnum

from vedette.model.samples import Exemplar

_LONGEST_LABELS = 128  # OpenMetrics: runes of all names and values together
_PER_SERIES = 1_000
_LATE_MS = 300_000
_FUTURE_MS = 600_000
_ENDLESS = 2**62


class ExemplarRefusal(StrEnum):
    """Why an exemplar was not taken; the values are labels of a metric."""

    DUPLICATE = "duplicate"
    TOO_OLD = "too_old"
    FUTURE = "too_far_in_future"
    LONG_LABELS = "labels_too_long"
    SERIES_LIMIT = "series_limit"


class RecentExemplars:
    """Judges exemplars, and holds at most ``limit`` of them, a thousand of each series.

    One thread takes; any thread finds.
    """

    def __init__(self, limit: int) -> None:
        self.refused: Counter[ExemplarRefusal] = Counter()
        self._limit = limit
        self._lock = threading.Lock()
        self._held: dict[int, dict[Exemplar, None]] = {}
        self._order: deque[Exemplar] = deque()
        self._count = 0
        self._newest: dict[int, int] = {}

    def __len__(self) -> int:
        return self._count

    def take(self, exemplars: Sequence[Exemplar], now: int) -> tuple[Exemplar, ...]:
        """Take what is new of ``exemplars`` and return it; the rest is counted in ``refused``.

        ``now`` is wall time in ms. Exemplars of one series may come in any order, as long as they
        are not more than five minutes behind its newest.
        """
        taken = []
        for each in exemplars:
            reason = self._judge(each, now)
            if reason is None:
                self._hold(each)
                taken.append(each)
            else:
                self.refused[reason] += 1
        return tuple(taken)

    def replay(self, exemplar: Exemplar) -> None:
        """Take an exemplar that an earlier run acknowledged."""
        if self._judge(exemplar, _ENDLESS) is None:
            self._hold(exemplar)

    def _judge(self, exemplar: Exemplar, now: int) -> ExemplarRefusal | None:
        if exemplar.series < 0:
            return ExemplarRefusal.SERIES_LIMIT
        if sum(len(name) + len(value) for name, value in exemplar.labels) > _LONGEST_LABELS:
            return ExemplarRefusal.LONG_LABELS
        if exemplar.ts > now + _FUTURE_MS:
            return ExemplarRefusal.FUTURE
        if exemplar in self._held.get(exemplar.series, ()):
            return ExemplarRefusal.DUPLICATE
        if exemplar.ts < self._newest.get(exemplar.series, -_ENDLESS) - _LATE_MS:
            return ExemplarRefusal.TOO_OLD
        return None

    def _hold(self, exemplar: Exemplar) -> None:
        with self._lock:
            of_series = self._held.setdefault(exemplar.series, {})
            if len(of_series) >= _PER_SERIES:
                del of_series[next(iter(of_series))]
                self._count -= 1
            of_series[exemplar] = None
            self._order.append(exemplar)
            self._count += 1
            self._newest[exemplar.series] = max(
                exemplar.ts, self._newest.get(exemplar.series, -_ENDLESS)
            )
            while self._count > self._limit or len(self._order) > 2 * self._limit:
                self._drop(self._order.popleft())

    def _drop(self, exemplar: Exemplar) -> None:
        of_series = self._held.get(exemplar.series, {})
        if exemplar not in of_series:  # it made room within its series before
            return
        del of_series[exemplar]
        self._count -= 1
        if not of_series:
            del self._held[exemplar.series]
            del self._newest[exemplar.series]

    def find(self, refs: Sequence[int], start: int, end: int) -> list[Exemplar]:
        """Return the exemplars of ``refs`` with ``start <= ts <= end`` (ms)."""
        with self._lock:
            return [
                each for ref in refs for each in self._held.get(ref, ()) if start <= each.ts <= end
            ]

    def delete(self, refs: Sequence[int], start: int, end: int) -> None:
        """Forget the exemplars of ``refs`` with ``start <= ts <= end`` (ms)."""
        for each in self.find(refs, start, end):
            with self._lock:
                self._drop(each)
