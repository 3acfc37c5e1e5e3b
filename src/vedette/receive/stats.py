"""Counts of what came in and what did not, for Vedette's own metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntakeSnapshot:
    """Totals since the start: accepted by way, rejected and dropped by way and reason."""

    accepted: Mapping[str, int]
    rejected: Mapping[tuple[str, str], int]
    dropped: Mapping[tuple[str, str], int]


class IntakeStats:
    """Counters of every way in (``remote_write``, ``events``, ``scrape``).

    ``rejected`` is what a sender was told of; ``dropped`` is what Vedette leaves out without an
    error, such as exemplars.
    """

    def __init__(self) -> None:
        self._accepted: Counter[str] = Counter()
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()

    def accepted(self, way: str, count: int) -> None:
        """Count samples or events that were stored."""
        self._accepted[way] += count

    def rejected(self, way: str, reason: str, count: int = 1) -> None:
        """Count what was refused."""
        self._rejected[way, reason] += count

    def dropped(self, way: str, reason: str, count: int = 1) -> None:
        """Count what was left out without an error."""
        self._dropped[way, reason] += count

    def snapshot(self) -> IntakeSnapshot:
        """Return all totals; what a metrics endpoint shows."""
        return IntakeSnapshot(dict(self._accepted), dict(self._rejected), dict(self._dropped))
