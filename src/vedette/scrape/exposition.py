"""The Prometheus text format 0.0.4, parsed with a cache per target.

A target sends the same series again and again. The text before the value of a line therefore is
looked up in a dict of refs, and only the value is parsed; a line that is not known yet takes the
slow way through the full grammar once.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format), with the
quoted names of Prometheus 3. Unlike in Prometheus, a malformed line costs only itself: it is
counted with its reason and the well-formed lines are kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat

import numpy as np

from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import F64, I32, I64, NAN_BITS, bits
from vedette.storage.interface import SeriesIndex

_REFUSED = -1
_MISSING = -2
_NO_SAMPLE = -3
_KEPT_ERRORS = 10
_SPARE_ENTRIES = 1000
_INT64_MAX = 2**63 - 1

_WS = r"[ \t]*"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_METRIC = re.compile(rf"{_WS}({_NAME}){_WS}")
_INNER_METRIC = re.compile(rf"{_WS}{_QUOTED}{_WS}(?=[,}}])")
_LABEL = re.compile(rf"{_WS}(?:([a-zA-Z_][a-zA-Z0-9_]*)|{_QUOTED}){_WS}={_WS}{_QUOTED}{_WS}")
_REST = re.compile(r"\s*(\S+)(?:[ \t]+(-?[0-9]+))?\s*")
_COMMENT = re.compile(
    rf"{_WS}#{_WS}(HELP|TYPE|UNIT)[ \t]+(?:({_NAME})|{_QUOTED})(?:[ \t]+(.*?))?\s*"
)
_ESCAPE = re.compile(r'\\([\\n"])')
_HELP_ESCAPE = re.compile(r"\\([\\n])")
_CLASSIC_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_TYPES = frozenset((*_CLASSIC_TYPES, "unknown", "gaugehistogram", "stateset", "info"))


class RejectedLineError(Exception):
    """A line cannot be kept; ``reason`` is a metric label, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LineError:
    """A refused line: its number (from 1), the reason as a metric label, and a message."""

    line: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a target says about a metric family; empty strings where it says nothing."""

    type: str = "unknown"
    help: str = ""
    unit: str = ""


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
class _Refusals:
    counts: Counter[str] = field(default_factory=Counter)
    first: list[LineError] = field(default_factory=list)

    def add(self, line: int, fault: RejectedLineError) -> None:
        self.counts[fault.reason] += 1
        if len(self.first) < _KEPT_ERRORS:
            self.first.append(LineError(line, fault.reason, str(fault)))


@dataclass(slots=True)
class _Sample:
    """A line that took the slow way; ``key`` is what a later scrape will find it by."""

    labels: dict[str, str]
    value: float
    ts: int
    key: bytes | None


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


class ExpositionParser:
    """Parser of one target's scrapes; keeps the cache between them."""

    def __init__(self, index: SeriesIndex, finish: Finish) -> None:
        self._index = index
        self._finish = finish
        self._refs: dict[bytes, int] = {}
        self._rows = _Rows.of([])
        self.metadata: dict[str, Metadata] = {}
        self._faulty_comments: dict[int, RejectedLineError] = {}

    def parse(self, body: bytes) -> Exposition:
        """Parse one scrape; never raises for what the body holds."""
        lines = body.split(b"\n")
        rows = self._rows
        if len(lines) == len(rows.lines):
            # Most lines of most targets say the same as the last time, at the same place.
            todo = [i for i, (new, old) in enumerate(zip(lines, rows.lines)) if new != old]  # noqa: B905
            todo += np.flatnonzero(rows.refs == _REFUSED).tolist()
            rows.lines = lines
        else:
            rows = self._rows = _Rows.of(lines)
            todo = list(range(len(lines)))
        refusals = _Refusals()
        if todo:
            self._read(rows, sorted(set(todo)), refusals)
        for i, fault in self._faulty_comments.items():
            refusals.add(i + 1, fault)
        self._bound(lines)
        kept = rows.refs >= 0
        ts = rows.ts[kept]
        return Exposition(
            rows.refs[kept],
            rows.values[kept],
            ts if (ts >= 0).any() else None,
            int((rows.refs != _NO_SAMPLE).sum()),
            refusals.counts,
            tuple(sorted(refusals.first, key=lambda error: error.line)),
        )

    def _read(self, rows: _Rows, todo: list[int], refusals: _Refusals) -> None:
        """Read the lines ``todo`` into ``rows``: those of known series at once."""
        parts = [rows.lines[i].rpartition(b" ") for i in todo]
        keys = (part[0] for part in parts)
        refs = np.fromiter(map(self._refs.get, keys, repeat(_MISSING)), np.int32, len(todo))
        values, unread = _floats([part[2] for part in parts])
        refs[unread] = _MISSING
        places = np.array(todo)
        rows.refs[places] = refs
        rows.values[places] = values
        rows.ts[places] = -1
        missing = places[refs == _MISSING].tolist()
        if missing:
            self._read_slowly(rows, missing, refusals)

    def _read_slowly(self, rows: _Rows, missing: list[int], refusals: _Refusals) -> None:
        """Read lines that are no plain sample of a known series."""
        starts = [rows.lines[i].lstrip(b" \t\r")[:1] for i in missing]
        if any(start in (b"#", b"") for start in starts):
            self.metadata, self._faulty_comments = parse_metadata(rows.lines)
        pending: list[tuple[int, bytes | None, Labels]] = []
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
                refusals.add(i + 1, fault)
                continue
            rows.values[i] = sample.value
            rows.ts[i] = sample.ts
            pending.append((i, sample.key, labels))
        self._number(rows, pending, refusals)
        _canonical_nan(rows.values)

    def _number(
        self, rows: _Rows, pending: list[tuple[int, bytes | None, Labels]], refusals: _Refusals
    ) -> None:
        if not pending:
            return
        given = self._index.refs([labels for _, _, labels in pending]).tolist()
        for (i, key, labels), ref in zip(pending, given, strict=True):
            rows.refs[i] = ref if ref >= 0 else _REFUSED
            if ref < 0:
                message = f"the limit of series is reached: {labels}"
                refusals.add(i + 1, RejectedLineError("series_limit", message))
            elif key is not None:
                self._refs[key] = ref

    def _timed(self, line: bytes) -> tuple[int, float, int] | None:
        """Return ref, value and timestamp of a line with a timestamp whose series is known."""
        parts = line.rsplit(b" ", 2)
        if len(parts) != 3 or not parts[2].isdigit() or len(parts[2]) > 18:
            return None
        ref = self._refs.get(parts[0])
        if ref is None:
            return None
        try:
            return ref, _float(parts[1]), int(parts[2])
        except ValueError:
            return None

    def _bound(self, lines: list[bytes]) -> None:
        """Forget series that are gone once they are more than those that are there."""
        if len(self._refs) > 2 * len(lines) + _SPARE_ENTRIES:
            alive = {line.rsplit(b" ", cuts)[0] for line in lines for cuts in (1, 2)}
            self._refs = {key: ref for key, ref in self._refs.items() if key in alive}

    def _type_of(self, labels: Mapping[str, str]) -> str:
        name = labels[METRIC_NAME]
        known = self.metadata.get(name) or self.metadata.get(name.removesuffix("_bucket"))
        return known.type if known else "unknown"


def _float(text: bytes) -> float:
    # Python reads 1_000, the format does not.
    if b"_" in text:
        raise ValueError("underscore in a number")
    return float(text)


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
            values[i] = _float(text)
        except ValueError:
            unread.append(i)
    _canonical_nan(values)
    return values, unread


def _canonical_nan(values: F64) -> None:
    # No NaN of a text may pass for a staleness marker.
    nan = np.isnan(values)
    if nan.any():
        bits(values)[nan] = NAN_BITS


def parse_line(line: bytes) -> _Sample:
    """Parse one sample line by the full grammar.

    Raises:
        RejectedLineError: for ``encoding``, ``syntax``, ``duplicate_label``, ``value`` or
            ``timestamp``.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RejectedLineError("encoding", f"not UTF-8 at byte {error.start + 1}") from None
    labels: dict[str, str] = {}
    at = 0
    metric = _METRIC.match(text)
    if metric is not None:
        labels[METRIC_NAME] = metric.group(1)
        at = metric.end()
    elif not text.lstrip(" \t").startswith("{"):
        raise RejectedLineError("syntax", f"no metric name at column 1: {_excerpt(text)}")
    else:
        at = text.index("{")
    if text[at : at + 1] == "{":
        at = _parse_labels(text, at + 1, labels)
    if METRIC_NAME not in labels:
        raise RejectedLineError("syntax", f"no metric name: {_excerpt(text)}")
    rest = _REST.fullmatch(text, at)
    if rest is None or (at == len(text)):
        raise RejectedLineError(
            "syntax",
            f"expected a value and perhaps a timestamp at column {at + 1}: {_excerpt(text)}",
        )
    return _Sample(labels, _value(rest.group(1)), _timestamp(rest.group(2)), _key(line, text, rest))


def _parse_labels(text: str, at: int, labels: dict[str, str]) -> int:
    """Read labels from behind the opening brace; return the place behind the closing one."""
    inner = _INNER_METRIC.match(text, at)
    if inner is not None and METRIC_NAME not in labels:
        labels[METRIC_NAME] = _unescape(inner.group(1))
        at = inner.end() + (text[inner.end()] == ",")
    while True:
        while text[at : at + 1] in (" ", "\t"):
            at += 1
        if text[at : at + 1] == "}":
            return at + 1
        match = _LABEL.match(text, at)
        if match is None or text[match.end() : match.end() + 1] not in (",", "}"):
            raise RejectedLineError(
                "syntax", f"malformed label at column {at + 1}: {_excerpt(text)}"
            )
        name = match.group(1) or _unescape(match.group(2))
        if name in labels:
            raise RejectedLineError(
                "duplicate_label", f'label "{name}" stands twice: {_excerpt(text)}'
            )
        labels[name] = _unescape(match.group(3))
        at = match.end() + (text[match.end()] == ",")


def _unescape(text: str, pattern: re.Pattern[str] = _ESCAPE) -> str:
    if "\\" not in text:
        return text
    return pattern.sub(lambda match: "\n" if match.group(1) == "n" else match.group(1), text)


def _value(text: str) -> float:
    try:
        return _float(text.encode())
    except ValueError:
        raise RejectedLineError("value", f'"{_excerpt(text)}" is not a number') from None


def _timestamp(text: str | None) -> int:
    if text is None:
        return -1
    stamp = int(text) if len(text) < 20 else -1
    if not 0 <= stamp <= _INT64_MAX:
        raise RejectedLineError("timestamp", f"timestamp {text} is not in milliseconds since 1970")
    return stamp


def _key(line: bytes, text: str, rest: re.Match[str]) -> bytes | None:
    """Return the part of ``line`` that stands before the value, if the fast way would cut there."""
    tail = [part.encode() for part in rest.groups() if part is not None]
    cut = line.rsplit(b" ", len(tail))
    series = text[: rest.start()].rstrip(" \t").encode()
    return cut[0] if cut[1:] == tail and cut[0].rstrip(b" \t") == series else None


def _excerpt(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def parse_metadata(
    lines: Iterable[bytes],
) -> tuple[dict[str, Metadata], dict[int, RejectedLineError]]:
    """Return the metadata by family, and the faults of comments by the place of their line.

    A comment that is neither HELP, TYPE nor UNIT is a remark for people.
    """
    families: dict[str, dict[str, str]] = {}
    faults: dict[int, RejectedLineError] = {}
    for i, line in enumerate(lines):
        if line[:1] not in (b"#", b" ", b"\t"):
            continue
        try:
            match = _COMMENT.fullmatch(line.decode())
        except UnicodeDecodeError as error:
            if line.lstrip(b" \t")[:1] == b"#":
                faults[i] = RejectedLineError("encoding", f"not UTF-8 at byte {error.start + 1}")
            continue
        if match is None:
            continue
        kind, name, quoted, rest = match.groups(default="")
        if kind == "TYPE" and rest not in _TYPES:
            message = f'unknown type "{_excerpt(rest)}" of {name or quoted}'
            faults[i] = RejectedLineError("metadata", message)
            continue
        text = _unescape(rest, _HELP_ESCAPE) if kind == "HELP" else rest
        families.setdefault(name or _unescape(quoted), {})[kind] = text
    metadata = {
        name: Metadata(
            said.get("TYPE", "unknown").replace("untyped", "unknown"),
            said.get("HELP", ""),
            said.get("UNIT", ""),
        )
        for name, said in families.items()
    }
    return metadata, faults
