"""The grammars of the Prometheus text format and of OpenMetrics, line by line.

Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format) and
https://prometheus.io/docs/specs/om/open_metrics_spec/, with the quoted names of Prometheus 3. All
patterns are possessive: none can match in two ways, so that the time of a line is linear in its
length, and no line makes :mod:`re` keep a stack of ways back.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vedette.model.labels import METRIC_NAME, Labels

_KEPT_ERRORS = 10
_INT64_MAX = 2**63 - 1
_PIECE = 1024 * 1024
_NEAR = 64 * 1024
_FAMILIES = 10_000
_NAME_CHARS = 512
_TEXT_CHARS = 4096

_WS = r"[ \t]*+"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_METRIC = re.compile(rf"{_WS}({_NAME}){_WS}")
_INNER_METRIC = re.compile(rf"{_WS}{_QUOTED}{_WS}(?=[,}}])")
_LABEL = re.compile(rf"{_WS}(?:([a-zA-Z_][a-zA-Z0-9_]*+)|{_QUOTED}){_WS}={_WS}{_QUOTED}{_WS}")
_REST = re.compile(r"\s*+(\S++)(?:[ \t]++(-?[0-9]++))?+\s*+")
_OPENMETRICS_REST = re.compile(r"[ \t]*+([^\s#]++)(?:[ \t]++([^\s#]++))?+[ \t\r]*+(#.*+)?+")
_EXEMPLAR_START = re.compile(r"#[ \t]*+\{")
_EXEMPLAR_REST = re.compile(r"[ \t]*+(\S++)(?:[ \t]++(\S++))?+[ \t\r]*+")
_COMMENT = re.compile(
    rf"{_WS}#{_WS}(HELP|TYPE|UNIT)[ \t]++(?:({_NAME})|{_QUOTED})(?:[ \t]++(.*+))?+\s*+"
)
_ESCAPE = re.compile(r'\\([\\n"])')
_MOST_EXEMPLAR_CHARS = 128
_LATEST_SECONDS = 9.2e15
_HELP_ESCAPE = re.compile(r"\\([\\n])")
_CLASSIC_TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
_TYPES = frozenset((*_CLASSIC_TYPES, "unknown", "gaugehistogram", "stateset", "info"))

# Stand for lines that were too long to be kept; recognised by identity, and no text in UTF-8.
_LONG_SAMPLE = b"\xfftoo_long"
_LONG_COMMENT = b"#\xfftoo_long"


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


@dataclass(slots=True)
class Refusals:
    """Refused lines: how many for each reason, and the first few of them."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[LineError] = field(default_factory=list)

    def add(self, line: int, fault: RejectedLineError) -> None:
        """Count the line with this number, from 1."""
        self.counts[fault.reason] += 1
        if len(self.first) < _KEPT_ERRORS:
            self.first.append(LineError(line, fault.reason, str(fault)))

    def with_those(self, others: Refusals) -> Refusals:
        """Return both together, the errors in the order of their lines."""
        first = sorted([*self.first, *others.first], key=lambda error: error.line)
        return Refusals(self.counts + others.counts, first[:_KEPT_ERRORS])


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a target says about a metric family; empty strings where it says nothing."""

    type: str = "unknown"
    help: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class LineExemplar:
    """The exemplar of a line; ``ts`` in milliseconds, −1 for none."""

    labels: Labels
    value: float
    ts: int


@dataclass(slots=True)
class Sample:
    """A sample line; ``key`` is what a later scrape will find its series by.

    ``ts`` is in milliseconds, −1 for none. ``exemplar`` is the text of the exemplar, from ``#`` on.
    """

    labels: dict[str, str]
    value: float
    ts: int
    key: bytes | None
    exemplar: str = ""


def count(body: bytes, what: bytes) -> int:
    """Return how often ``what`` (one or two bytes) occurs, letting other threads run between."""
    if len(what) == 1:
        return count_byte(body, what[0])
    more = len(what) - 1
    return sum(body.count(what, at, at + _PIECE + more) for at in range(0, len(body), _PIECE))


def count_byte(body: bytes, what: int) -> int:
    """Return how often a byte occurs; a third of the time that ``bytes.count`` takes."""
    data = np.frombuffer(body, np.uint8)
    # Pieces small enough for the cache of the processor.
    pieces = (data[at : at + _NEAR] for at in range(0, len(data), _NEAR))
    return sum(int(np.count_nonzero(piece == what)) for piece in pieces)


def split_lines(body: bytes, longest: int) -> list[bytes]:
    """Return the lines; those of more than ``longest`` bytes become marks that are refused."""
    lines: list[bytes] = []
    # In pieces, because no other thread runs while bytes are copied and split.
    piece = max(_PIECE, longest + 1)
    at = 0
    while len(body) - at > piece:
        end = body.rfind(b"\n", at, at + piece)
        if end >= 0:
            lines += body[at:end].split(b"\n")
        else:
            lines.append(_mark(body[at : at + 80]))
            end = body.find(b"\n", at + piece)
            if end < 0:
                break
        at = end + 1
    else:
        lines += body[at:].split(b"\n")
    if _has_longer(body, longest):
        return [line if len(line) <= longest else _mark(line[:80]) for line in lines]
    return lines


def _has_longer(body: bytes, longest: int) -> bool:
    """Return whether a line has more than ``longest`` bytes, looking at few of the lines."""
    # Such a line covers a multiple of its length, wherever it begins.
    for at in range(longest, len(body), longest + 1):
        begin = body.rfind(b"\n", max(at - longest, 0), at) + 1 or max(at - longest, 0)
        end = body.find(b"\n", at, begin + longest + 1)
        if end < 0 and begin + longest < len(body):
            return True
    return False


def _mark(start: bytes) -> bytes:
    return _LONG_COMMENT if start.lstrip(b" \t")[:1] == b"#" else _LONG_SAMPLE


def _too_long() -> RejectedLineError:
    return RejectedLineError(
        "line_length", "the line is longer than limits.line_bytes of the job allows"
    )


def parse_float(text: bytes) -> float:
    """Return the number; raises ``ValueError`` if it is none in this format."""
    # Python reads 1_000, the format does not.
    if b"_" in text:
        raise ValueError("underscore in a number")
    return float(text)


def parse_line(line: bytes, openmetrics: bool = False) -> Sample:
    """Parse one sample line by the full grammar of the text format, or of OpenMetrics.

    Raises:
        RejectedLineError: for ``encoding``, ``syntax``, ``duplicate_label``, ``value`` or
            ``timestamp``, and ``line_length`` for the mark of a line that was too long.
    """
    if line is _LONG_SAMPLE:
        raise _too_long()
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
    pattern = _OPENMETRICS_REST if openmetrics else _REST
    rest = pattern.fullmatch(text, at)
    if rest is None or (at == len(text)):
        raise RejectedLineError(
            "syntax",
            f"expected a value and perhaps a timestamp at column {at + 1}: {_excerpt(text)}",
        )
    value = _value(rest.group(1))
    if not openmetrics:
        return Sample(labels, value, _timestamp(rest.group(2)), _key(line, text, rest))
    exemplar = rest.group(3) or ""
    if exemplar:
        line = text[: rest.start(3)].rstrip(" \t").encode()
    key = _key(line, text, rest)
    return Sample(labels, value, _seconds(rest.group(2)), key, exemplar)


def parse_exemplar(text: str) -> LineExemplar:
    """Parse the exemplar ``text``, from ``#`` on.

    Raises:
        RejectedLineError: for ``exemplar``: it is malformed, or longer than 128 characters.
    """
    start = _EXEMPLAR_START.match(text)
    if start is None:
        raise RejectedLineError("exemplar", f"expected an exemplar: {_excerpt(text)}")
    labels: dict[str, str] = {}
    try:
        at = _parse_labels(text, start.end(), labels)
        rest = _EXEMPLAR_REST.fullmatch(text, at)
        if rest is None or METRIC_NAME in labels:
            raise RejectedLineError("exemplar", f"no value in exemplar: {_excerpt(text)}")
        value, ts = _value(rest.group(1)), _seconds(rest.group(2))
    except RejectedLineError as fault:
        raise RejectedLineError("exemplar", str(fault)) from None
    if sum(len(name) + len(value) for name, value in labels.items()) > _MOST_EXEMPLAR_CHARS:
        raise RejectedLineError(
            "exemplar",
            f"the labels of an exemplar are longer than {_MOST_EXEMPLAR_CHARS} characters: "
            f"{_excerpt(text)}",
        )
    return LineExemplar(Labels.of(labels), value, ts)


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
                "duplicate_label", f'label "{_excerpt(name)}" stands twice: {_excerpt(text)}'
            )
        labels[name] = _unescape(match.group(3))
        at = match.end() + (text[match.end()] == ",")


def _unescape(text: str, pattern: re.Pattern[str] = _ESCAPE) -> str:
    if "\\" not in text:
        return text
    return pattern.sub(lambda match: "\n" if match.group(1) == "n" else match.group(1), text)


def _value(text: str) -> float:
    try:
        return parse_float(text.encode())
    except ValueError:
        raise RejectedLineError("value", f'"{_excerpt(text)}" is not a number') from None


def _timestamp(text: str | None) -> int:
    if text is None:
        return -1
    stamp = int(text) if len(text) < 20 else -1
    if not 0 <= stamp <= _INT64_MAX:
        raise RejectedLineError(
            "timestamp", f"timestamp {_excerpt(text)} is not in milliseconds since 1970"
        )
    return stamp


def _seconds(text: str | None) -> int:
    """Return the ms of a timestamp in seconds, −1 for none."""
    if text is None:
        return -1
    try:
        ms = parse_seconds(text)
    except ValueError:
        ms = -1
    if ms < 0:
        raise RejectedLineError(
            "timestamp", f"timestamp {_excerpt(text)} is not in seconds since 1970"
        )
    return ms


def parse_seconds(text: str | bytes) -> int:
    """Return the ms of a timestamp in seconds; raises ``ValueError`` if it is none."""
    seconds = float(text)
    if not 0 <= seconds <= _LATEST_SECONDS or "_" in str(text):
        raise ValueError("no timestamp")
    return round(seconds * 1000)


def _key(line: bytes, text: str, rest: re.Match[str]) -> bytes | None:
    """Return the part of ``line`` that stands before the value, if the fast way would cut there."""
    tail = [part.encode() for part in rest.groups()[:2] if part is not None]
    cut = line.rsplit(b" ", len(tail))
    series = text[: rest.start()].rstrip(" \t").encode()
    return cut[0] if cut[1:] == tail and cut[0].rstrip(b" \t") == series else None


def _excerpt(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "..."


def parse_metadata(
    lines: Sequence[bytes], openmetrics: bool = False
) -> tuple[dict[str, Metadata], Refusals]:
    """Return the metadata by family, and the comments that were refused.

    A comment that is neither HELP, TYPE nor UNIT is a remark for people. Reasons are ``encoding``,
    ``line_length``, ``metadata`` (an unknown type or too long a text) and ``metadata_limit``.
    """
    families: dict[str, dict[str, str]] = {}
    refusals = Refusals()
    for i, line in enumerate(lines):
        if line[:1] not in (b"#", b" ", b"\t"):
            continue
        try:
            _read_comment(line, families, _ESCAPE if openmetrics else _HELP_ESCAPE)
        except RejectedLineError as fault:
            refusals.add(i + 1, fault)
    metadata = {
        name: Metadata(
            said.get("TYPE", "unknown").replace("untyped", "unknown"),
            said.get("HELP", ""),
            said.get("UNIT", ""),
        )
        for name, said in families.items()
    }
    return metadata, refusals


def _read_comment(
    line: bytes, families: dict[str, dict[str, str]], help_escape: re.Pattern[str]
) -> None:
    """Note in ``families`` what ``line`` says, if it is a comment with metadata."""
    if line is _LONG_COMMENT:
        raise _too_long()
    try:
        match = _COMMENT.fullmatch(line.decode())
    except UnicodeDecodeError as error:
        if line.lstrip(b" \t")[:1] == b"#":
            raise RejectedLineError("encoding", f"not UTF-8 at byte {error.start + 1}") from None
        return
    if match is None:
        return
    kind, name, quoted, rest = match.groups(default="")
    rest = rest.rstrip()
    family = name or _unescape(quoted)
    if len(family) > _NAME_CHARS or len(rest) > _TEXT_CHARS:
        raise RejectedLineError(
            "metadata",
            f"{kind} of {_excerpt(family)} has a name of {len(family)} and a text of {len(rest)} "
            f"characters; at most {_NAME_CHARS} and {_TEXT_CHARS}",
        )
    if kind == "TYPE" and rest not in _TYPES:
        raise RejectedLineError(
            "metadata", f'unknown type "{_excerpt(rest)}" of {_excerpt(family)}'
        )
    if family not in families and len(families) >= _FAMILIES:
        raise RejectedLineError(
            "metadata_limit", f"{kind} of {_excerpt(family)}: {_FAMILIES} families have metadata"
        )
    text = _unescape(rest, help_escape) if kind == "HELP" else rest
    families.setdefault(family, {})[kind] = text
