"""Histograms of some cells of a vector, put together to those of all."""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import Mask
from vedette.model.histograms import Histograms, joined


class CellsOf:
    """Collects the histograms of the cells of an array, some cells at a time."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._index = np.full(shape, -1, np.int32)
        self._parts: list[Histograms] = []
        self._rows = 0

    def put(self, cells: Mask, histograms: Histograms) -> None:
        """Set the ``cells`` (bool, of the shape) to the rows of ``histograms``, in their order."""
        if histograms.rows:
            rows = np.arange(self._rows, self._rows + histograms.rows, dtype=np.int32)
            self._index[cells] = rows
            self._parts.append(histograms)
            self._rows += histograms.rows

    def result(self) -> Histograms | None:
        """Return all of them, ``None`` where there were none."""
        return joined(self._parts, self._index) if self._parts else None


def rows_of(histograms: Histograms, cells: Mask) -> Histograms:
    """Return the histograms of ``cells``, one row a cell, in order."""
    rows = histograms.index[cells]
    return histograms.take(rows, np.arange(len(rows), dtype=np.int32))


def mask_of(histograms: Histograms | None, shape: tuple[int, ...]) -> Mask:
    """Return where there are histograms, bool of ``shape``."""
    if histograms is None:
        return np.zeros(shape, np.bool_)
    return np.asarray(histograms.index >= 0)
