"""Numbers, durations and duration expressions of PromQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType

from vedette.kit.duration import parse_duration
from vedette.query.promql.ast import Duration, DurationExpr, Span
from vedette.query.promql.lexer import Token, TokenKind, TokenStream

MAX_DURATION_S = 2**63 / 1e9
"""Prometheus keeps durations in 64 bits of nanoseconds: about 292 years."""

_MAX_INT = 2**63 - 1

# Numbers are compared by identity where NaN is meant, so that equal texts give equal nodes.
NAN = math.nan

_DURATION_PRECEDENCE = MappingProxyType({"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3})
_POWER = _DURATION_PRECEDENCE["^"]
_ARITHMETIC: MappingProxyType[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "+": lambda left, right: left + right,
        "-": lambda left, right: left - right,
        "*": lambda left, right: left * right,
        "/": lambda left, right: left / right,
        "%": math.fmod,
        "^": math.pow,
    }
)
_CHOICE: MappingProxyType[str, Callable[[float, float], float]] = MappingProxyType(
    {"min_of": min, "max_of": max}
)
_OPERATORS = MappingProxyType({**_ARITHMETIC, **_CHOICE})
_OF_THE_QUERY = frozenset(("step", "range"))


def is_number(token: Token) -> bool:
    """Tell whether ``token`` is a number, a duration, ``Inf`` or ``NaN``."""
    if token.kind is TokenKind.WORD:
        return token.keyword in ("inf", "nan")
    return token.kind in (TokenKind.NUMBER, TokenKind.DURATION)


def number(stream: TokenStream) -> float:
    """Read a number; a duration counts in seconds.

    The caller has seen that :func:`is_number` holds. As in Go, ``0x10`` is hexadecimal, ``010``
    octal, and underscores may part the digits.

    Raises:
        PromQLSyntaxError: the number does not fit 64 bits.
    """
    token = stream.advance()
    if token.kind is TokenKind.DURATION:
        return _duration_s(stream, token)
    if token.kind is TokenKind.WORD:
        return math.inf if token.keyword == "inf" else NAN
    value = _number(token.text.replace("_", ""))
    if math.isinf(value):
        raise stream.error(f"number {token.text[:40]} is too large", token.start, token.end)
    return value


def _number(digits: str) -> float:
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
        return float(value) if value <= _MAX_INT else math.inf
    if len(digits) > 1 and digits[0] == "0" and set(digits) <= set("01234567"):
        value = int(digits, 8)
        if value <= _MAX_INT:
            return float(value)
    return float(digits)


def _duration_s(stream: TokenStream, token: Token) -> float:
    try:
        ms = parse_duration(token.text)
    except ValueError:
        message = (
            f'not a duration: "{token.text[:40]}"; '
            "units fall from y over w, d, h, m, s to ms, each once, as in 1h30m"
        )
        raise stream.error(message, token.start, token.end) from None
    if ms / 1000 > MAX_DURATION_S:
        message = f'duration "{token.text[:40]}" is longer than 292 years'
        raise stream.error(message, token.start, token.end)
    return ms / 1000


def range_ms(stream: TokenStream, what: str) -> tuple[int, DurationExpr | None]:
    """Read the length of ``what`` between brackets: a positive duration, in milliseconds.

    Constant arithmetic (``30m + 5m``, ``2 * 1h``, ``min_of(1h, 90m)``) is computed at once;
    where ``step()`` or ``range()`` stands in it, the expression is returned beside 0.

    Raises:
        PromQLSyntaxError: there is no duration, or it is shorter than a millisecond.
    """
    start = stream.current.start
    seconds = _arithmetic(stream, 1, what)
    if isinstance(seconds, DurationExpr):
        return 0, seconds
    value = _checked(stream, seconds, start)
    if value < 1:
        message = f"duration of {what} must be greater than 0, got {value}ms"
        raise stream.error(message, start, stream.last_end)
    return value, None


def offset_ms(stream: TokenStream) -> tuple[int, DurationExpr | None]:
    """Read what follows ``offset``: a duration, possibly negative, as :func:`range_ms` does.

    Arithmetic needs parentheses here: ``x offset 5m + 1`` adds 1 to the value of x.
    """
    start = stream.current.start
    negative = stream.at("-")
    if stream.at("+", "-"):
        stream.advance()
    seconds = _duration_operand(stream, "offset")
    if negative:
        seconds = _applied(stream, "-", (seconds,), start)
    if isinstance(seconds, DurationExpr):
        return 0, seconds
    return _checked(stream, seconds, start), None


def _checked(stream: TokenStream, seconds: float, start: int) -> int:
    if not abs(seconds) <= MAX_DURATION_S:
        raise stream.error("duration is longer than 292 years", start, stream.last_end)
    if stream.text[start : stream.last_end].lstrip("+- ").replace(".", "").isalnum():
        return round(seconds * 1000)
    # What is computed is cut to whole milliseconds, as Prometheus cuts it.
    return int(seconds * 1000)


def computed(op: str, args: Sequence[float]) -> float:
    """Return the operator ``op`` of a duration expression applied to seconds.

    Raises:
        ArithmeticError: it has no value there.
        ValueError: likewise.
    """
    if len(args) == 1:
        return -args[0]
    return _OPERATORS[op](*args)


def _applied(stream: TokenStream, op: str, args: tuple[Duration, ...], start: int) -> Duration:
    constants = [arg for arg in args if not isinstance(arg, DurationExpr)]
    if len(constants) < len(args):
        return DurationExpr(op, args, Span(start, stream.last_end))
    try:
        return computed(op, constants)
    except (ArithmeticError, ValueError):
        message = f'"{stream.text[start : stream.last_end][:60]}" has no value as a duration'
        raise stream.error(message, start, stream.last_end) from None


def _arithmetic(stream: TokenStream, minimum: int, what: str) -> Duration:
    stream.enter()
    start = stream.current.start
    if stream.at("+", "-"):
        negative = stream.advance().text == "-"
        value = _arithmetic(stream, _POWER, what)
        value = _applied(stream, "-", (value,), start) if negative else value
    else:
        value = _duration_operand(stream, what)
    while (precedence := _precedence(stream)) >= minimum:
        operator = stream.advance().text
        right = _arithmetic(stream, precedence + (operator != "^"), what)
        value = _applied(stream, operator, (value, right), start)
    stream.leave()
    return value


def _precedence(stream: TokenStream) -> int:
    if stream.current.kind is not TokenKind.SYMBOL:
        return 0
    return _DURATION_PRECEDENCE.get(stream.current.text, 0)


def _duration_operand(stream: TokenStream, what: str) -> Duration:
    token = stream.current
    if token.kind in (TokenKind.NUMBER, TokenKind.DURATION):
        return number(stream)
    where = f"in {what}"
    if stream.accept("("):
        value = _arithmetic(stream, 1, what)
        stream.expect(")", where)
        return value
    if token.keyword in _OF_THE_QUERY:
        stream.advance()
        stream.expect("(", where)
        stream.expect(")", where)
        return DurationExpr(token.keyword, (), Span(token.start, stream.last_end))
    if token.keyword in _CHOICE:
        stream.advance()
        stream.expect("(", where)
        left = _arithmetic(stream, 1, what)
        stream.expect(",", where)
        right = _arithmetic(stream, 1, what)
        stream.expect(")", where)
        return _applied(stream, token.keyword, (left, right), token.start)
    raise stream.unexpected(where, "a duration such as 5m")
