"""Native histograms in text cases: as a store would give them back, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from vedette.model.arrays import F64
from vedette.model.histograms import (
    CUSTOM_BUCKETS,
    Histograms,
    HistogramValue,
    histogram_value,
    histograms_of,
)
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import HISTOGRAM, is_absent
from vedette.query.promql.native.compare import detect_resets
from vedette.query.promql.native.hints import GAUGE, NOT_RESET, RESET, UNKNOWN
from vedette.query.promql.notation import Point

ANY_HINT = -1
"""The hint of an expected histogram that says nothing of counter resets."""


def columns(points: Sequence[Point]) -> tuple[F64, Histograms | None]:
    """Return the values of ``points`` (none of which is ``None``) and their histograms."""
    values = np.array(
        [HISTOGRAM if isinstance(p, HistogramValue) else p for p in points], np.float64
    )
    natives = stored([p for p in points if isinstance(p, HistogramValue)], points)
    if not natives:
        return values, None
    index = np.full(len(points), -1, np.int32)
    index[[k for k, p in enumerate(points) if isinstance(p, HistogramValue)]] = range(len(natives))
    return values, histograms_of(natives, index)


def stored(natives: list[HistogramValue], points: Sequence[Point]) -> list[HistogramValue]:
    """Return ``natives`` with the hints that Prometheus' storage would give them.

    Within a chunk every histogram but the first is known to follow without a reset. A chunk ends
    where anything else comes, the layout changes or a counter falls.
    """
    hints: list[int] = []
    before: Point = None
    for point in points:
        if isinstance(point, HistogramValue):
            hints.append(_hint(before, point))
        before = point
    pairs = zip(natives, hints, strict=True)
    return [replace(native, reset_hint=hint) for native, hint in pairs]


def _hint(before: Point, now: HistogramValue) -> int:
    if now.reset_hint == GAUGE:
        return GAUGE
    if not isinstance(before, HistogramValue) or before.reset_hint == GAUGE:
        return UNKNOWN
    layout = before.schema, before.zero_threshold, before.custom_bounds
    if now.reset_hint == RESET or layout != (now.schema, now.zero_threshold, now.custom_bounds):
        return UNKNOWN
    pair = histograms_of((before, replace(now, reset_hint=UNKNOWN)), np.zeros(2, np.int32))
    fell = detect_resets(pair, np.array([1]), np.array([0]))[0]
    return UNKNOWN if fell else NOT_RESET


def result_points(values: F64, histograms: Histograms | None) -> list[Point]:
    """Return the points of one series of a result, ``None`` where it has none."""
    absent = is_absent(np.ascontiguousarray(values))
    out: list[Point] = []
    for k, value in enumerate(values.tolist()):
        row = -1 if histograms is None else int(histograms.index[k])
        if row >= 0 and histograms is not None:
            out.append(histogram_value(histograms, row))
        else:
            out.append(None if absent[k] else value)
    return out


def same(
    wanted: HistogramValue, got: HistogramValue, equal: Callable[[float, float], bool]
) -> bool:
    """Return whether two histograms agree; buckets that count nothing do not matter."""
    if wanted.reset_hint not in (ANY_HINT, got.reset_hint):
        return False
    if (wanted.schema, wanted.zero_threshold) != (got.schema, got.zero_threshold):
        return False
    if wanted.custom_bounds != got.custom_bounds:
        return False
    numbers = [(wanted.count, got.count), (wanted.sum, got.sum)]
    numbers.append((wanted.zero_count, got.zero_count))
    for side in ("positive", "negative"):
        a, b = (
            [(number, count) for number, count in getattr(value, side) if count != 0]
            for value in (wanted, got)
        )
        if [number for number, _ in a] != [number for number, _ in b]:
            return False
        numbers += [(x, y) for (_, x), (_, y) in zip(a, b, strict=True)]
    return all(equal(x, y) for x, y in numbers)


# ---- classic histograms as custom buckets


def as_custom_buckets(
    series: Iterable[tuple[Labels, list[Point]]],
) -> list[tuple[Labels, list[Point]]]:
    """Return the histograms with custom buckets that the classic series make up."""
    found: dict[Labels, dict[float, list[Point]]] = {}
    totals: dict[tuple[Labels, str], list[Point]] = {}
    for labels, points in series:
        for suffix in ("_bucket", "_count", "_sum"):
            if labels.metric.endswith(suffix):
                base = labels.metric.removesuffix(suffix)
                own = labels.without(METRIC_NAME, "le")
                key = Labels.of({METRIC_NAME: base, **dict(own.pairs)})
                if suffix == "_bucket":
                    found.setdefault(key, {}).setdefault(float(labels.get("le")), points)
                else:
                    totals[key, suffix] = points
    return [
        (key, _custom(buckets, totals.get((key, "_count")), totals.get((key, "_sum"))))
        for key, buckets in found.items()
    ]


def _custom(
    buckets: dict[float, list[Point]], counts: list[Point] | None, sums: list[Point] | None
) -> list[Point]:
    bounds = sorted(buckets)
    out: list[Point] = []
    for k in range(max(len(points) for points in buckets.values())):
        column = [buckets[bound][k] for bound in bounds]
        numbers = [p for p in column if isinstance(p, float)]
        if len(numbers) < len(column):
            out.append(None)
            continue
        each = np.diff([0.0, *numbers]).tolist()
        count, total = _at(counts, k), _at(sums, k)
        finite = tuple(bound for bound in bounds if bound != float("inf"))
        if len(finite) == len(bounds):
            each.append((numbers[-1] if count is None else count) - numbers[-1])
        out.append(
            HistogramValue(
                CUSTOM_BUCKETS,
                numbers[-1] if count is None else count,
                0.0 if total is None else total,
                positive=tuple((n, c) for n, c in enumerate(each) if c),
                custom_bounds=finite,
            )
        )
    return out


def _at(points: list[Point] | None, k: int) -> float | None:
    point = points[k] if points is not None and k < len(points) else None
    return point if isinstance(point, float) else None
