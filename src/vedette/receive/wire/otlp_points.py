"""Data points of OTLP as samples of Prometheus: values, buckets, exemplars. Without labels.

Source: "OTLP Metric points to Prometheus" of OpenTelemetry's specification, and the OTLP data model
for temporality and exponential histograms.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from operator import itemgetter

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    Exemplar,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
)

from vedette.model.histograms import CUSTOM_BUCKETS, HistogramValue

DEFAULT_ZERO_THRESHOLD = 1e-128
LOWEST_SCALE, HIGHEST_SCALE = -4, 8
_MOST_BUCKETS = 10_000
_MOST_EXEMPLAR_CHARS = 128
_LATEST_MS = 4_102_444_800_000
_NS = 1_000_000
_DEEPEST = 16


class PointError(Exception):
    """A data point cannot be taken; ``reason`` is a metric label, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ClassicValue:
    """An explicit histogram: counts of the buckets, not cumulative; one more than ``bounds``.

    ``counts`` is empty where a sender tells only count and sum. ``sum`` is ``None`` for none.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum: float | None


@dataclass(frozen=True, slots=True)
class FoundExemplar:
    """An exemplar; ``ts`` in ms, 0 for none; ``labels`` as pairs."""

    labels: tuple[tuple[str, str], ...]
    value: float
    ts: int


def milliseconds(nanos: int) -> int:
    """Return the ms of the time ``nanos`` of a sample.

    Raises:
        PointError: for ``timestamp``: there is none, or it is beyond the year 2100.
    """
    ms = nanos // _NS
    if not 0 < ms <= _LATEST_MS:
        message = f"time_unix_nano {nanos} is no time between 1970 and 2100"
        raise PointError("timestamp", message)
    return ms


def start_of(nanos: int, end_nanos: int) -> int:
    """Return the start timestamp in ms; 0 where it is unknown or not before the sample's time."""
    if not 0 < nanos < end_nanos:
        return 0
    # Both may lie in one millisecond, and the start still is the earlier one.
    return min(nanos // _NS, end_nanos // _NS - 1)


def number(point: NumberDataPoint) -> float:
    """Return the value; raises ``PointError`` where there is none."""
    which = point.WhichOneof("value")
    if which is None:
        raise PointError("value", "a data point has no value")
    return point.as_double if which == "as_double" else float(point.as_int)


def classic(point: HistogramDataPoint) -> ClassicValue:
    """Return the explicit histogram.

    Raises:
        PointError: for ``histogram``: counts and bounds do not fit together.
    """
    counts, bounds = tuple(point.bucket_counts), tuple(point.explicit_bounds)
    if not counts and not bounds:
        return ClassicValue((), (), point.count, _sum(point))
    if len(counts) != len(bounds) + 1:
        message = f"{len(counts)} bucket counts do not fit {len(bounds)} bounds"
        raise PointError("histogram", message)
    if any(not low < high for low, high in pairwise(bounds)):
        raise PointError("histogram", "the explicit bounds do not ascend")
    if sum(counts) != point.count:
        message = f"the buckets hold {sum(counts)} observations, the count says {point.count}"
        raise PointError("histogram", message)
    return ClassicValue(bounds, counts, point.count, _sum(point))


def custom_buckets(value: ClassicValue) -> HistogramValue:
    """Return an explicit histogram as a native one with custom buckets."""
    counts = value.counts or (value.count,)
    filled = tuple((i, float(n)) for i, n in enumerate(counts) if n)
    bounds = tuple(bound for bound in value.bounds if bound != math.inf)
    return HistogramValue(
        CUSTOM_BUCKETS, float(value.count), value.sum or 0.0, positive=filled, custom_bounds=bounds
    )


def _sum(point: HistogramDataPoint | ExponentialHistogramDataPoint) -> float | None:
    return point.sum if point.HasField("sum") else None


def exponential(point: ExponentialHistogramDataPoint) -> HistogramValue:
    """Return the exponential histogram as a native one, at a scale of at most 8.

    Raises:
        PointError: for ``histogram``: the scale is below −4, or there are too many buckets.
    """
    if point.scale < LOWEST_SCALE:
        message = f"the scale {point.scale} is below {LOWEST_SCALE}"
        raise PointError("histogram", message)
    scale = min(point.scale, HIGHEST_SCALE)
    down = point.scale - scale
    value = HistogramValue(
        scale,
        float(point.count),
        _sum(point) or 0.0,
        point.zero_threshold if point.zero_threshold > 0 else DEFAULT_ZERO_THRESHOLD,
        float(point.zero_count),
        0,
        _buckets(point.positive.offset, point.positive.bucket_counts, down),
        _buckets(point.negative.offset, point.negative.bucket_counts, down),
    )
    held = sum(count for _, count in (*value.positive, *value.negative)) + value.zero_count
    if held > value.count or (held < value.count and not math.isnan(value.sum)):
        message = f"the buckets hold {held:g} observations, the count says {value.count:g}"
        raise PointError("histogram", message)
    return value


def _buckets(offset: int, counts: Sequence[int], down: int) -> tuple[tuple[int, float], ...]:
    """Return (number, count) of the filled buckets, 2**down of them merged into one.

    OTLP's bucket 0 reaches from 1 to the base, and so does Prometheus' bucket 1.
    """
    if len(counts) > _MOST_BUCKETS:
        raise PointError("histogram", f"{len(counts)} buckets are more than {_MOST_BUCKETS}")
    merged: dict[int, float] = {}
    for i, count in enumerate(counts):
        if count:
            at = ((offset + i) >> min(down, 32)) + 1
            merged[at] = merged.get(at, 0.0) + count
    return tuple(merged.items())


def rescaled(value: HistogramValue, schema: int) -> HistogramValue:
    """Return ``value`` at the coarser ``schema``."""
    down = value.schema - schema
    if not down:
        return value

    def merged(buckets: Iterable[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
        out: dict[int, float] = {}
        for at, count in buckets:
            coarse = ((at - 1) >> down) + 1
            out[coarse] = out.get(coarse, 0.0) + count
        return tuple(out.items())

    return HistogramValue(
        schema,
        value.count,
        value.sum,
        value.zero_threshold,
        value.zero_count,
        value.reset_hint,
        merged(value.positive),
        merged(value.negative),
    )


def exemplars(found: Iterable[Exemplar]) -> list[FoundExemplar]:
    """Return the exemplars; attributes are left out where they would make one too long."""
    out = []
    for exemplar in found:
        which = exemplar.WhichOneof("value")
        if which is None:
            continue
        value = exemplar.as_double if which == "as_double" else float(exemplar.as_int)
        pairs: list[tuple[str, str]] = []
        if exemplar.trace_id:
            pairs.append(("trace_id", exemplar.trace_id.hex()))
        if exemplar.span_id:
            pairs.append(("span_id", exemplar.span_id.hex()))
        further = [(each.key, text_of(each.value)) for each in exemplar.filtered_attributes]
        if _length(pairs) + _length(further) <= _MOST_EXEMPLAR_CHARS:
            pairs += further
        if _length(pairs) <= _MOST_EXEMPLAR_CHARS:
            ts = max(exemplar.time_unix_nano // _NS, 0)
            out.append(FoundExemplar(tuple(dict(pairs).items()), value, min(ts, _LATEST_MS)))
    return out


def _length(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(len(name) + len(value) for name, value in pairs)


def text_of(value: AnyValue) -> str:
    """Return an attribute's value as a label value: text as it is, the rest as JSON."""
    which = value.WhichOneof("value")
    if which == "string_value":
        return value.string_value
    return "" if which is None else json_of(value)


def json_of(value: AnyValue, depth: int = 0) -> str:
    """Return ``value`` as JSON, members sorted by name, bytes as base64.

    Raises:
        PointError: for ``label``: it is nested more than 16 levels deep.
    """
    if depth > _DEEPEST:
        raise PointError("label", f"an attribute is nested more than {_DEEPEST} levels deep")
    match value.WhichOneof("value"):
        case "string_value":
            return orjson.dumps(value.string_value).decode()
        case "bytes_value":
            text = base64.b64encode(value.bytes_value).decode()
            return f'"{text}"' if depth else text
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return json_number(value.double_value)
        case "array_value":
            items = [json_of(item, depth + 1) for item in value.array_value.values]
            return f"[{','.join(items)}]"
        case "kvlist_value":
            pairs = sorted(
                ((pair.key, pair.value) for pair in _distinct(value.kvlist_value.values)),
                key=itemgetter(0),
            )
            members = [f"{orjson.dumps(k).decode()}:{json_of(v, depth + 1)}" for k, v in pairs]
            return f"{{{','.join(members)}}}"
        case _:
            return "null"


def _distinct(pairs: Iterable[KeyValue]) -> Iterable[KeyValue]:
    return {pair.key: pair for pair in pairs}.values()


def json_number(value: float) -> str:
    """Return the number as JSON of Go and of JavaScript: an exponent from 1e21 and below 1e-6."""
    if not math.isfinite(value):
        return str(value)
    if not value or 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(repr(value)):f}"
        return text.removesuffix(".0")
    return re.sub(r"e([+-])0+", r"e\1", repr(value))


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Return attributes as text, sorted by name."""
    return dict(sorted((pair.key, text_of(pair.value)) for pair in pairs))
