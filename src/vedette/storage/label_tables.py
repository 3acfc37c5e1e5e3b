"""Two label tables made one, column by column."""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import I32
from vedette.model.blocks import LabelTable


def unite(first: LabelTable, second: LabelTable) -> tuple[LabelTable, I32, I32]:
    """Return a table of the label sets of both, each once, and the row of each old row in it.

    The mappings are int32[len(first)] and int32[len(second)].
    """
    names = tuple(sorted({*first.names, *second.names}))
    size = len(first) + len(second)
    codes = np.zeros((len(names), size), np.int32)
    values: list[tuple[str, ...]] = []
    # One number per row; when the radices outgrow it, it is replaced by its rank.
    key = np.zeros(size, np.int64)
    room = 1
    for k, name in enumerate(names):
        dictionary: dict[str, int] = {"": 0}
        codes[k, : len(first)] = _recoded(first, name, dictionary)
        codes[k, len(first) :] = _recoded(second, name, dictionary)
        values.append(tuple(dictionary))
        if room > 2**62 // len(dictionary):
            ranks = np.unique(key, return_inverse=True)[1]
            key, room = ranks.astype(np.int64), size
        key = key * len(dictionary) + codes[k]
        room *= len(dictionary)
    _, at, row = np.unique(key, return_index=True, return_inverse=True)
    table = LabelTable(names, codes[:, at], tuple(values))
    rows = row.astype(np.int32)
    return table, rows[: len(first)], rows[len(first) :]


def _recoded(table: LabelTable, name: str, dictionary: dict[str, int]) -> I32:
    """Return the codes of column ``name`` in terms of ``dictionary``, which grows as needed."""
    column = table.column(name)
    if column is None:
        return np.zeros(len(table), np.int32)
    codes, values = column
    to = np.array([dictionary.setdefault(value, len(dictionary)) for value in values], np.int32)
    recoded: I32 = to[codes]
    return recoded
