"""The format of ``.test`` files: commands ``load``, ``clear`` and ``eval``.

Described in the README of Prometheus' ``promql/promqltest``. A blank line or a comment ends the
block of lines that belong to a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vedette.kit.duration import parse_duration
from vedette.model.labels import Labels
from vedette.query.promql.notation import NUMBER, Point, number, series_line
from vedette.query.promql.parser import parse

_EVAL = re.compile(
    r"eval(?:_(?P<kind>fail|warn|info|ordered))?\s+"
    r"(?:instant\s+at\s+(?P<at>\S+)|"
    r"range\s+from\s+(?P<start>\S+)\s+to\s+(?P<end>\S+)\s+step\s+(?P<step>\S+))\s+(?P<query>.+)"
)
_EXPECT = re.compile(r"expect\s+(?P<what>\w+)(?:\s+(?P<how>msg|regex):\s*(?P<text>.*))?")
_EXPECT_RANGE = re.compile(r"expect\s+range\s+vector\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)")


class ScriptError(ValueError):
    """A line that is not in the format."""


@dataclass(frozen=True)
class Load:
    """``load``: series with a point every ``step`` ms from 0."""

    step: int
    series: list[tuple[Labels, list[Point]]]


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


def read(path: Path) -> Iterator[Command]:
    """Yield the commands of a file."""
    lines = [
        "" if line.lstrip().startswith("#") else line.strip()
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    at = 0
    while at < len(lines):
        head, first = lines[at], at + 1
        at += 1
        if not head:
            continue
        if head == "clear":
            yield Clear()
            continue
        body = []
        while at < len(lines) and lines[at] and not _starts_command(lines[at]):
            body.append(lines[at])
            at += 1
        if head.startswith("load"):
            yield Load(parse_duration(head.split()[1]), [series_line(line) for line in body])
        elif head.startswith("eval"):
            yield _eval(first, head, body)
        else:
            raise ScriptError(f"{path}:{first}: not a command: {head}")


def _starts_command(line: str) -> bool:
    return line == "clear" or re.match(r"(load(_with_nhcb)?|eval(_\w+)?)\s", line) is not None


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
        case.series.append(series_line(line))


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
    if match is None:
        raise ScriptError(f"not an expectation: {line}")
    if match["what"] == "ordered":
        case.ordered = True
        return
    case.expectations.append(Expectation(match["what"], match["how"] or "", match["text"] or ""))
