"""Prometheus remote write 2.0: bytes to samples.

Protocol: https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/ — a snappy block that holds

    Request {string symbols = 4; TimeSeries timeseries = 5} (both repeated)
    TimeSeries {uint32 labels_refs = 1 (repeated, packed); Sample samples = 2; Histogram
                histograms = 3; Exemplar exemplars = 4 (all repeated); Metadata metadata = 5;
                int64 created_timestamp = 6 (of earlier drafts)}
    Sample {double value = 1; int64 timestamp = 2; int64 start_timestamp = 3}
    Exemplar {uint32 labels_refs = 1 (repeated); double value = 2; int64 timestamp = 3}
    Metadata {MetricType type = 1; uint32 help_ref = 3; uint32 unit_ref = 4}

The ways through it are those of version 1, but what is compared are not bytes of the body: the
numbers of equal texts differ from request to request (:mod:`vedette.receive.wire.symbols`).
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np

from vedette.model.arrays import I32, I64
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.metadata import MetricMetadata
from vedette.receive.wire.errors import LabelsError
from vedette.receive.wire.frames import (
    Bytes,
    Frames,
    Shape,
    Span,
    find_frames,
    frame_at,
    samples_of,
    starts_of,
    words_of,
)
from vedette.receive.wire.labels import Numbering, add_label, finished
from vedette.receive.wire.protobuf import (
    BYTES,
    FIXED64,
    VARINT,
    Reader,
    field_end,
    signed,
    varint,
)
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
from vedette.receive.wire.symbols import TAG, key_of, numbers_of, stream_frames, stream_of
from vedette.storage.interface import SeriesIndex

WITH_METADATA = Shape(0x2A, packed=True, metadata=True)
WITHOUT_METADATA = Shape(0x2A, packed=True)

_DOUBLE = struct.Struct("<d")
_SYMBOL, _SERIES = 4, 5
_TRIED = 8
_LONGEST_REFERENCE = 5
_SUFFIXES = ("_bucket", "_count", "_sum")
_SUFFIXED = ("histogram", "gaugehistogram", "summary")


def decode(
    data: bytes | memoryview, cache: SenderCache, index: SeriesIndex, limits: WriteLimits
) -> WriteRequest:
    """Decode a decompressed request; series with unusable labels are left out and counted.

    What is returned keeps nothing of ``data``. Metadata of series in the usual shape is read when
    they are first seen, and once in a while.

    Raises:
        WireError: it is no Request; the message names the byte.
        TooLargeError: it holds more series, samples or texts than ``limits`` allows.
    """
    if cache.symbols.overflows:
        cache.clear()
    return _Decoding(data, cache, index, limits).decode()


class _Decoding:
    """One request on its way."""

    def __init__(
        self, data: bytes | memoryview, cache: SenderCache, index: SeriesIndex, limits: WriteLimits
    ) -> None:
        self._reader = Reader(bytes(data), limits.fields)
        self._buf: Bytes = np.frombuffer(self._reader.data, np.uint8)
        self._cache = cache
        self._limits = limits
        self._numbering = Numbering(cache, index, limits, Refusals(), self._read_labels)
        self._table: I32 = np.zeros(0, np.int32)
        self._gathering = Gathering(limits, self._numbering.refusals)

    def decode(self) -> WriteRequest:
        view, most = self._buf.data, self._limits.symbols
        self._table, at = self._cache.symbols.read_table(view, self._reader, most + 1)
        if len(self._table) > most:
            raise too_many("symbols", most)
        frames, others = find_frames(self._buf, _shape(view, at), at)
        if self._scattered(others):
            return self._field_by_field()
        self._numbering.check_number(len(frames))
        plain = NOTHING
        if len(frames):
            stream = stream_of(self._buf, frames, self._table)
            if stream is None:
                return self._field_by_field()
            refs = self._refs(*stream, frames)
            words = words_of(self._buf)
            samples = samples_of(words, frames.tail, frames.full)
            plain = Plain(refs, *samples, frames.tail, starts_of(words, frames))
        if not others and not self._gathering.metadata:
            return checked(plain, self._numbering.refusals)
        metadata = self._gathering.metadata
        self._gathering = Gathering(self._limits, self._numbering.refusals, len(frames))
        self._gathering.metadata = metadata
        for begin, end in others:
            self._read(begin, end)
        return self._gathering.request(plain, self._numbering.refs(self._gathering.series))

    def _scattered(self, others: list[Span]) -> bool:
        """Return whether texts stand behind series, as no known sender has them."""
        data = self._reader.data
        for at, end in others:
            while at < end:
                if data[at] == TAG:
                    return True
                at = field_end(data, at, end)
        return False

    def _field_by_field(self) -> WriteRequest:
        """Decode without any assumption on order and shape."""
        symbols = self._cache.symbols
        table: list[int] = []
        size = len(self._reader.data)
        for number, kind, _, begin, end in self._reader.fields(0, size):
            if number == _SYMBOL and kind == BYTES:
                table.append(symbols.number(self._reader.data[begin:end]))
                if len(table) > self._limits.symbols:
                    raise too_many("symbols", self._limits.symbols)
        self._table = np.array(table, np.int32)
        self._read(0, size)
        return self._gathering.request(NOTHING, self._numbering.refs(self._gathering.series))

    # Series of the usual shape

    def _refs(self, stream: Bytes, edges: I64, frames: Frames) -> I32:
        cache = self._cache
        known = cache.numbers.match(stream)
        if known is not None:
            if cache.metadata_due():
                self._read_metadata(frames, range(len(frames)))
            return known.refs
        content, places = stream.tobytes(), edges.tolist()
        keys = [content[a:b] for a, b in pairwise(places)]
        new = [k for k, key in enumerate(keys) if key not in cache.refs]
        self._read_metadata(frames, new)
        offsets = frames.labels.tolist()
        refs = self._numbering.refs(
            [ReadSeries(key, at, 1, 0) for key, at in zip(keys, offsets, strict=True)]
        )
        cache.numbers.learn(content, stream, stream_frames(edges), refs)
        return refs

    def _read_metadata(self, frames: Frames, rows: list[int] | range) -> None:
        """Read the metadata behind the samples of series, one statement a metric."""
        labels, samples = frames.labels.tolist(), frames.sample.tolist()
        ends = frames.end.tolist()
        seen: set[tuple[bytes, ...]] = set()
        reader = Reader(self._reader.data, self._limits.fields)
        for k in rows:
            # The sample's size stands behind its tag.
            at = samples[k] + 2 + reader.data[samples[k] + 1]
            content = reader.data[at : ends[k]]
            if len(content) <= 2:
                continue
            refs = reader.packed(labels[k], samples[k])
            metric = self._metric(refs)
            mark = metric.encode(), content
            if mark not in seen:
                seen.add(mark)
                self._metadata(reader, metric, at + 2, ends[k])

    # Series of any shape

    def _read(self, begin: int, end: int) -> None:
        for number, kind, _, content, stop in self._reader.fields(begin, end):
            if number == _SERIES and kind == BYTES:
                self._read_series(content, stop)
            elif number != _SYMBOL or kind != BYTES:
                self._gathering.stray()

    def _read_series(self, begin: int, end: int) -> None:
        data, gathering = self._reader.data, self._gathering
        parts = {2: self._read_sample, 3: self._read_histogram, 4: self._read_exemplar}
        refs: list[int] = []
        start = 0
        metadata: Span | None = None
        for number, kind, _, content, stop in self._reader.fields(begin, end):
            if number == 1:
                refs += self._references(kind, content, stop, len(refs))
            elif number == 6 and kind == VARINT:
                start = signed(varint(data, content, stop)[0])
            elif number == 5 and kind == BYTES:
                metadata = content, stop
            elif number in parts and kind == BYTES:
                parts[number](content, stop)
            else:
                gathering.stray()
        if metadata is not None:
            self._metadata(self._reader, self._metric(refs), *metadata)
        if begin < end:
            gathering.end_series(self._key(refs), begin, start)

    def _references(self, kind: int, begin: int, end: int, known: int) -> list[int]:
        """Return references; of more than a series may have just enough to be too many."""
        room = 2 * self._limits.labels + 2 - known
        if kind == VARINT and room > 0:
            return [varint(self._reader.data, begin, end)[0]]
        if kind != BYTES or room <= 0:
            return []
        if end - begin > _LONGEST_REFERENCE * room:
            return [0] * room
        return self._reader.packed(begin, end)[:room]

    def _read_histogram(self, begin: int, end: int) -> None:
        self._gathering.histogram(self._reader, begin, end)

    def _key(self, refs: list[int]) -> bytes:
        # A reference beyond the table has the number −1, which no text has.
        table = self._table
        return key_of([int(table[ref]) if ref < len(table) else -1 for ref in refs])

    def _read_sample(self, begin: int, end: int) -> None:
        data, value = self._reader.data, 0.0
        stamps = {2: 0, 3: 0}
        for number, kind, _, content, _ in self._reader.fields(begin, end):
            if number == 1 and kind == FIXED64:
                (value,) = _DOUBLE.unpack_from(data, content)
            elif number in stamps and kind == VARINT:
                stamps[number] = signed(varint(data, content, end)[0])
            else:
                self._gathering.stray()
        self._gathering.sample(stamps[2], value, stamps[3])

    def _read_exemplar(self, begin: int, end: int) -> None:
        data, value, ts = self._reader.data, 0.0, 0
        refs: list[int] = []
        for number, kind, _, content, stop in self._reader.fields(begin, end):
            if number == 1:
                refs += self._references(kind, content, stop, len(refs))
            elif number == 2 and kind == FIXED64:
                (value,) = _DOUBLE.unpack_from(data, content)
            elif number == 3 and kind == VARINT:
                ts = signed(varint(data, content, stop)[0])
        texts = self._texts(numbers_of(self._key(refs)))
        labels = None
        if texts is not None and len(texts) % 2 == 0:
            labels = Labels.of(zip(texts[::2], texts[1::2], strict=True))
        self._gathering.exemplar(ts, value, labels)

    def _metadata(self, reader: Reader, metric: str, begin: int, end: int) -> None:
        given = {1: 0, 3: 0, 4: 0}
        for number, kind, _, content, stop in reader.fields(begin, end):
            if number in given and kind == VARINT:
                given[number] = varint(reader.data, content, stop)[0]
        kind_name = METRIC_TYPES[given[1]] if given[1] < len(METRIC_TYPES) else "unknown"
        texts = self._texts(numbers_of(self._key([given[3], given[4]])))
        if not metric or texts is None or not (given[1] or any(texts)):
            return
        if kind_name in _SUFFIXED:
            for suffix in _SUFFIXES:
                metric = metric.removesuffix(suffix)
        self._gathering.metadata.append(MetricMetadata(metric, kind_name, texts[0], texts[1]))

    # Texts

    def _texts(self, numbers: list[int]) -> list[str] | None:
        """Return the texts with ``numbers``, ``None`` where any has none."""
        known = self._cache.symbols.texts
        texts = [known[number] if number >= 0 else None for number in numbers]
        return None if None in texts else [text for text in texts if text is not None]

    def _metric(self, refs: list[int]) -> str:
        texts = self._texts(numbers_of(self._key(refs))) or []
        pairs = zip(texts[::2], texts[1::2], strict=False)
        return next((value for name, value in pairs if name == METRIC_NAME), "")

    def _read_labels(self, key: bytes, limits: WriteLimits, offset: int) -> Labels:
        numbers = numbers_of(key)
        if len(numbers) > 2 * limits.labels:
            message = f"a series has more than {limits.labels} labels"
            raise LabelsError("label_limit", message, offset)
        if len(numbers) % 2:
            raise LabelsError("malformed", "a series has a label name without a value", offset)
        if -1 in numbers:
            raise LabelsError("symbol", "a series refers to a text that did not come", offset)
        texts = self._texts(numbers)
        if texts is None:
            raise LabelsError("encoding", "a label is not UTF-8", offset)
        labels: dict[str, str] = {}
        for name, value in zip(texts[::2], texts[1::2], strict=True):
            add_label(labels, name, value, limits, offset)
        return finished(labels, limits, offset)


def _shape(data: memoryview, at: int) -> Shape:
    """Return the shape that fits one of the first series; senders may leave metadata out."""
    for _ in range(_TRIED):
        for shape in (WITH_METADATA, WITHOUT_METADATA):
            if at < len(data) and frame_at(data, at, shape):
                return shape
        if at >= len(data):
            break
        at = field_end(data, at, len(data))
    return WITH_METADATA
