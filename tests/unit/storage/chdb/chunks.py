"""Making chunks, and reading selections back as plain dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from vedette.model.blocks import Block, Selection
from vedette.model.labels import METRIC_NAME, Labels, series_id
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import is_absent
from vedette.storage.columns import ChunkBatch

T0 = 1_767_225_600_000
"""2026-01-01T00:00:00Z in milliseconds."""

Points = dict[int, int]
"""Timestamp to the bits of the value."""


def labels(metric: str, **pairs: str) -> Labels:
    """Return the labels of a series."""
    return Labels.of({METRIC_NAME: metric, **pairs})


def equal(name: str, value: str) -> Matcher:
    """Return the matcher ``name="value"``."""
    return Matcher(name, MatchOp.EQUAL, value)


def named(metric: str) -> list[Matcher]:
    """Return the matchers of a bare metric name."""
    return [equal(METRIC_NAME, metric)]


def bits(value: float) -> int:
    """Return the bits of ``value``."""
    return int(np.float64(value).view(np.uint64))


def batch(
    series: Mapping[Labels, Mapping[int, float]] | Iterable[tuple[Labels, Mapping[int, float]]],
    app: str = "shop",
    start: int = 0,
) -> ChunkBatch:
    """Return a chunk per series of {timestamp: value}; ``start`` is every sample's own."""
    items = series.items() if isinstance(series, Mapping) else series
    rows = sorted(items, key=lambda item: item[0].canonical())
    ts = np.array([t for _, points in rows for t in sorted(points)], np.int64)
    return ChunkBatch(
        apps=(app,) * len(rows),
        canonical=tuple(name.canonical() for name, _ in rows),
        metrics=tuple(name.metric for name, _ in rows),
        ids=b"".join(series_id(name) for name, _ in rows),
        offsets=np.cumsum([0, *(len(points) for _, points in rows)], dtype=np.int64),
        ts=ts,
        values=np.array([p[t] for _, p in rows for t in sorted(p)], np.float64),
        start=np.full(len(ts), start, np.int64) if start else None,
    )


def points(selections: Iterable[Selection]) -> dict[Labels, Points]:
    """Return every sample of the selections; fails when a series stands in two blocks."""
    found: dict[Labels, Points] = {}
    for selection in selections:
        names = selection.labels.with_name(selection.metric).rows()
        for block in selection.blocks:
            for k, column in enumerate(block.columns.tolist()):
                assert names[column] not in found
                if isinstance(block, Block):
                    ts, values = block.ts, np.ascontiguousarray(block.values[:, k])
                    present = ~is_absent(values)
                    ts, values = ts[present], values[present]
                else:
                    at = slice(block.offsets[k], block.offsets[k + 1])
                    ts, values = block.ts[at], block.values[at]
                assert (np.diff(ts) > 0).all()
                found[names[column]] = dict(
                    zip(ts.tolist(), values.view(np.uint64).tolist(), strict=True)
                )
    return found
