"""The series of this process: dense numbers, and per metric a dictionary-encoded label table."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import I32
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.matching import matching_metrics, matching_rows


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """The S series of one metric: ``refs`` int32[S] and their labels without ``__name__``."""

    metric: str
    refs: I32
    table: LabelTable


class _Metric:
    """Growing label columns of one metric; written under the index's lock."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.refs = array("i")
        self.codes: dict[str, array[int]] = {}
        self.dictionaries: dict[str, dict[str, int]] = {}
        self.frozen: MetricSeries | None = None

    def add(self, ref: int, labels: Labels) -> None:
        n = len(self.refs)
        for name, value in labels:
            if name == METRIC_NAME:
                continue
            column = self.codes.get(name)
            if column is None:
                column = self.codes[name] = array("i")
                self.dictionaries[name] = {"": 0}
            dictionary = self.dictionaries[name]
            # Series before this one that lack the label got no entry yet.
            column.extend([0] * (n - len(column)))
            column.append(dictionary.setdefault(value, len(dictionary)))
        self.refs.append(ref)
        self.frozen = None

    def freeze(self) -> MetricSeries:
        names = tuple(sorted(self.codes))
        codes = np.zeros((len(names), len(self.refs)), np.int32)
        for k, name in enumerate(names):
            column = self.codes[name]
            codes[k, : len(column)] = column
        table = LabelTable(names, codes, tuple(tuple(self.dictionaries[n]) for n in names))
        return MetricSeries(self.name, np.array(self.refs, np.int32), table)


class MemorySeriesIndex:
    """Implements ``SeriesIndex``; one writer, any number of readers.

    Numbers are dense from 0 and live as long as the process; ``limit`` bounds their memory.
    """

    def __init__(self, limit: int = 1_000_000) -> None:
        self.limit = limit
        self.refused = 0
        """Times that a series was refused because the limit was reached."""
        self._lock = threading.Lock()
        self._refs: dict[bytes, int] = {}
        self._canonical: list[bytes] = []
        self._metrics: dict[str, _Metric] = {}
        self._names: list[str] = []
        self._metric_of = np.zeros(1024, np.int32)

    def __len__(self) -> int:
        return len(self._canonical)

    def refs(self, series: Sequence[Labels]) -> I32:
        """Return int32[n] refs, numbering new series; −1 for those that the limit refuses."""
        known = self._refs.get
        out = np.fromiter((known(s.canonical(), -1) for s in series), np.int32, len(series))
        unknown = np.flatnonzero(out < 0)
        if len(unknown):
            with self._lock:
                for k in unknown.tolist():
                    out[k] = self._add(series[k])
        return out

    def _add(self, labels: Labels) -> int:
        key = labels.canonical()
        ref = self._refs.get(key)
        if ref is not None:
            return ref
        ref = len(self._canonical)
        if ref >= self.limit:
            self.refused += 1
            return -1
        metric = self._metrics.get(labels.metric)
        if metric is None:
            metric = self._metrics[labels.metric] = _Metric(labels.metric, len(self._metrics))
            self._names.append(metric.name)
        metric.add(ref, labels)
        if ref >= len(self._metric_of):
            self._metric_of = np.concatenate([self._metric_of, np.zeros_like(self._metric_of)])
        self._metric_of[ref] = metric.number
        self._canonical.append(key)
        self._refs[key] = ref
        return ref

    def lookup(self, canonical: bytes) -> int:
        """Return the ref of the series with these canonical bytes, −1 when it is not known."""
        return self._refs.get(canonical, -1)

    def canonical(self, refs: NDArray[np.integer]) -> list[bytes]:
        """Return the canonical bytes of each ref."""
        return [self._canonical[ref] for ref in refs.tolist()]

    def metric_numbers(self, refs: NDArray[np.integer]) -> I32:
        """Return int32[n], the number of each ref's metric; see :meth:`metric_name`."""
        numbers: I32 = self._metric_of[refs]
        return numbers

    def metric_name(self, number: int) -> str:
        """Return the metric that ``number`` stands for."""
        return self._names[number]

    def size(self, name: str) -> int:
        """Return how many series the metric ``name`` has."""
        metric = self._metrics.get(name)
        return 0 if metric is None else len(metric.refs)

    def metric(self, name: str) -> MetricSeries | None:
        """Return all series of the metric ``name``, ``None`` when there are none."""
        metric = self._metrics.get(name)
        if metric is None:
            return None
        with self._lock:
            if metric.frozen is None:
                metric.frozen = metric.freeze()
            return metric.frozen

    def select(self, matchers: Sequence[Matcher]) -> list[MetricSeries]:
        """Return the matching series per metric, metrics in the order of their names.

        Raises:
            InvalidRegexError: a pattern is not RE2.
        """
        exact = [m.value for m in matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL]
        names = exact[:1] if exact else sorted(self._names)
        found = []
        for name in matching_metrics(matchers, names):
            series = self.metric(name)
            if series is None:
                continue
            mask = matching_rows(matchers, series.table)
            if mask is not None:
                rows = np.flatnonzero(mask)
                series = MetricSeries(name, series.refs[rows], series.table.take(rows))
            if len(series.refs):
                found.append(series)
        return found
