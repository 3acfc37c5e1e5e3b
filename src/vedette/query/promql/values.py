"""Values inside the engine: vectors, scalars and strings over the steps of a query.

A real NaN and "no sample" must stay different while a query runs, so that a vector keeps its
presence apart from its values; the ``ABSENT`` bit pattern appears only at the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.histograms import Histograms, joined
from vedette.model.samples import ABSENT, HISTOGRAM
from vedette.query.promql.ast import AtPreprocessor, Span
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import group_all, is_named, nameless, names_of
from vedette.query.promql.remarks import execution_error

CELL_BYTES = 9
"""Memory of a cell of a vector: its value and its presence."""

_FARTHEST = 1 << 62
"""Milliseconds: some hundred million years from 1970."""

PART_CELLS = 1 << 22
"""Cells of a part that nothing else makes smaller: some milliseconds of work an operation."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The times that an expression is evaluated at.

    Attributes:
        ts: int64[K], milliseconds, ascending.
        step: distance of the times, 0 where there is only one.
        start, end: first and last time of the whole query, what ``@ start()`` and ``@ end()`` mean.
    """

    ts: I64
    step: int
    start: int
    end: int

    def __len__(self) -> int:
        return len(self.ts)

    def moved(self, at: int | AtPreprocessor | None, offset: int, ts: I64) -> I64:
        """Return int64[K]: where a node with ``@ at`` and ``offset`` (ms) looks at times ``ts``."""
        match at:
            case None:
                return ts - offset
            case AtPreprocessor.START:
                at = self.start
            case AtPreprocessor.END:
                at = self.end
        # A time that no sample has; further out, adding a range to it would overflow.
        return np.full(len(ts), min(max(at - offset, -_FARTHEST), _FARTHEST), np.int64)

    def single(self) -> Frame:
        """Return the frame of the first time alone."""
        return replace(self, ts=self.ts[:1], step=0)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number at every step: float64[K]."""

    values: F64


@dataclass(frozen=True, slots=True)
class String:
    """A string literal."""

    text: str


@dataclass(frozen=True, slots=True)
class Vector:
    """S series over K steps.

    Attributes:
        labels: label table of the series, ``__name__`` an ordinary column.
        values: float64[S, K], in whatever memory order; anything where ``present`` is false.
        present: bool[S, K], or ``None`` where every cell holds a sample.
        unnamed: bool[S], series whose ``__name__`` goes at the end of the query, or ``None``.
        histograms: the cells that are native histograms (``index`` int32[S, K], −1 wherever
            ``present`` is false; their ``values`` are NaN), or ``None`` where none is.
    """

    labels: LabelTable
    values: F64
    present: Mask | None = None
    unnamed: Mask | None = None
    histograms: Histograms | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def mask(self) -> Mask:
        """Return the presence as bool[S, K]."""
        if self.present is None:
            return np.ones(self.values.shape, np.bool_)
        return self.present

    def take(self, rows: I64) -> Vector:
        """Return the series ``rows`` only, in that order."""
        if len(rows) == len(self) and (rows == np.arange(len(rows))).all():
            return self
        return Vector(
            self.labels.take(rows),
            self.values[rows],
            None if self.present is None else self.present[rows],
            None if self.unnamed is None else self.unnamed[rows],
            None if self.histograms is None else self.histograms.at(self.histograms.index[rows]),
        )

    def marked(self) -> F64:
        """Return float64[S, K] with ``ABSENT`` or ``HISTOGRAM`` where there is no float."""
        if self.present is None and self.histograms is None:
            return self.values
        out = self.values.copy()
        if self.present is not None:
            out[~self.present] = ABSENT
        if self.histograms is not None:
            out[self.histograms.index >= 0] = HISTOGRAM
        return out

    def floats(self) -> Vector:
        """Return the vector less its histograms."""
        if self.histograms is None:
            return self
        floats = both(self.present, self.histograms.index < 0)
        return replace(self, present=floats, histograms=None)

    def natives(self) -> Vector:
        """Return the vector less its floats."""
        if self.histograms is None:
            return replace(self, present=np.zeros(self.values.shape, np.bool_))
        return replace(self, present=self.histograms.index >= 0)

    def where(self, kept: Mask) -> Vector:
        """Return the vector less what ``kept`` (bool[S, K]) does not mark."""
        present = both(self.present, kept)
        if self.histograms is None:
            return replace(self, present=present)
        index = np.where(kept, self.histograms.index, np.int32(-1))
        return replace(self, present=present, histograms=self.histograms.at(index))


Value: TypeAlias = Vector | Scalar | String


@dataclass(frozen=True, slots=True)
class Part:
    """Some series of a stream, time-major as blocks are.

    Attributes:
        columns: int64[s] into the stream's label table.
        values: float64[K, s].
        present: ``None`` (all), bool[K, 1] or bool[K, s].
        histograms: as in a vector, with ``index`` int32[K, s].
    """

    columns: I64
    values: F64
    present: Mask | None
    histograms: Histograms | None = None

    def floats(self) -> Part:
        """Return the part less its histograms."""
        if self.histograms is None:
            return self
        floats = both(self.present, self.histograms.index < 0)
        return replace(self, present=floats, histograms=None)


@dataclass(frozen=True, slots=True)
class Stream:
    """A vector that is produced part by part, so that an aggregation need not hold it whole."""

    labels: LabelTable
    parts: Callable[[], Iterator[Part]]
    unnamed: Mask | None = None

    def map(self, change: Callable[[Part], Part]) -> Stream:
        """Return the stream with ``change`` applied to each part."""
        parts = self.parts
        return replace(self, parts=lambda: map(change, parts()))

    def sole(self) -> Vector:
        """Return the whole vector of a stream of one part, without a copy."""
        part = next(self.parts())
        present = None if part.present is None else part.present.T
        return Vector(self.labels, part.values.T, present, self.unnamed, _turned(part.histograms))

    def collect(self, steps: int, budget: Budget) -> Vector:
        """Return the whole vector over ``steps`` steps."""
        size = len(self.labels)
        budget.cells(size * steps)
        budget.need(size * steps * CELL_BYTES)
        values = np.zeros((steps, size))
        present = np.zeros((steps, size), np.bool_)
        natives = Natives((steps, size))
        budget.hold(values, present)
        for part in self.parts():
            budget.check()
            at = as_slice(part.columns)
            values[:, at] = part.values
            present[:, at] = True if part.present is None else part.present
            natives.add(part.histograms, at)
        mask = None if present.all() else present.T
        return Vector(self.labels, values.T, mask, self.unnamed, _turned(natives.result()))


class Natives:
    """Collects the histograms of cells (steps, series) that come column by column."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._index: I32 | None = None
        self._parts: list[Histograms] = []
        self._rows = 0

    def add(self, histograms: Histograms | None, columns: slice | I64) -> None:
        """Take in histograms whose ``index`` is int32[K, s], for the series ``columns``."""
        if histograms is None:
            return
        if self._index is None:
            self._index = np.full(self._shape, -1, np.int32)
        index = histograms.index
        self._index[:, columns] = np.where(index < 0, index, index + np.int32(self._rows))
        self._parts.append(histograms)
        self._rows += histograms.rows

    def result(self) -> Histograms | None:
        """Return all of them, with ``index`` int32[K, S]; ``None`` where there were none."""
        return None if self._index is None else joined(self._parts, self._index)


def stacked_histograms(vectors: Sequence[Vector]) -> Histograms | None:
    """Return the histograms of the series of all ``vectors``, one vector after another."""
    parts = [vector.histograms for vector in vectors if vector.histograms is not None]
    if not parts:
        return None
    rows, index = 0, []
    for vector in vectors:
        own = vector.histograms
        if own is None:
            index.append(np.full(vector.values.shape, -1, np.int32))
        else:
            index.append(np.where(own.index < 0, own.index, own.index + np.int32(rows)))
            rows += own.rows
    return joined(parts, np.concatenate(index))


def _turned(histograms: Histograms | None) -> Histograms | None:
    return None if histograms is None else histograms.at(histograms.index.T)


def stream_of(vector: Vector) -> Stream:
    """Return ``vector`` as a stream, in parts that are worked on in a moment."""
    size, steps = vector.values.shape
    wide = max(1, PART_CELLS // max(steps, 1))

    def parts() -> Iterator[Part]:
        for at in range(0, max(size, 1), wide):
            some = slice(at, min(at + wide, size))
            present = None if vector.present is None else vector.present[some].T
            histograms = vector.histograms
            if histograms is not None:
                histograms = histograms.at(histograms.index[some].T)
            yield Part(np.arange(some.start, some.stop), vector.values[some].T, present, histograms)

    return Stream(vector.labels, parts, vector.unnamed)


def as_slice(columns: I64) -> slice | I64:
    """Return ``columns`` as a slice where they follow each other: that copies much faster."""
    if len(columns) and columns[-1] - columns[0] == len(columns) - 1:
        ahead = columns[1:] > columns[:-1]
        if ahead.all():
            return slice(int(columns[0]), int(columns[-1]) + 1)
    return columns


def both(a: Mask | None, b: Mask | None) -> Mask | None:
    """Return the conjunction of two presences."""
    if a is None:
        return b
    return a if b is None else a & b


def repeat(vector: Vector, steps: int) -> Vector:
    """Return a vector of one step with that step repeated."""
    present = None if vector.present is None else np.repeat(vector.present, steps, axis=1)
    histograms = vector.histograms
    if histograms is not None:
        histograms = histograms.at(np.repeat(histograms.index, steps, axis=1))
    values = np.repeat(vector.values, steps, axis=1)
    return replace(vector, values=values, present=present, histograms=histograms)


def distinct(vector: Vector, span: Span | None, budget: Budget) -> Vector:
    """Return ``vector`` with series of equal labels merged.

    Raises:
        QueryError: two of them have a sample at the same step.
    """
    groups = group_all(vector.labels)
    if groups.distinct:
        return vector
    steps = vector.values.shape[1]
    budget.need(3 * CELL_BYTES * vector.values.size)
    values = vector.values[groups.first].copy()
    present = vector.mask()
    merged = present[groups.first].copy()
    index = None if vector.histograms is None else vector.histograms.index[groups.first].copy()
    extra = np.ones(len(vector), np.bool_)
    extra[groups.first] = False
    for row in budget.paced(np.flatnonzero(extra)):
        group = groups.ids[row]
        if steps and (merged[group] & present[row]).any():
            raise execution_error("vector cannot contain metrics with the same labelset", span)
        np.copyto(values[group], vector.values[row], where=present[row])
        if vector.histograms is not None and index is not None:
            np.copyto(index[group], vector.histograms.index[row], where=present[row])
        merged[group] |= present[row]
    unnamed = None if vector.unnamed is None else vector.unnamed[groups.first]
    histograms = vector.histograms
    if histograms is not None and index is not None:
        histograms = histograms.at(index)
    return Vector(vector.labels.take(groups.first), values, merged, unnamed, histograms)


def without_name(vector: Vector, delayed: bool, span: Span | None, budget: Budget) -> Vector:
    """Return ``vector`` less its metric names, or with them marked to go where ``delayed``."""
    if not is_named(vector.labels):
        return vector
    if delayed:
        return replace(vector, unnamed=np.ones(len(vector), np.bool_))
    several = names_of(vector.labels) > 1
    bare = replace(vector, labels=nameless(vector.labels), unnamed=None)
    return distinct(bare, span, budget) if several else bare
