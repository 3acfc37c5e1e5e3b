"""What both versions of remote write decode to, and how single series get there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.histograms import Histograms, HistogramValue, histograms_of
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import HISTOGRAM, STALE, Exemplar
from vedette.receive.wire.errors import TooLargeError
from vedette.receive.wire.histograms import HistogramError, read_histogram
from vedette.receive.wire.protobuf import Reader

LATEST_TS = 253_402_300_799_999
"""The last millisecond of the year 9999: later timestamps are mistakes of unit."""

METRIC_TYPES = (
    *("unknown", "counter", "gauge", "histogram", "gaugehistogram"),
    *("summary", "info", "stateset"),
)

_EXEMPLAR_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """Bounds of one request.

    Attributes:
        body_bytes: after decompression.
        series, samples, histograms, exemplars: in one request; samples include histograms.
        strays: fields that the protocol does not know; senders of a later one have a few.
        fields: of all kinds, in series that are not of the usual shape.
        symbols: texts of a request of version 2.
        buckets: of each sign, per histogram.
        labels: per series.
        name_length, value_length: characters of a label name and of a label value.
    """

    body_bytes: int = 64 * 1024 * 1024
    series: int = 250_000
    samples: int = 1_000_000
    histograms: int = 20_000
    exemplars: int = 20_000
    strays: int = 100_000
    fields: int = 1_000_000
    symbols: int = 250_000
    buckets: int = 10_000
    labels: int = 64
    name_length: int = 1024
    value_length: int = 8192


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """What a request holds.

    Attributes:
        refs: int32[n]; ts: int64[n] ms; values: float64[n], ``HISTOGRAM`` for a histogram.
        start: int64[n] ms, 0 unknown, or ``None`` when all are.
        histograms: with ``index`` int32[n], or ``None``.
        exemplars: with refs as their series.
        metadata: statements on metric families.
        rejected: samples (and histograms) that cannot be kept, by reason.
        message: the first refusal in words, or the empty string.
        bad_exemplars: how many exemplars were left out.
    """

    refs: I32
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()
    metadata: tuple[MetricMetadata, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    bad_exemplars: int = 0

    @property
    def histogram_count(self) -> int:
        """How many of the samples are histograms."""
        return self.histograms.rows if self.histograms is not None else 0


@dataclass(slots=True)
class Refusals:
    """Samples that cannot be kept, by reason, and the first reason in words."""

    counts: Counter[str] = field(default_factory=Counter)
    message: str = ""

    def add(self, reason: str, message: str, count: int) -> None:
        """Count samples."""
        if count:
            self.counts[reason] += count
        self.message = self.message or message


@dataclass(frozen=True, slots=True)
class Plain:
    """Samples of usual series: int32[n] refs, int64[n] ts, float64[n] values, int64[n] start.

    ``place`` int64[n] is where each stands in the body, ascending.
    """

    refs: I32
    ts: I64
    values: F64
    place: I64
    start: I64 | None = None

    def take(self, which: Mask | I64) -> Plain:
        """Return the samples that ``which`` names."""
        start = self.start[which] if self.start is not None else None
        return Plain(self.refs[which], self.ts[which], self.values[which], self.place[which], start)


NOTHING = Plain(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


@dataclass(frozen=True, slots=True)
class ReadSeries:
    """A series that was read field by field.

    Attributes:
        key: bytes that tell its labels.
        offset: its place in the body.
        samples, exemplars: how many of each it has.
    """

    key: bytes
    offset: int
    samples: int
    exemplars: int


class Gathering:
    """Takes what is read field by field, series after series, within the limits of a request."""

    def __init__(self, limits: WriteLimits, refusals: Refusals, plain: int = 0) -> None:
        """Take ``plain``, the number of series that were read otherwise."""
        self.limits = limits
        self.refusals = refusals
        self.series: list[ReadSeries] = []
        self.metadata: list[MetricMetadata] = []
        self.bad_exemplars = 0
        self._plain = plain
        self._strays = 0
        self._ts: list[int] = []
        self._values: list[float] = []
        self._start: list[int] = []
        self._histograms: dict[int, HistogramValue] = {}
        self._exemplars: list[tuple[int, float, Labels]] = []
        self._begun = 0, 0
        self._tried = {"histograms": 0, "exemplars": 0}

    def sample(self, ts: int, value: float, start: int = 0) -> None:
        """Take a sample of the series that is being read; raises ``TooLargeError``."""
        self._ts.append(ts)
        self._values.append(value)
        self._start.append(start)
        if len(self._ts) + self._plain > self.limits.samples:
            raise too_many("samples", self.limits.samples)

    def histogram(self, reader: Reader, begin: int, end: int) -> None:
        """Take a histogram of the series that is being read; a bad one is counted.

        Raises:
            WireError: the bytes are malformed, or there are too many.
        """
        self._try("histograms", self.limits.histograms)
        try:
            sent = read_histogram(reader, begin, end, self.limits.buckets)
        except HistogramError as error:
            self.refusals.add(error.reason, str(error), 1)
            return
        if sent.value is not None:
            self._histograms[len(self._ts)] = sent.value
        self.sample(sent.ts, STALE if sent.value is None else HISTOGRAM, sent.start)

    def exemplar(self, ts: int, value: float, labels: Labels | None) -> None:
        """Take an exemplar of the series that is being read; ``None`` for unreadable labels."""
        self._try("exemplars", self.limits.exemplars)
        good = labels is not None and 0 < ts <= LATEST_TS
        if labels is None or not good or sum(map(_characters, labels)) > _EXEMPLAR_CHARACTERS:
            self.bad_exemplars += 1
            return
        self._exemplars.append((ts, value, labels))

    def _try(self, what: str, limit: int) -> None:
        """Count good and bad alike: both cost time."""
        self._tried[what] += 1
        if self._tried[what] > limit:
            raise too_many(what, limit)

    def end_series(self, key: bytes, offset: int, default_start: int = 0) -> None:
        """Note that the samples and exemplars since the last call belong to a series.

        Raises:
            TooLargeError: there are too many.
        """
        samples, exemplars = self._begun
        self._begun = len(self._ts), len(self._exemplars)
        if default_start:
            self._start[samples:] = [start or default_start for start in self._start[samples:]]
        counts = self._begun[0] - samples, self._begun[1] - exemplars
        self.series.append(ReadSeries(key, offset, *counts))
        if len(self.series) + self._plain > self.limits.series:
            raise too_many("series", self.limits.series)

    def stray(self) -> None:
        """Count a field that the protocol does not know.

        Raises:
            TooLargeError: there are too many.
        """
        self._strays += 1
        if self._strays > self.limits.strays:
            raise too_many("unknown fields", self.limits.strays)

    def request(self, plain: Plain, refs: I32) -> WriteRequest:
        """Return all that was taken, and ``plain``, in the order of the body.

        ``refs`` int32[len(series)], −1 for a refused one.
        """
        counts = [series.samples for series in self.series]
        joined = Plain(
            np.concatenate([plain.refs, np.repeat(refs, counts)]),
            np.concatenate([plain.ts, _int64(self._ts)]),
            np.concatenate([plain.values, np.array(self._values, np.float64)]),
            np.concatenate(
                [plain.place, np.repeat(_int64([s.offset for s in self.series]), counts)]
            ),
            self._starts(plain),
        )
        order = np.argsort(joined.place, kind="stable")
        order = order[fitting(joined, self.refusals)[order]]
        kept = joined.take(order)
        return WriteRequest(
            kept.refs,
            kept.ts,
            kept.values,
            kept.start,
            self._histograms_at(order, len(plain.refs)),
            self._numbered_exemplars(refs.tolist()),
            tuple(self.metadata),
            dict(self.refusals.counts),
            self.refusals.message,
            self.bad_exemplars,
        )

    def _histograms_at(self, order: I64, plain: int) -> Histograms | None:
        """Return the histograms among the samples that ``order`` names, plain ones first."""
        index = np.full(len(order), -1, np.int32)
        values: list[HistogramValue] = []
        for at, number in enumerate(order.tolist() if self._histograms else ()):
            value = self._histograms.get(number - plain)
            if value is not None:
                index[at] = len(values)
                values.append(value)
        return histograms_of(values, index) if values else None

    def _starts(self, plain: Plain) -> I64 | None:
        if plain.start is None and not any(self._start):
            return None
        first = plain.start if plain.start is not None else np.zeros(len(plain.refs), np.int64)
        own = _int64([start if 0 < start <= LATEST_TS else 0 for start in self._start])
        return np.concatenate([first, own])

    def _numbered_exemplars(self, refs: list[int]) -> tuple[Exemplar, ...]:
        kept: list[Exemplar] = []
        at = 0
        for series, ref in zip(self.series, refs, strict=True):
            own = self._exemplars[at : at + series.exemplars]
            at += series.exemplars
            if ref >= 0:
                kept += [Exemplar(ref, ts, value, labels) for ts, value, labels in own]
            else:
                self.bad_exemplars += len(own)
        return tuple(kept)


def _int64(numbers: list[int]) -> I64:
    return np.array(numbers, np.int64)


def _characters(pair: tuple[str, str]) -> int:
    return len(pair[0]) + len(pair[1])


def fitting(samples: Plain, refusals: Refusals) -> Mask:
    """Return bool[n], which samples have a series and a possible timestamp; count the others."""
    refs, ts = samples.refs, samples.ts
    kept: Mask = refs >= 0
    timeless = kept & ((ts <= 0) | (ts > LATEST_TS))
    if timeless.any():
        example = int(ts[timeless][0])
        message = f"timestamp {example} is not in milliseconds since 1970"
        refusals.add("timestamp", message, int(timeless.sum()))
        kept &= ~timeless
    return kept


def checked(samples: Plain, refusals: Refusals) -> WriteRequest:
    """Return a request of ``samples`` alone, without those that cannot be kept."""
    refs, ts, values, start = samples.refs, samples.ts, samples.values, samples.start
    if len(refs) and (refs.min() < 0 or ts.min() <= 0 or ts.max() > LATEST_TS):
        kept = fitting(samples, refusals)
        refs, ts, values = refs[kept], ts[kept], values[kept]
        start = start[kept] if start is not None else None
    counts = dict(refusals.counts)
    return WriteRequest(refs, ts, values, start, rejected=counts, message=refusals.message)


def too_many(what: str, limit: int) -> TooLargeError:
    """Return the error of a request beyond a limit."""
    reason = f"too_many_{what.replace(' ', '_')}"
    return TooLargeError(reason, f"the request holds more than {limit} {what}")
