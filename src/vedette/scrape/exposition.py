"""The Prometheus text format 0.0.4, parsed with a cache per target.

A target sends the same series again and again. The text before the value of a line therefore is
looked up in a dict of refs, and only the value is parsed; a line that is not known yet takes the
slow way through the full grammar once. Unlike in Prometheus, a malformed line costs only itself: it
is counted with its reason and the well-formed lines are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from vedette.model.arrays import F64, I32, I64
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import NAN_BITS, bits
from vedette.scrape.grammar import (
    LineError,
    Metadata,
    Refusals,
    RejectedLineError,
    parse_float,
    parse_line,
    parse_metadata,
    split_lines,
)
from vedette.storage.interface import SeriesIndex

_REFUSED = -1
_MISSING = -2
_NO_SAMPLE = -3
_SPARE_ENTRIES = 1000
_LINE_BYTES = 64 * 1024
_AT_ONCE = 20_000
_QUICK_LINES = 200
_QUICK_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Exposition:
    """Samples of one scrape in the order of their lines.

    Attributes:
        refs: int32[n]; no −1.
        values: float64[n].
        ts: int64[n] milliseconds, −1 where the line has no timestamp; ``None`` when no line has.
        scraped: number of sample lines, the refused ones included.
        rejected: lines refused, by reason.
        errors: the first few of them.
    """

    refs: I32
    values: F64
    ts: I64 | None
    scraped: int
    rejected: Mapping[str, int]
    errors: tuple[LineError, ...]


Finish = Callable[[dict[str, str], str], Labels]
"""Makes the stored labels of a series from those of its line (``__name__`` included) and the type
of its family; raises :class:`RejectedLineError` when the series cannot be kept."""


@dataclass(slots=True)
class _Rows:
    """What each line of the latest body stands for, by its place."""

    lines: list[bytes]
    refs: I32
    values: F64
    ts: I64

    @classmethod
    def of(cls, lines: list[bytes]) -> _Rows:
        n = len(lines)
        return cls(lines, np.full(n, _MISSING, np.int32), np.zeros(n), np.full(n, -1, np.int64))


@dataclass(slots=True)
class Reading:
    """A scrape on its way through the parser."""

    rows: _Rows
    missing: list[int]
    refusals: Refusals = field(default_factory=Refusals)
    pending: list[tuple[int, bytes | None, Labels]] = field(default_factory=list)

    @property
    def laborious(self) -> bool:
        """Whether so many lines take the slow way that the event loop should not wait for it."""
        if len(self.missing) > _QUICK_LINES:
            return True
        return sum(len(self.rows.lines[i]) for i in self.missing) > _QUICK_BYTES


class ExpositionParser:
    """Parser of one target's scrapes; keeps the cache between them.

    A scrape takes four steps: ``begin``, ``read``, ``number`` until it returns false, ``end``; one
    scrape at a time. Only ``number`` asks the index, the others may run in another thread.
    """

    def __init__(self, index: SeriesIndex, finish: Finish, line_bytes: int = _LINE_BYTES) -> None:
        self._index = index
        self._finish = finish
        self._line_bytes = line_bytes
        self._refs: dict[bytes, int] = {}
        self._rows = _Rows.of([])
        self.metadata: dict[str, Metadata] = {}
        self._faulty_comments = Refusals()

    def parse(self, body: bytes) -> Exposition:
        """Parse one scrape by all steps; never raises for what the body holds."""
        reading = self.begin(body)
        self.read(reading)
        while self.number(reading):
            pass
        return self.end(reading)

    def begin(self, body: bytes) -> Reading:
        """Take what is known already, which is quick."""
        lines = split_lines(body, self._line_bytes)
        rows = self._rows
        if len(lines) == len(rows.lines):
            # Most lines of most targets say the same as the last time, at the same place.
            changed = [i for i, (new, old) in enumerate(zip(lines, rows.lines)) if new != old]  # noqa: B905
            refused = np.flatnonzero(rows.refs == _REFUSED).tolist()
            todo = sorted({*changed, *refused}) if refused else changed
            rows.lines = lines
        else:
            rows = _Rows.of(lines)
            todo = list(range(len(lines)))
        # A scrape that does not get to its end leaves nothing that the next one could trust.
        self._rows = _Rows.of([])
        missing: list[int] = []
        for at in range(0, len(todo), _AT_ONCE):
            missing += self._look_up(rows, todo[at : at + _AT_ONCE])
        return Reading(rows, missing)

    def read(self, reading: Reading) -> None:
        """Read the lines that are no plain sample of a known series, by the full grammar."""
        rows, missing = reading.rows, reading.missing
        starts = [rows.lines[i].lstrip(b" \t\r")[:1] for i in missing]
        if any(start in (b"#", b"") for start in starts):
            self.metadata, self._faulty_comments = parse_metadata(rows.lines)
        for i, start in zip(missing, starts, strict=True):
            if start in (b"#", b""):
                rows.refs[i] = _NO_SAMPLE
                continue
            known = self._timed(rows.lines[i])
            if known is not None:
                rows.refs[i], rows.values[i], rows.ts[i] = known
                continue
            try:
                sample = parse_line(rows.lines[i])
                labels = self._finish(sample.labels, self._type_of(sample.labels))
            except RejectedLineError as fault:
                rows.refs[i] = _REFUSED
                reading.refusals.add(i + 1, fault)
                continue
            rows.values[i] = sample.value
            rows.ts[i] = sample.ts
            reading.pending.append((i, sample.key, labels))
        reading.pending.reverse()
        _canonical_nan(rows.values)

    def number(self, reading: Reading, most: int = _AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        new = reading.pending[-most:][::-1]
        del reading.pending[-most:]
        if not new:
            return False
        given = self._index.refs([labels for _, _, labels in new]).tolist()
        for (i, key, labels), ref in zip(new, given, strict=True):
            reading.rows.refs[i] = ref if ref >= 0 else _REFUSED
            if ref < 0:
                message = f"the limit of series is reached: {labels.metric}"
                reading.refusals.add(i + 1, RejectedLineError("series_limit", message))
            elif key is not None:
                self._refs[key] = ref
        return bool(reading.pending)

    def end(self, reading: Reading) -> Exposition:
        """Return what the scrape brought, and remember it for the next one."""
        rows = self._rows = reading.rows
        scraped = int((rows.refs != _NO_SAMPLE).sum())
        self._bound(rows.lines, scraped)
        kept = rows.refs >= 0
        ts = rows.ts[kept]
        refusals = reading.refusals.with_those(self._faulty_comments)
        return Exposition(
            rows.refs[kept],
            rows.values[kept],
            ts if (ts >= 0).any() else None,
            scraped,
            refusals.counts,
            tuple(refusals.first),
        )

    def _look_up(self, rows: _Rows, todo: list[int]) -> list[int]:
        """Read the plain samples of known series in the lines ``todo``; return the other lines."""
        parts = [rows.lines[i].rpartition(b" ") for i in todo]
        keys = (part[0] for part in parts)
        refs = np.fromiter(map(self._refs.get, keys, repeat(_MISSING)), np.int32, len(todo))
        values, unread = _floats([part[2] for part in parts])
        refs[unread] = _MISSING
        places = np.array(todo)
        rows.refs[places] = refs
        rows.values[places] = values
        rows.ts[places] = -1
        missing: list[int] = places[refs == _MISSING].tolist()
        return missing

    def _timed(self, line: bytes) -> tuple[int, float, int] | None:
        """Return ref, value and timestamp of a line with a timestamp whose series is known."""
        parts = line.rsplit(b" ", 2)
        if len(parts) != 3 or not parts[2].isdigit() or len(parts[2]) > 18:
            return None
        ref = self._refs.get(parts[0])
        if ref is None:
            return None
        try:
            return ref, parse_float(parts[1]), int(parts[2])
        except ValueError:
            return None

    def _bound(self, lines: list[bytes], scraped: int) -> None:
        """Forget series that are gone once they are more than those that are there."""
        if len(self._refs) > 2 * scraped + _SPARE_ENTRIES:
            alive = {line.rsplit(b" ", cuts)[0] for line in lines for cuts in (1, 2)}
            self._refs = {key: ref for key, ref in self._refs.items() if key in alive}

    def _type_of(self, labels: Mapping[str, str]) -> str:
        name = labels[METRIC_NAME]
        known = self.metadata.get(name) or self.metadata.get(name.removesuffix("_bucket"))
        return known.type if known else "unknown"


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
