"""The table ``histograms``: what stands beside samples whose value is ``HISTOGRAM``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.blocks import AnyBlock, Block
from vedette.model.histograms import Histograms, histograms_of
from vedette.model.samples import HISTOGRAM_BITS, NAN_BITS, bits, is_histogram
from vedette.storage.chdb.encode import BUCKET_MS, days_of
from vedette.storage.chdb.native import Column, array_offsets, block, nested, numbers, text
from vedette.storage.columns import ChunkBatch
from vedette.storage.histogram_rows import named_rows

_LISTS = (
    "ts, schema, reset_hint, count, sum, zero_threshold, zero_count,"
    " positive_length, positive_index, positive_count,"
    " negative_length, negative_index, negative_count, custom_length, custom_bounds"
)
HISTOGRAM_COLUMNS = f"app, metric, id, bucket, min_ts, max_ts, {_LISTS}"
READ_COLUMNS = f"id, {_LISTS}"


def histogram_blocks(batch: ChunkBatch) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield per day its number, a chunk and timestamp that it holds, and a Native block."""
    if batch.histograms is None:
        return
    at = np.flatnonzero(batch.histograms.index >= 0)
    held = named_rows(batch.histograms)
    days = days_of(batch.ts[at] // BUCKET_MS * BUCKET_MS)
    for day in np.unique(days).tolist():
        rows = np.flatnonzero(days == day)
        mine = at[rows]
        chunk = np.searchsorted(batch.offsets, mine, "right") - 1
        data = _block(batch, mine, chunk, held.take(rows, np.zeros(0, np.int32)))
        yield day, int(chunk[0]), int(batch.ts[mine[0]]), data


def _block(batch: ChunkBatch, at: I64, chunk: I64, held: Histograms) -> bytes:
    """Return the rows of the samples ``at`` of ``batch``, whose histograms are ``held``."""
    ts = batch.ts[at]
    bucket = ts // BUCKET_MS * BUCKET_MS
    begins = np.ones(len(at), bool)
    begins[1:] = (chunk[1:] != chunk[:-1]) | (bucket[1:] != bucket[:-1])
    first = np.flatnonzero(begins)
    edges = np.append(first, len(at))
    lengths = np.diff(edges)
    chunks = chunk[first].tolist()
    ends = array_offsets(lengths)

    def bucket_ends(offsets: I64) -> bytes:
        return array_offsets(np.diff(offsets[edges]))

    positive, negative = bucket_ends(held.positive_offsets), bucket_ends(held.negative_offsets)
    return block(
        len(first),
        [
            ("app", "String", b"".join(text(batch.apps[c].encode()) for c in chunks)),
            ("metric", "String", b"".join(text(batch.metrics[c].encode()) for c in chunks)),
            ("id", "FixedString(16)", b"".join(batch.ids[16 * c : 16 * c + 16] for c in chunks)),
            ("bucket", "Int64", bucket[first].tobytes()),
            ("min_ts", "Int64", ts[first].tobytes()),
            ("max_ts", "Int64", ts[edges[1:] - 1].tobytes()),
            ("ts", "Array(Int64)", ends + ts.tobytes()),
            ("schema", "Array(Int16)", ends + held.schema.tobytes()),
            ("reset_hint", "Array(Int8)", ends + held.reset_hint.tobytes()),
            ("count", "Array(Float64)", ends + held.count.tobytes()),
            ("sum", "Array(Float64)", ends + held.sum.tobytes()),
            ("zero_threshold", "Array(Float64)", ends + held.zero_threshold.tobytes()),
            ("zero_count", "Array(Float64)", ends + held.zero_count.tobytes()),
            ("positive_length", "Array(UInt32)", ends + _lengths(held.positive_offsets)),
            ("positive_index", "Array(Int32)", positive + held.positive_index.tobytes()),
            ("positive_count", "Array(Float64)", positive + held.positive_count.tobytes()),
            ("negative_length", "Array(UInt32)", ends + _lengths(held.negative_offsets)),
            ("negative_index", "Array(Int32)", negative + held.negative_index.tobytes()),
            ("negative_count", "Array(Float64)", negative + held.negative_count.tobytes()),
            ("custom_length", "Array(UInt32)", ends + _lengths(held.custom_offsets)),
            (
                "custom_bounds",
                "Array(Float64)",
                bucket_ends(held.custom_offsets) + held.custom_bounds.tobytes(),
            ),
        ],
    )


def _lengths(offsets: I64) -> bytes:
    return np.diff(offsets).astype(np.uint32).tobytes()


def may_hold(raw: Column) -> bool:
    """Return whether the stored values ``raw`` name any histogram."""
    values = numbers(nested(raw).items)
    return bool((values.view(np.uint64) == HISTOGRAM_BITS).any())


@dataclass(frozen=True, slots=True)
class StoredHistograms:
    """Histograms of a selection sorted by (series, timestamp): int64[H] each."""

    series: I64
    ts: I64
    held: Histograms

    @classmethod
    def of(
        cls, columns: Mapping[str, Column], numbered: Callable[[Column], I64]
    ) -> StoredHistograms:
        """Sort a result of ``READ_COLUMNS``; ``numbered`` gives the rows' series, −1 for none."""
        if not columns:
            none = np.zeros(0, np.int64)
            return cls(none, none, histograms_of((), np.zeros(0, np.int32)))
        times = nested(columns["ts"])
        series = np.repeat(numbered(columns["id"]), np.diff(times.offsets))
        ts = numbers(times.items)
        # Of a histogram that was stored twice the later row wins, as for its sample.
        order = np.lexsort((ts, series))
        last = np.ones(len(order), bool)
        last[:-1] = np.diff(series[order]).astype(bool) | np.diff(ts[order]).astype(bool)
        order = order[last]
        held = _histograms(columns).take(order, np.zeros(0, np.int32))
        return cls(series[order], ts[order], held)

    def beside(self, part: AnyBlock) -> AnyBlock:
        """Return ``part`` with its histograms; one that is gone leaves an ordinary NaN."""
        marked = is_histogram(part.values)
        if not marked.any():
            return part
        if isinstance(part, Block):
            row, column = np.nonzero(marked)
            ts, series = part.ts[row], part.columns[column].astype(np.int64)
        else:
            at = np.flatnonzero(marked)
            owner = np.searchsorted(part.offsets, at, "right") - 1
            ts, series = part.ts[at], part.columns[owner].astype(np.int64)
        found = self._find(series, ts)
        index = np.full(marked.shape, -1, np.int32)
        index[marked] = found
        values = _without(part.values, marked, found)
        rows, place = np.unique(found[found >= 0], return_inverse=True)
        if not len(rows):
            return replace(part, values=values)
        index[index >= 0] = place
        return replace(part, values=values, histograms=self.held.take(rows, index))

    def _find(self, series: I64, ts: I64) -> I32:
        """Return int32[n], the row of each series and timestamp, −1 where there is none."""
        # One number per pair: the rank of the timestamp, below the series.
        times = np.unique(np.concatenate([self.ts, ts]))
        known = self.series * len(times) + np.searchsorted(times, self.ts)
        wanted = series * len(times) + np.searchsorted(times, ts)
        if not len(known):
            return np.full(len(wanted), -1, np.int32)
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[at] == wanted, at, -1).astype(np.int32)


def _without(values: F64, marked: Mask, found: I32) -> F64:
    if bool((found >= 0).all()):
        return values
    kept = values.copy()
    gone = np.zeros(marked.shape, bool)
    gone[marked] = found < 0
    bits(kept)[gone] = NAN_BITS
    return kept


def _histograms(columns: Mapping[str, Column]) -> Histograms:
    flat = {name: numbers(nested(columns[name]).items) for name in _LISTS.split(", ")}

    def offsets(name: str) -> I64:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(flat[name], dtype=np.int64)])

    return Histograms(
        np.zeros(0, np.int32),
        flat["schema"],
        flat["count"],
        flat["sum"],
        flat["zero_threshold"],
        flat["zero_count"],
        flat["reset_hint"],
        offsets("positive_length"),
        flat["positive_index"],
        flat["positive_count"],
        offsets("negative_length"),
        flat["negative_index"],
        flat["negative_count"],
        offsets("custom_length"),
        flat["custom_bounds"],
    )
