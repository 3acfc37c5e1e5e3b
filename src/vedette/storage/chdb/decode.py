"""Rows of the store on their way to a query: grouped into blocks of shared timestamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask, ranges
from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.storage.chdb.encode import POWERS, RAW
from vedette.storage.chdb.native import Column, Nested, nested, numbers

# Fewer series than this share their timestamps by accident: a block of their own is not worth it.
_SHARED = 4
# Series that are read at a time; what they need stays in cache.
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
    """R rows sorted by (series, time); their samples stay where the result has them.

    Attributes:
        series: int64[R], position among the selected series.
        vector: int64[R], number of the row's timestamps.
        min_ts, max_ts: int64[R].
        time_set: uint64[R].
        exponent: int8[R].
        lengths: int64[R], samples of each row.
        order: int64[R], the row's place in the columns that follow.
        mantissas, raw, starts: as stored.
    """

    series: I64
    vector: I64
    min_ts: I64
    max_ts: I64
    time_set: NDArray[np.uint64]
    exponent: NDArray[np.int8]
    lengths: I64
    order: I64
    mantissas: Nested
    raw: Nested
    starts: Nested | None

    def values_of(self, chosen: I64) -> F64:
        """Return the values float64 of the rows ``chosen``, one row after the other."""
        exponent, places = self.exponent[chosen], self.order[chosen]
        scaled = _gather(self.mantissas, places).astype(np.float64)
        is_raw = exponent == RAW
        if (exponent > 0).any():
            # Raw rows have no mantissas, so that their exponent divides nothing.
            lengths = np.where(is_raw, 0, self.lengths[chosen])
            scaled /= np.repeat(POWERS[np.maximum(exponent, 0)], lengths)
        if not is_raw.any():
            return scaled
        raw_samples = np.repeat(is_raw, self.lengths[chosen])
        values = np.empty(len(raw_samples))
        values[raw_samples] = _gather(self.raw, places)
        values[~raw_samples] = scaled
        return values

    def starts_of(self, chosen: I64) -> I64 | None:
        """Return the start timestamps int64 of the rows ``chosen``, ``None`` without any."""
        if self.starts is None:
            return None
        places = self.order[chosen]
        known = np.diff(self.starts.offsets)[places] > 0
        starts = np.zeros(int(self.lengths[chosen].sum()), np.int64)
        starts[np.repeat(known, self.lengths[chosen])] = _gather(self.starts, places)
        return starts if starts.any() else None


def stored_rows(columns: Mapping[str, Column], series: I64, vector: I64) -> StoredRows:
    """Sort a result of the columns of ``samples``.

    ``series`` int64[R] numbers the rows' series, −1 for rows to leave out; ``vector`` their
    timestamps.
    """
    min_ts = numbers(columns["min_ts"])
    order = np.lexsort((min_ts, series))
    order = order[np.searchsorted(series[order], 0) :]
    mantissas, raw, starts = (nested(columns[name]) for name in ("mantissas", "raw", "starts"))
    return StoredRows(
        series=series[order],
        vector=vector[order],
        min_ts=min_ts[order],
        max_ts=numbers(columns["max_ts"])[order],
        time_set=numbers(columns["time_set"])[order],
        exponent=numbers(columns["exponent"])[order],
        lengths=(np.diff(mantissas.offsets) + np.diff(raw.offsets))[order],
        order=order,
        mantissas=mantissas,
        raw=raw,
        starts=starts if len(starts.items) else None,
    )


def _gather(arrays: Nested, places: I64) -> NDArray[Any]:
    return numbers(arrays.items)[ranges(arrays.offsets[places], arrays.offsets[places + 1])]


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
    shape = (int(high - low), len(first))
    values = np.empty(shape)
    starts = None if rows.starts is None else np.zeros(shape, np.int64)
    # Tile by tile, as new memory of the whole's size would cost more than the work on it.
    for s in range(0, len(first), _TILE):
        tile = slice(s, s + _TILE)
        chosen = ranges(first[tile], ends[tile])
        values[:, tile] = rows.values_of(chosen).reshape(-1, len(ts))[:, low:high].T
        known = rows.starts_of(chosen)
        if known is not None and starts is not None:
            starts[:, tile] = known.reshape(-1, len(ts))[:, low:high].T
    if starts is not None and not starts.any():
        starts = None
    return Block(_columns(rows.series[first]), ts[low:high], values, starts)


def _ragged(
    rows: StoredRows, vectors: Vectors, first: I64, ends: I64, start: int, end: int
) -> RaggedBlock | None:
    chosen = ranges(first, ends)
    ts = _times(rows, vectors, chosen)
    series = np.repeat(rows.series[chosen], rows.lengths[chosen])
    at = np.flatnonzero((ts >= start) & (ts <= end))
    ts, series = ts[at], series[at]
    behind = (series[1:] == series[:-1]) & (ts[1:] <= ts[:-1])
    if behind.any():
        order = np.lexsort((ts, series))
        at, ts, series = at[order], ts[order], series[order]
        last = np.append((series[1:] != series[:-1]) | (ts[1:] != ts[:-1]), True)
        at, ts, series = at[last], ts[last], series[last]
    if not len(ts):
        return None
    begins = np.flatnonzero(np.diff(series, prepend=-1))
    starts = rows.starts_of(chosen)
    starts = None if starts is None else starts[at]
    return RaggedBlock(
        columns=_columns(series[begins]),
        offsets=np.append(begins, len(ts)),
        ts=ts,
        values=rows.values_of(chosen)[at],
        start=starts if starts is not None and starts.any() else None,
    )


def _columns(series: I64) -> I32:
    return series.astype(np.int32)
