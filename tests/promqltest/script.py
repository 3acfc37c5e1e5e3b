"""The format of ``.test`` files: commands ``load``, ``clear`` and ``eval``.

Described in the README of Prometheus' ``promql/promqltest``. A blank line or a comment ends the
block of lines that belong to a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.promqltest.natives import ANY_HINT
from vedette.kit.duration import parse_duration
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.query.promql.notation import (
    NUMBER,
    Point,
    number,
    points_with_hints,
    series_line,
    split_series,
)
from vedette.query.promql.parser import parse

_EVAL = re.compile(
    r"eval(?:_(?P<kind>fail|warn|info|ordered))?\s+"
    r"(?:instant\s+at\s+(?P<at>\S+)|"
    r"range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)\s+step\s+(?P<step>\S+))\s+(?P<query>.+)"
)
_EXPECT = re.compile(r"expect\s+(?P<what>\w+)(?:\s+(?P<how>msg|regex):\s*(?P<text>.*))?")
_EXPECT_RANGE = re.compile(r"expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")


_EXPECTATIONS = frozenset(("fail", "warn", "info", "no_warn", "no_info", "ordered"))


class ScriptError(ValueError):
    """A line that is not in the format."""


@dataclass(frozen=True)
class Load:
    """``load``: series with a point every ``step`` ms from 0.

    The third of each is the start timestamps of the points, relative to each in ms (``None``:
    unknown), or empty. ``nhcb``: classic histograms become ones with custom buckets as well.
    """

    step: int
    series: list[tuple[Labels, list[Point], list[int | None]]]
    nhcb: bool = False


@dataclass(frozen=True)
class Clear:
    """``clear``: forget what was loaded."""


@dataclass(frozen=True)
class Expectation:
    """One ``expect`` line: fail, warn, info, no_warn, no_info; with a text or pattern."""

    what: str
    how: str = ""
    text: str = ""


@dataclass
class Eval:
    """``eval``: a query and what is expected of it; times in ms."""

    line: int
    query: str
    start: int
    end: int
    step: int
    instant: bool
    expectations: list[Expectation] = field(default_factory=list)
    ordered: bool = False
    string: str | None = None
    scalar: Point = None
    series: list[tuple[Labels, list[Point]]] = field(default_factory=list)
    samples: tuple[int, int, int] | None = None
    broken: str = ""

    def expects(self, what: str) -> list[Expectation]:
        """Return the expectations of one kind."""
        return [e for e in self.expectations if e.what == what]


Command = Load | Clear | Eval


def read(path: Path) -> list[Command]:
    """Return the commands of a file.

    Raises:
        ScriptError: a command is unknown, or a ``load`` cannot be read; then none counts.
    """
    lines = [
        "" if line.lstrip().startswith("#") else line.strip()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    commands: list[Command] = []
    at = 0
    while at < len(lines):
        head, first = lines[at], at + 1
        at += 1
        if not head:
            continue
        body = []
        if head.lower() != "clear":
            while at < len(lines) and lines[at] and not _starts_command(lines[at]):
                body.append(lines[at])
                at += 1
        try:
            commands.append(_command(first, head, body))
        except ValueError as error:
            raise ScriptError(f"{path.name}:{first}: {error}") from error
    return commands


def _command(line: int, head: str, body: list[str]) -> Command:
    word, _, rest = head.partition(" ")
    match word.lower():
        case "clear":
            return Clear()
        case "load" | "load_with_nhcb":
            return Load(parse_duration(rest.strip()), _loaded(body), word.lower() != "load")
        case "eval" | "eval_fail" | "eval_warn" | "eval_info" | "eval_ordered":
            return _eval(line, head, body)
    raise ScriptError(f"not a command: {head}")


def _loaded(body: list[str]) -> list[tuple[Labels, list[Point], list[int | None]]]:
    out: list[tuple[Labels, list[Point], list[int | None]]] = []
    pending: tuple[Labels, list[int | None]] | None = None
    for line in body:
        series, _, offsets = line.partition("@st")
        if offsets[:1] in (" ", "\t") and " " not in series.strip():
            if pending is not None:
                raise ScriptError("an @st line has no sample line after it")
            pending = (series_line(series + " _")[0], start_offsets(offsets))
            continue
        labels, points = series_line(line)
        if pending is not None and pending[0] != labels:
            raise ScriptError(f"an @st line for {pending[0]} stands before the samples of {labels}")
        if pending is not None and len(pending[1]) != len(points):
            raise ScriptError(f"{len(pending[1])} start timestamps for {len(points)} samples")
        out.append((labels, points, pending[1] if pending else []))
        pending = None
    if pending is not None:
        raise ScriptError("an @st line has no sample line after it")
    return out


_DURATION = r"[+-]?\d+(?:ms|[smhdwy])?"
_START = re.compile(rf"(?P<first>{_DURATION})(?P<step>[+-]{_DURATION[5:]})?(?:x(?P<times>\d+))?")


def start_offsets(text: str) -> list[int | None]:
    """Expand ``-1m -30s+10sx3 _ _x2``: times before (or after) samples, in ms."""
    out: list[int | None] = []
    for word in text.split():
        if re.fullmatch(r"_(x\d+)?", word):
            out += [None] * int(word[2:] or 1)
            continue
        match = _START.fullmatch(word)
        if match is None or (match["step"] and match["times"] is None):
            raise ScriptError(f"not a start timestamp: {word}")
        first, stride = _signed(match["first"]), _signed(match["step"] or "0")
        out += [first + k * stride for k in range(int(match["times"] or 0) + 1)]
    return out


def _signed(text: str) -> int:
    size = parse_duration(text.lstrip("+-"))
    return -size if text.startswith("-") else size


def _starts_command(line: str) -> bool:
    first = line.split()[0].lower()
    return (
        line.lower() == "clear" or re.fullmatch(r"load(_with_nhcb)?|eval(_\w+)?", first) is not None
    )


def _eval(line: int, head: str, body: list[str]) -> Eval:
    match = _EVAL.fullmatch(head)
    if match is None:
        return Eval(line, head, 0, 0, 0, True, broken="not an eval command")
    instant = match["at"] is not None
    start = _time(match["at"] or match["start"])
    end = start if instant else _time(match["end"])
    case = Eval(line, match["query"], start, end, 0 if instant else _time(match["step"]), instant)
    if match["kind"] == "ordered":
        case.ordered = True
    elif match["kind"]:
        case.expectations.append(Expectation(match["kind"]))
    try:
        for text in body:
            _result_line(case, text)
    except ValueError as error:
        case.broken = str(error)
    return case


def _time(text: str) -> int:
    if text.startswith("-"):
        return -parse_duration(text[1:])
    return int(float(text) * 1000) if re.fullmatch(r"[\d.]+", text) else parse_duration(text)


def _result_line(case: Eval, line: str) -> None:
    words = line.split()
    if words[0] in ("expected_fail_message", "expected_fail_regexp"):
        how = "msg" if words[0].endswith("message") else "regex"
        case.expectations.append(Expectation("fail", how, line.split(None, 1)[1]))
    elif words[0] == "expect":
        _expect_line(case, line)
    elif re.fullmatch(rf"[+-]?{NUMBER}", line):
        case.scalar = number(line)
    else:
        case.series.append(_expected(line))


def _expected(line: str) -> tuple[Labels, list[Point]]:
    """Return the series that ``line`` expects; a histogram without a hint takes any."""
    labels, rest = split_series(line)
    out: list[Point] = []
    for point, hinted in points_with_hints(rest):
        if isinstance(point, HistogramValue) and not hinted:
            point = replace(point, reset_hint=ANY_HINT)
        out.append(point)
    return labels, out


def _expect_line(case: Eval, line: str) -> None:
    window = _EXPECT_RANGE.fullmatch(line)
    if window:
        start, end, step = (_time(text) for text in window.groups())
        case.samples = (start, end, step)
        return
    if line.startswith("expect string"):
        literal = parse(line.removeprefix("expect string").strip())
        case.string = getattr(literal, "value", "")
        return
    match = _EXPECT.fullmatch(line)
    if match is None or match["what"] not in _EXPECTATIONS:
        raise ScriptError(f"not an expectation: {line}")
    if match["what"] == "ordered":
        case.ordered = True
        return
    case.expectations.append(Expectation(match["what"], match["how"] or "", match["text"] or ""))
