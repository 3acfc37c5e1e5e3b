"""Aggregation operators over the histograms of a vector.

Semantics: the documentation of Prometheus, "Aggregation operators": sum and avg add histograms up,
count and group count them, and all operators that order values or measure their spread leave them
out with a remark. A group of floats and histograms has no sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms, joined
from vedette.query.promql.budget import Budget
from vedette.query.promql.native.cells import CellsOf
from vedette.query.promql.native.combine import Terms, combine_within
from vedette.query.promql.native.notes import MIXED_IN_AGGREGATION, MIXED_KINDS, Notes

_TERM_BYTES = 24
"""Memory for a histogram that is added up, besides its buckets."""


class GroupedHistograms:
    """The histograms of a vector that is aggregated, as they come part by part."""

    def __init__(self) -> None:
        self._parts: list[Histograms] = []
        self._rows = 0
        self._terms: list[tuple[I64, I64, I64, I64]] = []

    def add(self, histograms: Histograms | None, columns: I64, groups: I64) -> None:
        """Take in a part: ``index`` int32[K, s], the series and the group of each column."""
        if histograms is None:
            return
        step, at = np.nonzero(histograms.index >= 0)
        if not len(step):
            return
        rows = histograms.index[step, at].astype(np.int64) + self._rows
        self._terms.append((groups[at], step, rows, columns[at]))
        self._parts.append(histograms)
        self._rows += histograms.rows

    @property
    def nbytes(self) -> int:
        """What adding them up takes."""
        terms = sum(len(part[0]) for part in self._terms) * _TERM_BYTES
        return terms + sum(part.nbytes for part in self._parts)

    def __bool__(self) -> bool:
        return bool(self._terms)

    def counts(self, shape: tuple[int, int]) -> F64:
        """Return float64[K, G] of ``shape``: how many histograms each group has."""
        out = np.zeros(shape)
        for group, step, _, _ in self._terms:
            np.add.at(out, (step, group), 1.0)
        return out

    def sums(self, floats: Mask, mean: bool, notes: Notes, budget: Budget) -> Sums:
        """Return the sums (or means) of each group and step.

        ``floats``: bool[K, G], where a group has floats too.
        """
        group, step, rows, series = (
            np.concatenate([part[k] for part in self._terms]) for k in range(4)
        )
        mixed = floats[step, group]
        if mixed.any():
            notes.remarks.warn(MIXED_IN_AGGREGATION, notes.span)
        spoiled = np.zeros(floats.shape, np.bool_)
        spoiled[step[mixed], group[mixed]] = True
        group, step, rows, series = (part[~mixed] for part in (group, step, rows, series))
        keys, place = np.unique(step * floats.shape[1] + group, return_inverse=True)
        place = place.ravel()
        weight = np.ones(len(rows))
        if mean:
            weight = 1.0 / np.bincount(place, minlength=len(keys))[place]
        everything = joined(self._parts, np.zeros(0, np.int32))
        found = combine_within(budget, everything, Terms(place, rows, weight), len(keys))
        _remark(found.mixed, found.reconciled, found.collided, series[found.mixed[place]], notes)
        cells = CellsOf(floats.shape)
        sound = np.flatnonzero(~found.mixed)
        where = np.zeros(floats.size, np.bool_)
        where[keys[sound]] = True
        cells.put(
            where.reshape(floats.shape),
            found.histograms.take(sound, np.arange(len(sound), dtype=np.int32)),
        )
        return Sums(spoiled, cells.result())


def _remark(mixed: Mask, reconciled: Mask, collided: Mask, series: I64, notes: Notes) -> None:
    if mixed.any():
        notes.warn(MIXED_KINDS, series)
    if reconciled.any():
        notes.reconciled("aggregation")
    if collided.any():
        notes.collided("aggregation")


@dataclass(frozen=True, slots=True)
class Sums:
    """What became of groups with histograms.

    Attributes:
        spoiled: bool[K, G], groups of floats and histograms, which have no value.
        histograms: the sums (``index`` int32[K, G]), or ``None``.
    """

    spoiled: Mask
    histograms: Histograms | None


def ignored(op: str, notes: Notes) -> None:
    """Remark that an aggregation left histograms out."""
    notes.remarks.info(f"ignored histogram in {op} aggregation", notes.span)
