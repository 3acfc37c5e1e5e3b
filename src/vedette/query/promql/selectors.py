"""Selectors of PromQL: label matchers, and what may follow them (ranges, offsets, timestamps)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

import re2

from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import (
    AtPreprocessor,
    Expr,
    Matcher,
    MatchOp,
    MatrixSelector,
    RangeModifier,
    Span,
    Subquery,
    VectorSelector,
)
from vedette.query.promql.lexer import Token, TokenKind, TokenStream, unquote
from vedette.query.promql.literals import is_number, number, offset_ms, range_ms

_MATCH_OPS = frozenset(MatchOp)
_BRACES = "in label matching"

_Shiftable: TypeAlias = VectorSelector | MatrixSelector | Subquery

_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.log_errors = False


def matches(matcher: Matcher, value: str) -> bool:
    """Tell whether ``matcher`` lets a series through whose label has ``value`` ("": none)."""
    if matcher.op is MatchOp.EQUAL:
        return matcher.value == value
    if matcher.op is MatchOp.NOT_EQUAL:
        return matcher.value != value
    # The full match of the bare pattern is the match of the anchored one; a dot matches newlines.
    matched = re2.compile(f"(?s:{matcher.value})", _RE2_OPTIONS).fullmatch(value) is not None
    return matched == (matcher.op is MatchOp.REGEX)


def matches_empty(matcher: Matcher) -> bool:
    """Tell whether ``matcher`` lets series through that lack the label."""
    return matches(matcher, "")


def vector_selector(stream: TokenStream, name: Token | None) -> VectorSelector:
    """Read the braces of a selector; ``name`` is the metric name before them, already read.

    The matcher on the metric name comes first, wherever the name was written.

    Raises:
        PromQLSyntaxError: a matcher is malformed, or the metric name is given twice.
    """
    matchers: list[Matcher] = []
    quoted: list[Token] = []
    start = name.start if name else stream.current.start
    if stream.at("{"):
        _braces(stream, matchers, quoted)
    names = ([name.text] if name else []) + [unquote(token, stream.text) for token in quoted]
    span = Span(start, stream.last_end)
    if not names:
        return VectorSelector(None, tuple(matchers), 0, None, span)
    twice = names[1:] + [other.value for other in matchers if other.name == METRIC_NAME]
    if twice:
        message = f'metric name must not be set twice: "{names[0][:80]}" or "{twice[0][:80]}"'
        raise stream.error(message, span.start, span.end)
    if not names[0]:
        raise stream.error("metric name must not be empty", quoted[0].start, quoted[0].end)
    matchers.insert(0, Matcher(METRIC_NAME, MatchOp.EQUAL, names[0]))
    return VectorSelector(names[0], tuple(matchers), 0, None, span)


def _braces(stream: TokenStream, matchers: list[Matcher], quoted: list[Token]) -> None:
    opening = stream.expect("{", _BRACES)
    while not stream.at("}"):
        if stream.at_end():
            raise stream.error('"{" is never closed', opening.start, opening.end)
        label = stream.current
        if label.kind not in (TokenKind.WORD, TokenKind.STRING) or ":" in label.keyword:
            raise stream.unexpected(_BRACES, 'label name or "}"')
        stream.advance()
        if label.kind is TokenKind.STRING and stream.at(",", "}"):
            quoted.append(label)
        else:
            matchers.append(_matcher(stream, label))
        if not stream.at("}") and not stream.at_end():
            stream.expect(",", _BRACES, '"," or "}"')
    stream.advance()


def _matcher(stream: TokenStream, label: Token) -> Matcher:
    operator = stream.current
    if operator.kind is not TokenKind.SYMBOL or operator.text not in _MATCH_OPS:
        raise stream.unexpected(_BRACES, 'label matching operator "=", "!=", "=~" or "!~"')
    stream.advance()
    value = stream.current
    if value.kind is not TokenKind.STRING:
        raise stream.unexpected(_BRACES, "a value in quotes")
    stream.advance()
    name = label.text if label.kind is TokenKind.WORD else unquote(label, stream.text)
    if not name:
        raise stream.error("label name must not be empty", label.start, label.end)
    matcher = Matcher(name, MatchOp(operator.text), unquote(value, stream.text))
    if matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
        _check_regex(stream, matcher.value, value)
    return matcher


def _check_regex(stream: TokenStream, pattern: str, token: Token) -> None:
    try:
        re2.compile(pattern, _RE2_OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        detail = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        message = f"invalid regular expression (RE2 syntax): {detail[:120]}"
        raise stream.error(message, token.start, token.end) from None


def brackets(stream: TokenStream, expr: Expr) -> MatrixSelector | Subquery:
    """Read ``[5m]`` or ``[1h:5m]`` after ``expr``.

    The type of a subquery's expression is the caller's to check.

    Raises:
        PromQLSyntaxError: the brackets are malformed, or a range follows no plain selector.
    """
    opening = stream.expect("[", "after expression")
    duration, range_expr = range_ms(stream, "range")
    if stream.accept(":"):
        step, step_expr = (None, None) if stream.at("]") else range_ms(stream, "subquery step")
        stream.expect("]", "in subquery")
        span = Span(expr.span.start, stream.last_end)
        return Subquery(expr, duration, step, 0, None, span, range_expr, step_expr)
    stream.expect("]", "in range", '":" or "]"')
    if isinstance(expr, VectorSelector) and not _has_offset(expr) and expr.at is None:
        span = Span(expr.span.start, stream.last_end)
        return MatrixSelector(expr, duration, span, range_expr)
    raise stream.error(_range_problem(expr), opening.start, stream.last_end)


def _range_problem(expr: Expr) -> str:
    if not isinstance(expr, VectorSelector):
        return 'ranges only allowed for vector selectors; a subquery needs a colon: "[5m:]"'
    if _has_offset(expr):
        return 'no offset modifiers allowed before range; write "x[5m] offset 1m"'
    return 'no @ modifiers allowed before range; write "x[5m] @ end()"'


def _has_offset(node: VectorSelector | Subquery) -> bool:
    return node.offset != 0 or node.offset_expr is not None


def offset_modifier(stream: TokenStream, expr: Expr) -> _Shiftable:
    """Read ``offset 5m`` after ``expr``; raises :class:`PromQLSyntaxError` where it cannot be."""
    keyword = stream.advance()
    value, value_expr = offset_ms(stream)
    target = _shiftable(stream, expr, keyword, "offset modifier")
    if _has_offset(target.selector if isinstance(target, MatrixSelector) else target):
        message = "offset may not be set multiple times"
        raise stream.error(message, keyword.start, stream.last_end)
    span = Span(expr.span.start, stream.last_end)
    if isinstance(target, MatrixSelector):
        selector = replace(target.selector, offset=value, offset_expr=value_expr)
        return replace(target, selector=selector, span=span)
    return replace(target, offset=value, offset_expr=value_expr, span=span)


def range_modifier(stream: TokenStream, expr: Expr) -> VectorSelector | MatrixSelector:
    """Read ``anchored`` or ``smoothed`` after ``expr``.

    Raises:
        PromQLSyntaxError: ``expr`` is no selector, or has the other modifier already.
    """
    keyword = stream.advance()
    if not isinstance(expr, VectorSelector | MatrixSelector):
        what = "not supported for subqueries" if isinstance(expr, Subquery) else "not implemented"
        message = f"{keyword.keyword} modifier {what}; it belongs to a selector"
        raise stream.error(message, keyword.start, keyword.end)
    modifier = RangeModifier(keyword.keyword)
    selector = expr.selector if isinstance(expr, MatrixSelector) else expr
    if selector.modifier not in (None, modifier):
        message = "anchored and smoothed modifiers cannot be used together"
        raise stream.error(message, keyword.start, keyword.end)
    selector = replace(selector, modifier=modifier)
    return replace(expr, selector=selector) if isinstance(expr, MatrixSelector) else selector


def at_modifier(stream: TokenStream, expr: Expr) -> _Shiftable:
    """Read ``@ 1700000000`` or ``@ end()`` after ``expr``.

    Raises:
        PromQLSyntaxError: there is no timestamp, or nothing that it could belong to.
    """
    sign = stream.advance()
    at = _timestamp(stream)
    target = _shiftable(stream, expr, sign, "@ modifier")
    present = target.selector.at if isinstance(target, MatrixSelector) else target.at
    if present is not None:
        message = "@ <timestamp> may not be set multiple times"
        raise stream.error(message, sign.start, stream.last_end)
    span = Span(expr.span.start, stream.last_end)
    if isinstance(target, MatrixSelector):
        return replace(target, selector=replace(target.selector, at=at), span=span)
    return replace(target, at=at, span=span)


def _shiftable(stream: TokenStream, expr: Expr, token: Token, what: str) -> _Shiftable:
    if isinstance(expr, VectorSelector | MatrixSelector | Subquery):
        return expr
    message = f"{what} must be preceded by an instant or range vector selector or a subquery"
    raise stream.error(message, token.start, stream.last_end)


def _timestamp(stream: TokenStream) -> int | AtPreprocessor:
    token = stream.current
    if token.keyword in tuple(AtPreprocessor):
        stream.advance()
        stream.expect("(", "after @ modifier")
        stream.expect(")", "after @ modifier")
        return AtPreprocessor(token.keyword)
    negative = stream.at("-")
    if stream.at("+", "-"):
        stream.advance()
    if not is_number(stream.current) or stream.current.kind is TokenKind.DURATION:
        expected = "a timestamp in seconds, start() or end()"
        raise stream.unexpected("after @ modifier", expected)
    seconds = number(stream)
    ms = abs(seconds) * 1000
    if not ms < 2**63:
        message = "timestamp out of bounds for @ modifier"
        raise stream.error(message, token.start, stream.last_end)
    # Halves away from zero, as Prometheus rounds.
    rounded = math.floor(ms + 0.5)
    return -rounded if negative else rounded
