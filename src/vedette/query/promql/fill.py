"""Series that ``fill`` puts in the place of those that a match group lacks.

A filled series has the labels of its match group only. It is there at the steps where the group
has a series on the other side and none on its own. As in Prometheus 3.14, ``fill_left`` is about
the "many" side of a grouped match and ``fill_right`` about the "one" side, wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I64, Mask
from vedette.query.promql.ast import VectorMatching
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import any_by_group, concat, only
from vedette.query.promql.values import CELL_BYTES, Vector


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a binary operation: its series and the match group int64[S] of each."""

    vector: Vector
    ids: I64

    def there(self, groups: int) -> Mask:
        """Return bool[G, K]: whether a match group has any series."""
        return any_by_group(self.vector.mask(), self.ids, groups)


def fills(matching: VectorMatching) -> bool:
    """Tell whether a side is filled."""
    return matching.fill_left is not None or matching.fill_right is not None


def filled(
    sides: tuple[Side, Side],
    matching: VectorMatching,
    names: list[str],
    groups: int,
    budget: Budget,
) -> tuple[Side, Side]:
    """Return the "many" and the "one" side with filled series behind their own.

    ``names`` are the labels that the match groups, ``groups`` in number, are made by.
    """
    many, one = sides
    steps = many.vector.values.shape[1]
    budget.need(groups * steps * 2 * CELL_BYTES)
    many_there, one_there = many.there(groups), one.there(groups)
    if matching.fill_right is not None:
        one = _filled((one, many), names, matching.fill_right, many_there & ~one_there, budget)
    if matching.fill_left is not None:
        many = _filled((many, sides[1]), names, matching.fill_left, one_there & ~many_there, budget)
    return many, one


def _filled(
    sides: tuple[Side, Side], names: list[str], value: float, missing: Mask, budget: Budget
) -> Side:
    """Fill the first of ``sides`` where ``missing`` (bool[G, K]), with labels of the second."""
    side, other = sides
    chosen = np.flatnonzero(missing.any(axis=1))
    if not len(chosen):
        return side
    first = np.zeros(len(missing), np.int64)
    first[other.ids[::-1]] = np.arange(len(other.ids) - 1, -1, -1)
    labels = only(other.vector.labels, names).take(first[chosen])
    present = missing[chosen]
    budget.need(2 * CELL_BYTES * (present.size + side.vector.values.size))
    natives, none = side.vector.histograms, np.full(present.shape, -1, np.int32)
    vector = Vector(
        concat([side.vector.labels, labels]),
        np.concatenate([side.vector.values, np.full(present.shape, value)]),
        np.concatenate([side.vector.mask(), present]),
        None,
        None if natives is None else natives.at(np.concatenate([natives.index, none])),
    )
    return Side(vector, np.concatenate([side.ids, chosen]))
