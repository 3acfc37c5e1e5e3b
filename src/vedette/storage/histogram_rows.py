"""Histograms beside samples: seen through other indices, joined, compared, and collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.histograms import Histograms, joined
from vedette.model.samples import bits, is_histogram

_T = TypeVar("_T", bound=np.generic)
_FIRST_ROOM = 64


def through(histograms: Histograms, index: I32) -> Histograms | None:
    """Return ``histograms`` seen through ``index``, ``None`` when it names none.

    Rows that nothing names any more are let go when they are the larger part.
    """
    named = index >= 0
    used = index[named]
    if not len(used):
        return None
    if 2 * len(used) >= histograms.rows:
        return histograms.at(index)
    rows, place = np.unique(used, return_inverse=True)
    fresh = np.full(index.shape, -1, np.int32)
    fresh[named] = place
    return histograms.take(rows, fresh)


def picked(histograms: Histograms | None, at: NDArray[Any] | slice) -> Histograms | None:
    """Return the histograms of the samples ``at`` (any index into the array of samples)."""
    return None if histograms is None else through(histograms, histograms.index[at])


def side_by_side(parts: Sequence[tuple[Histograms | None, int]]) -> Histograms | None:
    """Return the histograms of samples one after another; each part with its count of samples."""
    held = [histograms for histograms, _ in parts if histograms is not None]
    if not held:
        return None
    indices, base = [], 0
    for histograms, count in parts:
        if histograms is None:
            indices.append(np.full(count, -1, np.int32))
        else:
            indices.append(shifted(histograms.index, base))
            base += histograms.rows
    return joined(held, np.concatenate(indices))


def shifted(index: I32, base: int) -> I32:
    """Return ``index`` into rows that begin at ``base``; −1 stays."""
    moved: I32 = np.where(index >= 0, index + np.int32(base), np.int32(-1))
    return moved


def named_rows(histograms: Histograms) -> Histograms:
    """Return the histograms in the order of their samples, with nothing that no sample names.

    ``index`` must be flat.
    """
    named = histograms.index >= 0
    rows = histograms.index[named]
    if len(rows) == histograms.rows and bool((rows == np.arange(len(rows))).all()):
        return histograms
    index = np.full(len(named), -1, np.int32)
    index[named] = np.arange(len(rows))
    return histograms.take(rows, index)


def equal_samples(
    values: F64, histograms: Histograms | None, others: F64, of_others: Histograms | None
) -> Mask:
    """Return bool[n], which samples are equal in every bit, histograms included.

    The hint on counter resets is not compared: it depends on what the sender has sent before.
    """
    same: Mask = bits(values) == bits(others)
    if histograms is None or of_others is None:
        return same
    at = np.flatnonzero(same & is_histogram(values))
    if len(at):
        rows, of_rows = histograms.index[at], of_others.index[at]
        same[at] = _equal_rows(histograms, rows, of_others, of_rows)
    return same


def _equal_rows(a: Histograms, rows_a: I32, b: Histograms, rows_b: I32) -> Mask:
    same: Mask = (rows_a >= 0) & (rows_b >= 0) & (a.schema[rows_a] == b.schema[rows_b])
    for one, other in (
        (a.count, b.count),
        (a.sum, b.sum),
        (a.zero_threshold, b.zero_threshold),
        (a.zero_count, b.zero_count),
    ):
        same &= bits(one[rows_a]) == bits(other[rows_b])
    lists: tuple[tuple[I64, I64, list[tuple[F64 | I32, F64 | I32]]], ...] = (
        (
            a.positive_offsets,
            b.positive_offsets,
            [(a.positive_index, b.positive_index), (a.positive_count, b.positive_count)],
        ),
        (
            a.negative_offsets,
            b.negative_offsets,
            [(a.negative_index, b.negative_index), (a.negative_count, b.negative_count)],
        ),
        (a.custom_offsets, b.custom_offsets, [(a.custom_bounds, b.custom_bounds)]),
    )
    for offsets_a, offsets_b, pairs in lists:
        lengths = offsets_a[rows_a + 1] - offsets_a[rows_a]
        same &= lengths == offsets_b[rows_b + 1] - offsets_b[rows_b]
        at = np.flatnonzero(same)
        of_a, of_b = _elements(offsets_a, rows_a[at]), _elements(offsets_b, rows_b[at])
        owner = np.repeat(at, lengths[at])
        for one_array, other_array in pairs:
            differs = _raw(one_array[of_a]) != _raw(other_array[of_b])
            same[owner[differs]] = False
    return same


def _raw(array: F64 | I32) -> NDArray[np.integer]:
    """Return numbers that are equal only where every bit is."""
    return array.view(np.uint64 if array.dtype == np.float64 else np.uint32)


def _elements(offsets: I64, rows: I32) -> I64:
    lengths = offsets[rows + 1] - offsets[rows]
    shift = offsets[rows] - (np.cumsum(lengths) - lengths)
    at: I64 = np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(shift, lengths)
    return at


class _Vector(Generic[_T]):
    """An array that grows at its end; what was handed out stays as it is."""

    def __init__(self, held: NDArray[_T]) -> None:
        self._array = held
        self._size = len(held)

    def extend(self, values: NDArray[_T]) -> None:
        size = self._size + len(values)
        if size > len(self._array):
            room = max(size, len(self._array) * 5 // 4, _FIRST_ROOM)
            larger = np.empty(room, self._array.dtype)
            larger[: self._size] = self._array[: self._size]
            self._array = larger
        self._array[self._size : size] = values
        self._size = size

    @property
    def held(self) -> NDArray[_T]:
        return self._array[: self._size]

    @property
    def nbytes(self) -> int:
        return self._array.nbytes


class HistogramArena:
    """Histograms that come one batch after another, numbered from 0.

    One writer; what :meth:`seen_through` returned never changes.
    """

    def __init__(self, held: Histograms) -> None:
        """Begin with the rows of ``held``."""
        self._schema = _Vector(held.schema)
        self._count = _Vector(held.count)
        self._sum = _Vector(held.sum)
        self._zero_threshold = _Vector(held.zero_threshold)
        self._zero_count = _Vector(held.zero_count)
        self._reset_hint = _Vector(held.reset_hint)
        self._positive_offsets = _Vector(held.positive_offsets)
        self._positive_index = _Vector(held.positive_index)
        self._positive_count = _Vector(held.positive_count)
        self._negative_offsets = _Vector(held.negative_offsets)
        self._negative_index = _Vector(held.negative_index)
        self._negative_count = _Vector(held.negative_count)
        self._custom_offsets = _Vector(held.custom_offsets)
        self._custom_bounds = _Vector(held.custom_bounds)

    @property
    def rows(self) -> int:
        """The number of histograms."""
        return len(self._schema.held)

    @property
    def nbytes(self) -> int:
        """Memory, free room included."""
        return sum(
            vector.nbytes
            for vector in (
                *(self._schema, self._count, self._sum, self._zero_threshold, self._zero_count),
                *(self._reset_hint, self._positive_offsets, self._positive_index),
                *(self._positive_count, self._negative_offsets, self._negative_index),
                *(self._negative_count, self._custom_offsets, self._custom_bounds),
            )
        )

    def append(self, histograms: Histograms) -> I32:
        """Take what the samples of ``histograms`` name; return the same index into the arena."""
        base = self.rows
        new = named_rows(histograms)
        self._schema.extend(new.schema)
        self._count.extend(new.count)
        self._sum.extend(new.sum)
        self._zero_threshold.extend(new.zero_threshold)
        self._zero_count.extend(new.zero_count)
        self._reset_hint.extend(new.reset_hint)
        for offsets, added in (
            (self._positive_offsets, new.positive_offsets),
            (self._negative_offsets, new.negative_offsets),
            (self._custom_offsets, new.custom_offsets),
        ):
            offsets.extend(added[1:] - added[0] + offsets.held[-1])
        self._positive_index.extend(new.positive_index)
        self._positive_count.extend(new.positive_count)
        self._negative_index.extend(new.negative_index)
        self._negative_count.extend(new.negative_count)
        self._custom_bounds.extend(new.custom_bounds)
        return shifted(new.index, base)

    def seen_through(self, index: I32) -> Histograms:
        """Return all rows as they are now, seen through ``index``."""
        return Histograms(
            index,
            self._schema.held,
            self._count.held,
            self._sum.held,
            self._zero_threshold.held,
            self._zero_count.held,
            self._reset_hint.held,
            self._positive_offsets.held,
            self._positive_index.held,
            self._positive_count.held,
            self._negative_offsets.held,
            self._negative_index.held,
            self._negative_count.held,
            self._custom_offsets.held,
            self._custom_bounds.held,
        )


def collected(arena: HistogramArena, index: I32, valid: Mask | None = None) -> HistogramArena:
    """Return an arena of the rows that ``index`` names only, and change ``index`` to it in place.

    ``valid`` says, in the shape of ``index``, which of its numbers mean anything.
    """
    named = index >= 0
    if valid is not None:
        named &= valid
    old = index[named]
    kept = np.zeros(arena.rows, bool)
    kept[old] = True
    index[...] = -1
    index[named] = (np.cumsum(kept) - 1)[old]
    none = np.zeros(0, np.int32)
    return HistogramArena(arena.seen_through(none).take(np.flatnonzero(kept), none))
