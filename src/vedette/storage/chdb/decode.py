"""Rows of the store on their way to a query: grouped into blocks of shared timestamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.model.samples import F64, I32, I64, Mask
from vedette.storage.chdb.encode import POWERS, RAW, ranges
from vedette.storage.chdb.native import Column, Nested, nested, numbers

_Number = TypeVar("_Number", np.float64, np.int64)

# Fewer series than this share their timestamps by accident: a block of their own is not worth it.
_SHARED = 4
# Columns that are turned at a time; the source then stays in cache.
_TILE = 32


@dataclass(frozen=True, slots=True)
class Vectors:
    """Timestamp vectors V of stored rows: ``keys`` uint64[V] sorted, the timestamps of vector k
    are ``ts[offsets[k]:offsets[k + 1]]``; ``ascending`` bool[V] tells which are strictly so."""

    keys: NDArray[np.uint64]
    offsets: I64
    ts: I64
    ascending: Mask

    @classmethod
    def of(cls, keys: NDArray[np.uint64], arrays: Nested) -> Vectors:
        """Sort the vectors of a result, one of each key."""
        keys, first = np.unique(keys, return_index=True)
        begins, ends = arrays.offsets[first], arrays.offsets[first + 1]
        lengths = ends - begins
        ts = numbers(arrays.items)[ranges(begins, ends)]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        rising = np.ones(len(ts), bool)
        rising[1:] = ts[1:] > ts[:-1]
        rising[offsets[:-1]] = True
        return cls(keys, offsets, ts, np.logical_and.reduceat(rising, offsets[:-1]))

    def find(self, keys: NDArray[np.uint64]) -> I64 | None:
        """Return the vector number of each key, or ``None`` when one is not known."""
        at = np.searchsorted(self.keys, keys)
        if (at == len(self.keys)).any() or (self.keys[at] != keys).any():
            return None
        return at


@dataclass(frozen=True, slots=True)
class StoredRows:
    """R rows sorted by (series, time), N samples in the order of the rows.

    Attributes:
        series: int64[R], position among the selected series.
        vector: int64[R], number of the row's timestamps.
        min_ts, max_ts: int64[R].
        time_set: uint64[R].
        offsets: int64[R + 1] into ``values``.
        values: float64[N].
        starts: int64[N] or ``None`` when none is known.
    """

    series: I64
    vector: I64
    min_ts: I64
    max_ts: I64
    time_set: NDArray[np.uint64]
    offsets: I64
    values: F64
    starts: I64 | None


def stored_rows(columns: Mapping[str, Column], series: I64, vector: I64) -> StoredRows:
    """Sort and unscale a result of the columns of ``samples``.

    ``series`` int64[R] numbers the rows' series, −1 for rows to leave out; ``vector`` their
    timestamps.
    """
    min_ts = numbers(columns["min_ts"])
    order = np.lexsort((min_ts, series))
    order = order[np.searchsorted(series[order], 0) :]
    mantissas, raw, starts = (nested(columns[name]) for name in ("mantissas", "raw", "starts"))
    exponent = numbers(columns["exponent"])[order]
    values, offsets = _unscaled(mantissas, raw, exponent, order)
    return StoredRows(
        series=series[order],
        vector=vector[order],
        min_ts=min_ts[order],
        max_ts=numbers(columns["max_ts"])[order],
        time_set=numbers(columns["time_set"])[order],
        offsets=offsets,
        values=values,
        starts=_starts(starts, offsets, order),
    )


def _gather(arrays: Nested, rows: I64) -> NDArray[Any]:
    items = numbers(arrays.items)
    if len(rows) == len(arrays.offsets) - 1 and (rows[1:] > rows[:-1]).all():
        return items
    return items[ranges(arrays.offsets[rows], arrays.offsets[rows + 1])]


def _unscaled(
    mantissas: Nested, raw: Nested, exponent: NDArray[np.int8], order: I64
) -> tuple[F64, I64]:
    """Return the values float64[N] of the rows in ``order``, and their offsets."""
    scaled_length = np.diff(mantissas.offsets)[order]
    lengths = scaled_length + np.diff(raw.offsets)[order]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    scaled = _gather(mantissas, order).astype(np.float64)
    if (exponent > 0).any():
        # 1.0 for raw rows, which have no mantissas.
        scaled /= np.repeat(POWERS[np.maximum(exponent, 0)], scaled_length)
    if not (exponent == RAW).any():
        return scaled, offsets
    values = np.empty(int(offsets[-1]))
    is_raw = np.repeat(exponent == RAW, lengths)
    values[is_raw] = _gather(raw, order)
    values[~is_raw] = scaled
    return values, offsets


def _starts(arrays: Nested, offsets: I64, order: I64) -> I64 | None:
    known = np.diff(arrays.offsets)[order] > 0
    if not known.any():
        return None
    starts = np.zeros(int(offsets[-1]), np.int64)
    starts[np.repeat(known, np.diff(offsets))] = _gather(arrays, order)
    return starts


def blocks(rows: StoredRows, vectors: Vectors, start: int, end: int) -> tuple[AnyBlock, ...]:
    """Return the samples of ``start <= ts <= end`` in blocks; a series stands in just one.

    Series with equal timestamps share a ``Block``; the rest go together into a ``RaggedBlock``. A
    sample that was stored twice comes once, the later row winning.
    """
    if not len(rows.series):
        return ()
    first = np.flatnonzero(np.diff(rows.series, prepend=-1))
    ends = np.append(first[1:], len(rows.series))
    ordered = _ordered(rows, vectors, first)
    sets = np.add.reduceat(rows.time_set, first)
    candidates = np.flatnonzero(ordered)
    _, group, size = np.unique(sets[candidates], return_inverse=True, return_counts=True)
    found: list[AnyBlock] = []
    for number in np.flatnonzero(size >= _SHARED).tolist():
        members = candidates[group == number]
        part = _shared(rows, vectors, first[members], ends[members], start, end)
        if part is not None:
            found.append(part)
    is_shared = np.zeros(len(first), bool)
    is_shared[candidates] = size[group] >= _SHARED
    alone = np.flatnonzero(~is_shared)
    if len(alone):
        ragged = _ragged(rows, vectors, first[alone], ends[alone], start, end)
        if ragged is not None:
            found.append(ragged)
    return tuple(found)


def _ordered(rows: StoredRows, vectors: Vectors, first: I64) -> Mask:
    """Return for each series whether its rows, one after the other, strictly ascend in time."""
    fine = vectors.ascending[rows.vector]
    follows = np.ones(len(rows.series), bool)
    follows[1:] = rows.min_ts[1:] > rows.max_ts[:-1]
    follows[first] = True
    return np.logical_and.reduceat(fine & follows, first)


def _times(rows: StoredRows, vectors: Vectors, chosen: I64) -> I64:
    at = rows.vector[chosen]
    return vectors.ts[ranges(vectors.offsets[at], vectors.offsets[at + 1])]


def _shared(
    rows: StoredRows, vectors: Vectors, first: I64, ends: I64, start: int, end: int
) -> Block | None:
    ts = _times(rows, vectors, np.arange(first[0], ends[0]))
    low, high = np.searchsorted(ts, start), np.searchsorted(ts, end, "right")
    if low == high:
        return None
    begins = rows.offsets[first]
    columns = rows.series[first].astype(np.int32)
    values = _turned(rows.values, begins, len(ts), int(low), int(high))
    starts = None
    if rows.starts is not None:
        starts = _turned(rows.starts, begins, len(ts), int(low), int(high))
        starts = starts if starts.any() else None
    return Block(columns, ts[low:high], values, starts)


def _turned(flat: NDArray[_Number], begins: I64, n: int, low: int, high: int) -> NDArray[_Number]:
    """Return [high − low, S], C-contiguous, from S runs of ``n`` items in ``flat``."""
    out = np.empty((high - low, len(begins)), flat.dtype)
    adjacent = bool((np.diff(begins) == n).all())
    for s in range(0, len(begins), _TILE):
        tile = begins[s : s + _TILE]
        if adjacent:
            rows = flat[tile[0] : tile[0] + n * len(tile)].reshape(len(tile), n)[:, low:high]
        else:
            rows = flat[tile[:, None] + np.arange(low, high)]
        out[:, s : s + _TILE] = rows.T
    return out


def _ragged(
    rows: StoredRows, vectors: Vectors, first: I64, ends: I64, start: int, end: int
) -> RaggedBlock | None:
    chosen = ranges(first, ends)
    at = ranges(rows.offsets[chosen], rows.offsets[chosen + 1])
    ts = _times(rows, vectors, chosen)
    series = np.repeat(rows.series[chosen], np.diff(rows.offsets)[chosen])
    keep = (ts >= start) & (ts <= end)
    at, ts, series = at[keep], ts[keep], series[keep]
    behind = (series[1:] == series[:-1]) & (ts[1:] <= ts[:-1])
    if behind.any():
        order = np.lexsort((ts, series))
        at, ts, series = at[order], ts[order], series[order]
        last = np.append((series[1:] != series[:-1]) | (ts[1:] != ts[:-1]), True)
        at, ts, series = at[last], ts[last], series[last]
    if not len(ts):
        return None
    begins = np.flatnonzero(np.diff(series, prepend=-1))
    starts = None if rows.starts is None else rows.starts[at]
    return RaggedBlock(
        columns=_columns(series[begins]),
        offsets=np.append(begins, len(ts)),
        ts=ts,
        values=rows.values[at],
        start=starts if starts is not None and starts.any() else None,
    )


def _columns(series: I64) -> I32:
    return series.astype(np.int32)
