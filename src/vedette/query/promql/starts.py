"""Start timestamps: when a counter was 0, as its exposition says or as its first sight suggests.

A counter is known to have begun anew where the start timestamp of a sample lies behind the sample
before it, though its value did not fall. Where the first sample of a window began within the
window, it rose from zero there, and nothing needs to be extrapolated. Source of the rules:
Prometheus 3.14 with ``use-start-timestamps`` (``isStartTimestampReset``, ``extrapolatedRate``).
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.counters import add_losses
from vedette.query.promql.windows import Windows

_Scalar = TypeVar("_Scalar", bound=np.generic)

FUNCTIONS = frozenset(("rate", "increase", "irate", "resets"))
"""Functions that look at start timestamps."""


def resets(windows: Windows, start: I64) -> Mask:
    """Return bool of the shape of ``values`` less one row: where a sample began after the last.

    Neighbours of different series in the flat layout mean nothing.
    """
    ts = windows.ts[:, None] if windows.shared else windows.ts
    before, now = ts[:-1], ts[1:]
    older, newer = start[:-1], start[1:]
    sound = (newer != 0) & (newer < now)
    # A start at the sample before is a delta series, unless that one's own start is unknown.
    delta = (newer == before) & (older != 0) & (older < before)
    return np.asarray(sound & ((newer > before) | delta))


def overlaps(windows: Windows) -> Mask:
    """Return bool[K, S]: windows where a sample began before the sample that precedes it."""
    start = windows.start
    if start is None or len(start) < 2:
        return np.zeros(windows.shape, np.bool_)
    ts = windows.ts[:, None] if windows.shared else windows.ts
    bad = (start[1:] != 0) & (start[1:] < ts[:-1]) & (start[1:] != start[:-1])
    seen = np.zeros(start.shape, np.int64)
    np.cumsum(bad, axis=0, out=seen[1:])
    if windows.shared:
        return np.asarray(seen[windows.last[:, 0]] > seen[windows.first[:, 0]])
    return np.asarray(seen[windows.last] > seen[windows.first])


def count_overlaps(
    counts: dict[str, int], table: LabelTable, columns: I64, windows: Windows
) -> None:
    """Add to ``counts``, by metric name, in how many windows samples overlap."""
    found = overlaps(windows).sum(axis=0)
    column = table.column(METRIC_NAME)
    for series in np.flatnonzero(found).tolist():
        name = "" if column is None else column[1][column[0][columns[series]]]
        counts[name] = counts.get(name, 0) + int(found[series])


def newest(windows: Windows) -> F64:
    """Return float64[K, S]: the start timestamp of the newest sample of each window in s."""
    if windows.start is None:
        return np.zeros(windows.shape)
    return np.asarray(_at(windows, windows.start, windows.last) / 1000.0)


def fallen(windows: Windows, start: I64) -> Mask:
    """Return as :func:`resets`, with the samples below the one before them."""
    return (windows.values[1:] < windows.values[:-1]) | resets(windows, start)


def _at(windows: Windows, table: NDArray[_Scalar], index: I64) -> NDArray[_Scalar]:
    return table[index[:, 0]] if windows.shared else table[index]


def extrapolated(windows: Windows, start: I64, per_second: bool) -> tuple[F64, Mask]:
    """Return float64[K, S], the increase over each window, and where there is one."""
    first, last, count = windows.first, windows.last, windows.count
    origin = windows.value(first)
    rise = windows.value(last) - origin
    add_losses(rise, windows, fallen(windows, start))
    began = _at(windows, start, first)
    from_ts, to_ts = windows.time(first), windows.time(last)
    edge = (windows.ends - windows.range)[:, None]
    zero = (began != 0) & (began > edge) & (began < from_ts)
    pairs = np.maximum(count - 1, 0)
    between = np.where(pairs > 0, (to_ts - from_ts) / 1000.0 / np.maximum(pairs, 1), 0.0)
    sampled = np.where(zero, to_ts - began, to_ts - from_ts) / 1000.0
    head = (from_ts - edge) / 1000.0
    head = np.where(head >= between * 1.1, between / 2, head)
    to_zero = sampled * (origin / rise)
    head = np.where((rise > 0) & (origin >= 0), np.fmin(head, to_zero), head)
    head = np.where(zero, 0.0, head)
    tail = (windows.ends[:, None] - to_ts) / 1000.0
    tail = np.where(tail >= between * 1.1, between / 2, tail)
    rise = np.where(zero, rise + origin, rise)
    factor = np.where(sampled != 0, (sampled + head + tail) / sampled, 1.0)
    if per_second:
        factor = factor / (windows.range / 1000.0)
    return rise * factor, np.asarray((count >= 2) | ((count == 1) & zero))


def newest_rate(windows: Windows, start: I64) -> F64:
    """Return float64[K, S]: what the last two samples rose by, per second."""
    last = windows.last
    before = np.maximum(last - 1, 0)
    again = np.zeros(windows.values.shape, np.bool_)
    again[1:] = fallen(windows, start)
    newest, older = windows.value(last), windows.value(before)
    seconds = (windows.time(last) - windows.time(before)) / 1000.0
    rise = newest - np.where(_at(windows, again, last), 0.0, older)
    return np.asarray(rise / np.where(windows.count < 2, 1.0, seconds))


def count_resets(windows: Windows, start: I64) -> F64:
    """Return float64[K, S]: how often the counter began anew in each window."""
    seen = np.zeros(windows.values.shape, np.int64)
    np.cumsum(fallen(windows, start), axis=0, out=seen[1:])
    passed = _at(windows, seen, windows.last) - _at(windows, seen, windows.first)
    return passed.astype(np.float64)
