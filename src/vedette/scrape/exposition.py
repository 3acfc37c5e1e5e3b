"""The Prometheus text format and OpenMetrics, parsed with a cache per target.

A target sends the same series again and again. The text before the value of a line therefore is
looked up in a dict of known series, and only the value is parsed; a line that is not known yet
takes the slow way through the full grammar once. Unlike in Prometheus, a malformed line costs only
itself: it is counted with its reason and the well-formed lines are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import compress, repeat
from operator import ne

import numpy as np

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.histograms import Histograms
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import HISTOGRAM, NAN_BITS, Exemplar, bits
from vedette.scrape.custom_buckets import convert
from vedette.scrape.families import SUFFIXES, Member, member_of
from vedette.scrape.formats import Format, FormatOptions
from vedette.scrape.grammar import (
    LineExemplar,
    Metadata,
    Refusals,
    RejectedLineError,
    Sample,
    parse_exemplar,
    parse_float,
    parse_line,
    parse_metadata,
    parse_seconds,
    split_lines,
)
from vedette.scrape.parsed import (
    NUMBERED_AT_ONCE,
    Exposition,
    ExpositionError,
    Finish,
    parse,
)
from vedette.scrape.series_cache import NO_GROUP, UNSTORED, Role, SeriesCache
from vedette.storage.interface import SeriesIndex

_REFUSED = -1
_MISSING = -2
_NO_SAMPLE = -3
_WAITING = -2
_LEFT_OUT = -4
_SPARE_ENTRIES = 1000
_LINE_BYTES = 64 * 1024
_AT_ONCE = 20_000
_MOST_FAMILIES = 100_000
_QUICK_LINES = 200
_QUICK_BYTES = 16 * 1024
_CLASSIC = (Role.BUCKET, Role.SUM, Role.COUNT)
_EOF = b"# EOF"
_EXEMPLAR = b" # {"
_NO_ROOM = "the limit of series is reached"


@dataclass(slots=True)
class _Rows:
    """What each line of the latest body stands for, by its place."""

    lines: list[bytes]
    entries: I32
    values: F64
    ts: I64

    @classmethod
    def of(cls, lines: list[bytes]) -> _Rows:
        n = len(lines)
        return cls(lines, np.full(n, _MISSING, np.int32), np.zeros(n), np.full(n, -1, np.int64))


@dataclass(frozen=True, slots=True)
class _New:
    """A series that is to be numbered, and the entry that waits for the number."""

    key: bytes
    labels: Labels
    entry: int


@dataclass(slots=True)
class TextReading:
    """A scrape on its way through the parser; implements ``Reading``.

    ``said`` tells that the comments may have changed, whatever the missing lines hold.
    """

    parser: ExpositionParser
    rows: _Rows
    missing: list[int]
    said: bool
    refusals: Refusals = field(default_factory=Refusals)
    pending: list[_New] = field(default_factory=list)
    exemplars: dict[int, LineExemplar] = field(default_factory=dict)

    @property
    def laborious(self) -> bool:
        """Whether so many lines take the slow way that the event loop should not wait for it."""
        if len(self.missing) > _QUICK_LINES:
            return True
        return sum(len(self.rows.lines[i]) for i in self.missing) > _QUICK_BYTES

    def read(self) -> None:
        """Read the lines that are no plain sample of a known series, by the full grammar."""
        self.parser.read(self)

    def number(self, most: int = NUMBERED_AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        return self.parser.number(self, most)

    def end(self) -> Exposition:
        """Return what the scrape brought, and remember it for the next one."""
        return self.parser.end(self)


class ExpositionParser:
    """Parser of one target's scrapes; keeps the cache between them. Implements ``Parser``.

    With ``in_pieces`` the bodies are pieces of one exposition: what an earlier one said of a family
    holds, and only the last one ends with the end marker.
    """

    def __init__(
        self,
        index: SeriesIndex,
        finish: Finish,
        line_bytes: int = _LINE_BYTES,
        format: Format = Format.TEXT,
        options: FormatOptions | None = None,
        in_pieces: bool = False,
    ) -> None:
        self._index = index
        self._in_pieces = in_pieces
        self._finish = finish
        self._line_bytes = line_bytes
        self._openmetrics = format is Format.OPENMETRICS
        self._options = options or FormatOptions()
        self._cache = SeriesCache()
        self._rows = _Rows.of([])
        self._unnumbered: dict[int, Labels] = {}
        self._waiting: dict[bytes, Labels] = {}
        self._last_exemplar: dict[int, bytes] = {}
        self.metadata: dict[str, Metadata] = {}
        self._faulty_comments = Refusals()

    def parse(self, body: bytes) -> Exposition:
        """Parse one scrape by all steps; raises as ``begin``."""
        return parse(self, body)

    def begin(self, body: bytes) -> TextReading:
        """Take what is known already, which is quick.

        Raises:
            ExpositionError: an OpenMetrics body does not end with ``# EOF``.
        """
        if self._openmetrics and not self._in_pieces:
            _check_end(body)
        lines = split_lines(body, self._line_bytes)
        rows = self._rows
        if len(lines) == len(rows.lines):
            # Most lines of most targets say the same as the last time, at the same place.
            changed = list(compress(range(len(lines)), map(ne, lines, rows.lines)))
            refused = np.flatnonzero(rows.entries == _REFUSED).tolist()
            todo = sorted({*changed, *refused}) if refused else changed
            rows.lines = lines
            said = bool((rows.entries[changed] == _NO_SAMPLE).any())
        else:
            rows = _Rows.of(lines)
            said = True
            todo = list(range(len(lines)))
        # A scrape that does not get to its end leaves nothing that the next one could trust.
        self._rows = _Rows.of([])
        self._forget_waiting()
        missing: list[int] = []
        for at in range(0, len(todo), _AT_ONCE):
            missing += self._look_up(rows, todo[at : at + _AT_ONCE])
        return TextReading(self, rows, missing, said)

    def read(self, reading: TextReading) -> None:
        """Read the lines that are no plain sample of a known series, by the full grammar."""
        rows = reading.rows
        if self._said_anew(reading):
            reading.missing = list(range(len(rows.lines)))
        for i in reading.missing:
            line = rows.lines[i]
            if _is_comment(line):
                rows.entries[i] = _NO_SAMPLE
                continue
            if self._known(reading, i):
                continue
            try:
                self._learn(reading, i, parse_line(line, self._openmetrics))
            except RejectedLineError as fault:
                rows.entries[i] = _REFUSED
                reading.refusals.add(i + 1, fault)
        reading.pending.reverse()
        _canonical_nan(rows.values)

    def number(self, reading: TextReading, most: int = NUMBERED_AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        new = reading.pending[-most:][::-1]
        del reading.pending[-most:]
        if not new:
            return self._number_groups(reading)
        given = self._index.refs([each.labels for each in new]).tolist()
        for each, ref in zip(new, given, strict=True):
            if ref >= 0:
                self._cache.refs[each.entry] = ref
                self._waiting.pop(each.key, None)
        return bool(reading.pending) or bool(self._unnumbered)

    def end(self, reading: TextReading) -> Exposition:
        """Return what the scrape brought, and remember it for the next one."""
        rows = self._rows = reading.rows
        lines = int((rows.entries != _NO_SAMPLE).sum())
        if self._waiting:
            self._refuse_waiting(reading)
        there = rows.entries >= 0
        entries = rows.entries[there]
        values, ts = rows.values[there], rows.ts[there]
        start, start_of = self._starts(entries, values)
        refs = self._cache.refs[entries]
        if self._options.convert_classic:
            refs, values, ts, start, histograms = self._converted(
                reading, (entries, refs, values, ts, start, start_of)
            )
        else:
            histograms = None
        exemplars = self._exemplars(reading)
        stored = refs >= 0
        # What became part of a histogram counts as that, as in Prometheus.
        scraped = int((rows.entries == _REFUSED).sum()) + int((refs != UNSTORED).sum())
        if not stored.all():
            refs, values, ts, start = refs[stored], values[stored], ts[stored], start[stored]
            histograms = histograms.at(histograms.index[stored]) if histograms else None
        self._bound(lines)
        refusals = reading.refusals.with_those(self._faulty_comments)
        return Exposition(
            refs,
            values,
            ts if (ts >= 0).any() else None,
            scraped,
            refusals.counts,
            tuple(refusals.first),
            start if start.any() else None,
            histograms,
            exemplars,
        )

    def _look_up(self, rows: _Rows, todo: list[int]) -> list[int]:
        """Read the plain samples of known series in the lines ``todo``; return the other lines."""
        parts = [rows.lines[i].rpartition(b" ") for i in todo]
        keys = (part[0] for part in parts)
        known = self._cache.entries.get
        entries = np.fromiter(map(known, keys, repeat(_MISSING)), np.int32, len(todo))
        values, unread = _floats([part[2] for part in parts])
        entries[unread] = _MISSING
        places = np.array(todo)
        rows.entries[places] = entries
        rows.values[places] = values
        rows.ts[places] = -1
        missing: list[int] = places[entries == _MISSING].tolist()
        return missing

    def _said_anew(self, reading: TextReading) -> bool:
        """Read the comments if any changed; return whether a family has another type now."""
        lines = reading.rows.lines
        if not reading.said and not any(_is_comment(lines[i]) for i in reading.missing):
            return False
        before = self.metadata
        said, self._faulty_comments = parse_metadata(lines, self._openmetrics)
        keep = self._in_pieces and len(before) < _MOST_FAMILIES
        self.metadata = {**before, **said} if keep else said
        changed = [
            family
            for family in before.keys() | self.metadata.keys()
            if _type(before, family) != _type(self.metadata, family)
        ]
        return bool(changed) and self._forget(changed)

    def _known(self, reading: TextReading, i: int) -> bool:
        """Read line ``i`` if its series is known; it may have a timestamp and an exemplar."""
        rows, line, tail = reading.rows, reading.rows.lines[i], b""
        exemplar: LineExemplar | None = None
        if self._openmetrics and _EXEMPLAR in line:
            at = line.rfind(_EXEMPLAR)
            line, tail = line[:at], line[at + 1 :]
        found = self._plain(line) or self._timed(line)
        if found is None:
            return False
        entry, value, ts = found
        if tail and self._last_exemplar.get(entry) != tail:
            try:
                exemplar = parse_exemplar(tail.decode())
            except (RejectedLineError, UnicodeDecodeError):
                return False
            reading.exemplars[i] = exemplar
        rows.entries[i], rows.values[i], rows.ts[i] = entry, value, ts
        return True

    def _plain(self, line: bytes) -> tuple[int, float, int] | None:
        """Return entry, value and −1 of a line without a timestamp whose series is known."""
        key, _, text = line.rpartition(b" ")
        entry = self._cache.entries.get(key)
        if entry is None:
            return None
        try:
            return entry, parse_float(text), -1
        except ValueError:
            return None

    def _timed(self, line: bytes) -> tuple[int, float, int] | None:
        """Return entry, value and timestamp of a line with one whose series is known."""
        parts = line.rsplit(b" ", 2)
        if len(parts) != 3:
            return None
        entry = self._cache.entries.get(parts[0])
        if entry is None:
            return None
        try:
            if self._openmetrics:
                return entry, parse_float(parts[1]), parse_seconds(parts[2].decode("latin-1"))
            if not parts[2].isdigit() or len(parts[2]) > 18:
                return None
            return entry, parse_float(parts[1]), int(parts[2])
        except ValueError:
            return None

    def _learn(self, reading: TextReading, i: int, sample: Sample) -> None:
        """Take the sample of line ``i``, whose series is not known; raises what refuses it."""
        rows, options = reading.rows, self._options
        member = member_of(sample.labels[METRIC_NAME], self.metadata)
        scraped = dict(sample.labels)
        bound = _bound_of(scraped, member)
        if sample.exemplar:
            self._take_exemplar(reading, i, sample.exemplar)
        converted = (
            options.convert_classic and member.type == "histogram" and member.role in _CLASSIC
        )
        stored = not (converted and not options.classic_histograms)
        if member.role is Role.CREATED and self._openmetrics and not options.created_series:
            stored = False
        labels = self._finish(sample.labels, member.type) if stored else None
        group = NO_GROUP
        if converted or (self._openmetrics and member.started):
            group = self._group(scraped, member, converted)
        role = member.role if group != NO_GROUP else Role.PLAIN
        rows.values[i] = sample.value
        rows.ts[i] = sample.ts
        # A line that the fast way cannot cut keeps its place under a name that no line has.
        key = sample.key or b"\n" + Labels.of(scraped).canonical()
        ref = _WAITING if labels is not None else _LEFT_OUT if stored else UNSTORED
        rows.entries[i] = entry = self._cache.add(key, ref, group, role, bound)
        if labels is not None:
            # Further lines of the series find the entry, though it has no number yet.
            self._waiting[key] = labels
            reading.pending.append(_New(key, labels, entry))

    def _take_exemplar(self, reading: TextReading, i: int, text: str) -> None:
        try:
            reading.exemplars[i] = parse_exemplar(text)
        except RejectedLineError as fault:
            # The sample itself is well-formed, and kept.
            reading.refusals.add(i + 1, fault)

    def _group(self, scraped: dict[str, str], member: Member, converted: bool) -> int:
        """Return the group of a series; a histogram to be made of it is noted for a number."""
        whole = {k: v for k, v in scraped.items() if k not in ("le", "quantile")}
        whole[METRIC_NAME] = member.family
        group = self._cache.group_of(Labels.of(whole).canonical())
        if converted and self._cache.group_ref[group] == UNSTORED and group not in self._unnumbered:
            labels = self._finish(whole, member.type)
            if labels is not None:
                self._unnumbered[group] = labels
        return group

    def _number_groups(self, reading: TextReading) -> bool:
        """Number the histograms that are made of classic ones; return false."""
        if self._unnumbered:
            groups = list(self._unnumbered)
            given = self._index.refs(list(self._unnumbered.values())).tolist()
            for group, ref in zip(groups, given, strict=True):
                self._cache.group_ref[group] = ref
                if ref < 0:
                    reading.refusals.add(0, RejectedLineError("series_limit", _NO_ROOM))
                else:
                    del self._unnumbered[group]
        return False

    def _refuse_waiting(self, reading: TextReading) -> None:
        """Refuse the lines of series that got no number."""
        entries = reading.rows.entries
        places = np.flatnonzero(entries >= 0)
        for i in places[self._cache.refs[entries[places]] == _WAITING].tolist():
            entries[i] = _REFUSED
            reading.refusals.add(i + 1, RejectedLineError("series_limit", _NO_ROOM))
        self._forget_waiting()

    def _forget_waiting(self) -> None:
        for key in self._waiting:
            self._cache.entries.pop(key, None)
        self._waiting.clear()

    def _starts(self, entries: I32, values: F64) -> tuple[I64, I64]:
        """Return int64 start timestamps of ``entries``, and those of all groups and of none."""
        starts = np.zeros(len(self._cache.groups) + 1, np.int64)
        group = self._cache.group[entries]
        created = self._cache.role[entries] == Role.CREATED
        if not created.any():
            return np.zeros(len(entries), np.int64), starts
        seconds = values[created]
        sane = (seconds > 0) & (seconds < 9e12)
        starts[group[created][sane]] = np.round(seconds[sane] * 1000)
        # ``NO_GROUP`` is −1, and the last place stays zero.
        start = starts[group]
        start[created] = 0
        return start, starts

    def _converted(
        self, reading: TextReading, rows: tuple[I32, I32, F64, I64, I64, I64]
    ) -> tuple[I32, F64, I64, I64, Histograms | None]:
        """Return refs, values, timestamps and starts with the histograms behind the floats."""
        entries, refs, values, ts, start, starts = rows
        cache = self._cache
        role, group = cache.role[entries], cache.group[entries]
        part: Mask = np.isin(role, _CLASSIC) & (group >= 0)
        part[part] &= cache.group_ref[group[part]] >= 0
        if not part.any():
            return refs, values, ts, start, None
        made = convert(group[part], role[part], cache.bound[entries[part]], values[part])
        for refused in made.refused.tolist():
            message = f"the classic histogram of series {refused} of this target is inconsistent"
            reading.refusals.add(0, RejectedLineError("histogram", message))
        n, h = len(refs), len(made.groups)
        stamps = np.full(len(cache.groups), -1, np.int64)
        stamps[group[part]] = ts[part]
        index = np.full(n + h, -1, np.int32)
        index[n:] = np.arange(h, dtype=np.int32)
        return (
            np.concatenate([refs, cache.group_ref[made.groups]]),
            np.concatenate([values, np.full(h, HISTOGRAM)]),
            np.concatenate([ts, stamps[made.groups]]),
            np.concatenate([start, starts[made.groups]]),
            made.histograms.at(index),
        )

    def _exemplars(self, reading: TextReading) -> tuple[Exemplar, ...]:
        """Return the new exemplars; those of a converted bucket belong to its histogram."""
        found = []
        for i, exemplar in reading.exemplars.items():
            entry = int(reading.rows.entries[i])
            if entry < 0:
                continue
            line = reading.rows.lines[i]
            self._last_exemplar[entry] = line[line.rfind(_EXEMPLAR) + 1 :]
            ref = int(self._cache.refs[entry])
            if self._options.convert_classic and self._cache.role[entry] == Role.BUCKET:
                whole = int(self._cache.group_ref[self._cache.group[entry]])
                ref = whole if whole >= 0 else ref
            if ref >= 0:
                found.append(Exemplar(ref, exemplar.ts, exemplar.value, exemplar.labels))
        return tuple(found)

    def _bound(self, scraped: int) -> None:
        """Forget series that are gone once they are more than those that are there."""
        if len(self._cache) <= 2 * scraped + _SPARE_ENTRIES:
            return
        entries = self._rows.entries
        there = entries >= 0
        renumbered = self._cache.keep(entries[there])
        entries[there] = renumbered[entries[there]]
        self._last_exemplar.clear()
        self._unnumbered.clear()

    def _forget(self, families: list[str]) -> bool:
        """Forget the series of ``families``; return whether any were known."""
        names = {f"{family}{suffix}".encode() for family in families for suffix in ("", *SUFFIXES)}
        gone = [
            key
            for key in self._cache.entries
            # What begins with neither name nor letter is a name that is not so easily told.
            if key[:1] in (b"{", b"\n") or key.partition(b"{")[0].strip() in names
        ]
        for key in gone:
            del self._cache.entries[key]
        return bool(gone)


def _is_comment(line: bytes) -> bool:
    return line.lstrip(b" \t\r")[:1] in (b"#", b"")


def _type(metadata: dict[str, Metadata], family: str) -> str:
    known = metadata.get(family)
    return known.type if known else "unknown"


def _check_end(body: bytes) -> None:
    """Refuse an OpenMetrics body that was cut off, or that goes on behind its end.

    Raises:
        ExpositionError: for ``incomplete``.
    """
    rest = body.removesuffix(b"\n")
    if rest != _EOF and not rest.endswith(b"\n" + _EOF):
        raise ExpositionError(
            "incomplete", 'the answer is OpenMetrics and does not end with "# EOF": it was cut off'
        )
    if b"\n" + _EOF + b"\n" in rest:
        raise ExpositionError("incomplete", 'the answer goes on behind "# EOF"')


def _bound_of(labels: dict[str, str], member: Member) -> float:
    """Return the upper bound of a bucket; raises ``RejectedLineError`` if it is no number."""
    if member.role is not Role.BUCKET:
        return 0.0
    try:
        return parse_float(labels.get("le", "").encode())
    except ValueError:
        return np.nan


def _floats(texts: list[bytes]) -> tuple[F64, list[int]]:
    """Return float64[n] and the places that are no numbers."""
    unread: list[int] = []
    if b"_" not in b"".join(texts):
        try:
            values = np.fromiter(map(float, texts), dtype=np.float64, count=len(texts))
        except ValueError:
            pass
        else:
            _canonical_nan(values)
            return values, unread
    values = np.zeros(len(texts))
    for i, text in enumerate(texts):
        try:
            values[i] = parse_float(text)
        except ValueError:
            unread.append(i)
    _canonical_nan(values)
    return values, unread


def _canonical_nan(values: F64) -> None:
    # No NaN of a text may pass for a staleness marker.
    nan = np.isnan(values)
    if nan.any():
        bits(values)[nan] = NAN_BITS
