"""Parameters of the Prometheus API: times, durations, selectors, numbers.

Source: Prometheus' documentation, "HTTP API", "Format overview".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vedette.kit.duration import parse_duration
from vedette.model.matchers import Matcher
from vedette.query.promql.ast import Expr, VectorSelector
from vedette.query.promql.parser import PromQLSyntaxError, parse

MOST_SELECTORS = 1_000
MIN_MS, MAX_MS = -(1 << 53), 1 << 53

Params = Mapping[str, Sequence[str]]

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})


class BadParameterError(Exception):
    """A parameter cannot be read; the message names it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of the API: its path and parameters, and who asks (for the query log)."""

    path: str
    params: Params
    who: str = ""


def text(params: Params, name: str) -> str:
    """Return the first value of a parameter, "" where it was not given."""
    values = params.get(name)
    return values[0] if values else ""


def expression(params: Params, name: str = "query") -> str:
    """Return a parameter that must be there."""
    given = text(params, name)
    if not given.strip():
        raise BadParameterError(
            f'invalid parameter "{name}": unknown position: parse error: '
            "no expression found in input"
        )
    return given


def parsed(params: Params) -> Expr:
    """Return the expression of the parameter ``query``."""
    try:
        return parse(expression(params))
    except PromQLSyntaxError as error:
        raise BadParameterError(f'invalid parameter "query": {error}') from None


def moment(params: Params, name: str, default: int | None = None) -> int:
    """Return a time in ms; written as seconds since the epoch or as RFC 3339."""
    given = text(params, name)
    if not given:
        if default is None:
            raise BadParameterError(
                f'invalid parameter "{name}": cannot parse "" to a valid timestamp; it is missing'
            )
        return default
    value = _number(given)
    if value is None:
        return _rfc3339(name, given)
    if not math.isfinite(value) or abs(value) > MAX_MS / 1000:
        raise BadParameterError(f'invalid parameter "{name}": {given!r} is out of range')
    return round(value * 1000)


def _number(given: str) -> float | None:
    # Python reads 1_000 as a number, which nobody else does.
    if "_" in given:
        return None
    try:
        return float(given)
    except ValueError:
        return None


def _rfc3339(name: str, given: str) -> int:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or given[10] not in "Tt":
        raise BadParameterError(
            f'invalid parameter "{name}": cannot parse {given!r} to a valid timestamp; write '
            "seconds since the epoch, or RFC 3339 such as 2026-01-02T15:04:05Z"
        )
    return round(found.timestamp() * 1000)


def window(params: Params) -> tuple[int, int]:
    """Return the optional parameters ``start`` and ``end`` in ms, all times by default.

    A range that ends before it starts holds nothing, as in Prometheus' own look-ups.
    """
    return moment(params, "start", MIN_MS), moment(params, "end", MAX_MS)


def span(params: Params, name: str, *, needed: bool = False) -> int:
    """Return a duration in ms, written as seconds or like 5m; 0 where it was not given."""
    given = text(params, name)
    if not given:
        if needed:
            raise BadParameterError(
                f'invalid parameter "{name}": cannot parse "" to a valid duration; it is missing'
            )
        return 0
    value = _number(given)
    if value is None:
        try:
            return parse_duration(given)
        except ValueError as error:
            raise BadParameterError(f'invalid parameter "{name}": {error}') from error
    if not math.isfinite(value) or abs(value) > MAX_MS / 1000:
        raise BadParameterError(f'invalid parameter "{name}": {given!r} is out of range')
    if value < 0 and not needed:
        raise BadParameterError(f'invalid parameter "{name}": {given!r} is less than zero')
    return round(value * 1000)


def whole(params: Params, name: str, default: int = 0) -> int:
    """Return a whole number of at least 0."""
    given = text(params, name)
    if not given:
        return default
    if not given.isascii() or not given.isdecimal() or len(given) > 18:
        raise BadParameterError(f'invalid parameter "{name}": it must be a whole number, 0 or more')
    return int(given)


def count(params: Params, name: str) -> int:
    """Return a limit where negative numbers stand for none, as 0 does."""
    given = text(params, name)
    negative = given.startswith("-") and given[1:].isascii() and given[1:].isdecimal()
    return 0 if negative else whole(params, name)


def limit(params: Params) -> int:
    """Return the ``limit`` parameter; 0 means none."""
    return whole(params, "limit")


def flag(params: Params, name: str) -> bool:
    """Return a boolean as Prometheus reads it: true, false, 1, 0, t, f."""
    given = text(params, name)
    if given not in _TRUE | _FALSE:
        raise BadParameterError(f'invalid parameter "{name}": {given!r} is neither true nor false')
    return given in _TRUE


def selectors(params: Params, name: str = "match[]") -> list[tuple[Matcher, ...]]:
    """Return the matchers of each ``match[]`` parameter; takes time, so call it on a thread."""
    if len(params.get(name, ())) > MOST_SELECTORS:
        raise BadParameterError(
            f'invalid parameter "{name}": more than {MOST_SELECTORS:,} of them; ask in parts, or '
            "use a regular expression"
        )
    return [selector(given, name) for given in params.get(name, ())]


def selector(given: str, name: str = "match[]") -> tuple[Matcher, ...]:
    """Return the matchers of one series selector."""
    try:
        expr = parse(given)
    except PromQLSyntaxError as error:
        raise BadParameterError(f'invalid parameter "{name}": {error}') from None
    if not isinstance(expr, VectorSelector) or expr.offset or expr.at is not None:
        raise BadParameterError(
            f'invalid parameter "{name}": {given!r} is not a series selector such as '
            'up{job="api"}'
        )
    return expr.matchers


_ESCAPED = re.compile(r"__|_([0-9a-fA-F]{1,6})_")


def unescape_label(name: str) -> str:
    """Return a label name given in a path: ``U__`` marks UTF-8 names in Prometheus' escaping."""
    if not name.startswith("U__"):
        return name
    return _ESCAPED.sub(_unescaped, name[3:])


def _unescaped(match: re.Match[str]) -> str:
    if match.group(1) is None:
        return "_"
    code = int(match.group(1), 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else match.group()
