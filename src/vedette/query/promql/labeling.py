"""Label arithmetic on dictionary codes: grouping, joining and rewriting tables of labels.

Nothing here touches a label of a single series, except where names are rendered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME, Labels, quote

EMPTY_TABLE = LabelTable((), np.zeros((0, 1), np.int32), ())
"""The table of one series without labels."""

METADATA = (METRIC_NAME, "__type__", "__unit__")
"""Labels that say what a series measures, and go where that changes."""

_RADIX_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Groups:
    """Series sorted into G groups.

    Attributes:
        ids: int64[S], the group of each series, numbered by first appearance.
        first: int64[G], the first series of each group.
    """

    ids: I64
    first: I64

    def __len__(self) -> int:
        return len(self.first)

    @property
    def distinct(self) -> bool:
        """Whether every series stands alone."""
        return len(self.first) == len(self.ids)


def one_group(size: int) -> Groups:
    """Return all ``size`` series in a single group (no group where there is no series)."""
    return Groups(np.zeros(size, np.int64), np.zeros(min(size, 1), np.int64))


def group_by(table: LabelTable, names: Iterable[str]) -> Groups:
    """Group the series of ``table`` by the values of ``names`` (absent labels count as "")."""
    size = len(table)
    keys = np.zeros(size, np.int64)
    radix = 1
    for name in names:
        column = table.column(name)
        if column is None:
            continue
        codes, values = column
        if radix * len(values) >= _RADIX_LIMIT:
            dense = _dense(keys, radix)
            keys, radix = dense.ids, len(dense)
        keys = keys * len(values) + codes
        radix *= len(values)
    return one_group(size) if radix == 1 else _dense(keys, radix)


def group_all(table: LabelTable) -> Groups:
    """Group series whose whole label sets are equal."""
    return group_by(table, table.names)


def _dense(keys: I64, radix: int) -> Groups:
    """Number the distinct ``keys`` (each below ``radix``) by first appearance."""
    size = len(keys)
    if radix <= 4 * size + 65_536:
        first = np.full(radix, size, np.int64)
        # The last write wins, so that writing backwards leaves the first position.
        first[keys[::-1]] = np.arange(size - 1, -1, -1)
        used = np.flatnonzero(first < size)
        order = used[np.argsort(first[used], kind="stable")]
        rank = np.zeros(radix, np.int64)
        rank[order] = np.arange(len(order))
        return Groups(rank[keys], first[order])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Groups(rank[inverse], first[order])


def any_by_group(present: Mask, ids: I64, groups: int) -> Mask:
    """Return bool[G, K]: whether any series of the group is present."""
    out = np.zeros((groups, present.shape[1]), np.bool_)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        out[ordered[starts]] = np.logical_or.reduceat(present[order], starts, axis=0)
    return out


def only(table: LabelTable, names: Iterable[str]) -> LabelTable:
    """Return ``table`` with the columns ``names`` alone."""
    wanted = set(names)
    return table.drop(*(name for name in table.names if name not in wanted))


def concat(tables: Sequence[LabelTable]) -> LabelTable:
    """Return one table of the series of all ``tables``, in order, over joint dictionaries."""
    if len(tables) == 1:
        return tables[0]
    names = tuple(sorted({name for table in tables for name in table.names}))
    size = sum(len(table) for table in tables)
    codes = np.zeros((len(names), size), np.int32)
    dictionaries = []
    for k, name in enumerate(names):
        dictionaries.append(_concat_column(tables, name, codes[k]))
    return LabelTable(names, codes, tuple(dictionaries))


def _concat_column(tables: Sequence[LabelTable], name: str, out: I32) -> tuple[str, ...]:
    columns = [table.column(name) for table in tables]
    known = [column[1] for column in columns if column is not None]
    shared = all(values is known[0] for values in known)
    dictionary = {"": 0}
    at = 0
    for table, column in zip(tables, columns, strict=True):
        if column is not None:
            codes, values = column
            if shared:
                out[at : at + len(table)] = codes
            else:
                new = [dictionary.setdefault(value, len(dictionary)) for value in values]
                out[at : at + len(table)] = np.array(new, np.int32)[codes]
        at += len(table)
    return known[0] if shared else tuple(dictionary)


def with_column(table: LabelTable, name: str, codes: I32, values: tuple[str, ...]) -> LabelTable:
    """Return ``table`` with the label ``name`` set: codes int32[S] into ``values``."""
    rest = table.drop(name)
    at = sum(other < name for other in rest.names)
    return LabelTable(
        (*rest.names[:at], name, *rest.names[at:]),
        np.concatenate([rest.codes[:at], codes[None, :], rest.codes[at:]]).astype(np.int32),
        (*rest.values[:at], values, *rest.values[at:]),
    )


def encode(values: Sequence[str]) -> tuple[I32, tuple[str, ...]]:
    """Return the codes int32[n] and the dictionary of ``values``."""
    dictionary = {"": 0}
    codes = [dictionary.setdefault(value, len(dictionary)) for value in values]
    return np.array(codes, np.int32), tuple(dictionary)


def names_of(table: LabelTable) -> int:
    """Return how many different metric names (none counts as one) the series have.

    Metrics of another type or unit count as others.
    """
    return max(len(group_by(table, METADATA)), 1)


def is_named(table: LabelTable) -> bool:
    """Tell whether any series may have a metric name, type or unit."""
    return any(name in table.names for name in METADATA)


def braced(labels: Labels) -> str:
    """Return ``labels`` as they stand in messages: the metric name among the others."""
    return "{" + ", ".join(f"{name}={quote(value)}" for name, value in labels) + "}"


def nameless(table: LabelTable) -> LabelTable:
    """Return ``table`` without names, types and units."""
    return table.drop(*METADATA)


def label_order(table: LabelTable) -> I64:
    """Return int64[S]: the series sorted by their labels, name by name."""
    if not table.names:
        return np.arange(len(table))
    ranks = []
    # Of two series that agree so far, one that lacks this label has a label of a later name, which
    # comes after it, or no label any more, which comes before.
    more = np.zeros(len(table), np.bool_)
    for codes, values in zip(table.codes[::-1], table.values[::-1], strict=True):
        used = np.unique(codes)
        rank = np.zeros(len(values), np.int64)
        rank[sorted(used.tolist(), key=values.__getitem__)] = np.arange(1, len(used) + 1)
        there = codes != 0
        ranks.append(np.where(there, rank[codes], np.where(more, len(values) + 1, 0)))
        more |= there
    return np.lexsort(ranks)
