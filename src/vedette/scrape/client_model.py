"""The messages of the protobuf exposition format, ``io.prometheus.client``.

Field numbers: ``io/prometheus/client/metrics.proto`` of https://github.com/prometheus/client_model.
Labels, and the metrics of a family, are declared as bytes, which lie on the wire as messages do: so
they can be compared with what is known before they are parsed. Texts are bytes too, because the
library lets invalid UTF-8 pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

__all__ = ["DecodeError", "family", "label_pair", "metric"]

_PACKAGE = "vedette.client"
_Field = descriptor_pb2.FieldDescriptorProto
_DOUBLE, _INT64, _UINT64 = _Field.TYPE_DOUBLE, _Field.TYPE_INT64, _Field.TYPE_UINT64
_INT32, _UINT32, _SINT32 = _Field.TYPE_INT32, _Field.TYPE_UINT32, _Field.TYPE_SINT32
_SINT64, _BYTES = _Field.TYPE_SINT64, _Field.TYPE_BYTES

# Number, name, type (or the name of a message), and whether it is repeated.
_MESSAGES: Mapping[str, Sequence[tuple[int, str, int | str, bool]]] = {
    "LabelPair": ((1, "name", _BYTES, False), (2, "value", _BYTES, False)),
    "Timestamp": ((1, "seconds", _INT64, False), (2, "nanos", _INT32, False)),
    "Exemplar": (
        (1, "label", "LabelPair", True),
        (2, "value", _DOUBLE, False),
        (3, "timestamp", "Timestamp", False),
    ),
    "Simple": (
        (1, "value", _DOUBLE, False),
        (2, "exemplar", "Exemplar", False),
        (3, "created_timestamp", "Timestamp", False),
    ),
    "Quantile": ((1, "quantile", _DOUBLE, False), (2, "value", _DOUBLE, False)),
    "Summary": (
        (1, "sample_count", _UINT64, False),
        (2, "sample_sum", _DOUBLE, False),
        (3, "quantile", "Quantile", True),
        (4, "created_timestamp", "Timestamp", False),
    ),
    "Bucket": (
        (1, "cumulative_count", _UINT64, False),
        (2, "upper_bound", _DOUBLE, False),
        (3, "exemplar", "Exemplar", False),
        (4, "cumulative_count_float", _DOUBLE, False),
    ),
    "BucketSpan": ((1, "offset", _SINT32, False), (2, "length", _UINT32, False)),
    "Histogram": (
        (1, "sample_count", _UINT64, False),
        (2, "sample_sum", _DOUBLE, False),
        (3, "bucket", "Bucket", True),
        (4, "sample_count_float", _DOUBLE, False),
        (5, "schema", _SINT32, False),
        (6, "zero_threshold", _DOUBLE, False),
        (7, "zero_count", _UINT64, False),
        (8, "zero_count_float", _DOUBLE, False),
        (9, "negative_span", "BucketSpan", True),
        (10, "negative_delta", _SINT64, True),
        (11, "negative_count", _DOUBLE, True),
        (12, "positive_span", "BucketSpan", True),
        (13, "positive_delta", _SINT64, True),
        (14, "positive_count", _DOUBLE, True),
        (15, "created_timestamp", "Timestamp", False),
        (16, "exemplars", "Exemplar", True),
    ),
    "Metric": (
        (1, "label", _BYTES, True),
        (2, "gauge", "Simple", False),
        (3, "counter", "Simple", False),
        (4, "summary", "Summary", False),
        (5, "untyped", "Simple", False),
        (6, "timestamp_ms", _INT64, False),
        (7, "histogram", "Histogram", False),
    ),
    "MetricFamily": (
        (1, "name", _BYTES, False),
        (2, "help", _BYTES, False),
        (3, "type", _INT32, False),
        (4, "metric", _BYTES, True),
        (5, "unit", _BYTES, False),
    ),
}

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)
TYPES = ("counter", "gauge", "summary", "unknown", "histogram", "gaugehistogram")


class LabelPair(Protocol):
    """One label, as UTF-8 that nobody has checked."""

    name: bytes
    value: bytes


class Timestamp(Protocol):
    """A time since the epoch."""

    seconds: int
    nanos: int


class Exemplar(Protocol):
    """An example of what was counted; ``HasField`` tells whether it has a timestamp."""

    label: Sequence[LabelPair]
    value: float
    timestamp: Timestamp

    def HasField(self, name: str) -> bool:  # noqa: N802 - the name is protobuf's
        """Return whether the field was set."""
        ...


class Simple(Protocol):
    """A counter, a gauge, or a value without a type."""

    value: float
    exemplar: Exemplar
    created_timestamp: Timestamp

    def HasField(self, name: str) -> bool:  # noqa: N802 - the name is protobuf's
        """Return whether the field was set."""
        ...


class Quantile(Protocol):
    """One quantile of a summary."""

    quantile: float
    value: float


class Summary(Protocol):
    """A summary."""

    sample_count: int
    sample_sum: float
    quantile: Sequence[Quantile]
    created_timestamp: Timestamp


class Bucket(Protocol):
    """A classic bucket; the count as float wins if it is above zero."""

    cumulative_count: int
    upper_bound: float
    exemplar: Exemplar
    cumulative_count_float: float

    def HasField(self, name: str) -> bool:  # noqa: N802 - the name is protobuf's
        """Return whether the field was set."""
        ...


class BucketSpan(Protocol):
    """Native buckets that follow each other."""

    offset: int
    length: int


class Histogram(Protocol):
    """A classic histogram, a native one, or both."""

    sample_count: int
    sample_sum: float
    bucket: Sequence[Bucket]
    sample_count_float: float
    schema: int
    zero_threshold: float
    zero_count: int
    zero_count_float: float
    negative_span: Sequence[BucketSpan]
    negative_delta: Sequence[int]
    negative_count: Sequence[float]
    positive_span: Sequence[BucketSpan]
    positive_delta: Sequence[int]
    positive_count: Sequence[float]
    created_timestamp: Timestamp
    exemplars: Sequence[Exemplar]


class Metric(Protocol):
    """All series of one label set of a family."""

    label: Sequence[bytes]
    gauge: Simple
    counter: Simple
    summary: Summary
    untyped: Simple
    timestamp_ms: int
    histogram: Histogram

    def HasField(self, name: str) -> bool:  # noqa: N802 - the name is protobuf's
        """Return whether the field was set."""
        ...


class MetricFamily(Protocol):
    """A family; ``metric`` holds the bytes of its metrics, the texts are unchecked UTF-8."""

    name: bytes
    help: bytes
    type: int
    metric: Sequence[bytes]
    unit: bytes


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="vedette/client.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            added = message.field.add(name=field, number=number)
            added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = cast("_Field.Type.ValueType", kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _pool()


def _message(name: str) -> type:
    found: type = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return found


_FAMILY, _METRIC, _LABEL = _message("MetricFamily"), _message("Metric"), _message("LabelPair")


def family(data: bytes) -> MetricFamily:
    """Return the family in ``data``; raises ``DecodeError``."""
    return cast("MetricFamily", _FAMILY.FromString(data))  # type: ignore[attr-defined]


def metric(data: bytes) -> Metric:
    """Return the metric in ``data``; raises ``DecodeError``."""
    return cast("Metric", _METRIC.FromString(data))  # type: ignore[attr-defined]


def label_pair(data: bytes) -> LabelPair:
    """Return the label in ``data``; raises ``DecodeError``."""
    return cast("LabelPair", _LABEL.FromString(data))  # type: ignore[attr-defined]
