"""Prometheus remote write 1.0: bytes to samples.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec/ — a snappy block that holds

    WriteRequest {TimeSeries timeseries = 1 (repeated); MetricMetadata metadata = 3 (repeated)}
    TimeSeries {Label labels = 1; Sample samples = 2; Exemplar exemplars = 3; Histogram
                histograms = 4} (all repeated)
    Label {string name = 1; string value = 2}
    Sample {double value = 1; int64 timestamp = 2}
    MetricMetadata {MetricType type = 1; string metric_family_name = 2; string help = 4;
                    string unit = 5}

Three ways lead through it, each an order of magnitude faster than the one before: the full decoder
for any order of fields; a look-up per series by the bytes of its labels; and a comparison with
what the sender sent before (:mod:`vedette.receive.wire.sender`).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import cramjam
import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.labels import METRIC_NAME, Labels
from vedette.receive.wire.errors import LabelsError, OtherFieldsError, TooLargeError, WireError
from vedette.receive.wire.frames import Bytes, Frames, find_frames, samples_of, words_of
from vedette.receive.wire.protobuf import BYTES, FIXED64, VARINT, fields, signed, varint
from vedette.receive.wire.sender import SenderCache
from vedette.storage.interface import SeriesIndex

LATEST_TS = 253_402_300_799_999
"""The last millisecond of the year 9999: later timestamps are mistakes of unit."""

_TYPES = (
    *("unknown", "counter", "gauge", "histogram", "gaugehistogram"),
    *("summary", "info", "stateset"),
)
_DOUBLE = struct.Struct("<d")
_LONGEST_HEADER = 5
_MOST_KEPT = 4 << 20


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Bounds of one request.

    Attributes:
        body_bytes: after decompression.
        series, samples: in one request.
        strays: fields that the protocol does not know; senders of a later one have a few.
        labels: per series.
        name_length, value_length: characters of a label name and of a label value.
    """

    body_bytes: int = 64 * 1024 * 1024
    series: int = 250_000
    samples: int = 1_000_000
    strays: int = 100_000
    labels: int = 64
    name_length: int = 1024
    value_length: int = 8192


@dataclass(frozen=True, slots=True)
class WrittenMetadata:
    """What a request says of a metric family."""

    family: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a request holds.

    Attributes:
        refs: int32[n]; ts: int64[n] ms; values: float64[n].
        metadata: statements on metric families.
        rejected: samples (and histograms) that cannot be kept, by reason.
        message: the first refusal in words, or the empty string.
        exemplars: how many were left out.
    """

    refs: I32
    ts: I64
    values: F64
    metadata: tuple[WrittenMetadata, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    exemplars: int = 0


class Inflater:
    """Decompresses snappy blocks, one after another, into memory that it keeps.

    Fresh memory for every body would cost several times what the decompression does.
    """

    def __init__(self) -> None:
        self._kept = bytearray()

    def decompress(self, body: bytes, limit: int) -> memoryview:
        """Return the content of a snappy block; it holds until the next call.

        Raises:
            TooLargeError: it says that it holds more than ``limit`` bytes; nothing was
                decompressed.
            WireError: it is no snappy block.
        """
        try:
            size, _ = varint(body, 0, min(len(body), _LONGEST_HEADER))
        except WireError:
            raise WireError("snappy", "the body is not a snappy block") from None
        if size > limit:
            raise TooLargeError("body_size", f"the body holds {size} bytes, more than {limit}")
        room = self._kept
        if len(room) < size:
            room = bytearray(size)
            if size <= _MOST_KEPT:
                self._kept = room
        try:
            written = cramjam.snappy.decompress_raw_into(body, room)
        except cramjam.DecompressionError as error:
            raise WireError("snappy", f"the body is not a snappy block: {error}") from None
        if written != size:
            raise WireError("snappy", f"the body holds {written} bytes and says {size}")
        return memoryview(room)[:size]


def decompress(body: bytes, limit: int) -> bytes:
    """Return the content of one snappy block; raises as :meth:`Inflater.decompress`."""
    return bytes(Inflater().decompress(body, limit))


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
    known = cache.ring.match(buf)
    if known is not None and len(known.refs) <= limits.series:
        return _checked(known.refs, *samples_of(words_of(buf), known.tail, known.full), _Refusals())
    data = bytes(data)
    frames = find_frames(buf)
    if frames is None:
        return _Decoder(data, cache, index, limits).decode()
    return _decode_frames(data, buf, frames, _Numbering(cache, index, limits, _Refusals()))


def _decode_frames(data: bytes, buf: Bytes, frames: Frames, numbering: _Numbering) -> WriteRequest:
    cache, limits = numbering.cache, numbering.limits
    if len(frames) > limits.series:
        raise _too_many("series", limits.series)
    try:
        refs = _look_up(data, frames, numbering)
    except OtherFieldsError:
        return _Decoder(data, cache, numbering.index, limits).decode()
    cache.ring.learn(data, buf, frames, refs)
    return _checked(refs, *samples_of(words_of(buf), frames.tail, frames.full), numbering.refusals)


def _look_up(data: bytes, frames: Frames, numbering: _Numbering) -> I32:
    places = list(zip(frames.labels.tolist(), frames.sample.tolist(), strict=True))
    get = numbering.cache.refs.get
    found = [get(data[begin:end]) for begin, end in places]
    if None not in found:
        return np.array(found, np.int32)
    return numbering.refs([(data[begin:end], begin, 1) for begin, end in places])


@dataclass(slots=True)
class _Refusals:
    counts: Counter[str] = field(default_factory=Counter)
    message: str = ""

    def add(self, reason: str, message: str, count: int) -> None:
        self.counts[reason] += count
        self.message = self.message or message


@dataclass(frozen=True, slots=True)
class _Numbering:
    """Turns the bytes of labels into refs."""

    cache: SenderCache
    index: SeriesIndex
    limits: WriteLimits
    refusals: _Refusals

    def refs(self, series: list[tuple[bytes, int, int]]) -> I32:
        """Return int32[n] for label bytes, their place in the body and their number of samples.

        Refused series are counted and have −1.
        """
        refs = np.full(len(series), -1, np.int32)
        pending: list[tuple[int, Labels]] = []
        for i, (key, offset, samples) in enumerate(series):
            ref = self.cache.refs.get(key)
            if ref is not None:
                refs[i] = ref
                continue
            try:
                pending.append((i, read_labels(key, self.limits, offset)))
            except LabelsError as error:
                self.refusals.add(error.reason, str(error), samples)
        if not pending:
            return refs
        given = self.index.refs([labels for _, labels in pending]).tolist()
        for (i, labels), ref in zip(pending, given, strict=True):
            key, _, samples = series[i]
            refs[i] = ref
            if ref >= 0:
                self.cache.remember(key, ref)
            else:
                message = f"the limit of series is reached: {labels}"
                self.refusals.add("series_limit", message, samples)
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


class _Decoder:
    """The full decoder: fields in any order, unknown ones skipped."""

    def __init__(
        self, data: bytes, cache: SenderCache, index: SeriesIndex, limits: WriteLimits
    ) -> None:
        self._data = data
        self._limits = limits
        self._refusals = _Refusals()
        self._numbering = _Numbering(cache, index, limits, self._refusals)
        self._series: list[tuple[bytes, int, int]] = []
        self._ts: list[int] = []
        self._values: list[float] = []
        self._metadata: list[WrittenMetadata] = []
        self._exemplars = 0
        self._strays = 0

    def decode(self) -> WriteRequest:
        data = self._data
        for number, kind, _, begin, end in fields(data, 0, len(data)):
            if number == 1 and kind == BYTES:
                self._take_series(begin, end)
            elif number == 3 and kind == BYTES:
                self._metadata.append(_metadata(data, begin, end))
            else:
                self._stray()
        counts = np.array([samples for _, _, samples in self._series], np.int64)
        refs = np.repeat(self._numbering.refs(self._series), counts)
        ts = np.array(self._ts, np.int64)
        values = np.array(self._values, np.float64)
        checked = _checked(refs, ts, values, self._refusals)
        return WriteRequest(
            checked.refs,
            checked.ts,
            checked.values,
            tuple(self._metadata),
            checked.rejected,
            checked.message,
            self._exemplars,
        )

    def _take_series(self, begin: int, end: int) -> None:
        data = self._data
        labels: list[bytes] = []
        samples = 0
        for number, kind, start, content, stop in fields(data, begin, end):
            if kind != BYTES or number > 4:
                self._stray()
            elif number == 1:
                labels.append(data[start:stop])
            elif number == 2:
                samples += 1
                self._take_sample(content, stop)
            elif number == 3:
                self._exemplars += 1
            elif number == 4:
                message = f"histograms are not supported, at byte {start}"
                self._refusals.add("histogram", message, 1)
        if samples or labels:
            self._series.append((b"".join(labels), begin, samples))
        if len(self._series) > self._limits.series:
            raise _too_many("series", self._limits.series)
        if len(self._ts) > self._limits.samples:
            raise _too_many("samples", self._limits.samples)

    def _stray(self) -> None:
        self._strays += 1
        if self._strays > self._limits.strays:
            raise _too_many("unknown fields", self._limits.strays)

    def _take_sample(self, begin: int, end: int) -> None:
        data, value, ts = self._data, 0.0, 0
        for number, kind, _, content, _ in fields(data, begin, end):
            if number == 1 and kind == FIXED64:
                (value,) = _DOUBLE.unpack_from(data, content)
            elif number == 2 and kind == VARINT:
                ts = signed(varint(data, content, end)[0])
            else:
                self._stray()
        self._ts.append(ts)
        self._values.append(value)


def _metadata(data: bytes, begin: int, end: int) -> WrittenMetadata:
    texts = {2: "", 4: "", 5: ""}
    kind_number = 0
    for number, kind, _, content, stop in fields(data, begin, end):
        if number == 1 and kind == VARINT:
            kind_number = varint(data, content, stop)[0]
        elif number in texts and kind == BYTES:
            texts[number] = data[content:stop].decode("utf-8", "replace")
    name = _TYPES[kind_number] if kind_number < len(_TYPES) else "unknown"
    return WrittenMetadata(texts[2], name, texts[4], texts[5])


def _checked(refs: I32, ts: I64, values: F64, refusals: _Refusals) -> WriteRequest:
    """Drop samples without a series or with an impossible timestamp."""
    if len(refs) and (refs.min() < 0 or ts.min() <= 0 or ts.max() > LATEST_TS):
        kept = refs >= 0
        timeless = kept & ((ts <= 0) | (ts > LATEST_TS))
        if timeless.any():
            example = int(ts[timeless][0])
            message = f"timestamp {example} is not in milliseconds since 1970"
            refusals.add("timestamp", message, int(timeless.sum()))
            kept &= ~timeless
        refs, ts, values = refs[kept], ts[kept], values[kept]
    return WriteRequest(refs, ts, values, rejected=dict(refusals.counts), message=refusals.message)


def _too_many(what: str, limit: int) -> TooLargeError:
    return TooLargeError(f"too_many_{what}", f"the request holds more than {limit} {what}")
