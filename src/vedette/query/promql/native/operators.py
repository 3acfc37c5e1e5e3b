"""Binary operators where a side may hold histograms.

Semantics: the documentation of Prometheus, "Operators": histograms can be added, subtracted and
compared for equality, multiplied and divided by a float, and trimmed at a float. What cannot be
done gives no result and a remark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import F64, Mask
from vedette.model.histograms import Histograms, joined
from vedette.query.promql.ast import Binary
from vedette.query.promql.native.cells import CellsOf, mask_of, rows_of
from vedette.query.promql.native.combine import Terms, combine, compact, divided, scaled
from vedette.query.promql.native.compare import equal
from vedette.query.promql.native.hints import GAUGE
from vedette.query.promql.native.notes import COLLIDED, RECONCILED
from vedette.query.promql.native.trim import trimmed
from vedette.query.promql.remarks import Remarks

TRIMS = {"</": True, ">/": False}
"""Operators that trim histograms, and whether they keep what is below."""


@dataclass(frozen=True, slots=True)
class Side:
    """An operand: values and presence of any one shape, ``histograms`` with an index of it too."""

    values: F64
    present: Mask | None
    histograms: Histograms | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The cells that are not float ∘ float.

    Attributes:
        floats: bool, the cells that are: left to the caller.
        truth: float64, result of the comparisons with ``bool``, NaN elsewhere.
        histograms: the cells that are histograms, or ``None``.
    """

    floats: Mask
    truth: F64 | None
    histograms: Histograms | None


def merged(values: F64, present: Mask, outcome: Outcome) -> tuple[F64, Mask, Histograms | None]:
    """Put what float ∘ float gave together with the rest: values, presence, histograms."""
    present = present & outcome.floats
    if outcome.truth is not None:
        told = ~np.isnan(outcome.truth)
        values, present = np.where(told, outcome.truth, values), present | told
    if outcome.histograms is not None:
        native = outcome.histograms.index >= 0
        values, present = np.where(native, np.nan, values), present | native
    return values, present, outcome.histograms


def native_cells(node: Binary, left: Side, right: Side, remarks: Remarks) -> Outcome:
    """Return what becomes of cells with histograms; the arrays of both sides are of one shape."""
    shape = left.values.shape
    there = np.ones(shape, np.bool_)
    for side in (left, right):
        if side.present is not None:
            there &= side.present
    is_left, is_right = mask_of(left.histograms, shape), mask_of(right.histograms, shape)
    cells = _Cells(node, remarks, CellsOf(shape))
    floats = there & ~is_left & ~is_right
    if node.op in TRIMS and floats.any():
        cells.refuse("float", "float")
        floats = np.zeros(shape, np.bool_)
    cells.with_number(there & is_left & ~is_right, left.histograms, right.values)
    cells.number_with(there & ~is_left & is_right, left.values, right.histograms)
    cells.pairs(there & is_left & is_right, left.histograms, right.histograms)
    return Outcome(floats, cells.truth, cells.found.result())


class _Cells:
    """The operator ``node`` applied to one kind of cells after another."""

    def __init__(self, node: Binary, remarks: Remarks, found: CellsOf) -> None:
        self.found = found
        self.truth: F64 | None = None
        self._node = node
        self._remarks = remarks

    def refuse(self, left: str, right: str) -> None:
        op = self._node.op
        self._remarks.info(
            f'incompatible sample types encountered for binary operator "{op}": '
            f"{left} {op} {right}",
            self._node.span,
        )

    def with_number(self, cells: Mask, histograms: Histograms | None, numbers: F64) -> None:
        if histograms is None or not cells.any():
            return
        op, number = self._node.op, numbers[cells]
        if op == "*":
            self.found.put(cells, compact(scaled(rows_of(histograms, cells), number)))
        elif op == "/":
            self.found.put(cells, divided(rows_of(histograms, cells), number))
        elif op in TRIMS:
            self.found.put(cells, trimmed(rows_of(histograms, cells), number, TRIMS[op]))
        else:
            self.refuse("histogram", "float")

    def number_with(self, cells: Mask, numbers: F64, histograms: Histograms | None) -> None:
        if histograms is None or not cells.any():
            return
        if self._node.op == "*":
            rows = rows_of(histograms, cells)
            self.found.put(cells, compact(scaled(rows, numbers[cells])))
        else:
            self.refuse("float", "histogram")

    def pairs(self, cells: Mask, left: Histograms | None, right: Histograms | None) -> None:
        if left is None or right is None or not cells.any():
            return
        if self._node.op in ("+", "-"):
            self._sums(cells, left, right)
        elif self._node.op in ("==", "!="):
            self._compared(cells, left, right)
        else:
            self.refuse("histogram", "histogram")

    def _sums(self, cells: Mask, left: Histograms, right: Histograms) -> None:
        both = joined([rows_of(left, cells), rows_of(right, cells)], np.zeros(0, np.int32))
        size = both.rows // 2
        weight = np.ones(2 * size)
        op = "addition"
        if self._node.op == "-":
            weight[size:], op = -1.0, "subtraction"
        group = np.tile(np.arange(size), 2)
        sums = combine(both, Terms(group, np.arange(2 * size), weight), size)
        span = self._node.span
        if sums.mixed.any():
            self._remarks.warn(
                f"incompatible bucket layout encountered for binary operator {self._node.op}",
                span,
            )
        if sums.collided.any():
            self._remarks.warn(f"{COLLIDED} {op}", span)
        if sums.reconciled.any():
            self._remarks.info(f"{RECONCILED} {op}", span)
        result = sums.histograms
        if self._node.op == "-":
            result = replace(result, reset_hint=np.full(size, GAUGE, np.int8))
        kept = np.flatnonzero(~sums.mixed & ~sums.collided)
        where = np.zeros_like(cells)
        where[tuple(axis[kept] for axis in np.nonzero(cells))] = True
        self.found.put(where, result.take(kept, np.arange(len(kept), dtype=np.int32)))

    def _compared(self, cells: Mask, left: Histograms, right: Histograms) -> None:
        own = rows_of(left, cells)
        both = joined([own, rows_of(right, cells)], np.zeros(0, np.int32))
        size = own.rows
        rows = np.arange(size)
        holds = equal(both, rows, rows + size) == (self._node.op == "==")
        if self._node.return_bool:
            self.truth = np.full(cells.shape, np.nan)
            self.truth[cells] = holds
            return
        where = np.zeros_like(cells)
        where[cells] = holds
        kept = np.flatnonzero(holds)
        self.found.put(where, own.take(kept, np.arange(len(kept), dtype=np.int32)))
