"""Which metrics and labels make the most series, counted from the index of series."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

import numpy as np

from vedette.model.labels import METRIC_NAME
from vedette.storage.series_index import MemorySeriesIndex, MetricSeries
from vedette.web.services import CardinalityView, Named


class _Counts:
    """Running counts over metrics, each looked at once."""

    def __init__(self) -> None:
        self.series: Counter[str] = Counter()
        self.pairs: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.values: dict[str, set[str]] = {}

    def add(self, metric: MetricSeries) -> None:
        count = len(metric.refs)
        self.series[metric.metric] = count
        self._value(METRIC_NAME, metric.metric, count)
        table = metric.table
        for name, codes, values in zip(table.names, table.codes, table.values, strict=True):
            found = np.bincount(codes, minlength=len(values)).tolist()
            for value, number in zip(values[1:], found[1:], strict=True):
                if number:
                    self._value(name, value, number)

    def _value(self, name: str, value: str, series: int) -> None:
        self.pairs[f"{name}={value}"] += series
        self.sizes[name] += (len(name) + len(value.encode())) * series
        self.values.setdefault(name, set()).add(value)


def cardinality(
    index: MemorySeriesIndex, most: int, first_ts: int, last_ts: int
) -> CardinalityView:
    """Return the totals of ``index`` and the ``most`` worst of each list.

    Takes time in proportion to the number of series; ``first_ts`` and ``last_ts`` (ms) are told on.
    """
    counts = _Counts()
    for metric in index.select(()):
        counts.add(metric)
    total = sum(counts.series.values())
    return CardinalityView(
        series=total,
        label_pairs=len(counts.pairs),
        # Each series has one run of samples that is still growing.
        chunks=total,
        first_ts=first_ts,
        last_ts=last_ts,
        series_by_metric=_worst(counts.series, most),
        values_by_label=_worst({n: len(values) for n, values in counts.values.items()}, most),
        bytes_by_label=_worst(counts.sizes, most),
        series_by_pair=_worst(counts.pairs, most),
    )


def _worst(counts: Mapping[str, int], most: int) -> list[Named]:
    found = heapq.nsmallest(most, counts.items(), key=lambda item: (-item[1], item[0]))
    return [Named(name, count) for name, count in found]
