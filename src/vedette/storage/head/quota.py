"""How many series a metric, a target and an application may have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vedette.model.arrays import I32, I64, Mask
from vedette.storage.head.admission import Refusal
from vedette.storage.series_index import MemorySeriesIndex

_SILENT_MS = 3_600_000
_RECOUNT_MS = 300_000

_Key: TypeAlias = tuple[Refusal, str]


@dataclass(frozen=True, slots=True)
class SeriesQuota:
    """Most series of each metric, scrape target and application; 0 means no limit."""

    metric: int = 0
    target: int = 0
    app: int = 0


class Quotas:
    """Admits series; one that has been silent for an hour makes room, and counts as new again."""

    def __init__(self, index: MemorySeriesIndex, limits: SeriesQuota) -> None:
        self._index = index
        self._limits = limits
        self._admitted = np.zeros(1024, bool)
        self._counts: Counter[_Key] = Counter()
        self._senders_of: dict[tuple[str, str], int] = {}
        self._sender = np.zeros(1024, np.int32)
        self._recounted = -(2**62)

    def admit(
        self, refs: I32, app: str, target: str, newest: I64, latest: int
    ) -> tuple[Mask | None, Counter[Refusal]]:
        """Return bool[n], which of ``refs`` may store samples (``None``: all), and the refusals.

        A series counts towards the application and the target that it came from first.

        Args:
            refs: int32[n] of one batch.
            app: that the batch belongs to.
            target: of the batch, or empty.
            newest: int64, the newest timestamp (ms) of each series by ref; may be shorter.
            latest: the newest of all.
        """
        if len(self._index) > len(self._admitted):
            more = np.zeros(len(self._index), bool)
            self._admitted = np.concatenate([self._admitted, more])
            self._sender = np.concatenate([self._sender, more.astype(np.int32)])
        known = self._admitted[refs]
        refused: Counter[Refusal] = Counter()
        if known.all():
            return None, refused
        unknown, samples = np.unique(refs[~known], return_counts=True)
        metrics = self._index.metric_numbers(unknown)
        senders = self._senders(app, target)
        self._sender[unknown] = self._senders_of.setdefault((app, target), len(self._senders_of))
        if self._admit_all(metrics, senders):
            self._admitted[unknown] = True
            return None, refused
        self._recount(newest, latest)
        rows = zip(unknown.tolist(), metrics.tolist(), samples.tolist(), strict=True)
        for ref, metric, count in rows:
            reason = self._admit_one(metric, senders)
            if reason is None:
                self._admitted[ref] = True
            else:
                refused[reason] += count
        allowed: Mask = self._admitted[refs]
        return (None if allowed.all() else allowed), refused

    def _recount(self, newest: I64, latest: int) -> None:
        """Forget series that have gone silent; now and then, as it looks at all of them."""
        if latest - self._recounted < _RECOUNT_MS:
            return
        self._recounted = latest
        known = np.flatnonzero(self._admitted)
        known = known[known < len(newest)]
        silent = known[newest[known] < latest - _SILENT_MS]
        if not len(silent):
            return
        self._admitted[silent] = False
        live = np.flatnonzero(self._admitted).astype(np.int32)
        self._counts.clear()
        if self._limits.metric:
            numbers, series = np.unique(self._index.metric_numbers(live), return_counts=True)
            for number, count in zip(numbers.tolist(), series.tolist(), strict=True):
                self._counts[Refusal.METRIC_LIMIT, str(number)] = count
        sent = np.bincount(self._sender[live], minlength=len(self._senders_of)).tolist()
        for (app, target), count in zip(self._senders_of, sent, strict=True):
            self._counts.update({key: count for key, _ in self._senders(app, target)})

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
