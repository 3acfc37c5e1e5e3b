"""Which samples are new: duplicates, conflicts, and samples out of order or out of time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask, offsets_of
from vedette.model.histograms import Histograms
from vedette.model.samples import SampleBatch
from vedette.storage.histogram_rows import equal_samples, picked, side_by_side
from vedette.storage.regroup import Runs


class Refusal(StrEnum):
    """Why a sample was not taken; the values are labels of a metric."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    TOO_OLD = "too_old"
    OUT_OF_ORDER = "out_of_order"
    FUTURE = "too_far_in_future"
    SERIES_LIMIT = "series_limit"
    METRIC_LIMIT = "metric_series_limit"
    TARGET_LIMIT = "target_series_limit"
    APP_LIMIT = "app_series_limit"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Samples sorted by (ref, ts), each pair once: int32[n], int64[n], float64[n], int64[n].

    ``histograms`` has ``index`` int32[n].
    """

    refs: I32
    ts: I64
    values: F64
    start: I64 | None
    histograms: Histograms | None = None

    def take(self, keep: Mask | I64) -> Sorted:
        """Return the samples that ``keep`` names."""
        start = self.start[keep] if self.start is not None else None
        histograms = picked(self.histograms, keep)
        return Sorted(self.refs[keep], self.ts[keep], self.values[keep], start, histograms)


def both_samples(first: Sorted, second: Sorted) -> Sorted:
    """Return the samples of ``first`` and then those of ``second``."""
    start = None
    if first.start is not None or second.start is not None:
        known = [
            s.start if s.start is not None else np.zeros(len(s.ts), np.int64)
            for s in (first, second)
        ]
        start = np.concatenate(known)
    return Sorted(
        np.concatenate([first.refs, second.refs]),
        np.concatenate([first.ts, second.ts]),
        np.concatenate([first.values, second.values]),
        start,
        side_by_side([(s.histograms, len(s.ts)) for s in (first, second)]),
    )


def narrowed(batch: SampleBatch, keep: Mask) -> SampleBatch:
    """Return ``batch`` with the samples of bool[n] ``keep`` only, and all exemplars."""
    if keep.all():
        return batch
    start = batch.start[keep] if batch.start is not None else None
    return replace(
        batch,
        refs=batch.refs[keep],
        ts=batch.ts[keep],
        values=batch.values[keep],
        start=start,
        histograms=picked(batch.histograms, keep),
    )


def sort_samples(batch: SampleBatch) -> tuple[Sorted, dict[Refusal, int]]:
    """Sort by series and time; of equal (series, timestamp) the first sample stays."""
    order = np.lexsort((batch.ts, batch.refs))
    start = batch.start[order] if batch.start is not None else None
    histograms = picked(batch.histograms, order)
    found = Sorted(batch.refs[order], batch.ts[order], batch.values[order], start, histograms)
    again = np.zeros(len(order), bool)
    again[1:] = (found.refs[1:] == found.refs[:-1]) & (found.ts[1:] == found.ts[:-1])
    if not again.any():
        return found, {}
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    equal = equal_samples(found.values, histograms, found.values[first], picked(histograms, first))
    refused = {
        Refusal.DUPLICATE: int((again & equal).sum()),
        Refusal.CONFLICT: int((again & ~equal).sum()),
    }
    return found.take(~again), refused


def late_samples(late: Sorted, row: I64, held: Runs) -> tuple[Mask, dict[Refusal, int]]:
    """Judge samples that are not newer than all of their series.

    Args:
        late: the samples.
        row: int64[n], the row of ``held`` that each sample's series has.
        held: the recent samples of these series.

    Returns:
        bool[n], which fill a gap between samples, and the number of the others by reason.
    """
    owner = np.repeat(held.series.astype(np.int64), np.diff(held.offsets))
    every = np.concatenate([owner, row])
    times = np.concatenate([held.ts, late.ts])
    # Where the late sample would go, a held one with the same key stands directly before it.
    order = np.lexsort((np.arange(len(every)), times, every))
    before = np.full(len(every), -1, np.int64)
    before[order[1:]] = order[:-1]
    mine = before[len(owner) :]
    same = (mine >= 0) & (mine < len(owner))
    at = np.where(same, mine, 0)
    if len(owner):
        same &= (owner[at] == row) & (held.ts[at] == late.ts)
        equal = same & equal_samples(
            held.values[at], picked(held.histograms, at), late.values, late.histograms
        )
    else:
        same = np.zeros(len(row), bool)
        equal = same
    refused = {
        Refusal.DUPLICATE: int(equal.sum()),
        Refusal.CONFLICT: int((same & ~equal).sum()),
    }
    return ~same, refused


def as_runs(samples: Sorted, row: I64, rows: int) -> Runs:
    """Return ``samples`` as runs of ``rows`` series, ``row`` int64[n] ascending."""
    lengths = np.bincount(row, minlength=rows)
    return Runs(
        np.arange(rows, dtype=np.int32),
        offsets_of(lengths),
        samples.ts,
        samples.values,
        samples.start,
        samples.histograms,
    )
