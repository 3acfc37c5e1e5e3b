"""Numbers, durations and constant duration expressions of PromQL."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

from vedette.kit.duration import parse_duration
from vedette.query.promql.lexer import Token, TokenKind, TokenStream

# Prometheus keeps durations in 64 bits of nanoseconds: about 292 years.
_MAX_DURATION_S = 2**63 / 1e9
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
    if ms / 1000 > _MAX_DURATION_S:
        message = f'duration "{token.text[:40]}" is longer than 292 years'
        raise stream.error(message, token.start, token.end)
    return ms / 1000


def range_ms(stream: TokenStream, what: str) -> int:
    """Read the length of ``what`` between brackets: a positive duration, in milliseconds.

    Constant arithmetic (``30m + 5m``, ``2 * 1h``, ``min_of(1h, 90m)``) is computed at once.

    Raises:
        PromQLSyntaxError: there is no duration, or it is shorter than a millisecond.
    """
    start = stream.current.start
    value = _checked(stream, _arithmetic(stream, 1, what), start)
    if value < 1:
        message = f"duration of {what} must be greater than 0, got {value}ms"
        raise stream.error(message, start, stream.last_end)
    return value


def offset_ms(stream: TokenStream) -> int:
    """Read what follows ``offset``: a duration, possibly negative, in milliseconds.

    Arithmetic needs parentheses here: ``x offset 5m + 1`` adds 1 to the value of x.
    """
    start = stream.current.start
    negative = stream.at("-")
    if stream.at("+", "-"):
        stream.advance()
    value = _checked(stream, _duration_operand(stream, "offset"), start)
    return -value if negative else value


def _checked(stream: TokenStream, seconds: float, start: int) -> int:
    if not abs(seconds) <= _MAX_DURATION_S:
        raise stream.error("duration is longer than 292 years", start, stream.last_end)
    return round(seconds * 1000)


def _arithmetic(stream: TokenStream, minimum: int, what: str) -> float:
    stream.enter()
    start = stream.current.start
    if stream.at("+", "-"):
        sign = -1 if stream.advance().text == "-" else 1
        value = sign * _arithmetic(stream, _POWER, what)
    else:
        value = _duration_operand(stream, what)
    while (precedence := _precedence(stream)) >= minimum:
        operator = stream.advance().text
        right = _arithmetic(stream, precedence + (operator != "^"), what)
        try:
            value = _ARITHMETIC[operator](value, right)
        except (ZeroDivisionError, OverflowError, ValueError):
            message = f'"{stream.text[start : stream.last_end][:60]}" has no value as a duration'
            raise stream.error(message, start, stream.last_end) from None
    stream.leave()
    return value


def _precedence(stream: TokenStream) -> int:
    if stream.current.kind is not TokenKind.SYMBOL:
        return 0
    return _DURATION_PRECEDENCE.get(stream.current.text, 0)


def _duration_operand(stream: TokenStream, what: str) -> float:
    token = stream.current
    if token.kind in (TokenKind.NUMBER, TokenKind.DURATION):
        return number(stream)
    if stream.accept("("):
        value = _arithmetic(stream, 1, what)
        stream.expect(")", f"in {what}")
        return value
    if choose := _CHOICE.get(token.keyword):
        stream.advance()
        stream.expect("(", f"in {what}")
        left = _arithmetic(stream, 1, what)
        stream.expect(",", f"in {what}")
        right = _arithmetic(stream, 1, what)
        stream.expect(")", f"in {what}")
        return choose(left, right)
    if token.keyword in ("step", "range"):
        message = f"{token.keyword}() is not supported in {what}; write a constant duration"
        raise stream.error(message, token.start, token.end)
    raise stream.unexpected(f"in {what}", "a duration such as 5m")
