"""How many series a metric, a target and an application may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vedette.model.arrays import I32, Mask
from vedette.storage.head.admission import Refusal
from vedette.storage.series_index import MemorySeriesIndex

_Key: TypeAlias = tuple[Refusal, str]


@dataclass(frozen=True, slots=True)
class SeriesQuota:
    """Most series of each metric, scrape target and application; 0 means no limit."""

    metric: int = 0
    target: int = 0
    app: int = 0


class Quotas:
    """Admits series; those that were admitted once stay so while the process lives."""

    def __init__(self, index: MemorySeriesIndex, limits: SeriesQuota) -> None:
        self._index = index
        self._limits = limits
        self._admitted = np.zeros(1024, bool)
        self._counts: Counter[_Key] = Counter()

    def admit(self, refs: I32, app: str, target: str) -> tuple[Mask | None, Counter[Refusal]]:
        """Return bool[n], which of ``refs`` may store samples (``None``: all), and the refusals.

        A series counts towards the application and the target that it came from first.
        """
        if len(self._index) > len(self._admitted):
            more = np.zeros(len(self._index), bool)
            self._admitted = np.concatenate([self._admitted, more])
        known = self._admitted[refs]
        refused: Counter[Refusal] = Counter()
        if known.all():
            return None, refused
        unknown, samples = np.unique(refs[~known], return_counts=True)
        metrics = self._index.metric_numbers(unknown)
        senders = self._senders(app, target)
        if self._admit_all(metrics, senders):
            self._admitted[unknown] = True
            return None, refused
        rows = zip(unknown.tolist(), metrics.tolist(), samples.tolist(), strict=True)
        for ref, metric, count in rows:
            reason = self._admit_one(metric, senders)
            if reason is None:
                self._admitted[ref] = True
            else:
                refused[reason] += count
        allowed: Mask = self._admitted[refs]
        return (None if allowed.all() else allowed), refused

    def _senders(self, app: str, target: str) -> list[tuple[_Key, int]]:
        limits = self._limits
        counted = [((Refusal.APP_LIMIT, app), limits.app)]
        if target:
            counted.append(((Refusal.TARGET_LIMIT, f"{app}/{target}"), limits.target))
        return [(key, most) for key, most in counted if most]

    def _admit_all(self, metrics: I32, senders: list[tuple[_Key, int]]) -> bool:
        """Admit a series of each of ``metrics``, one entry a series, if all have room."""
        if any(self._counts[key] + len(metrics) > most for key, most in senders):
            return False
        added: Counter[_Key] = Counter({key: len(metrics) for key, _ in senders})
        if self._limits.metric:
            numbers, series = np.unique(metrics, return_counts=True)
            for number, count in zip(numbers.tolist(), series.tolist(), strict=True):
                key = Refusal.METRIC_LIMIT, str(number)
                if self._counts[key] + count > self._limits.metric:
                    return False
                added[key] = count
        self._counts.update(added)
        return True

    def _admit_one(self, metric: int, senders: list[tuple[_Key, int]]) -> Refusal | None:
        counted = list(senders)
        if self._limits.metric:
            counted.append(((Refusal.METRIC_LIMIT, str(metric)), self._limits.metric))
        for key, most in counted:
            if self._counts[key] >= most:
                return key[0]
        self._counts.update(key for key, _ in counted)
        return None
