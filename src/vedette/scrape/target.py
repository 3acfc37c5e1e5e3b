"""One target: its labels, and what one answer of it becomes.

:class:`TargetScrape` turns bodies into batches and remembers which series were alive, so that those
that vanish get a staleness marker. It reads no clock and does no IO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from vedette.kit.relabel import Relabeller
from vedette.model.arrays import F64, I32
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import STALE, Exemplar, SampleBatch, is_stale
from vedette.scrape.bounds import format_bound
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.formats import Answer, Format
from vedette.scrape.grammar import LineError, Metadata, RejectedLineError, count
from vedette.scrape.parsed import Exposition, ExpositionError, Parser, Reading, chosen
from vedette.scrape.protobuf import ProtobufParser
from vedette.scrape.targets import Target
from vedette.storage.interface import SeriesIndex

REPORT = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)
"""Series that every scrape reports about itself, named as in Prometheus."""

EXTRA_REPORT = ("scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes")
"""Further ones where the job has ``extra_metrics``."""

MAX_KEPT = 10_000_000
_FATAL = ("sample_limit", "label_limit", "label_length", "legacy_name")
_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

# A sample of its own family stands with HELP, TYPE and UNIT.
_LINES_PER_SAMPLE = 4
_SPARE_LINES = 10_000
_NO_REFS = np.zeros(0, np.int32)


class ScrapeError(Exception):
    """A scrape failed as a whole; ``reason`` is a metric label, the message is for people."""

    def __init__(self, reason: str, message: str, found: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.reason = reason
        self.found = found
        """How many samples there were, and how many were left by the rules."""


class SeriesLabels:
    """Makes the stored labels of a scraped series; callable as ``parsed.Finish``.

    ``cumulative`` collects the series that count from zero by their declared type: parts of
    counters, histograms and summaries.
    """

    def __init__(self, target: Target) -> None:
        self._own = target.labels.as_dict()
        self._honor = target.job.honor_labels
        self._limits = target.job.limits
        self._normalise = target.normalise_buckets
        self._legacy = target.job.legacy_names
        self._rules = Relabeller(target.job.metric_relabel)
        self._room = 0
        self.cumulative: list[Labels] = []
        self.begin()

    def begin(self) -> None:
        """Begin with a new answer."""
        self.cumulative = []
        self._room = self._limits.kept_samples or MAX_KEPT

    def __call__(self, labels: dict[str, str], family_type: str) -> Labels | None:
        """Return labels with the target's own set, relabelled, and ``le`` normalised.

        ``None`` if the rules drop the series.

        Raises:
            RejectedLineError: for ``name``, ``label_limit``, ``label_length``, ``sample_limit``.
        """
        if not labels.get(METRIC_NAME) or "" in labels:
            raise RejectedLineError("name", "a metric or label name is empty")
        if self._normalise:
            normalise_bucket(labels, family_type)
        counts = counts_from_zero(labels, family_type)
        merged = with_target_labels(labels, self._own, self._honor)
        if self._rules:
            kept = self._rules(merged)
            if kept is None:
                return None
            if METRIC_NAME not in kept:
                raise RejectedLineError("name", "metric_relabel_configs leave no metric name")
            merged = kept
        self._check(merged)
        if self._legacy:
            _check_names(merged)
        self._room -= 1
        if self._room < 0:
            # No number is given to series of a scrape that will fail.
            raise RejectedLineError("sample_limit", "more samples than the limit allows")
        finished = Labels.of(merged)
        if counts:
            self.cumulative.append(finished)
        return finished

    def _check(self, labels: Mapping[str, str]) -> None:
        limits = self._limits
        metric = labels[METRIC_NAME][:80]
        if len(labels) > limits.labels:
            raise RejectedLineError(
                "label_limit", f"{metric} has {len(labels)} labels, more than {limits.labels}"
            )
        for name, value in labels.items():
            if len(name) > limits.name_length or len(value) > limits.value_length:
                raise RejectedLineError(
                    "label_length",
                    f'label "{name[:80]}" of {metric} has a name of {len(name)} and a value of '
                    f"{len(value)} characters; at most {limits.name_length} and "
                    f"{limits.value_length}",
                )


def _check_names(labels: Mapping[str, str]) -> None:
    """Refuse names that only Prometheus 3 allows."""
    for name in labels:
        if not _LEGACY_LABEL.fullmatch(name):
            raise RejectedLineError("legacy_name", f'invalid label name "{name[:80]}"')
    if not _LEGACY_METRIC.fullmatch(labels[METRIC_NAME]):
        message = f'invalid metric name "{labels[METRIC_NAME][:80]}"'
        raise RejectedLineError("legacy_name", message)


def counts_from_zero(labels: Mapping[str, str], family_type: str) -> bool:
    """Return whether a series of a family of this declared type only ever grows from zero."""
    name = labels[METRIC_NAME]
    match family_type:
        case "counter" | "histogram":
            return not name.endswith("_created")
        case "summary":
            return name.endswith(("_sum", "_count"))
        case _:
            return False


def with_target_labels(
    scraped: Mapping[str, str], own: Mapping[str, str], honor: bool
) -> dict[str, str]:
    """Return ``scraped`` with the target's labels.

    Where both have a label, ``honor`` keeps the scraped one (also an empty one, which removes the
    label); else the scraped one is renamed to ``exported_<name>``, as in Prometheus.
    """
    if honor:
        return {**own, **scraped}
    merged = {**scraped, **own}
    for name in own.keys() & scraped.keys():
        if not scraped[name]:
            continue
        exported = f"exported_{name}"
        while exported in merged:
            exported = f"exported_{exported}"
        merged[exported] = scraped[name]
    return merged


def normalise_bucket(labels: dict[str, str], family_type: str) -> None:
    """Write ``le`` of a histogram or ``quantile`` of a summary as Prometheus 3 does, in place."""
    name = {"histogram": "le", "summary": "quantile"}.get(family_type)
    if name is None or name not in labels:
        return
    try:
        labels[name] = format_bound(float(labels[name]))
    except ValueError:
        return


@dataclass(frozen=True, slots=True)
class ScrapeRow:
    """What one scrape stores.

    Attributes:
        batches: the scrape itself; a second one when samples came with their own timestamps.
        alive: int32, ascending; series that get a staleness marker when they vanish.
        rejected: samples that were refused, by reason.
        errors: the first few refusals.
        succeeded: ms of the scrape if it succeeded, else 0.
    """

    batches: tuple[SampleBatch, ...]
    alive: I32
    rejected: Mapping[str, int]
    errors: tuple[LineError, ...] = ()
    succeeded: int = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    """Series of a scrape, int32 all: as scraped, as stored, their places before, and the alive."""

    scraped: I32
    refs: I32
    places: I32
    alive: I32


class TargetScrape:
    """The memory of one target between scrapes."""

    def __init__(self, target: Target, index: SeriesIndex) -> None:
        self._target = target
        self._index = index
        self._finish = SeriesLabels(target)
        self._format = Format.TEXT
        self._parser = self._parser_of(Format.TEXT)
        self._alive = _NO_REFS
        self._layout = _Layout(np.full(1, -1, np.int32), _NO_REFS, _NO_REFS, _NO_REFS)
        self._names = REPORT + (EXTRA_REPORT if target.job.extra_metrics else ())
        self._report = np.full(len(self._names), -1, np.int32)
        self._body_bytes = 0
        # For the synthetic start of series that appear later than their target.
        self._succeeded = 0
        self._seen = _NO_REFS
        self._uncounted: list[Labels] = []
        self._counters = _NO_REFS

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """Metadata by metric family, as of the latest scrape."""
        return self._parser.metadata

    def success(self, answer: Answer, ts: int, seconds: float) -> ScrapeRow:
        """Return what to store of an answer that took ``seconds``, by all steps at once.

        Raises:
            ScrapeError: as ``begin``.
        """
        reading = self.begin(answer)
        reading.read()
        while self.number(reading):
            pass
        return self.row(reading, ts, seconds)

    def begin(self, answer: Answer) -> Reading:
        """Start with an answer; the steps are those of :class:`Reading`.

        Raises:
            ScrapeError: it holds more samples or lines than the limit allows, or is cut off.
        """
        if answer.format is not Format.PROTOBUF:
            self._check_samples(answer.body)
        if answer.format is not self._format:
            self._format, self._parser = answer.format, self._parser_of(answer.format)
        self._body_bytes = len(answer.body)
        self._finish.begin()
        self._uncounted = []
        try:
            return self._parser.begin(answer.body)
        except ExpositionError as error:
            raise ScrapeError(error.reason, str(error)) from None

    def number(self, reading: Reading, most: int = 500) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        self._report_refs()
        if reading.number(most):
            return True
        if self._succeeded and self._finish.cumulative:
            self._uncounted += self._finish.cumulative
        self._finish.cumulative = []
        return self._number_counters(most)

    def _number_counters(self, most: int) -> bool:
        """Look up the numbers of new series that count from zero; return whether there are more."""
        labels = self._uncounted[-most:]
        del self._uncounted[-most:]
        if labels:
            refs = self._index.refs(labels)
            self._counters = np.concatenate([self._counters, refs[refs >= 0]])
        return bool(self._uncounted)

    def row(self, reading: Reading, ts: int, seconds: float) -> ScrapeRow:
        """Return what to store of an answer that took ``seconds``, its series numbered.

        Raises:
            ScrapeError: it held more samples than the limit allows.
        """
        try:
            found = reading.end()
        except ExpositionError as error:
            raise ScrapeError(error.reason, str(error)) from None
        self._check_found(found)
        plain, timed = self._split(found)
        layout = self._layout_of(plain.refs)
        alive = layout.alive
        distinct = len(alive) + (0 if timed is None else len(timed))
        if timed is not None and self._target.job.track_stale_timestamps:
            alive = np.union1d(alive, timed.refs).astype(np.int32)
        rejected = dict(found.rejected)
        duplicates = len(found.refs) - distinct
        if duplicates:
            rejected["duplicate_series"] = duplicates
        known = alive is self._alive
        added = 0 if known else int(np.isin(alive, self._alive, invert=True).sum())
        facts = self._facts(1.0, seconds, found.scraped, len(found.refs), added)
        batch = self._batch(layout.refs, _values(facts, plain, layout), alive, ts)
        batch = _with_details(batch, len(self._names), plain, layout, found.exemplars, ts)
        batches: tuple[SampleBatch, ...] = (self._with_first_starts(batch),)
        if timed is not None:
            batches += (timed,)
        return ScrapeRow(batches, alive, rejected, found.errors, ts)

    def _check_found(self, found: Exposition) -> None:
        """Raise a :class:`ScrapeError` where Prometheus would refuse the whole scrape."""
        limits, beyond = self._target.job.limits, found.rejected.get("sample_limit", 0)
        kept = len(found.refs) + beyond
        counts = (found.scraped, kept)
        most = limits.kept_samples
        if (most and kept > most) or beyond:
            # What it knows by now must not make the next answer get further series numbered.
            self._parser = self._parser_of(self._format)
            raise ScrapeError(
                "sample_limit", f"sample limit exceeded: at most {most or MAX_KEPT}", counts
            )
        for reason in _FATAL if limits.strict else ():
            if found.rejected.get(reason):
                said = [error.message for error in found.errors if error.reason == reason]
                raise ScrapeError(
                    reason, (said or ["a series has too many or long labels"])[0], counts
                )

    def _with_first_starts(self, batch: SampleBatch) -> SampleBatch:
        """Return ``batch`` with synthetic starts where a series appears later than its target.

        Such a series was zero, because not there yet, when the target was scraped before. Its
        first sample gets that time as start, negative to tell it from one that a target states.
        """
        if not self._succeeded or not len(self._counters):
            return batch
        fresh = np.setdiff1d(self._counters, self._seen)
        first = np.isin(batch.refs, fresh) & ~is_stale(batch.values)
        if not first.any():
            return batch
        start = np.zeros(len(batch), np.int64) if batch.start is None else batch.start
        start = np.where(first & (start == 0), -self._succeeded, start)
        return replace(batch, start=start)

    def failure(self, ts: int, seconds: float, found: tuple[int, int] = (0, 0)) -> ScrapeRow:
        """Return what to store of a scrape that failed: ``up`` 0, the rest stale.

        ``found`` is how many samples there were, and how many were left by the rules.
        """
        report = self._report_refs()
        if not found[0]:
            self._body_bytes = 0
        values = self._facts(0.0, seconds, *found, 0.0)
        kept = report >= 0
        batch = self._batch(report[kept], values[kept], _NO_REFS, ts)
        return ScrapeRow((batch,), _NO_REFS, {})

    def _facts(self, *usual: float) -> F64:
        """Return the values of the report: the usual ones, and the further ones if wanted."""
        if not self._target.job.extra_metrics:
            return np.array(usual)
        limits = self._target.job.limits
        extra = (self._target.timeout_ms / 1000, limits.kept_samples, self._body_bytes)
        return np.array([*usual, *extra])

    def gone(self, ts: int) -> SampleBatch:
        """Return staleness markers for everything: the target is scraped no more."""
        report = self._report_refs()
        refs = np.union1d(self._alive, report[report >= 0]).astype(np.int32)
        return self._row(refs, np.full(len(refs), STALE), ts)

    def succeed(self, former: TargetScrape) -> None:
        """Go on with what ``former`` remembers of the same series."""
        self._alive, self._seen = former._alive, former._seen
        self._succeeded = former._succeeded

    def commit(self, row: ScrapeRow) -> None:
        """Remember what was stored; call it once storage has acknowledged ``row``."""
        if row.alive is not self._alive:
            self._seen = np.union1d(self._seen, row.alive).astype(np.int32)
        self._alive = row.alive
        if row.succeeded:
            self._succeeded = row.succeeded
            self._counters = _NO_REFS

    def _layout_of(self, scraped: I32) -> _Layout:
        """Return what to make of samples of these series; most scrapes bring the same again."""
        report = self._report
        if np.array_equal(scraped, self._layout.scraped) and (report >= 0).all():
            return self._layout
        # The report stands first, so that a target cannot overwrite its own "up".
        refs, places = _first_of_each(np.concatenate([report, scraped]))
        self._layout = _Layout(scraped, refs, places, np.setdiff1d(refs, report))
        return self._layout

    def _parser_of(self, format: Format) -> Parser:
        limits, formats = self._target.job.limits, self._target.formats
        if format is Format.PROTOBUF:
            return ProtobufParser(self._index, self._finish, formats, limits.samples)
        return ExpositionParser(self._index, self._finish, limits.line_bytes, format, formats)

    def _check_samples(self, body: bytes) -> None:
        limit = self._target.job.limits.samples
        lines = count(body, b"\n") + (not body.endswith(b"\n"))
        if lines > _LINES_PER_SAMPLE * limit + _SPARE_LINES:
            raise ScrapeError(
                "line_limit",
                f"the answer holds {lines} lines with comments and empty ones, far more than the "
                f"limit of {limit} samples needs; expose less, or raise limits.samples of the job",
            )
        if lines <= limit:
            return
        lines -= count(body, b"\n#") + body.startswith(b"#")
        if lines > limit and lines - count(body, b"\n\n") > limit:
            raise ScrapeError(
                "sample_limit",
                f"the answer holds {lines} samples, more than the limit of {limit}; raise "
                "limits.samples of the job or expose less",
            )

    def _report_refs(self) -> I32:
        """Return int32[n], −1 for those that the limit of series refuses."""
        if (self._report < 0).any():
            labels = self._target.labels
            self._report = self._index.refs([labels.merged({METRIC_NAME: n}) for n in self._names])
        return self._report

    def _split(self, found: Exposition) -> tuple[Exposition, SampleBatch | None]:
        """Return the samples without timestamps, and a batch of those that have one."""
        if found.ts is None or not self._target.job.honor_timestamps:
            return found, None
        own = np.flatnonzero(found.ts >= 0)
        # One series may stand in one scrape at several times, but not twice at one.
        pairs = np.stack([found.refs[own].astype(np.int64), found.ts[own]])
        _, first = np.unique(pairs, axis=1, return_index=True)
        first.sort()
        timed = found.take(own[first])
        stamps = found.ts[own[first]]
        batch = SampleBatch(
            self._target.job.app,
            timed.refs,
            stamps,
            timed.values,
            start=timed.start,
            histograms=timed.histograms,
        )
        return found.take(np.flatnonzero(found.ts < 0)), batch

    def _batch(self, refs: I32, values: F64, alive: I32, ts: int) -> SampleBatch:
        """Return the samples, and staleness markers for series that are alive no more."""
        vanished = _NO_REFS if alive is self._alive else np.setdiff1d(self._alive, alive)
        if len(vanished):
            vanished = np.setdiff1d(vanished, refs)
            refs = np.concatenate([refs, vanished])
            values = np.concatenate([values, np.full(len(vanished), STALE)])
        return self._row(refs, values, ts)

    def _row(self, refs: I32, values: F64, ts: int) -> SampleBatch:
        stamps = np.full(len(refs), ts, np.int64)
        return SampleBatch(self._target.job.app, refs, stamps, values, target=self._target.key)


def _values(facts: F64, found: Exposition, layout: _Layout) -> F64:
    """Return float64 of the report and of what was scraped, as the layout says."""
    values: F64 = np.concatenate([facts, found.values])[layout.places]
    return values


def _with_details(
    batch: SampleBatch,
    report: int,
    found: Exposition,
    layout: _Layout,
    exemplars: tuple[Exemplar, ...],
    ts: int,
) -> SampleBatch:
    """Return ``batch`` with the start timestamps, histograms and exemplars of the scrape.

    ``report`` series about the scrape itself stand before what was found.
    """
    if found.start is None and found.histograms is None and not exemplars:
        return batch
    # Behind the places of the layout stand staleness markers, which have nothing of it.
    places = np.full(len(batch), -1, np.int64)
    places[: len(layout.places)] = layout.places - report
    start = histograms = None
    if found.start is not None:
        start = np.where(places >= 0, found.start[places], 0)
    if found.histograms is not None:
        histograms = chosen(found.histograms, np.maximum(places, -1))
    stamped = tuple(e if e.ts >= 0 else replace(e, ts=ts) for e in exemplars)
    return replace(batch, start=start, histograms=histograms, exemplars=stamped)


def _first_of_each(refs: I32) -> tuple[I32, I32]:
    """Return the distinct refs >= 0 in their order, and their places."""
    ordered = np.sort(refs)
    if len(refs) and ordered[0] >= 0 and (ordered[1:] != ordered[:-1]).all():
        return refs, np.arange(len(refs), dtype=np.int32)
    _, first = np.unique(refs, return_index=True)
    places = np.sort(first).astype(np.int32)
    places = places[refs[places] >= 0]
    return refs[places], places
