"""Series as text with their samples: ``metric{label="value"} 1 2+3x2 _ stale {{schema:0 …}}``.

The notation of the cases of Prometheus' ``promqltest`` and of promtool's unit tests of rules,
described in Prometheus' documentation, "Unit testing for rules". The module is pure.
"""

from __future__ import annotations

import re

from vedette.model.histograms import HistogramValue
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import MatchOp
from vedette.model.samples import STALE
from vedette.query.promql.ast import VectorSelector
from vedette.query.promql.native.notation import read_histogram, stepped
from vedette.query.promql.parser import parse

Point = float | HistogramValue | None
"""A value, a native histogram, or ``None`` for no sample."""

NUMBER = r"(?:[iI]nf|[nN]a[nN]|0[xX][0-9a-fA-F]+(?![\d]*x)|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_REPEATED = re.compile(rf"([+-]?{NUMBER})(?:([+-]{{1,2}})({NUMBER}))?x(\d+)")
_HISTOGRAM = re.compile(r"\{\{(.*?)\}\}(?:([+-])\{\{(.*?)\}\})?(?:x(\d+))?")

MAX_TIMES = 1_000_000
"""How often a sample may be repeated: what a word expands to must fit into memory."""


class NotationError(ValueError):
    """A text that is not a series with its samples."""


def series_line(line: str) -> tuple[Labels, list[Point]]:
    """Return the labels and the expanded points of ``metric{label="value"} points``."""
    labels, rest = split_series(line)
    return labels, points(rest)


def split_series(line: str) -> tuple[Labels, str]:
    """Return the labels of ``metric{label="value"} points``, and what follows them."""
    at = 0
    while at < len(line) and (line[at].isalnum() or line[at] in "_:"):
        at += 1
    brace = at
    while brace < len(line) and line[brace] == " ":
        brace += 1
    # "{{" begins a native histogram, which is a point.
    if brace < len(line) and line[brace] == "{" and not line.startswith("{{", brace):
        at = _closing(line, brace)
    return labels_of(line[:at]), line[at:]


def _closing(line: str, at: int) -> int:
    quote = ""
    while at < len(line):
        char = line[at]
        if quote:
            if char == "\\" and quote != "`":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "\"'`":
            quote = char
        elif char == "}":
            return at + 1
        at += 1
    raise NotationError(f"no closing brace: {line}")


def labels_of(text: str) -> Labels:
    """Return the labels that ``text`` names, as a selector would write them."""
    if not text.strip() or text.strip().replace(" ", "") == "{}":
        return Labels()
    selector = parse(text if not text.endswith("{}") else text[:-2])
    if not isinstance(selector, VectorSelector):
        raise NotationError(f"not a series: {text}")
    pairs = {m.name: m.value for m in selector.matchers if m.op is MatchOp.EQUAL}
    if selector.name is not None:
        pairs[METRIC_NAME] = selector.name
    return Labels.of(pairs)


def number(text: str) -> float:
    """Return the number that ``text`` writes."""
    return float(int(text, 16)) if "0x" in text.lower() else float(text)


def points(text: str) -> list[Point]:
    """Expand ``1 2+3x2 _ _x3 stale {{…}}``."""
    return [point for point, _ in points_with_hints(text)]


def points_with_hints(text: str) -> list[tuple[Point, bool]]:
    """Expand ``text``, and say of each histogram whether it says something of counter resets."""
    out: list[tuple[Point, bool]] = []
    rest = text.strip()
    while rest:
        histogram = _HISTOGRAM.match(rest)
        if histogram:
            out += _histograms(histogram)
            rest = rest[histogram.end() :].strip()
            continue
        word, _, rest = rest.partition(" ") if "\t" not in rest else _first_word(rest)
        rest = rest.strip()
        out += [(point, False) for point in _expanded(word)]
    return out


def _histograms(match: re.Match[str]) -> list[tuple[Point, bool]]:
    """Expand ``{{…}}``, ``{{…}}x3``, ``{{…}}+{{…}}x3`` and ``{{…}}-{{…}}x3``."""
    (first, hinted), times = read_histogram(match[1]), _times(match[4] or "0")
    if match[3] is None:
        return [(first, hinted)] * (times + 1)
    step, hinted = read_histogram(match[3])
    sign = 1.0 if match[2] == "+" else -1.0
    return [(point, hinted) for point in stepped(first, step, times, sign)]


def _times(text: str) -> int:
    if len(text) > 9 or int(text) > MAX_TIMES:
        raise NotationError(f"a sample is repeated more than {MAX_TIMES:,} times")
    return int(text)


def _first_word(text: str) -> tuple[str, str, str]:
    word, *rest = text.split(None, 1)
    return word, " ", rest[0] if rest else ""


def _expanded(word: str) -> list[Point]:
    if word == "stale":
        return [STALE]
    if word.startswith("_"):
        return [None] * _times(word[2:] or "1")
    repeated = _REPEATED.fullmatch(word)
    if repeated is None:
        return [number(word)]
    first, times = number(repeated[1]), _times(repeated[4])
    if repeated[3] is None:
        return [first] * (times + 1)
    stride = number(repeated[3]) * (-1.0 if repeated[2].count("-") % 2 else 1.0)
    # Added up step by step, as the rounding of the expected values does.
    out: list[Point] = [first]
    for _ in range(times):
        first += stride
        out.append(first)
    return out
