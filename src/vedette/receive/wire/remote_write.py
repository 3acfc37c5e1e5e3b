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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I32
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.metadata import MetricMetadata
from vedette.receive.wire.errors import LabelsError, OtherFieldsError, WireError
from vedette.receive.wire.frames import Frames, Span, find_frames, samples_of, words_of
from vedette.receive.wire.protobuf import BYTES, FIXED64, VARINT, fields, signed, varint
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
    too_many,
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
    data = bytes(data)
    for begin, end in others:
        _read(data, begin, end, gathering)
    return gathering.request(plain, numbering.refs(gathering.series))


ReadLabels = Callable[[bytes, WriteLimits, int], Labels]


@dataclass(frozen=True, slots=True)
class Numbering:
    """Turns the bytes that tell labels into refs."""

    cache: SenderCache
    index: SeriesIndex
    limits: WriteLimits
    refusals: Refusals
    read_labels: ReadLabels

    def check_number(self, series: int) -> None:
        """Raise ``TooLargeError`` for more series of one sample than a request may hold."""
        if series > self.limits.series:
            raise too_many("series", self.limits.series)
        if series > self.limits.samples:
            raise too_many("samples", self.limits.samples)

    def refs(self, series: Sequence[ReadSeries]) -> I32:
        """Return int32[n]; refused series are counted and have −1.

        Raises:
            WireError: the bytes of the labels are malformed.
        """
        refs = np.full(len(series), -1, np.int32)
        pending: list[tuple[int, Labels]] = []
        for i, each in enumerate(series):
            ref = self.cache.refs.get(each.key)
            if ref is not None:
                refs[i] = ref
                continue
            try:
                pending.append((i, self.read_labels(each.key, self.limits, each.offset)))
            except LabelsError as error:
                self.refusals.add(error.reason, str(error), each.samples)
        if not pending:
            return refs
        given = self.index.refs([labels for _, labels in pending]).tolist()
        for (i, labels), ref in zip(pending, given, strict=True):
            refs[i] = ref
            if ref >= 0:
                self.cache.remember(series[i].key, ref)
            else:
                message = f"the limit of series is reached: {labels}"
                self.refusals.add("series_limit", message, series[i].samples)
        return refs


def read_labels(key: bytes, limits: WriteLimits, offset: int = 0) -> Labels:
    """Return the labels in ``key``, label fields one after another; unsorted ones are sorted.

    Raises:
        LabelsError: they break a rule of the protocol or a limit.
        OtherFieldsError: other fields stand between them.
        WireError: the bytes are malformed; ``offset`` is that of ``key`` in the body.
    """
    try:
        labels = _label_dict(key, limits)
        if len(labels) > limits.labels:
            message = f"a series has {len(labels)} labels, more than {limits.labels},"
            raise LabelsError("label_limit", message, 0)
        if not labels.get(METRIC_NAME):
            raise LabelsError("no_name", f'a series has no label "{METRIC_NAME}"', 0)
    except WireError as error:
        raise type(error)(error.reason, error.what, error.offset + offset) from None
    return Labels.of(labels)


def _label_dict(key: bytes, limits: WriteLimits) -> dict[str, str]:
    labels: dict[str, str] = {}
    for number, kind, start, begin, end in fields(key, 0, len(key)):
        if number != 1 or kind != BYTES:
            raise OtherFieldsError("malformed", f"field {number} stands among labels", start)
        name, value = _plain_label(key, begin, end) or _label(key, begin, end)
        if not name:
            raise LabelsError("label_name", "a label has no name", start)
        if name in labels:
            raise LabelsError("duplicate_label", f'label "{name[:80]}" stands twice', start)
        if len(name) > limits.name_length or len(value) > limits.value_length:
            message = f'label "{name[:80]}" has {len(name)} and {len(value)} characters'
            raise LabelsError("label_length", message, start)
        labels[name] = value
    return labels


def _plain_label(key: bytes, begin: int, end: int) -> tuple[str, str] | None:
    """Return name and value where both are short, in order and UTF-8: nearly always."""
    try:
        middle = begin + 2 + key[begin + 1]
        tags = key[begin] == 0x0A and key[middle] == 0x12
        short = key[begin + 1] < 0x80 and key[middle + 1] < 0x80
        if tags and short and middle + 2 + key[middle + 1] == end:
            return key[begin + 2 : middle].decode(), key[middle + 2 : end].decode()
    except (IndexError, UnicodeDecodeError):
        return None
    return None


def _label(key: bytes, begin: int, end: int) -> tuple[str, str]:
    parts = [b"", b""]
    for number, kind, _, start, stop in fields(key, begin, end):
        if number in (1, 2) and kind == BYTES:
            parts[number - 1] = key[start:stop]
    try:
        return parts[0].decode(), parts[1].decode()
    except UnicodeDecodeError:
        raise LabelsError("encoding", "a label is not UTF-8", begin) from None


def _read(data: bytes, begin: int, end: int, gathering: Gathering) -> None:
    """Read the fields of a request that lie from ``begin`` to ``end``, in any order."""
    for number, kind, _, content, stop in fields(data, begin, end):
        if number == _SERIES and kind == BYTES:
            _read_series(data, content, stop, gathering)
        elif number == _METADATA and kind == BYTES:
            gathering.metadata.append(_metadata(data, content, stop))
        else:
            gathering.stray()


def _read_series(data: bytes, begin: int, end: int, gathering: Gathering) -> None:
    labels: list[bytes] = []
    any_field = False
    for number, kind, start, content, stop in fields(data, begin, end):
        if kind != BYTES or number > 4:
            gathering.stray()
            continue
        any_field = True
        if number == 1:
            labels.append(data[start:stop])
        elif number == 2:
            gathering.sample(*_sample(data, content, stop, gathering))
        elif number == 3:
            _read_exemplar(data, content, stop, gathering)
        else:
            gathering.histogram(data, content, stop)
    if any_field:
        gathering.end_series(b"".join(labels), begin)


def _sample(data: bytes, begin: int, end: int, gathering: Gathering) -> tuple[int, float]:
    value, ts = 0.0, 0
    for number, kind, _, content, _ in fields(data, begin, end):
        if number == 1 and kind == FIXED64:
            (value,) = _DOUBLE.unpack_from(data, content)
        elif number == 2 and kind == VARINT:
            ts = signed(varint(data, content, end)[0])
        else:
            gathering.stray()
    return ts, value


def _read_exemplar(data: bytes, begin: int, end: int, gathering: Gathering) -> None:
    value, ts = 0.0, 0
    pairs: dict[str, str] | None = {}
    for number, kind, _, content, stop in fields(data, begin, end):
        if number == 1 and kind == BYTES and pairs is not None:
            try:
                name, text = _label(data, content, stop)
                pairs[name] = text
            except LabelsError:
                pairs = None
        elif number == 2 and kind == FIXED64:
            (value,) = _DOUBLE.unpack_from(data, content)
        elif number == 3 and kind == VARINT:
            ts = signed(varint(data, content, stop)[0])
    gathering.exemplar(ts, value, Labels.of(pairs) if pairs is not None else None)


def _metadata(data: bytes, begin: int, end: int) -> MetricMetadata:
    texts = {2: "", 4: "", 5: ""}
    kind_number = 0
    for number, kind, _, content, stop in fields(data, begin, end):
        if number == 1 and kind == VARINT:
            kind_number = varint(data, content, stop)[0]
        elif number in texts and kind == BYTES:
            texts[number] = data[content:stop].decode("utf-8", "replace")
    name = METRIC_TYPES[kind_number] if kind_number < len(METRIC_TYPES) else "unknown"
    return MetricMetadata(texts[2], name, texts[4], texts[5])
