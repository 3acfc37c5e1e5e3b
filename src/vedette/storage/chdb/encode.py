"""Samples on their way into the store: rows of two hours, scaled to integers where exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, ranges
from vedette.storage.chdb.native import array_offsets, block, text
from vedette.storage.columns import ChunkBatch

BUCKET_MS = 7_200_000
DAY_MS = 86_400_000
RAW = -1
"""The exponent of rows whose values are stored as they are."""

POWERS: F64 = np.array([10.0**e for e in range(10)])
_EXACT = float(2**53)
SAMPLE_COLUMNS = (
    "app, metric, id, bucket, exponent, has_starts, min_ts, max_ts, time_set,"
    " ts, mantissas, raw, starts"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows of the table ``samples`` over N samples.

    Attributes:
        chunk: int64[R], the row's chunk in its batch.
        bucket: int64[R] ms.
        offsets: int64[R + 1] into the samples of the batch.
        exponent: int8[R].
        mantissas: int64[N], where the row is scaled.
    """

    chunk: I64
    bucket: I64
    offsets: I64
    exponent: NDArray[np.int8]
    mantissas: I64


def bucket_of(ts: int) -> int:
    """Return the start (ms) of the two hours that hold ``ts``."""
    return ts // BUCKET_MS * BUCKET_MS


def day_of(ts: int) -> int:
    """Return the partition of what starts at ``ts`` (ms), as the engine's ``intDiv`` has it."""
    return int(days_of(np.array([ts], np.int64))[0])


def days_of(ts: I64) -> I64:
    """Return the partitions int64[n] of ``ts`` (ms): division that rounds towards zero."""
    days: I64 = ts // DAY_MS + ((ts < 0) & (ts % DAY_MS != 0))
    return days


def time_hashes(ts: I64) -> NDArray[np.uint64]:
    """Return uint64[N], a hash of each timestamp: the finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        z = ts.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        hashed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return hashed


def split(batch: ChunkBatch) -> Rows:
    """Cut the chunks at every two hours, and scale what scales."""
    buckets = batch.ts // BUCKET_MS * BUCKET_MS
    begins = np.zeros(len(batch.ts), bool)
    begins[batch.offsets[:-1]] = True
    begins[1:] |= buckets[1:] != buckets[:-1]
    first = np.flatnonzero(begins)
    offsets = np.append(first, len(batch.ts))
    chunk = np.searchsorted(batch.offsets, first, "right") - 1
    exponent, mantissas = scale(batch.values, offsets)
    return Rows(chunk, buckets[first], offsets, exponent, mantissas)


def scale(values: F64, offsets: I64) -> tuple[NDArray[np.int8], I64]:
    """Return per row the least exponent of ten that makes its values integers, and these.

    A row scales when every value is ``mantissa / 10**exponent`` in every bit; NaN, infinities and
    −0.0 never do, and such rows get the exponent ``RAW``.
    """
    rows = len(offsets) - 1
    exponent = np.full(rows, RAW, np.int8)
    mantissas = np.zeros(len(values), np.int64)
    left = np.arange(rows)
    for e in range(len(POWERS)):
        # Most rows that do not scale show it in their first and last value already.
        likely = _scaled(values[offsets[left]], e)[0] & _scaled(values[offsets[left + 1] - 1], e)[0]
        tried = left[likely]
        if not len(tried):
            continue
        whole = len(tried) == rows
        at = slice(None) if whole else ranges(offsets[tried], offsets[tried + 1])
        exact, integers = _scaled(values[at], e)
        lengths = np.diff(offsets)[tried]
        good = np.logical_and.reduceat(exact, np.cumsum(lengths) - lengths)
        mantissas[at] = integers
        exponent[tried[good]] = e
        left = np.setdiff1d(left, tried[good], assume_unique=True)
        if not len(left):
            break
    return exponent, mantissas


def _scaled(values: F64, e: int) -> tuple[NDArray[np.bool_], I64]:
    power = POWERS[e]
    with np.errstate(invalid="ignore", over="ignore"):
        integers = np.rint(values * power) if e else values
        mantissas = integers.astype(np.int64)
        back = mantissas / power if e else mantissas.astype(np.float64)
        exact = (back.view(np.uint64) == values.view(np.uint64)) & (np.abs(integers) < _EXACT)
    return exact, mantissas


def sample_blocks(batch: ChunkBatch, rows: Rows) -> Iterator[tuple[int, I64, bytes]]:
    """Yield per day its number, the rows int64[r] of that day, and their Native block."""
    days = days_of(rows.bucket)
    for day in np.unique(days).tolist():
        chosen = np.flatnonzero(days == day)
        yield day, chosen, _block(batch, rows, chosen)


def _block(batch: ChunkBatch, rows: Rows, chosen: I64) -> bytes:
    begins, ends = rows.offsets[chosen], rows.offsets[chosen + 1]
    lengths = ends - begins
    at = ranges(begins, ends)
    ts = batch.ts[at]
    starts_at = np.cumsum(lengths) - lengths
    scaled = rows.exponent[chosen] != RAW
    per_sample = np.repeat(scaled, lengths)
    chunk = rows.chunk[chosen].tolist()
    names: dict[str, bytes] = {}

    def cell(value: str) -> bytes:
        found = names.get(value)
        if found is None:
            found = names[value] = text(value.encode())
        return found

    starts, known = _starts(batch, at, starts_at, lengths)
    ids = np.frombuffer(batch.ids, "V16")[rows.chunk[chosen]]
    return block(
        len(chosen),
        [
            ("app", "String", b"".join([cell(batch.apps[c]) for c in chunk])),
            ("metric", "String", b"".join([cell(batch.metrics[c]) for c in chunk])),
            ("id", "FixedString(16)", ids.tobytes()),
            ("bucket", "Int64", rows.bucket[chosen].tobytes()),
            ("exponent", "Int8", rows.exponent[chosen].tobytes()),
            ("has_starts", "UInt8", known.tobytes()),
            ("min_ts", "Int64", ts[starts_at].tobytes()),
            ("max_ts", "Int64", ts[starts_at + lengths - 1].tobytes()),
            ("time_set", "UInt64", np.add.reduceat(time_hashes(ts), starts_at).tobytes()),
            ("ts", "Array(Int64)", array_offsets(lengths) + ts.tobytes()),
            (
                "mantissas",
                "Array(Int64)",
                array_offsets(lengths * scaled) + rows.mantissas[at][per_sample].tobytes(),
            ),
            (
                "raw",
                "Array(Float64)",
                array_offsets(lengths * ~scaled) + batch.values[at][~per_sample].tobytes(),
            ),
            ("starts", "Array(Int64)", array_offsets(lengths * known) + starts),
        ],
    )


def _starts(
    batch: ChunkBatch, at: I64, first: I64, lengths: I64
) -> tuple[bytes, NDArray[np.bool_]]:
    """Return start timestamps of the rows that know any, and which rows those are."""
    if batch.start is None:
        return b"", np.zeros(len(lengths), bool)
    starts = batch.start[at]
    known = np.logical_or.reduceat(starts != 0, first)
    return starts[np.repeat(known, lengths)].tobytes(), known
