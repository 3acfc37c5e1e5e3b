"""Native histograms as both versions of remote write carry them.

Source: messages ``Histogram`` and ``BucketSpan`` of ``prompb/types.proto`` and
``io/prometheus/write/v2/types.proto``, whose fields have equal numbers; the rules are those of
"Native Histograms" in Prometheus' specification.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vedette.model.histograms import CUSTOM_BUCKETS, HistogramValue, spans_to_numbers
from vedette.model.samples import STALE_BITS, bits
from vedette.receive.wire.errors import WireError
from vedette.receive.wire.protobuf import BYTES, FIXED64, VARINT, Reader, signed, varint

_COUNT_INT, _COUNT_FLOAT, _SUM, _SCHEMA, _ZERO_THRESHOLD = 1, 2, 3, 4, 5
_ZERO_INT, _ZERO_FLOAT, _RESET_HINT, _TIMESTAMP, _START = 6, 7, 14, 15, 17
_SPANS = {8: "negative", 11: "positive"}
_DELTAS = {9: "negative", 12: "positive"}
_COUNTS = {10: "negative", 13: "positive"}
_BOUNDS = 16
_COARSEST, _FINEST = -4, 8
_GAUGE = 3
_FARTHEST = 2**31 - 1
_DOUBLE = struct.Struct("<d")

Buckets = tuple[tuple[int, float], ...]


class HistogramError(WireError):
    """One histogram cannot be stored; other samples are not concerned."""


@dataclass(frozen=True, slots=True)
class SentHistogram:
    """A histogram sample: ``ts`` and ``start`` in ms (0: unknown); no value marks staleness."""

    ts: int
    start: int
    value: HistogramValue | None


class _Raw:
    """The fields of one message, as they came."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.doubles: dict[int, float] = {}
        self.spans: dict[str, list[tuple[int, int]]] = {"negative": [], "positive": []}
        self.deltas: dict[str, list[int]] = {"negative": [], "positive": []}
        self.counts: dict[str, list[float]] = {"negative": [], "positive": []}
        self.bounds: list[float] = []


def read_histogram(reader: Reader, begin: int, end: int, most_buckets: int) -> SentHistogram:
    """Return the histogram that lies from ``begin`` to ``end``.

    Raises:
        TooLargeError: the request has had its share of fields.
        HistogramError: its fields contradict each other or a limit; the message says how.
        WireError: the bytes are malformed.
    """
    raw = _Raw()
    for number, kind, _, content, stop in reader.fields(begin, end):
        if kind == VARINT:
            _take_number(raw, number, varint(reader.data, content, stop)[0])
        elif kind == FIXED64:
            _take_double(raw, number, _DOUBLE.unpack_from(reader.data, content)[0])
        elif kind == BYTES:
            _take_packed(raw, number, reader, content, stop)
    try:
        return _checked(raw, most_buckets)
    except HistogramError as error:
        raise HistogramError(error.reason, error.what, begin) from None


def _take_number(raw: _Raw, number: int, value: int) -> None:
    if side := _DELTAS.get(number):
        raw.deltas[side].append(_zigzag(value))
    else:
        raw.numbers[number] = value


def _take_double(raw: _Raw, number: int, value: float) -> None:
    if side := _COUNTS.get(number):
        raw.counts[side].append(value)
    elif number == _BOUNDS:
        raw.bounds.append(value)
    else:
        raw.doubles[number] = value


def _take_packed(raw: _Raw, number: int, reader: Reader, at: int, end: int) -> None:
    if side := _SPANS.get(number):
        parts = {1: 0, 2: 0}
        for part, kind, _, content, stop in reader.fields(at, end):
            if part in parts and kind == VARINT:
                parts[part] = varint(reader.data, content, stop)[0]
        raw.spans[side].append((_zigzag(parts[1]), parts[2] & 0xFFFF_FFFF))
    elif side := _DELTAS.get(number):
        raw.deltas[side] += map(_zigzag, reader.packed(at, end))
    elif number in _COUNTS or number == _BOUNDS:
        if (end - at) % _DOUBLE.size:
            raise WireError("malformed", "packed numbers end in the middle of one", at)
        into = raw.counts[_COUNTS[number]] if number in _COUNTS else raw.bounds
        reader.spend((end - at) // _DOUBLE.size)
        into += (value for (value,) in _DOUBLE.iter_unpack(reader.data[at:end]))


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _checked(raw: _Raw, most_buckets: int) -> SentHistogram:
    numbers, doubles = raw.numbers, raw.doubles
    ts, start = signed(numbers.get(_TIMESTAMP, 0)), signed(numbers.get(_START, 0))
    total = doubles.get(_SUM, 0.0)
    if int(bits(np.array([total]))[0]) == STALE_BITS:
        return SentHistogram(ts, start, None)
    if max(len(raw.bounds), *map(_bucket_count, raw.spans.values())) > most_buckets:
        raise _refused(f"it has more than {most_buckets} buckets")
    whole = _COUNT_FLOAT not in doubles
    count = float(numbers.get(_COUNT_INT, 0)) if whole else doubles[_COUNT_FLOAT]
    zeros = float(numbers.get(_ZERO_INT, 0)) if whole else doubles.get(_ZERO_FLOAT, 0.0)
    value = HistogramValue(
        _zigzag(numbers.get(_SCHEMA, 0)),
        count,
        total,
        doubles.get(_ZERO_THRESHOLD, 0.0),
        zeros,
        min(numbers.get(_RESET_HINT, 0), _GAUGE),
        _buckets(raw, "positive", whole),
        _buckets(raw, "negative", whole),
        tuple(raw.bounds),
    )
    _check(value, whole)
    return SentHistogram(ts, start, value)


def _bucket_count(spans: list[tuple[int, int]]) -> int:
    return sum(length for _, length in spans)


def _buckets(raw: _Raw, side: str, whole: bool) -> Buckets:
    """Return bucket numbers with absolute counts; nothing is expanded before it is checked."""
    spans = raw.spans[side]
    given: list[int] | list[float] = raw.deltas[side] if whole else raw.counts[side]
    wanted = _bucket_count(spans)
    if wanted != len(given):
        raise _refused(f"its {side} spans name {wanted} buckets and {len(given)} counts came")
    if any(gap < 0 for gap, _ in spans[1:]):
        raise _refused(f"its {side} spans are out of order")
    if spans and abs(spans[0][0]) + sum(gap for gap, _ in spans[1:]) + wanted > _FARTHEST:
        raise _refused(f"its {side} spans reach beyond every possible bucket")
    counts = [float(count) for count in (_running(raw.deltas[side]) if whole else given)]
    if any(not count >= 0 for count in counts):
        raise _refused(f"a {side} bucket has a negative count")
    return tuple(zip(spans_to_numbers(spans), counts, strict=True))


def _running(deltas: list[int]) -> list[int]:
    counts: list[int] = []
    count = 0
    for delta in deltas:
        count += delta
        counts.append(count)
    return counts


def _check(value: HistogramValue, whole: bool) -> None:
    if value.schema == CUSTOM_BUCKETS:
        _check_custom(value)
    elif not _COARSEST <= value.schema <= _FINEST:
        raise _refused(f"its schema {value.schema} is not one of -4 to 8, or -53")
    elif value.custom_bounds:
        raise _refused("it has custom bounds, and a schema without them")
    if not (value.count >= 0 and value.zero_count >= 0):
        raise _refused("it has a negative count")
    if not value.zero_threshold >= 0:
        raise _refused("its zero bucket has a negative width")
    if whole:
        inside = value.zero_count + sum(c for _, c in (*value.positive, *value.negative))
        # Observations of NaN are counted and stand in no bucket.
        fits = inside <= value.count if math.isnan(value.sum) else inside == value.count
        if not fits:
            raise _refused(
                f"its buckets hold {inside:.0f} observations, its count {value.count:.0f}"
            )


def _check_custom(value: HistogramValue) -> None:
    bounds = value.custom_bounds
    if value.negative or value.zero_count or value.zero_threshold:
        raise _refused("it has custom buckets beside negative ones or a zero bucket")
    if any(not low < high for low, high in pairwise(bounds)):
        raise _refused("its custom bounds do not rise")
    if any(math.isnan(bound) for bound in bounds) or math.inf in bounds[-1:]:
        raise _refused("its custom bounds hold NaN or end in +Inf")
    if value.positive and not 0 <= value.positive[0][0] <= value.positive[-1][0] <= len(bounds):
        raise _refused("its spans reach beyond its custom bounds")


def _refused(message: str) -> HistogramError:
    return HistogramError("histogram", f"a histogram was refused: {message},")
