"""Samples of a rule test: those of the file, and those that rules write as time goes on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vedette.model.blocks import LabelTable, RaggedBlock, Selection
from vedette.model.histograms import HistogramValue, histograms_of
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher
from vedette.model.samples import HISTOGRAM
from vedette.query.promql.notation import Point
from vedette.storage.interface import NO_LIMITS, SelectLimits
from vedette.storage.matching import predicate

_RESET, _NOT_RESET = 1, 2
"""Hints as in Prometheus' protobuf."""


@dataclass(slots=True)
class _Series:
    ts: list[int] = field(default_factory=list)
    values: list[float | HistogramValue] = field(default_factory=list)

    def append(self, ts: int, value: float | HistogramValue) -> bool:
        if self.ts and ts <= self.ts[-1]:
            return False
        if isinstance(value, HistogramValue) and self.values:
            value = _hinted(value, self.values[-1])
        self.ts.append(ts)
        self.values.append(value)
        return True


def _hinted(value: HistogramValue, before: float | HistogramValue) -> HistogramValue:
    """Return ``value`` with the hint that Prometheus' store gives it behind ``before``."""
    if value.reset_hint or not isinstance(before, HistogramValue):
        return value
    return replace(value, reset_hint=_RESET if _is_reset(value, before) else _NOT_RESET)


def _is_reset(value: HistogramValue, before: HistogramValue) -> bool:
    """Whether a counter of ``value`` is lower than in ``before``, or they cannot be compared."""
    if (
        value.schema != before.schema
        or value.custom_bounds != before.custom_bounds
        or value.zero_threshold != before.zero_threshold
        or value.count < before.count
        or value.zero_count < before.zero_count
    ):
        return True
    return any(
        dict(new).get(number, 0.0) < count
        for new, old in ((value.positive, before.positive), (value.negative, before.negative))
        for number, count in old
    )


class TestSamples:
    """A source of samples that grows; queries see nothing after ``until`` (ms)."""

    def __init__(self) -> None:
        self._metrics: dict[str, dict[Labels, _Series]] = {}
        self.until = 0

    def load(self, labels: Labels, start: int, step: int, samples: Iterable[Point]) -> None:
        """Put in a whole series, one sample every ``step`` ms; ``None`` leaves a gap."""
        series = _Series()
        for k, value in enumerate(samples):
            if value is not None:
                series.append(start + k * step, value)
        self._metrics.setdefault(labels.metric, {})[labels.without(METRIC_NAME)] = series

    def append(self, labels: Labels, ts: int, value: float | HistogramValue) -> bool:
        """Add a sample; say whether it was news, which one at or before the last is not."""
        metric = self._metrics.setdefault(labels.metric, {})
        return metric.setdefault(labels.without(METRIC_NAME), _Series()).append(ts, value)

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return the selections of the metrics that match."""
        tests = [(matcher.name, predicate(matcher)) for matcher in matchers]
        named = [test for name, test in tests if name == METRIC_NAME]
        others = [(name, test) for name, test in tests if name != METRIC_NAME]
        found = []
        for metric, rows in self._metrics.items():
            if not all(test(metric) for test in named):
                continue
            kept = [
                (labels, series)
                for labels, series in rows.items()
                if all(test(labels.get(name)) for name, test in others)
            ]
            if kept:
                table = LabelTable.of([labels for labels, _ in kept])
                block = _block([series for _, series in kept], start, min(end, self.until))
                found.append(Selection(metric, table, (block,)))
        return tuple(found)


def _block(rows: Sequence[_Series], start: int, end: int) -> RaggedBlock:
    ts: list[int] = []
    values: list[float] = []
    index: list[int] = []
    natives: list[HistogramValue] = []
    offsets = [0]
    for row in rows:
        part = slice(bisect_left(row.ts, start), bisect_right(row.ts, end))
        ts += row.ts[part]
        for value in row.values[part]:
            native = isinstance(value, HistogramValue)
            index.append(len(natives) if native else -1)
            if isinstance(value, HistogramValue):
                natives.append(value)
                values.append(HISTOGRAM)
            else:
                values.append(value)
        offsets.append(len(ts))
    return RaggedBlock(
        np.arange(len(rows), dtype=np.int32),
        np.array(offsets, np.int64),
        np.array(ts, np.int64),
        np.array(values, np.float64),
        histograms=histograms_of(natives, np.array(index, np.int32)) if natives else None,
    )
