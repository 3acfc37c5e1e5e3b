"""Values inside the engine: vectors, scalars and strings over the steps of a query.

A real NaN and "no sample" must stay different while a query runs, so that a vector keeps its
presence apart from its values; the ``ABSENT`` bit pattern appears only at the edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.model.samples import ABSENT
from vedette.query.promql.ast import Span
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import group_all, names_of
from vedette.query.promql.remarks import execution_error

CELL_BYTES = 9
"""Memory of a cell of a vector: its value and its presence."""

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
    """

    labels: LabelTable
    values: F64
    present: Mask | None = None
    unnamed: Mask | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def mask(self) -> Mask:
        """Return the presence as bool[S, K]."""
        if self.present is None:
            return np.ones(self.values.shape, np.bool_)
        return self.present

    def take(self, rows: I64) -> Vector:
        """Return the series ``rows`` only, in that order."""
        return Vector(
            self.labels.take(rows),
            self.values[rows],
            None if self.present is None else self.present[rows],
            None if self.unnamed is None else self.unnamed[rows],
        )

    def marked(self) -> F64:
        """Return float64[S, K] with ``ABSENT`` where there is no sample."""
        if self.present is None:
            return self.values
        out = self.values.copy()
        out[~self.present] = ABSENT
        return out


Value: TypeAlias = Vector | Scalar | String


@dataclass(frozen=True, slots=True)
class Part:
    """Some series of a stream, time-major as blocks are.

    Attributes:
        columns: int64[s] into the stream's label table.
        values: float64[K, s].
        present: ``None`` (all), bool[K, 1] or bool[K, s].
    """

    columns: I64
    values: F64
    present: Mask | None


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
        return Vector(self.labels, part.values.T, present, self.unnamed)

    def collect(self, steps: int, budget: Budget) -> Vector:
        """Return the whole vector over ``steps`` steps."""
        size = len(self.labels)
        budget.cells(size * steps)
        budget.need(size * steps * CELL_BYTES)
        values = np.zeros((steps, size))
        present = np.zeros((steps, size), np.bool_)
        budget.hold(values, present)
        for part in self.parts():
            budget.check()
            at = as_slice(part.columns)
            values[:, at] = part.values
            present[:, at] = True if part.present is None else part.present
        mask = None if present.all() else present.T
        return Vector(self.labels, values.T, mask, self.unnamed)


def stream_of(vector: Vector) -> Stream:
    """Return ``vector`` as a stream, in parts that are worked on in a moment."""
    size, steps = vector.values.shape
    wide = max(1, PART_CELLS // max(steps, 1))

    def parts() -> Iterator[Part]:
        for at in range(0, max(size, 1), wide):
            some = slice(at, min(at + wide, size))
            present = None if vector.present is None else vector.present[some].T
            yield Part(np.arange(some.start, some.stop), vector.values[some].T, present)

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
    return replace(vector, values=np.repeat(vector.values, steps, axis=1), present=present)


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
    extra = np.ones(len(vector), np.bool_)
    extra[groups.first] = False
    for row in budget.paced(np.flatnonzero(extra)):
        group = groups.ids[row]
        if steps and (merged[group] & present[row]).any():
            raise execution_error("vector cannot contain metrics with the same labelset", span)
        np.copyto(values[group], vector.values[row], where=present[row])
        merged[group] |= present[row]
    unnamed = None if vector.unnamed is None else vector.unnamed[groups.first]
    return Vector(vector.labels.take(groups.first), values, merged, unnamed)


def without_name(vector: Vector, delayed: bool, span: Span | None, budget: Budget) -> Vector:
    """Return ``vector`` less its metric names, or with them marked to go where ``delayed``."""
    if METRIC_NAME not in vector.labels.names:
        return vector
    if delayed:
        return replace(vector, unnamed=np.ones(len(vector), np.bool_))
    several = names_of(vector.labels) > 1
    bare = replace(vector, labels=vector.labels.drop(METRIC_NAME), unnamed=None)
    return distinct(bare, span, budget) if several else bare
