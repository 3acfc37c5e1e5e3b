"""Windows over series with histograms: which hold what, and where their counters began anew."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql import starts
from vedette.query.promql.native.compare import detect_resets
from vedette.query.promql.native.notes import Notes
from vedette.query.promql.windows import Windows


@dataclass(frozen=True, slots=True)
class Sampled:
    """Windows in the flat layout with their histograms.

    Attributes:
        windows: as the range function is given them.
        histograms: those of the windows (``index`` int32[N]).
        notes: where remarks go.
        columns: int64[S], the series in the table of ``notes``.
    """

    windows: Windows
    histograms: Histograms
    notes: Notes
    columns: I64

    @property
    def native(self) -> Mask:
        """bool[N]: which samples are histograms."""
        return np.asarray(self.histograms.index >= 0)

    @property
    def rows(self) -> I64:
        """int64[N]: the histogram of each sample, −1 where it is a float."""
        return self.histograms.index.astype(np.int64)

    def native_count(self) -> I64:
        """Return int64[K, S]: histograms in each window."""
        seen = np.concatenate([[0], np.cumsum(self.native)])
        return np.asarray(seen[self.windows.hi] - seen[self.windows.lo])

    def series(self, cells: Mask) -> I64:
        """Return the series, in the table of the notes, that have any of ``cells`` (bool[K, S])."""
        return self.columns[np.flatnonzero(cells.any(axis=0))]

    def floats(self) -> Windows | None:
        """Return the windows over floats alone, ``None`` where there are none at all."""
        kept = ~self.native
        if not kept.any():
            return None
        passed = np.concatenate([[0], np.cumsum(kept)])
        windows = self.windows
        return replace(
            windows,
            ts=windows.ts[kept],
            values=windows.values[kept],
            lo=passed[windows.lo],
            hi=passed[windows.hi],
            histograms=None,
            start=None if windows.start is None else windows.start[kept],
        )

    def pairs(self) -> I64:
        """Return the samples int64[P] that are histograms as the sample before them is."""
        native = self.native
        return np.flatnonzero(native[1:] & native[:-1]) + 1

    def resets(self) -> Mask:
        """Return bool[N]: histograms whose counter began anew since the histogram before.

        Neighbours of different series mean nothing.
        """
        out = np.zeros(len(self.windows.ts), np.bool_)
        at = self.pairs()
        rows = self.rows
        self.windows.budget.need(64 * _buckets(self.histograms, rows[at]))
        out[at] = detect_resets(self.histograms, rows[at], rows[at - 1])
        if self.windows.start is not None:
            out[1:] |= starts.resets(self.windows, self.windows.start)
        return out


@dataclass(frozen=True, slots=True)
class Cells:
    """M windows out of all: samples ``first`` to ``last`` (int64[M]), ``series`` in the notes."""

    mask: Mask
    first: I64
    last: I64
    series: I64

    @classmethod
    def of(cls, sampled: Sampled, mask: Mask) -> Cells:
        """Return the windows that ``mask`` (bool[K, S]) marks; none may be empty."""
        windows = sampled.windows
        series = np.broadcast_to(sampled.columns, mask.shape)[mask]
        return cls(mask, windows.lo[mask], windows.hi[mask] - 1, series)

    def __len__(self) -> int:
        return len(self.first)


def extremes(values: I64, first: I64, last: I64) -> I64:
    """Return int64[M]: the smallest of ``values`` from ``first`` to ``last``."""
    if not len(first):
        return np.zeros(0, np.int64)
    padded = np.append(values, np.iinfo(np.int64).max)
    edges = np.stack([first, last + 1], axis=1).ravel()
    return np.asarray(np.minimum.reduceat(padded, edges)[::2])


def counted(flags: Mask, first: I64, last: I64) -> I64:
    """Return int64[M]: how many ``flags`` (bool[N]) are set from ``first`` to ``last``."""
    seen = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(np.maximum(seen[last + 1] - seen[first], 0))


def listed(at: I64, first: I64, last: I64) -> tuple[I64, I64]:
    """Return, of the ascending ``at``, those from ``first`` to ``last`` of each of M windows.

    That is the window and the element of ``at`` of each, int64[n] both.
    """
    begin = np.searchsorted(at, first)
    count = np.maximum(np.searchsorted(at, last, "right") - begin, 0)
    window = np.repeat(np.arange(len(first)), count)
    place = np.arange(len(window)) - np.repeat(np.cumsum(count) - count, count)
    return window, at[np.repeat(begin, count) + place]


def _buckets(histograms: Histograms, rows: I64) -> int:
    lengths = np.diff(histograms.positive_offsets) + np.diff(histograms.negative_offsets) + 2
    return int(lengths[rows].sum())


def nothing(shape: tuple[int, int]) -> tuple[F64, Mask]:
    """Return values and presence of no cell at all."""
    return np.full(shape, np.nan), np.zeros(shape, np.bool_)
