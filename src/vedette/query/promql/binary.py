"""Binary operators: arithmetic, comparison, set operators, and how series find each other.

Semantics: the documentation of Prometheus, "Operators". Series are matched once for all steps; a
series takes part in a step only where it is present.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import Binary, Cardinality, VectorMatching
from vedette.query.promql.budget import Budget
from vedette.query.promql.fill import Side, filled, fills
from vedette.query.promql.labeling import (
    Groups,
    any_by_group,
    braced,
    concat,
    group_all,
    group_by,
    is_named,
    nameless,
    only,
    with_column,
)
from vedette.query.promql.native.operators import TRIMS, merged, native_cells
from vedette.query.promql.native.operators import Side as Operand
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.remarks import Remarks, execution_error
from vedette.query.promql.values import (
    CELL_BYTES,
    PART_CELLS,
    Part,
    Vector,
    both,
    distinct,
    stacked_histograms,
)

ARITHMETIC: dict[str, np.ufunc] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: dict[str, np.ufunc] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
_PAIR_BYTES = 64
"""Memory for the place of two series that match."""

SET_OPERATORS = frozenset({"and", "or", "unless"})


def scalars(op: str, left: F64, right: F64) -> F64:
    """Return the operator applied to two scalars, float64[K]; comparisons give 0 or 1."""
    with np.errstate(all="ignore"):
        function = ARITHMETIC.get(op) or COMPARISON[op]
        return np.asarray(function(left, right), np.float64)


def part_with_scalar(node: Binary, part: Part, scalar: F64, swap: bool, remarks: Remarks) -> Part:
    """Return the operator applied to a part and a scalar float64[K] (left of it if ``swap``)."""
    if part.histograms is not None or node.op in TRIMS:
        return _native_with_scalar(node, part, scalar, swap, remarks)
    number = scalar[:, None]
    with np.errstate(all="ignore"):
        pair = (number, part.values) if swap else (part.values, number)
        if node.op in ARITHMETIC:
            return replace(part, values=ARITHMETIC[node.op](*pair))
        holds = COMPARISON[node.op](*pair)
    if node.return_bool:
        return replace(part, values=holds.astype(np.float64))
    return replace(part, present=both(part.present, holds))


def _native_with_scalar(
    node: Binary, part: Part, scalar: F64, swap: bool, remarks: Remarks
) -> Part:
    shape = part.values.shape
    number = Operand(np.broadcast_to(scalar[:, None], shape), None, None)
    own = Operand(part.values, part.present, part.histograms)
    outcome = native_cells(node, *((number, own) if swap else (own, number)), remarks)
    values, present = part.values, np.zeros(shape, np.bool_)
    if node.op not in TRIMS:
        result = part_with_scalar(node, part.floats(), scalar, swap, remarks)
        values, present = result.values, np.ones(shape, np.bool_)
        if result.present is not None:
            present &= result.present
    return Part(part.columns, *merged(values, present, outcome))


def changes_meaning(node: Binary, old: bool) -> bool:
    """Return whether the result is another quantity, which loses the metric name.

    Prometheus 2.x (``old``) takes that of ``atan2`` for the same.
    """
    return node.return_bool or (node.op in ARITHMETIC and not (old and node.op == "atan2"))


# ---- signatures


@dataclass(frozen=True, slots=True)
class _Signatures:
    """Which match group (of G) each series of both sides belongs to."""

    left: I64
    right: I64
    groups: Groups


def _signatures(
    left: LabelTable, right: LabelTable, matching: VectorMatching | None
) -> _Signatures:
    names = _signature_names(left, right, matching)
    joint = concat([only(left, names), only(right, names)])
    groups = group_by(joint, joint.names)
    return _Signatures(groups.ids[: len(left)], groups.ids[len(left) :], groups)


def _signature_names(
    left: LabelTable, right: LabelTable, matching: VectorMatching | None
) -> list[str]:
    if matching is not None and matching.on:
        return list(matching.labels)
    ignored = {METRIC_NAME, *(matching.labels if matching else ())}
    return [name for name in {*left.names, *right.names} if name not in ignored]


# ---- set operators


def set_operation(node: Binary, left: Vector, right: Vector, budget: Budget) -> Vector:
    """Return ``left and right``, ``left or right`` or ``left unless right``."""
    budget.need(4 * CELL_BYTES * max(left.values.size, right.values.size))
    signatures = _signatures(left.labels, right.labels, node.matching)
    groups = len(signatures.groups)
    if node.op == "or":
        taken = any_by_group(left.mask(), signatures.left, groups)[signatures.right]
        added = right.where(~taken)
        rows = np.flatnonzero(added.mask().any(axis=1))
        return _union(node, left, added.take(rows), budget) if len(rows) else left
    found = any_by_group(right.mask(), signatures.right, groups)[signatures.left]
    return left.where(found if node.op == "and" else ~found)


def _union(node: Binary, left: Vector, right: Vector, budget: Budget) -> Vector:
    budget.need(2 * CELL_BYTES * (left.values.size + right.values.size))
    unnamed = None
    if left.unnamed is not None or right.unnamed is not None:
        sides = [
            np.zeros(len(side), np.bool_) if side.unnamed is None else side.unnamed
            for side in (left, right)
        ]
        unnamed = np.concatenate(sides)
    joint = Vector(
        concat([left.labels, right.labels]),
        np.concatenate([left.values, right.values]),
        np.concatenate([left.mask(), right.mask()]),
        unnamed,
        stacked_histograms([left, right]),
    )
    return distinct(joint, node.span, budget)


# ---- arithmetic and comparison between vectors


def vectors(
    node: Binary,
    left: Vector,
    right: Vector,
    options: EngineOptions,
    remarks: Remarks,
    budget: Budget,
) -> Vector:
    """Return an arithmetic or comparison operator applied to two vectors.

    A match that a comparison filters out counts as a match; to Prometheus 2.x it does not.

    Raises:
        QueryError: the match is many-to-many, or one-sided without being declared so.
    """
    old = options.window_2x
    matching = node.matching or VectorMatching(Cardinality.ONE_TO_ONE, (), False, ())
    swap = matching.cardinality is Cardinality.ONE_TO_MANY
    many, one = (right, left) if swap else (left, right)
    signatures = _signatures(many.labels, one.labels, matching)
    _refuse_several(node, matching, many, one, signatures)
    if fills(matching):
        names = _signature_names(many.labels, one.labels, matching)
        own = (Side(many, signatures.left), Side(one, signatures.right))
        whole = filled(own, matching, names, len(signatures.groups), budget)
        (many, one), groups = (side.vector for side in whole), signatures.groups
        signatures = _Signatures(whole[0].ids, whole[1].ids, groups)
    one, ids = _coalesced(one, signatures, matching.include, budget)
    pairs = _pairs(signatures.left, ids, len(signatures.groups), (left.values.shape[1], budget))
    many, one = many.take(pairs[0]), one.take(pairs[1])
    present = both(many.present, one.present)
    labels = _result_labels(node, matching, many.labels, one.labels, old)
    sides = (one, many) if swap else (many, one)
    if node.op in TRIMS or many.histograms is not None or one.histograms is not None:
        result = _native(node, sides, (present, labels), remarks, budget)
    else:
        result = _compute(node, sides, (present, labels), budget)
    matched = result.present if old else present
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        _refuse_many_to_one(node, matched, signatures.left[pairs[0]], many.values.shape)
    merged = _merge(node, result, matched, budget)
    if node.return_bool and is_named(merged.labels):
        if options.delayed_name_removal:
            return replace(merged, unnamed=np.ones(len(merged), np.bool_))
        bare = replace(merged, labels=nameless(merged.labels))
        return distinct(bare, node.span, budget)
    return merged


def _compute(
    node: Binary, sides: tuple[Vector, Vector], kept: tuple[Mask | None, LabelTable], budget: Budget
) -> Vector:
    left, _ = sides
    present, labels = kept
    if node.op in ARITHMETIC:
        values = np.empty(left.values.shape)
        return Vector(labels, _cellwise(ARITHMETIC[node.op], sides, values, budget), present)
    holds = np.empty(left.values.shape, np.bool_)
    _cellwise(COMPARISON[node.op], sides, holds, budget)
    if node.return_bool:
        return Vector(labels, holds.astype(np.float64), present)
    return Vector(labels, left.values, both(present, holds))


def _native(
    node: Binary,
    sides: tuple[Vector, Vector],
    kept: tuple[Mask | None, LabelTable],
    remarks: Remarks,
    budget: Budget,
) -> Vector:
    left, right = (Operand(side.values, side.present, side.histograms) for side in sides)
    budget.need(6 * CELL_BYTES * left.values.size)
    outcome = native_cells(node, left, right, remarks)
    if node.op in TRIMS:
        values, present = left.values, np.zeros(left.values.shape, np.bool_)
    else:
        result = _compute(node, sides, kept, budget)
        values, present = result.values, result.mask()
    values, present, histograms = merged(values, present, outcome)
    return Vector(kept[1], values, present, None, histograms)


_Cells = TypeVar("_Cells", F64, Mask)


def _cellwise(
    function: np.ufunc, sides: tuple[Vector, Vector], out: _Cells, budget: Budget
) -> _Cells:
    """Apply ``function`` to both sides, some rows at a time, into ``out``."""
    left, right = sides[0].values, sides[1].values
    rows = max(1, PART_CELLS // max(out.shape[1], 1))
    with np.errstate(all="ignore"):
        for at in range(0, len(out), rows):
            budget.check()
            some = slice(at, at + rows)
            function(left[some], right[some], out=out[some])
    return out


def _refuse_several(
    node: Binary, matching: VectorMatching, many: Vector, one: Vector, signatures: _Signatures
) -> None:
    """Raise where two series of the "one" side share a match group at a step."""
    groups = len(signatures.groups)
    size = np.bincount(signatures.right, minlength=groups)
    doubled = np.flatnonzero(size[signatures.right] > 1)
    if not len(doubled):
        return
    present = one.mask()[doubled]
    ids = signatures.right[doubled]
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    count = np.add.reduceat(present[order].astype(np.int64), starts, axis=0)
    # Where the other side has no sample at all, Prometheus does not look at this one.
    clash = (count > 1) & (fills(matching) | many.mask().any(axis=0))
    if not clash.any():
        return
    group, step = (int(x[0]) for x in np.nonzero(clash))
    rows = doubled[order][ordered == ordered[starts[group]]]
    rows = [int(row) for row in rows if one.mask()[row, step]][:2]
    names = _signature_names(many.labels, one.labels, matching)
    side = "left" if matching.cardinality is Cardinality.ONE_TO_MANY else "right"
    series = ", ".join(braced(one.labels.labels(row)) for row in rows[::-1])
    raise execution_error(
        f"found duplicate series for the match group "
        f"{braced(only(one.labels, names).labels(rows[0]))} "
        f"on the {side} hand-side of the operation: [{series}];"
        "many-to-many matching not allowed: matching labels must be unique on one side",
        node.span,
    )


def _coalesced(
    one: Vector, signatures: _Signatures, include: tuple[str, ...], budget: Budget
) -> tuple[Vector, I64]:
    """Merge series of the "one" side that stand for the same match group at different steps."""
    ids = signatures.right
    if len(np.unique(ids)) == len(ids):
        return one, ids
    wanted = only(one.labels, include)
    groups = group_by(wanted, wanted.names)
    key = Groups(*_renumbered(ids * max(len(groups), 1) + groups.ids))
    values, present = one.values[key.first].copy(), one.mask()[key.first].copy()
    natives = one.histograms
    index = None if natives is None else natives.index[key.first].copy()
    extra = np.ones(len(ids), np.bool_)
    extra[key.first] = False
    for row in budget.paced(np.flatnonzero(extra)):
        np.copyto(values[key.ids[row]], one.values[row], where=one.mask()[row])
        present[key.ids[row]] |= one.mask()[row]
        if natives is not None and index is not None:
            np.copyto(index[key.ids[row]], natives.index[row], where=one.mask()[row])
    if natives is not None and index is not None:
        natives = natives.at(index)
    labels = one.labels.take(key.first)
    return Vector(labels, values, present, None, natives), ids[key.first]


def _renumbered(keys: I64) -> tuple[I64, I64]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return inverse.astype(np.int64), first


def _pairs(many: I64, one: I64, groups: int, cost: tuple[int, Budget]) -> tuple[I64, I64]:
    """Return rows of both sides, one pair for each two series of the same match group.

    ``cost``: the steps of what will be made of each pair, and what that may cost.
    """
    order = np.argsort(one, kind="stable")
    size = np.bincount(one, minlength=groups)
    start = np.cumsum(size) - size
    count = size[many]
    steps, budget = cost
    pairs = int(count.sum())
    budget.cells(pairs * steps)
    budget.need(pairs * (_PAIR_BYTES + 4 * CELL_BYTES * steps))
    rows = np.repeat(np.arange(len(many)), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    return rows, order[np.repeat(start[many], count) + within]


def _refuse_many_to_one(
    node: Binary, present: Mask | None, ids: I64, shape: tuple[int, ...]
) -> None:
    if len(np.unique(ids)) == len(ids):
        return
    mask = np.ones(shape, np.bool_) if present is None else present
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    if (np.add.reduceat(mask[order].astype(np.int64), starts, axis=0) > 1).any():
        raise execution_error(
            "multiple matches for labels: many-to-one matching must be explicit "
            "(group_left/group_right)",
            node.span,
        )


def _result_labels(
    node: Binary, matching: VectorMatching, many: LabelTable, one: LabelTable, old: bool
) -> LabelTable:
    renamed = node.op in ARITHMETIC and changes_meaning(node, old)
    labels = nameless(many) if renamed else many
    if matching.cardinality is Cardinality.ONE_TO_ONE:
        if matching.on:
            return only(labels, matching.labels)
        return labels.drop(*matching.labels)
    for name in matching.include:
        column = one.column(name)
        labels = labels.drop(name) if column is None else with_column(labels, name, *column)
    return labels


def _merge(node: Binary, result: Vector, matched: Mask | None, budget: Budget) -> Vector:
    """Merge result series of equal labels.

    Raises:
        QueryError: two of them matched at the same step, whether or not the result was kept.
    """
    if group_all(result.labels).distinct:
        return result
    mask = np.ones(result.values.shape, np.bool_) if matched is None else matched
    groups = group_all(result.labels)
    order = np.argsort(groups.ids, kind="stable")
    ordered = groups.ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    if (np.add.reduceat(mask[order].astype(np.int64), starts, axis=0) > 1).any():
        raise execution_error(
            "multiple matches for labels: grouping labels must ensure unique matches", node.span
        )
    return distinct(result, node.span, budget)
