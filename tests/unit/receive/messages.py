"""The messages of remote write for protobuf's own runtime, from their published description."""

from __future__ import annotations

import math
import struct
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import strategies as st

from vedette.model.histograms import HistogramValue, spans_to_numbers

NUMBERS = {
    **{"double": 1, "int64": 3, "uint64": 4, "string": 9, "bytes": 12},
    **{"uint32": 13, "sint32": 17, "sint64": 18},
}
HISTOGRAM = (
    "count_int 1 uint64|count, count_float 2 double|count, sum 3 double, schema 4 sint32, "
    "zero_threshold 5 double, zero_count_int 6 uint64|zero, zero_count_float 7 double|zero, "
    "negative_spans 8 BucketSpan*, negative_deltas 9 sint64*, negative_counts 10 double*, "
    "positive_spans 11 BucketSpan*, positive_deltas 12 sint64*, positive_counts 13 double*, "
    "reset_hint 14 uint32, timestamp 15 int64, custom_values 16 double*, start_timestamp 17 int64"
)
SPAN = "offset 1 sint32, length 2 uint32"
VERSION_1 = {
    "Label": "name 1 string, value 2 string",
    "Sample": "value 1 double, timestamp 2 int64",
    "Exemplar": "labels 1 Label*, value 2 double, timestamp 3 int64",
    "BucketSpan": SPAN,
    "Histogram": HISTOGRAM,
    "TimeSeries": "labels 1 Label*, samples 2 Sample*, exemplars 3 Exemplar*, "
    "histograms 4 Histogram*",
    "MetricMetadata": "type 1 uint32, metric_family_name 2 string, help 4 string, unit 5 string",
    "WriteRequest": "timeseries 1 TimeSeries*, metadata 3 MetricMetadata*",
}
VERSION_2 = {
    "Sample": "value 1 double, timestamp 2 int64, start_timestamp 3 int64",
    "Exemplar": "labels_refs 1 uint32*, value 2 double, timestamp 3 int64",
    "BucketSpan": SPAN,
    "Histogram": HISTOGRAM,
    "Metadata": "type 1 uint32, help_ref 3 uint32, unit_ref 4 uint32",
    "TimeSeries": "labels_refs 1 uint32*, samples 2 Sample*, histograms 3 Histogram*, "
    "exemplars 4 Exemplar*, metadata 5 Metadata, created_timestamp 6 int64",
    "Request": "symbols 4 string*, timeseries 5 TimeSeries*",
}


def message_class(package: str, messages: dict[str, str], name: str) -> Any:
    """Return the class of message ``name``; a field is ``name number type[*][|oneof]``."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for title, members in messages.items():
        message = file.message_type.add(name=title)
        oneofs: list[str] = []
        for member in members.split(", "):
            label, number, kind = member.split()
            kind, _, oneof = kind.partition("|")
            added = message.field.add(name=label, number=int(number))
            added.label = 3 if kind.endswith("*") else 1
            kind = kind.rstrip("*")
            added.type = NUMBERS.get(kind, 11)
            if kind not in NUMBERS:
                added.type_name = f".{package}.{kind}"
            if oneof:
                if oneof not in oneofs:
                    oneofs.append(oneof)
                    message.oneof_decl.add(name=oneof)
                added.oneof_index = oneofs.index(oneof)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


REQUEST_1 = message_class("w1", VERSION_1, "WriteRequest")
REQUEST_2 = message_class("w2", VERSION_2, "Request")


def histogram_of(message: Any) -> HistogramValue:
    """Return the histogram that ``message`` of either version means, by the plainest reading."""
    whole = message.WhichOneof("count") != "count_float"

    def side(name: str) -> tuple[tuple[int, float], ...]:
        spans = [(s.offset, s.length) for s in getattr(message, f"{name}_spans")]
        deltas = getattr(message, f"{name}_deltas")
        counts = getattr(message, f"{name}_counts")
        absolute = [float(sum(deltas[: k + 1])) for k in range(len(deltas))] if whole else counts
        return tuple(zip(spans_to_numbers(spans), absolute, strict=True))

    return HistogramValue(
        message.schema,
        float(message.count_int if whole else message.count_float),
        message.sum,
        message.zero_threshold,
        float(message.zero_count_int if whole else message.zero_count_float),
        message.reset_hint,
        side("positive"),
        side("negative"),
        tuple(message.custom_values),
    )


def same_bits(left: HistogramValue, right: HistogramValue) -> bool:
    """Return whether two histograms are equal in every bit, NaN included."""
    return _flat(left) == _flat(right)


def _flat(value: HistogramValue) -> tuple[object, ...]:
    numbers = [value.count, value.sum, value.zero_threshold, value.zero_count]
    return (
        *(value.schema, value.reset_hint, value.positive, value.negative, value.custom_bounds),
        *(struct.pack("<d", number) for number in numbers),
    )


_spans = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4)), max_size=3)


@st.composite
def histograms(draw: st.DrawFn) -> dict[str, Any]:
    """Draw the fields of a histogram that may be stored, integer or float, custom or not."""
    custom, whole = draw(st.booleans()), draw(st.booleans())
    given: dict[str, Any] = {
        "sum": draw(st.floats(allow_nan=False)),
        "schema": -53 if custom else draw(st.integers(-4, 8)),
        "reset_hint": draw(st.integers(0, 3)),
        "start_timestamp": draw(st.sampled_from([0, 1_767_225_000_000])),
    }
    total = 0
    for name in ("positive",) if custom else ("positive", "negative"):
        spans = draw(_spans)
        if spans and not custom:
            spans[0] = (draw(st.integers(-40, 40)), spans[0][1])
        size = sum(length for _, length in spans)
        counts = draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size))
        total += sum(counts)
        given[f"{name}_spans"] = [{"offset": o, "length": n} for o, n in spans]
        if whole:
            before = [0, *counts]
            given[f"{name}_deltas"] = [b - a for a, b in zip(before, counts, strict=False)]
        else:
            given[f"{name}_counts"] = [count / 8 for count in counts]
    zeros = 0 if custom else draw(st.integers(0, 9))
    given["zero_threshold"] = 0.0 if custom else draw(st.sampled_from([0.0, 1e-128, 0.5]))
    given["zero_count_int" if whole else "zero_count_float"] = zeros
    given["count_int" if whole else "count_float"] = total + zeros
    if custom:
        given["custom_values"] = draw(
            st.lists(st.floats(-1e9, 1e9), min_size=30, max_size=40, unique=True).map(sorted)
        )
        assert not any(math.isnan(bound) for bound in given["custom_values"])
    return given
