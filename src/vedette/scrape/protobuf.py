"""The protobuf exposition format: delimited metric families, parsed with a cache per target.

Of a counter or gauge only eight bytes change between scrapes. What stands around them is looked up
as it is; all other metrics are parsed, and their series looked up by their label bytes. A malformed
metric costs only itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms, HistogramValue, histograms_of, joined
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import HISTOGRAM, NAN_BITS, Exemplar, bits
from vedette.scrape import client_model as model
from vedette.scrape.bounds import format_bound
from vedette.scrape.client_model import DecodeError
from vedette.scrape.custom_buckets import convert
from vedette.scrape.formats import FormatOptions
from vedette.scrape.grammar import LineExemplar, Metadata, Refusals, RejectedLineError
from vedette.scrape.native import InvalidHistogramError, is_native, native_value
from vedette.scrape.parsed import (
    NUMBERED_AT_ONCE,
    Exposition,
    ExpositionError,
    Finish,
    parse,
)
from vedette.scrape.series_cache import Role, SeriesCache
from vedette.storage.interface import SeriesIndex

_MESSAGE_BYTES = 16 * 1024 * 1024
_METRIC_BYTES = 1024 * 1024
_LONGEST_LENGTH = 5
_DROPPED = -1
_PENDING = -2
_SPARE_ENTRIES = 1000
_QUICK_BYTES = 16 * 1024
_MOST_TAILS = 12
_EXEMPLAR_CHARS = 128
_HELP_BYTES, _UNIT_BYTES = 4096, 512
_VALUE_BYTES = 8
_DOUBLE = struct.Struct("<d")
_LATEST_MS = 9 * 10**15
_NO_INDEX = np.zeros(0, np.int32)
_SIMPLE = {model.COUNTER: "counter", model.GAUGE: "gauge", model.UNTYPED: "untyped"}


@dataclass(slots=True)
class _Around:
    """Entries of simple metrics of one family by the bytes around their value.

    ``by_tail`` has one dict for each number of bytes behind the value: with it, the length of a
    key tells where the value stood.
    """

    by_tail: dict[int, dict[bytes, int]] = field(default_factory=dict)


@dataclass(slots=True)
class ProtobufReading:
    """A scrape on its way through the parser; implements ``Reading``."""

    parser: ProtobufParser
    messages: list[bytes]
    size: int
    entries: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    native: list[tuple[int, HistogramValue, int]] = field(default_factory=list)
    classic: list[tuple[int, Role, float, float]] = field(default_factory=list)
    classic_owners: list[tuple[int, int]] = field(default_factory=list)
    exemplars: list[tuple[int, LineExemplar]] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)
    refused: int = 0
    pending: list[int] = field(default_factory=list)

    @property
    def laborious(self) -> bool:
        """Whether ``read`` takes so long that the event loop should not wait for it."""
        return self.size > _QUICK_BYTES

    def read(self) -> None:
        """Read every family."""
        self.parser.read(self)

    def number(self, most: int = NUMBERED_AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        return self.parser.number(self, most)

    def end(self) -> Exposition:
        """Return what the scrape brought; raises ``ExpositionError`` for too many samples."""
        return self.parser.end(self)

    def add(self, entry: int, value: float, ts: int) -> None:
        """Add one sample; ``ts`` −1 for none."""
        self.entries.append(entry)
        self.values.append(value)
        self.ts.append(ts)


class ProtobufParser:
    """Parser of one target's scrapes; keeps the cache between them. Implements ``Parser``."""

    def __init__(
        self,
        index: SeriesIndex,
        finish: Finish,
        options: FormatOptions | None = None,
        samples: int = 200_000,
    ) -> None:
        self._index = index
        self._finish = finish
        self._options = options or FormatOptions()
        self._samples = samples
        self._cache = SeriesCache()
        self._around: dict[tuple[str, int], _Around] = {}
        self._unnumbered: dict[int, Labels] = {}
        self._starts = np.zeros(256, np.int64)
        self._last_exemplars: dict[int, list[LineExemplar]] = {}
        self._remembered: dict[int, tuple[dict[bytes, int], bytes]] = {}
        self.metadata: dict[str, Metadata] = {}

    def parse(self, body: bytes) -> Exposition:
        """Parse one scrape by all steps; raises as ``begin``."""
        return parse(self, body)

    def begin(self, body: bytes) -> ProtobufReading:
        """Split the body into its messages.

        Raises:
            ExpositionError: it is cut off, or a message is longer than 16 MiB.
        """
        return ProtobufReading(self, list(_messages(body)), len(body))

    def read(self, reading: ProtobufReading) -> None:
        """Read every family."""
        metadata: dict[str, Metadata] = {}
        for number, message in enumerate(reading.messages, 1):
            try:
                family = model.family(message)
                name = family.name.decode()
            except (DecodeError, UnicodeDecodeError) as error:
                fault = RejectedLineError("malformed", f"message {number} is damaged: {error}")
                reading.refusals.add(number, fault)
                reading.refused += 1
                continue
            kind = family.type if 0 <= family.type < len(model.TYPES) else model.UNTYPED
            metadata[name] = _metadata(family, model.TYPES[kind])
            self._read_family(reading, name, kind, family.metric, number)
            if len(reading.entries) > self._samples:
                break
        self.metadata = metadata
        reading.messages = []
        reading.pending = list(self._unnumbered)

    def number(self, reading: ProtobufReading, most: int = NUMBERED_AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        chosen = reading.pending[:most]
        del reading.pending[:most]
        if not chosen:
            return False
        refs = self._index.refs([self._unnumbered[entry] for entry in chosen]).tolist()
        for entry, ref in zip(chosen, refs, strict=True):
            if ref >= 0:
                self._cache.refs[entry] = ref
                del self._unnumbered[entry]
        return bool(reading.pending)

    def end(self, reading: ProtobufReading) -> Exposition:
        """Return what the scrape brought.

        Raises:
            ExpositionError: it holds more samples than the limit.
        """
        if len(reading.entries) > self._samples:
            raise ExpositionError(
                "sample_limit",
                f"the answer holds more than {self._samples} samples; raise limits.samples of the "
                "job or expose less",
            )
        entries = np.array(reading.entries, np.int32)
        values, ts = np.array(reading.values, np.float64), np.array(reading.ts, np.int64)
        nan = np.isnan(values)
        bits(values)[nan] = NAN_BITS
        refs, start = self._cache.refs[entries], self._starts[entries]
        refs, values, ts, start, histograms = self._with_histograms(
            reading, (refs, values, ts, start)
        )
        stored, scraped = refs >= 0, len(refs)
        for _ in range(int((refs == _PENDING).sum())):
            reading.refusals.add(
                0, RejectedLineError("series_limit", "the limit of series is reached")
            )
        if not stored.all():
            histograms = histograms.at(histograms.index[stored]) if histograms else None
            refs, values, ts, start = refs[stored], values[stored], ts[stored], start[stored]
        found = Exposition(
            refs,
            values,
            ts if (ts >= 0).any() else None,
            scraped + reading.refused,
            reading.refusals.counts,
            tuple(reading.refusals.first),
            start if start.any() else None,
            histograms,
            self._exemplars(reading),
        )
        self._bound(len(entries))
        return found

    def _read_family(
        self,
        reading: ProtobufReading,
        name: str,
        kind: int,
        metrics: Sequence[bytes],
        number: int,
    ) -> None:
        around = self._around.setdefault((name, kind), _Around()).by_tail
        for data in metrics:
            if self._is_known(reading, around, data):
                continue
            try:
                self._read_metric(reading, name, kind, data, around)
            except DecodeError as error:
                fault = RejectedLineError("malformed", f"a metric of {name[:80]}: {error}")
            except UnicodeDecodeError as error:
                message = f"a label of {name[:80]} is not UTF-8 at byte {error.start + 1}"
                fault = RejectedLineError("encoding", message)
            except (RejectedLineError, InvalidHistogramError) as error:
                fault = RejectedLineError(error.reason, str(error))
            else:
                if len(reading.entries) > self._samples:
                    return
                continue
            reading.refusals.add(number, fault)
            reading.refused += 1

    def _is_known(
        self, reading: ProtobufReading, around: dict[int, dict[bytes, int]], data: bytes
    ) -> bool:
        """Take the value of a simple metric if all bytes around it are known."""
        size = len(data)
        for tail, known in around.items():
            end = size - tail
            if end < _VALUE_BYTES:
                continue
            entry = known.get(data[: end - _VALUE_BYTES] + data[end:])
            if entry is not None:
                reading.add(entry, _DOUBLE.unpack_from(data, end - _VALUE_BYTES)[0], -1)
                return True
        return False

    def _read_metric(
        self,
        reading: ProtobufReading,
        name: str,
        kind: int,
        data: bytes,
        around: dict[int, dict[bytes, int]],
    ) -> None:
        """Read one metric by its message; raises what refuses it."""
        if len(data) > _METRIC_BYTES:
            message = f"a metric of {name[:80]} has {len(data)} bytes, more than {_METRIC_BYTES}"
            raise RejectedLineError("metric_size", message)
        metric = model.metric(data)
        series = _Series(self, reading, name, kind, metric)
        if kind in _SIMPLE:
            simple: model.Simple = getattr(metric, _SIMPLE[kind])
            entry = series.sample(b"", "", simple.value)
            self._start(entry, simple.created_timestamp)
            if simple.HasField("exemplar"):
                self._take_exemplar(reading, entry, simple.exemplar)
            elif not metric.timestamp_ms:
                self._remember(around, data, metric, simple.value, entry)
        elif kind == model.SUMMARY:
            self._read_summary(series, metric.summary)
        else:
            self._read_histogram(reading, series, metric.histogram)

    def _read_summary(self, series: _Series, summary: model.Summary) -> None:
        entries = [
            series.sample(b"c", "_count", float(summary.sample_count)),
            series.sample(b"s", "_sum", summary.sample_sum),
        ]
        for each in summary.quantile:
            key, label = _DOUBLE.pack(each.quantile), ("quantile", format_bound(each.quantile))
            entries.append(series.sample(key, "", each.value, label))
        for entry in entries:
            self._start(entry, summary.created_timestamp)

    def _read_histogram(
        self, reading: ProtobufReading, series: _Series, histogram: model.Histogram
    ) -> None:
        options = self._options
        native = options.native_histograms and is_native(histogram)
        converted = options.convert_classic and not native
        entries: list[int] = []
        whole = -1
        if native:
            value = native_value(histogram, gauge=series.kind == model.GAUGE_HISTOGRAM)
            whole = series.entry(b"n", "")
            reading.native.append((whole, value, series.ts))
        elif converted:
            whole = series.entry(b"n", "")
            _note_classic(reading, whole, series.ts, histogram)
        if whole >= 0:
            entries.append(whole)
            for exemplar in _exemplars_of(histogram):
                self._take_exemplar(reading, whole, exemplar)
        # One that is native only has no classic buckets to keep.
        if whole < 0 or (options.classic_histograms and histogram.bucket):
            entries += self._read_classic(reading, series, histogram, exemplars=whole < 0)
        for entry in entries:
            self._start(entry, histogram.created_timestamp)

    def _read_classic(
        self,
        reading: ProtobufReading,
        series: _Series,
        histogram: model.Histogram,
        exemplars: bool,
    ) -> list[int]:
        count = histogram.sample_count_float or float(histogram.sample_count)
        entries = [
            series.sample(b"c", "_count", count),
            series.sample(b"s", "_sum", histogram.sample_sum),
        ]
        for bound, cumulative, bucket in _buckets(histogram, count):
            label = ("le", format_bound(bound))
            entry = series.sample(_DOUBLE.pack(bound), "_bucket", cumulative, label)
            entries.append(entry)
            if exemplars and bucket is not None and bucket.HasField("exemplar"):
                self._take_exemplar(reading, entry, bucket.exemplar)
        return entries

    def entry_of(self, key: bytes, series: _Series, suffix: str, label: tuple[str, str]) -> int:
        """Return the entry with ``key``; a new one is noted to be numbered.

        Raises:
            RejectedLineError: the series cannot be kept.
        """
        entry = self._cache.entries.get(key)
        if entry is not None:
            return entry
        scraped = series.labels() | ({label[0]: label[1]} if label[0] else {})
        scraped[METRIC_NAME] = series.name + suffix
        labels = self._finish(scraped, model.TYPES[series.kind])
        entry = self._cache.add(key, _DROPPED if labels is None else _PENDING)
        if labels is not None:
            self._unnumbered[entry] = labels
        if entry >= len(self._starts):
            self._starts = np.concatenate([self._starts, np.zeros_like(self._starts)])
        self._starts[entry] = 0
        return entry

    def _start(self, entry: int, created: model.Timestamp) -> None:
        self._starts[entry] = max(_ms(created), 0)

    def _take_exemplar(
        self, reading: ProtobufReading, entry: int, exemplar: model.Exemplar
    ) -> None:
        ts = _ms(exemplar.timestamp) if exemplar.HasField("timestamp") else -1
        pairs = [(pair.name.decode(), pair.value.decode()) for pair in exemplar.label]
        if sum(len(name) + len(value) for name, value in pairs) > _EXEMPLAR_CHARS:
            message = f"the labels of an exemplar are longer than {_EXEMPLAR_CHARS} characters"
            reading.refusals.add(0, RejectedLineError("exemplar", message))
            return
        found = LineExemplar(Labels.of(dict(pairs)), exemplar.value, ts)
        reading.exemplars.append((entry, found))

    def _remember(
        self,
        around: dict[int, dict[bytes, int]],
        data: bytes,
        metric: model.Metric,
        value: float,
        entry: int,
    ) -> None:
        """Remember the bytes around the value, if the metric has the usual shape."""
        size = len(data)
        begin = sum(len(label) + (2 if len(label) < 0x80 else 3) for label in metric.label)
        # Behind the labels: tag and length of the value's message, which is the last one.
        if size < begin + 11 or data[begin + 1] != size - begin - 2 or data[begin + 2] != 0x09:
            return
        if data[begin + 3 : begin + 11] != _DOUBLE.pack(value):
            return
        tail = size - begin - 11
        if tail in around or len(around) < _MOST_TAILS:
            known, key = around.setdefault(tail, {}), data[: begin + 3] + data[begin + 11 :]
            # What stood around the value before, such as another start, is true no more.
            where, former = self._remembered.get(entry, (known, key))
            where.pop(former, None)
            known[key] = entry
            self._remembered[entry] = known, key

    def _with_histograms(
        self, reading: ProtobufReading, columns: tuple[I32, F64, I64, I64]
    ) -> tuple[I32, F64, I64, I64, Histograms | None]:
        """Return refs, values, timestamps and starts with the histograms behind the floats."""
        refs, values, ts, start = columns
        owners = [(entry, stamp) for entry, _, stamp in reading.native]
        parts = [histograms_of([value for _, value, _ in reading.native], _NO_INDEX)]
        if reading.classic:
            groups, roles, bounds, amounts = zip(*reading.classic, strict=True)
            made = convert(
                np.array(groups, np.int32),
                np.array(roles, np.int8),
                np.array(bounds, np.float64),
                np.array(amounts, np.float64),
            )
            owners += [reading.classic_owners[group] for group in made.groups.tolist()]
            parts.append(made.histograms)
            for _ in made.refused.tolist():
                message = "a classic histogram is inconsistent"
                reading.refusals.add(0, RejectedLineError("histogram", message))
        if not owners:
            return refs, values, ts, start, None
        n, h = len(refs), len(owners)
        entries = np.array([entry for entry, _ in owners], np.int32)
        stamps = np.array([stamp for _, stamp in owners], np.int64)
        index = np.full(n + h, -1, np.int32)
        index[n:] = np.arange(h, dtype=np.int32)
        return (
            np.concatenate([refs, self._cache.refs[entries]]),
            np.concatenate([values, np.full(h, HISTOGRAM)]),
            np.concatenate([ts, stamps]),
            np.concatenate([start, self._starts[entries]]),
            joined(parts, index),
        )

    def _exemplars(self, reading: ProtobufReading) -> tuple[Exemplar, ...]:
        """Return the exemplars that the last scrape did not bring."""
        found = []
        for entry, exemplar in reading.exemplars:
            ref = int(self._cache.refs[entry])
            if ref < 0 or exemplar in self._last_exemplars.get(entry, ()):
                continue
            found.append(Exemplar(ref, exemplar.ts, exemplar.value, exemplar.labels))
        latest: dict[int, list[LineExemplar]] = {}
        for entry, exemplar in reading.exemplars:
            latest.setdefault(entry, []).append(exemplar)
        self._last_exemplars = latest
        return tuple(found)

    def _bound(self, scraped: int) -> None:
        """Forget everything once what is gone outweighs what is there."""
        most = 2 * scraped + _SPARE_ENTRIES
        if len(self._cache) > most or len(self._around) > most:
            self._cache.clear()
            self._around.clear()
            self._unnumbered.clear()
            self._last_exemplars.clear()
            self._remembered.clear()


class _Series:
    """The series of one metric of a message."""

    __slots__ = ("_base", "_labels", "_pairs", "_parser", "_reading", "kind", "name", "ts")

    def __init__(
        self,
        parser: ProtobufParser,
        reading: ProtobufReading,
        name: str,
        kind: int,
        metric: model.Metric,
    ) -> None:
        self._parser, self._reading = parser, reading
        self.name, self.kind = name, kind
        self.ts = metric.timestamp_ms if metric.timestamp_ms > 0 else -1
        self._pairs = metric.label
        self._base = b"\xff".join([name.encode(), *metric.label, bytes([kind])])

    def labels(self) -> dict[str, str]:
        """Return the labels; raises ``RejectedLineError`` if one stands twice."""
        labels: dict[str, str] = {}
        for data in self._pairs:
            pair = model.label_pair(data)
            name = pair.name.decode()
            if name in labels:
                message = f'label "{name[:80]}" of {self.name[:80]} stands twice'
                raise RejectedLineError("duplicate_label", message)
            labels[name] = pair.value.decode()
        return labels

    def entry(self, part: bytes, suffix: str, label: tuple[str, str] = ("", "")) -> int:
        """Return the entry of one part of the metric."""
        return self._parser.entry_of(self._base + part, self, suffix, label)

    def sample(
        self, part: bytes, suffix: str, value: float, label: tuple[str, str] = ("", "")
    ) -> int:
        """Add one sample and return its entry."""
        entry = self.entry(part, suffix, label)
        self._reading.add(entry, value, self.ts)
        return entry


def _metadata(family: model.MetricFamily, type: str) -> Metadata:
    texts = (family.help[:_HELP_BYTES], family.unit[:_UNIT_BYTES])
    help_text, unit = (text.decode("utf-8", "replace") for text in texts)
    return Metadata(type, help_text, unit)


def _messages(body: bytes) -> Iterator[bytes]:
    """Yield the delimited messages.

    Raises:
        ExpositionError: for ``incomplete`` or ``message_size``.
    """
    at, end = 0, len(body)
    while at < end:
        size = shift = 0
        while True:
            if at >= end or shift >= 7 * _LONGEST_LENGTH:
                raise ExpositionError("incomplete", f"no length of a message at byte {at}")
            byte = body[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if size > _MESSAGE_BYTES:
            message = f"the message at byte {at} has {size} bytes, more than {_MESSAGE_BYTES}"
            raise ExpositionError("message_size", message)
        if at + size > end:
            raise ExpositionError("incomplete", f"the answer ends within a message, at byte {end}")
        yield body[at : at + size]
        at += size


def _buckets(
    histogram: model.Histogram, count: float
) -> Iterator[tuple[float, float, model.Bucket | None]]:
    """Yield bound, cumulative count and bucket; the one of +Inf is added where it lacks."""
    closed = False
    for bucket in histogram.bucket:
        closed |= bucket.upper_bound == math.inf
        cumulative = bucket.cumulative_count_float or float(bucket.cumulative_count)
        yield bucket.upper_bound, cumulative, bucket
    if not closed:
        yield math.inf, count, None


def _note_classic(
    reading: ProtobufReading, entry: int, ts: int, histogram: model.Histogram
) -> None:
    """Note the parts of a classic histogram that is to be converted."""
    group = len(reading.classic_owners)
    reading.classic_owners.append((entry, ts))
    count = histogram.sample_count_float or float(histogram.sample_count)
    reading.classic.append((group, Role.SUM, 0.0, histogram.sample_sum))
    for bound, cumulative, _ in _buckets(histogram, count):
        reading.classic.append((group, Role.BUCKET, bound, cumulative))


def _exemplars_of(histogram: model.Histogram) -> list[model.Exemplar]:
    """Return the exemplars of a histogram as a whole; only those with a timestamp count."""
    own = list(histogram.exemplars)
    if not own:
        own = [bucket.exemplar for bucket in histogram.bucket if bucket.HasField("exemplar")]
    return [exemplar for exemplar in own if exemplar.HasField("timestamp")]


def _ms(stamp: model.Timestamp) -> int:
    """Return milliseconds; 0 for what lies beyond all reason."""
    ms = stamp.seconds * 1000 + stamp.nanos // 1_000_000
    return ms if 0 <= ms < _LATEST_MS else 0
