"""The samples of one scrape target: a row per scrape, a column per series.

One writer appends; readers take :meth:`TargetGroup.view`, whose arrays never change in the part
that the view shows: rows past its end are written by the next scrape, and growth copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.blocks import Block
from vedette.model.histograms import Histograms
from vedette.model.samples import ABSENT, is_absent
from vedette.storage.histogram_rows import HistogramArena, collected, named_rows, through

_FIRST_ROWS = 32
_SLACK = 8  # growth leaves one eighth (of columns) or a quarter (of rows) free


@dataclass(frozen=True, slots=True)
class TargetView:
    """What a group held at one moment.

    ``ts`` int64[n]; ``values`` float64[n, S]; ``start`` int64[n, S] or ``None``; ``refs`` int32[S];
    ``histograms`` with ``index`` int32[n, S], or ``None``.
    Within one ``epoch`` columns only join at the end.
    """

    refs: I32
    ts: I64
    values: F64
    start: I64 | None
    epoch: int
    histograms: Histograms | None = None


class TargetGroup:
    """Growing time-major matrix of one target."""

    def __init__(self) -> None:
        self._refs = np.zeros(0, np.int32)
        self._column: dict[int, int] = {}
        self._last_refs = np.zeros(0, np.int32)
        self._last_columns: I64 | slice = slice(0, 0)
        self._ts = np.zeros(_FIRST_ROWS, np.int64)
        self._sequence = np.zeros(_FIRST_ROWS, np.int64)
        self._values = np.zeros((_FIRST_ROWS, 0))
        self._start: I64 | None = None
        self._rows: I32 | None = None
        self._arena: HistogramArena | None = None
        self._first = 0
        self._count = 0
        self._epoch = 0
        self._view = TargetView(self._refs, self._ts[:0], self._values[:0], None, 0)
        self.generation = 0
        """Rises when columns are added or dropped."""

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, free rows and columns included."""
        start = self._start.nbytes if self._start is not None else 0
        rows = self._rows.nbytes if self._rows is not None else 0
        arena = self._arena.nbytes if self._arena is not None else 0
        return self._values.nbytes + start + rows + arena + self._ts.nbytes + self._sequence.nbytes

    @property
    def view(self) -> TargetView:
        """What readers see; safe to take from any thread."""
        return self._view

    @property
    def newest(self) -> int:
        """The timestamp of the last row; −1 when there is none."""
        return int(self._ts[self._count - 1]) if self._count > self._first else -1

    def append(
        self,
        refs: I32,
        ts: int,
        values: F64,
        start: I64 | None,
        sequence: int,
        histograms: Histograms | None = None,
    ) -> None:
        """Append one row at ``ts``, which is later than every row before.

        Args:
            refs: int32[n], each once.
            ts: milliseconds.
            values: float64[n].
            start: int64[n] or ``None``.
            sequence: ingest sequence of the batch.
            histograms: with ``index`` int32[n], or ``None``.
        """
        columns = self._columns(refs)
        if self._count == len(self._ts):
            self._resize(self._values.shape[1])
        k = self._count
        row = self._values[k]
        row[:] = ABSENT
        row[columns] = values
        if start is not None and self._start is None:
            self._start = np.zeros(self._values.shape, np.int64)
        if self._start is not None:
            self._start[k] = 0
            self._start[k][columns] = 0 if start is None else start
        self._append_histograms(k, columns, histograms)
        self._ts[k] = ts
        self._sequence[k] = sequence
        self._count = k + 1
        self._publish()

    def _append_histograms(
        self, k: int, columns: I64 | slice, histograms: Histograms | None
    ) -> None:
        if histograms is not None and self._rows is None:
            self._rows = np.full(self._values.shape, -1, np.int32)
        if self._rows is None:
            return
        self._rows[k] = -1
        if histograms is None:
            return
        if self._arena is None:
            new = named_rows(histograms)
            self._arena = HistogramArena(new)
            self._rows[k][columns] = new.index
        else:
            self._rows[k][columns] = self._arena.append(histograms)

    def _columns(self, refs: I32) -> I64 | slice:
        if len(refs) == len(self._last_refs) and (refs == self._last_refs).all():
            return self._last_columns
        new = [ref for ref in refs.tolist() if ref not in self._column]
        if new:
            first = len(self._refs)
            self._column.update((ref, first + k) for k, ref in enumerate(new))
            self._refs = np.concatenate([self._refs, np.array(new, np.int32)])
            self.generation += 1
            if len(self._refs) > self._values.shape[1]:
                # The first scrape brings nearly all series that a target will ever have.
                slack = len(self._refs) // _SLACK if first else 0
                self._resize(len(self._refs) + slack)
        column = self._column
        columns = np.fromiter((column[ref] for ref in refs.tolist()), np.int64, len(refs))
        run = len(columns) > 0 and bool((np.diff(columns) == 1).all())
        self._last_refs = refs.copy()
        self._last_columns = slice(int(columns[0]), int(columns[-1]) + 1) if run else columns
        return self._last_columns

    def _resize(self, width: int) -> None:
        """Copy what is held into arrays with room for more rows and ``width`` columns."""
        live = self._count - self._first
        rows = max(_FIRST_ROWS, live + live // 4 + 8)
        held = slice(self._first, self._count)
        self._ts = _grown(self._ts[held], rows)
        self._sequence = _grown(self._sequence[held], rows)
        old, start, rows_ = self._values[held], self._start, self._rows
        self._values = np.empty((rows, width))
        self._values[:live, : old.shape[1]] = old
        self._values[:live, old.shape[1] :] = ABSENT
        if start is not None:
            self._start = np.zeros((rows, width), np.int64)
            self._start[:live, : old.shape[1]] = start[held]
        if rows_ is not None:
            self._rows = np.full((rows, width), -1, np.int32)
            self._rows[:live, : old.shape[1]] = rows_[held]
        self._first, self._count = 0, live

    def _publish(self) -> None:
        held, width = slice(self._first, self._count), len(self._refs)
        start = self._start[held, :width] if self._start is not None else None
        histograms = None
        if self._rows is not None and self._arena is not None:
            histograms = self._arena.seen_through(self._rows[held, :width])
        self._view = TargetView(
            self._refs, self._ts[held], self._values[held, :width], start, self._epoch, histograms
        )

    def oldest(self) -> int | None:
        """Return the timestamp of the first row, ``None`` when there is none."""
        return int(self._ts[self._first]) if self._count > self._first else None

    def evictable(self, before: int, sequence: int) -> int:
        """Return the newest timestamp that :meth:`evict` would drop, −1 when it is none."""
        gone = self._evictable_rows(before, sequence)
        return int(self._ts[self._first + gone - 1]) if gone else -1

    def _evictable_rows(self, before: int, sequence: int) -> int:
        held = slice(self._first, self._count)
        old = int(np.searchsorted(self._ts[held], before))
        flushed = int(np.searchsorted(self._sequence[held], sequence, side="right"))
        return min(old, flushed)

    def evict(self, before: int, sequence: int) -> None:
        """Drop rows older than ``before`` whose ingest sequence is at most ``sequence``."""
        gone = self._evictable_rows(before, sequence)
        if gone == 0:
            return
        self._first += gone
        if self._first * 4 >= len(self._ts):
            self._drop_ended()
            self._resize(self._values.shape[1])
            self._collect()
        self._publish()

    def delete(self, refs: I32, start: int, end: int) -> None:
        """Forget the samples of ``refs`` int32[n] ascending with ``start <= ts <= end`` (ms)."""
        columns = np.flatnonzero(np.isin(self._refs, refs))
        lo, hi = np.searchsorted(self._ts[self._first : self._count], [start, end + 1]).tolist()
        if not len(columns) or lo == hi:
            return
        # Into a copy: readers have views of the matrix.
        self._resize(self._values.shape[1])
        gone = np.ix_(np.arange(lo, hi), columns)
        self._values[gone] = ABSENT
        if self._start is not None:
            self._start[gone] = 0
        if self._rows is not None:
            self._rows[gone] = -1
            self._collect()
        self._publish()

    def _collect(self) -> None:
        """Give up the histograms of rows that are gone."""
        if self._rows is None or self._arena is None:
            return
        # No view shows this matrix yet: it was made just now.
        self._arena = collected(self._arena, self._rows)
        if not self._arena.rows:
            self._rows = self._arena = None

    def _drop_ended(self) -> None:
        """Give up the columns of series without a sample left, when they are many."""
        width = len(self._refs)
        held = self._values[self._first : self._count, :width]
        alive = np.flatnonzero(~is_absent(held).all(axis=0))
        if len(alive) * _SLACK >= width * (_SLACK - 1):
            return
        self._refs = self._refs[alive]
        self._column = {ref: k for k, ref in enumerate(self._refs.tolist())}
        self._last_refs = np.zeros(0, np.int32)
        self._last_columns = slice(0, 0)
        self._values = self._values[:, alive]
        if self._start is not None:
            self._start = self._start[:, alive]
        if self._rows is not None:
            self._rows = self._rows[:, alive]
        self.generation += 1
        self._epoch += 1


def _grown(array: I64, length: int) -> I64:
    out = np.zeros(length, np.int64)
    out[: len(array)] = array
    return out


def target_block(
    view: TargetView, columns: I64, numbers: I32, start: int, end: int
) -> Block | None:
    """Return ``columns`` of ``view`` between ``start`` and ``end`` (ms, inclusive).

    Args:
        view: of the target.
        columns: int64[S] ascending.
        numbers: int32[S], what the series are called in the block.
        start: first millisecond.
        end: last millisecond.
    """
    lo, hi = int(view.ts.searchsorted(start)), int(view.ts.searchsorted(end, "right"))
    if lo == hi:
        return None
    first, last = int(columns[0]), int(columns[-1])
    # A run of columns is a view of the matrix; others are copied.
    pick = slice(first, last + 1) if last - first + 1 == len(columns) else columns
    begin = view.start[lo:hi, pick] if view.start is not None else None
    histograms = view.histograms
    if histograms is not None:
        histograms = through(histograms, histograms.index[lo:hi, pick])
    return Block(numbers, view.ts[lo:hi], view.values[lo:hi, pick], begin, histograms)
