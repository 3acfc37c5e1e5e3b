"""Prometheus remote write 1.0: bytes to samples.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec/ — a snappy block that holds

    WriteRequest {TimeSeries timeseries = 1 (repeated); MetricMetadata metadata = 3 (repeated)}
    TimeSeries {Label labels = 1; Sample samples = 2; Exemplar exemplars = 3; Histogram
                histograms = 4} (all repeated)
    Label {string name = 1; string value = 2}
    Sample {double value = 1; int64 timestamp = 2}
    Exemplar {Label labels = 1 (repeated); double value = 2; int64 timestamp = 3}
    MetricMetadata {MetricType type = 1; string metric_family_name = 2; string help = 4;
                    string unit = 5}

Three ways lead through it, each an order of magnitude faster than the one before: field by field,
for any series; a look-up per series by the bytes of its labels; and a comparison with what the
sender sent before (:mod:`vedette.receive.wire.sender`). Series that need the first do not keep the
others of the request from the faster ones.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from vedette.model.arrays import I32
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.receive.wire.errors import LabelsError, OtherFieldsError
from vedette.receive.wire.frames import Frames, Span, find_frames, samples_of, words_of
from vedette.receive.wire.labels import Numbering, read_label, read_labels
from vedette.receive.wire.protobuf import BYTES, FIXED64, VARINT, Reader, signed, varint
from vedette.receive.wire.request import (
    METRIC_TYPES,
    NOTHING,
    Gathering,
    Plain,
    ReadSeries,
    Refusals,
    WriteLimits,
    WriteRequest,
    checked,
)
from vedette.receive.wire.sender import SenderCache
from vedette.storage.interface import SeriesIndex

_DOUBLE = struct.Struct("<d")
_SERIES, _METADATA = 1, 3


def decode(
    data: bytes | memoryview, cache: SenderCache, index: SeriesIndex, limits: WriteLimits
) -> WriteRequest:
    """Decode a decompressed request; series with unusable labels are left out and counted.

    What is returned keeps nothing of ``data``.

    Raises:
        WireError: it is no WriteRequest; the message names the byte.
        TooLargeError: it holds more series or samples than ``limits`` allows.
    """
    buf = np.frombuffer(data, np.uint8)
    numbering = Numbering(cache, index, limits, Refusals(), read_labels)
    known = cache.ring.match(buf)
    if known is not None:
        numbering.check_number(len(known.refs))
        plain = Plain(known.refs, *samples_of(words_of(buf), known.tail, known.full), known.tail)
        return _with_others(data, plain, known.others, numbering)
    data = bytes(data)
    frames, others = find_frames(buf)
    numbering.check_number(len(frames))
    if not len(frames):
        return _with_others(data, NOTHING, others, numbering)
    try:
        refs = _look_up(data, frames, numbering)
    except OtherFieldsError:
        numbering = Numbering(cache, index, limits, Refusals(), read_labels)
        return _with_others(data, NOTHING, [(0, len(data))], numbering)
    cache.ring.learn(data, buf, frames, refs)
    plain = Plain(refs, *samples_of(words_of(buf), frames.tail, frames.full), frames.tail)
    return _with_others(data, plain, others, numbering)


def _look_up(data: bytes, frames: Frames, numbering: Numbering) -> I32:
    places = list(zip(frames.labels.tolist(), frames.sample.tolist(), strict=True))
    get = numbering.cache.refs.get
    found = [get(data[begin:end]) for begin, end in places]
    if None not in found:
        return np.array(found, np.int32)
    return numbering.refs([ReadSeries(data[begin:end], begin, 1, 0) for begin, end in places])


def _with_others(
    data: bytes | memoryview, plain: Plain, others: Sequence[Span], numbering: Numbering
) -> WriteRequest:
    if not others:
        return checked(plain, numbering.refusals)
    gathering = Gathering(numbering.limits, numbering.refusals, len(plain.refs))
    reader = Reader(bytes(data), numbering.limits.fields)
    for begin, end in others:
        _read(reader, begin, end, gathering)
    return gathering.request(plain, numbering.refs(gathering.series))


def _read(reader: Reader, begin: int, end: int, gathering: Gathering) -> None:
    """Read the fields of a request that lie from ``begin`` to ``end``, in any order."""
    for number, kind, _, content, stop in reader.fields(begin, end):
        if number == _SERIES and kind == BYTES:
            _read_series(reader, content, stop, gathering)
        elif number == _METADATA and kind == BYTES:
            gathering.metadata.append(_metadata(reader, content, stop))
        else:
            gathering.stray()


def _read_series(reader: Reader, begin: int, end: int, gathering: Gathering) -> None:
    labels: list[bytes] = []
    any_field = False
    for number, kind, start, content, stop in reader.fields(begin, end):
        if kind != BYTES or number > 4:
            gathering.stray()
            continue
        any_field = True
        if number == 1:
            # Of more than a series may have, just enough to be too many.
            if len(labels) <= gathering.limits.labels:
                labels.append(reader.data[start:stop])
        elif number == 2:
            gathering.sample(*_sample(reader, content, stop, gathering))
        elif number == 3:
            _read_exemplar(reader, content, stop, gathering)
        else:
            gathering.histogram(reader, content, stop)
    if any_field:
        gathering.end_series(b"".join(labels), begin)


def _sample(reader: Reader, begin: int, end: int, gathering: Gathering) -> tuple[int, float]:
    value, ts = 0.0, 0
    for number, kind, _, content, _ in reader.fields(begin, end):
        if number == 1 and kind == FIXED64:
            (value,) = _DOUBLE.unpack_from(reader.data, content)
        elif number == 2 and kind == VARINT:
            ts = signed(varint(reader.data, content, end)[0])
        else:
            gathering.stray()
    return ts, value


def _read_exemplar(reader: Reader, begin: int, end: int, gathering: Gathering) -> None:
    value, ts = 0.0, 0
    pairs: dict[str, str] | None = {}
    for number, kind, _, content, stop in reader.fields(begin, end):
        if number == 1 and kind == BYTES and pairs is not None:
            try:
                name, text = read_label(reader.data, content, stop)
                pairs[name] = text
            except LabelsError:
                pairs = None
        elif number == 2 and kind == FIXED64:
            (value,) = _DOUBLE.unpack_from(reader.data, content)
        elif number == 3 and kind == VARINT:
            ts = signed(varint(reader.data, content, stop)[0])
    gathering.exemplar(ts, value, Labels.of(pairs) if pairs is not None else None)


def _metadata(reader: Reader, begin: int, end: int) -> MetricMetadata:
    texts = {2: "", 4: "", 5: ""}
    kind_number = 0
    for number, kind, _, content, stop in reader.fields(begin, end):
        if number == 1 and kind == VARINT:
            kind_number = varint(reader.data, content, stop)[0]
        elif number in texts and kind == BYTES:
            texts[number] = reader.data[content:stop].decode("utf-8", "replace")
    name = METRIC_TYPES[kind_number] if kind_number < len(METRIC_TYPES) else "unknown"
    return MetricMetadata(texts[2], name, texts[4], texts[5])
