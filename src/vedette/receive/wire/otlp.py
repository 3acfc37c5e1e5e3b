"""OTLP metrics translated to samples, as Prometheus' OTLP receiver does it.

Resource attributes become ``job``, ``instance`` and ``target_info``; names are translated by
``otlp_names``, points by ``otlp_points``; delta sums become cumulative by ``otlp_delta``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_DELTA,
    AGGREGATION_TEMPORALITY_UNSPECIFIED,
    DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ScopeMetrics,
    SummaryDataPoint,
)

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms, HistogramValue, histograms_of
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import (
    ABSENT_BITS,
    HISTOGRAM,
    HISTOGRAM_BITS,
    NAN_BITS,
    STALE,
    Exemplar,
    bits,
)
from vedette.receive.wire.otlp_delta import DeltaChanges, V
from vedette.receive.wire.otlp_names import (
    Strategy,
    UnnamedError,
    label_name,
    metric_name,
    unit_name,
)
from vedette.receive.wire.otlp_points import (
    ClassicValue,
    FoundExemplar,
    PointError,
    attributes,
    classic,
    custom_buckets,
    exemplars,
    exponential,
    milliseconds,
    number,
    start_of,
)
from vedette.storage.interface import SeriesIndex

_IDENTIFYING = ("service.name", "service.namespace", "service.instance.id")
_LABEL_CHARS = 4096
_NAME_CHARS = 512
_MOST_LABELS = 128

Point = NumberDataPoint | HistogramDataPoint | ExponentialHistogramDataPoint | SummaryDataPoint


@dataclass(frozen=True, slots=True)
class OtlpOptions:
    """What becomes of names and attributes; named as in Prometheus' section ``otlp``.

    Attributes:
        strategy: ``translation_strategy``.
        promote: resource attributes that every series gets as labels.
        promote_all: promote all of them but ``ignore``.
        ignore: resource attributes that are not promoted by ``promote_all``.
        keep_identifying: whether ``target_info`` also has service name, namespace and instance.
        promote_scope: whether every series tells its instrumentation scope.
        key_prefix: whether a label that would begin with one underscore gets ``key`` before it
            (``label_name_underscore_sanitization``).
        keep_underscores: whether underscores that follow each other stay in names of labels
            (``label_name_preserve_multiple_underscores``).
        convert_histograms: whether explicit histograms become native ones with custom buckets.
        points: most data points of a request.
    """

    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES
    promote: tuple[str, ...] = ()
    promote_all: bool = False
    ignore: tuple[str, ...] = ()
    keep_identifying: bool = False
    promote_scope: bool = False
    key_prefix: bool = True
    keep_underscores: bool = True
    convert_histograms: bool = False
    points: int = 500_000


@dataclass(frozen=True, slots=True)
class OtlpRequest:
    """What a request holds, translated.

    Attributes:
        refs, ts, values, start: int32[n], int64[n] ms, float64[n], int64[n] ms (0: unknown).
        histograms: the samples that are native histograms, ``None`` for none.
        exemplars: with series as in ``refs``.
        metadata: one statement for each metric.
        points: data points that became samples.
        rejected: data points that did not, by reason.
        message: what was wrong with the first of them.
    """

    refs: I32
    ts: I64
    values: F64
    start: I64
    histograms: Histograms | None
    exemplars: tuple[Exemplar, ...]
    metadata: tuple[MetricMetadata, ...]
    points: int
    rejected: Mapping[str, int]
    message: str


def translate(
    request: ExportMetricsServiceRequest, deltas: DeltaChanges, options: OtlpOptions
) -> Rows:
    """Translate a request; never raises for what it holds."""
    rows = Rows()
    for resource in request.resource_metrics:
        found = attributes(resource.resource.attributes)
        try:
            translator = _ResourceTranslator(found, options)
            info = translator.info()
        except PointError as error:
            points = sum(_points_of(m) for scope in resource.scope_metrics for m in scope.metrics)
            rows.refuse(error.reason, f"resource: {error}", points)
            continue
        latest = 0
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                latest = max(latest, _take_metric(translator, scope, metric, rows, deltas))
        if info is not None and latest:
            rows.add(info, latest, 1.0, 0)
    return rows


def _points_of(metric: Metric) -> int:
    which = metric.WhichOneof("data")
    return len(getattr(metric, which).data_points) if which else 0


@dataclass(slots=True)
class Rows:
    """Samples before their series have numbers."""

    labels: list[Labels] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    start: list[int] = field(default_factory=list)
    histograms: list[tuple[int, HistogramValue]] = field(default_factory=list)
    exemplars: list[tuple[int, FoundExemplar]] = field(default_factory=list)
    metadata: dict[str, MetricMetadata] = field(default_factory=dict)
    points: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    message: str = ""

    def add(self, labels: Labels, ts: int, value: float, start: int) -> int:
        """Add one sample; return its place."""
        self.labels.append(labels)
        self.ts.append(ts)
        self.values.append(value)
        self.start.append(start)
        return len(self.labels) - 1

    def refuse(self, reason: str, message: str, points: int = 1) -> None:
        """Count data points that cannot be taken."""
        self.rejected[reason] += points
        self.message = self.message or message

    def numbered(self, index: SeriesIndex) -> OtlpRequest:
        """Return the samples with the numbers of their series; asks the index."""
        refs = index.refs(self.labels)
        values = np.array(self.values, np.float64)
        reserved = (bits(values) == ABSENT_BITS) | (bits(values) == HISTOGRAM_BITS)
        bits(values)[reserved] = NAN_BITS
        hist_index = np.full(len(refs), -1, np.int32)
        for row, (place, _) in enumerate(self.histograms):
            hist_index[place] = row
            values[place] = HISTOGRAM
        kept = refs >= 0
        refused = int(len(refs) - kept.sum())
        if refused:
            self.refuse("series_limit", "the limit of series is reached", refused)
        histograms = None
        if self.histograms:
            held = histograms_of([value for _, value in self.histograms], hist_index)
            histograms = held.at(hist_index[kept])
        examples = tuple(
            Exemplar(
                int(refs[place]), found.ts or self.ts[place], found.value, Labels.of(found.labels)
            )
            for place, found in self.exemplars
            if refs[place] >= 0
        )
        return OtlpRequest(
            refs[kept],
            np.array(self.ts, np.int64)[kept],
            values[kept],
            np.array(self.start, np.int64)[kept],
            histograms,
            examples,
            tuple(self.metadata.values()),
            self.points,
            dict(self.rejected),
            self.message,
        )


class _ResourceTranslator:
    """Makes labels from the attributes of points, of one resource."""

    def __init__(self, resource: Mapping[str, str], options: OtlpOptions) -> None:
        self.options = options
        self._resource = resource
        self._job = "/".join(
            text for key in ("service.namespace", "service.name") if (text := resource.get(key))
        )
        if not resource.get("service.name"):
            self._job = ""
        self._instance = resource.get("service.instance.id", "")
        promoted = {key: text for key, text in resource.items() if self._is_promoted(key)}
        self._promoted = self._translated(promoted)

    def _is_promoted(self, key: str) -> bool:
        options = self.options
        if options.promote_all:
            return key not in options.ignore
        return key in options.promote

    def info(self) -> Labels | None:
        """Return the labels of ``target_info``; ``None`` where it would tell nothing."""
        further = {k: v for k, v in self._resource.items() if k not in _IDENTIFYING}
        if not further or not (self._job or self._instance):
            return None
        told = self._resource if self.options.keep_identifying else further
        labels = self._translated(told)
        return Labels.of({**labels, **self._identity(), METRIC_NAME: "target_info"})

    def base(self, pairs: Iterable[KeyValue], scope: Mapping[str, str]) -> dict[str, str]:
        """Return the labels of a point, less its metric name.

        Raises:
            PointError: for ``label``: one has no name, or there are too many or too long ones.
        """
        labels = self._translated(attributes(pairs))
        labels = {**self._promoted, **labels, **scope, **self._identity()}
        if len(labels) > _MOST_LABELS:
            raise PointError("label", f"{len(labels)} labels are more than {_MOST_LABELS}")
        for name, text in labels.items():
            if len(name) > _NAME_CHARS or len(text) > _LABEL_CHARS:
                message = (
                    f'label "{name[:80]}" has a name of {len(name)} and {len(text)} characters'
                )
                raise PointError("label", message)
        return labels

    def scope(self, scope: ScopeMetrics) -> dict[str, str]:
        """Return the labels that tell the instrumentation scope."""
        found: InstrumentationScope = scope.scope
        if not self.options.promote_scope or not found.name:
            return {}
        labels = {
            "otel_scope_name": found.name,
            "otel_scope_version": found.version,
            "otel_scope_schema_url": scope.schema_url,
        }
        for key, text in attributes(found.attributes).items():
            labels[self._name(f"otel_scope_{key}")] = text
        return labels

    def _identity(self) -> dict[str, str]:
        found = {"job": self._job, "instance": self._instance}
        return {name: text for name, text in found.items() if text}

    def _name(self, attribute: str) -> str:
        options = self.options
        try:
            return label_name(
                attribute, options.strategy, options.key_prefix, options.keep_underscores
            )
        except UnnamedError as error:
            raise PointError("label", str(error)) from None

    def _translated(self, found: Mapping[str, str]) -> dict[str, str]:
        """Return labels; the values of attributes that become one label are joined."""
        labels: dict[str, str] = {}
        for key, text in found.items():
            name = self._name(key)
            labels[name] = f"{labels[name]};{text}" if name in labels else text
        return labels


@dataclass(frozen=True, slots=True)
class _Series:
    """What the points of one metric have in common."""

    translator: _ResourceTranslator
    scope: Mapping[str, str]
    name: str
    delta: bool
    cumulative: bool
    rows: Rows
    deltas: DeltaChanges

    def labels(self, base: Mapping[str, str], suffix: str = "", **more: str) -> Labels:
        """Return the labels of one series of a point."""
        return Labels.of({**base, **more, METRIC_NAME: self.name + suffix})

    def summed(self, base: Mapping[str, str], value: V, point: Point) -> tuple[V, int]:
        """Return the cumulative value and its start in ms; a gauge has none."""
        ts = milliseconds(point.time_unix_nano)
        start = start_of(point.start_time_unix_nano, point.time_unix_nano) if self.cumulative else 0
        if not self.delta:
            return value, start
        return self.deltas.add(self.labels(base).canonical(), value, start, ts)


def _take_metric(
    translator: _ResourceTranslator,
    scope: ScopeMetrics,
    metric: Metric,
    rows: Rows,
    deltas: DeltaChanges,
) -> int:
    """Translate all points of ``metric``; return the latest time in ms, 0 for none."""
    which = metric.WhichOneof("data")
    if which is None:
        return 0
    points: Sequence[Point] = getattr(metric, which).data_points
    temporality = getattr(getattr(metric, which), "aggregation_temporality", None)
    monotonic = which == "sum" and metric.sum.is_monotonic
    strategy = translator.options.strategy
    try:
        if temporality == AGGREGATION_TEMPORALITY_UNSPECIFIED:
            raise PointError("temporality", f"{metric.name[:80]} tells no temporality")
        name = metric_name(
            metric.name, metric.unit, strategy, counter=monotonic, gauge=which == "gauge"
        )
        labels = translator.scope(scope)
    except (UnnamedError, PointError) as error:
        reason = error.reason if isinstance(error, PointError) else "name"
        rows.refuse(reason, str(error), len(points))
        return 0
    series = _Series(
        translator,
        labels,
        name,
        temporality == AGGREGATION_TEMPORALITY_DELTA,
        which != "gauge" and (which != "sum" or monotonic),
        rows,
        deltas,
    )
    rows.metadata[name] = MetricMetadata(
        name,
        _TYPES.get(which, "counter" if monotonic else "gauge"),
        metric.description[:_LABEL_CHARS],
        unit_name(metric.unit, strategy)[:_NAME_CHARS],
    )
    return _take_points(series, points)


_TYPES = {
    "gauge": "gauge",
    "histogram": "histogram",
    "exponential_histogram": "histogram",
    "summary": "summary",
}


def _take_points(series: _Series, points: Sequence[Point]) -> int:
    rows, latest = series.rows, 0
    for taken, point in enumerate(points):
        if rows.points >= series.translator.options.points:
            message = f"more than {rows.points} data points in a request; send fewer at once"
            rows.refuse("too_many_points", message, len(points) - taken)
            break
        try:
            ts = milliseconds(point.time_unix_nano)
            base = series.translator.base(point.attributes, series.scope)
            stale = bool(point.flags & DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)
            _take(series, point, base, ts, stale)
        except (PointError, UnnamedError) as error:
            reason = error.reason if isinstance(error, PointError) else "label"
            rows.refuse(reason, f"{series.name[:80]}: {error}")
            continue
        rows.points += 1
        latest = max(latest, ts)
    return latest


def _take_number(
    series: _Series, point: NumberDataPoint, base: Mapping[str, str], ts: int, stale: bool
) -> None:
    if stale:
        series.rows.add(series.labels(base), ts, STALE, 0)
        return
    value, start = series.summed(base, number(point), point)
    place = series.rows.add(series.labels(base), ts, value, start)
    series.rows.exemplars += [(place, found) for found in exemplars(point.exemplars)]


def _take_histogram(
    series: _Series, point: HistogramDataPoint, base: Mapping[str, str], ts: int, stale: bool
) -> None:
    rows, found = series.rows, exemplars(point.exemplars)
    if series.translator.options.convert_histograms:
        if stale:
            rows.add(series.labels(base), ts, STALE, 0)
            return
        value, start = series.summed(base, classic(point), point)
        place = rows.add(series.labels(base), ts, 0.0, start)
        rows.histograms.append((place, custom_buckets(value)))
        rows.exemplars += [(place, each) for each in found]
        return
    shape = ClassicValue(tuple(point.explicit_bounds), (), 0, None) if stale else classic(point)
    value, start = (shape, 0) if stale else series.summed(base, shape, point)

    def add(labels: Labels, amount: float) -> int:
        return rows.add(labels, ts, STALE if stale else amount, start)

    if value.sum is not None or stale:
        add(series.labels(base, "_sum"), value.sum or 0.0)
    add(series.labels(base, "_count"), float(value.count))
    places, cumulative = [], 0
    for i, bound in enumerate(value.bounds):
        cumulative += value.counts[i] if value.counts else 0
        if bound != math.inf:
            place = add(series.labels(base, "_bucket", le=plain_number(bound)), float(cumulative))
            places.append((bound, place))
    places.append((math.inf, add(series.labels(base, "_bucket", le="+Inf"), float(value.count))))
    for each in found:
        at = next((place for bound, place in places if each.value <= bound), places[-1][1])
        rows.exemplars.append((at, each))


def _take_exponential(
    series: _Series,
    point: ExponentialHistogramDataPoint,
    base: Mapping[str, str],
    ts: int,
    stale: bool,
) -> None:
    rows = series.rows
    if stale:
        rows.add(series.labels(base), ts, STALE, 0)
        return
    value, start = series.summed(base, exponential(point), point)
    place = rows.add(series.labels(base), ts, 0.0, start)
    rows.histograms.append((place, value))
    rows.exemplars += [(place, found) for found in exemplars(point.exemplars)]


def _take_summary(
    series: _Series, point: SummaryDataPoint, base: Mapping[str, str], ts: int, stale: bool
) -> None:
    start = 0 if stale else start_of(point.start_time_unix_nano, point.time_unix_nano)

    def add(labels: Labels, amount: float) -> None:
        series.rows.add(labels, ts, STALE if stale else amount, start)

    add(series.labels(base, "_sum"), point.sum)
    add(series.labels(base, "_count"), float(point.count))
    for each in point.quantile_values:
        add(series.labels(base, quantile=plain_number(each.quantile)), each.value)


def _take(series: _Series, point: Point, base: Mapping[str, str], ts: int, stale: bool) -> None:
    """Translate one point by its kind; raises ``PointError``."""
    if isinstance(point, NumberDataPoint):
        _take_number(series, point, base, ts, stale)
    elif isinstance(point, HistogramDataPoint):
        _take_histogram(series, point, base, ts, stale)
    elif isinstance(point, ExponentialHistogramDataPoint):
        _take_exponential(series, point, base, ts, stale)
    else:
        _take_summary(series, point, base, ts, stale)


def plain_number(value: float) -> str:
    """Return a bound or quantile as Prometheus' OTLP receiver writes it: without an exponent."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{Decimal(repr(value)).normalize():f}"
