"""Which samples are new: duplicates, conflicts, and samples out of order or out of time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.samples import SampleBatch, bits
from vedette.storage.regroup import Runs, offsets_of


class Refusal(StrEnum):
    """Why a sample was not taken; the values are labels of a metric."""

    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    TOO_OLD = "too_old"
    OUT_OF_ORDER = "out_of_order"
    FUTURE = "too_far_in_future"
    SERIES_LIMIT = "series_limit"


@dataclass(frozen=True, slots=True)
class Sorted:
    """Samples sorted by (ref, ts), each pair once: int32[n], int64[n], float64[n], int64[n]."""

    refs: I32
    ts: I64
    values: F64
    start: I64 | None

    def take(self, keep: Mask | I64) -> Sorted:
        """Return the samples that ``keep`` names."""
        start = self.start[keep] if self.start is not None else None
        return Sorted(self.refs[keep], self.ts[keep], self.values[keep], start)


def narrowed(batch: SampleBatch, keep: Mask) -> SampleBatch:
    """Return ``batch`` with the samples of bool[n] ``keep`` only."""
    if keep.all():
        return batch
    start = batch.start[keep] if batch.start is not None else None
    return SampleBatch(
        batch.app, batch.refs[keep], batch.ts[keep], batch.values[keep], batch.target, start
    )


def sort_samples(batch: SampleBatch) -> tuple[Sorted, dict[Refusal, int]]:
    """Sort by series and time; of equal (series, timestamp) the first sample stays."""
    order = np.lexsort((batch.ts, batch.refs))
    start = batch.start[order] if batch.start is not None else None
    found = Sorted(batch.refs[order], batch.ts[order], batch.values[order], start)
    again = np.zeros(len(order), bool)
    again[1:] = (found.refs[1:] == found.refs[:-1]) & (found.ts[1:] == found.ts[:-1])
    if not again.any():
        return found, {}
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    equal = bits(found.values) == bits(found.values)[first]
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
        equal = same & (bits(held.values)[at] == bits(late.values))
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
    )
