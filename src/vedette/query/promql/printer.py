"""The canonical text of a PromQL expression, which the parser reads back."""

from __future__ import annotations

import math
import re

from vedette.kit.duration import format_duration
from vedette.model.labels import METRIC_NAME, quote
from vedette.query.promql.ast import (
    Aggregation,
    AtPreprocessor,
    Binary,
    Call,
    Cardinality,
    Duration,
    DurationExpr,
    Expr,
    Matcher,
    MatchOp,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from vedette.query.promql.parser import PRECEDENCE, RESERVED, UNARY_PRECEDENCE

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_METRIC = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


def format_expr(node: Expr) -> str:
    """Return the text of ``node``.

    Parsing it gives ``node`` again but for positions. In trees that no text parses to (an operand
    that needs parentheses and has none), the parentheses are added.
    """
    match node:
        case NumberLiteral():
            return _number(node.value)
        case StringLiteral():
            return quote(node.value)
        case VectorSelector() | MatrixSelector():
            return _selection(node)
        case Subquery():
            return _subquery(node)
        case Call():
            return f"{node.function}({', '.join(map(format_expr, node.args))})"
        case Aggregation():
            return _aggregation(node)
        case Binary():
            return _binary(node)
        case Unary():
            return node.op + _wrapped(node.expr, _binds_less(node.expr, UNARY_PRECEDENCE))
        case Paren():
            return f"({format_expr(node.expr)})"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def _selection(node: VectorSelector | MatrixSelector) -> str:
    if isinstance(node, VectorSelector):
        return _selector(node) + _modifiers(node)
    window = f"[{_duration(node.range, node.range_expr)}]"
    return _selector(node.selector) + window + _modifiers(node.selector)


def _selector(node: VectorSelector) -> str:
    name = node.name
    if name is None:
        return f"{{{_matchers(node.matchers)}}}"
    by_name = Matcher(METRIC_NAME, MatchOp.EQUAL, name)
    rest = _matchers(tuple(matcher for matcher in node.matchers if matcher != by_name))
    if _METRIC.fullmatch(name) and name.lower() not in RESERVED:
        return f"{name}{{{rest}}}" if rest else name
    return f"{{{quote(name)}, {rest}}}" if rest else f"{{{quote(name)}}}"


def _matchers(matchers: tuple[Matcher, ...]) -> str:
    return ", ".join(
        f"{_label(matcher.name)}{matcher.op}{quote(matcher.value)}" for matcher in matchers
    )


def _label(name: str) -> str:
    return name if _LABEL.fullmatch(name) else quote(name)


def _labels(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(_label, names))})"


def _modifiers(node: VectorSelector | Subquery) -> str:
    text, at = "", node.at
    if isinstance(at, AtPreprocessor):
        text += f" @ {at}()"
    elif at is not None:
        sign, (seconds, ms) = "-" if at < 0 else "", divmod(abs(at), 1000)
        fraction = f".{ms:03d}".rstrip("0") if ms else ""
        text += f" @ {sign}{seconds}{fraction}"
    if isinstance(node, VectorSelector) and node.modifier:
        text += f" {node.modifier}"
    if node.offset_expr is not None:
        text += f" offset {_wrapped_duration(node.offset_expr)}"
    elif node.offset:
        text += f" offset {format_duration(node.offset)}"
    return text


def _duration(value: int, expr: DurationExpr | None) -> str:
    return format_duration(value) if expr is None else _duration_expr(expr)


def _duration_expr(node: Duration) -> str:
    if not isinstance(node, DurationExpr):
        return _number(node)
    if node.op in ("step", "range", "min_of", "max_of"):
        return f"{node.op}({', '.join(map(_duration_expr, node.args))})"
    texts = [_wrapped_duration(arg) for arg in node.args]
    return f"-{texts[0]}" if len(texts) == 1 else f" {node.op} ".join(texts)


def _wrapped_duration(node: Duration) -> str:
    text = _duration_expr(node)
    plain = not isinstance(node, DurationExpr) or node.op.isidentifier()
    return text if plain else f"({text})"


def _subquery(node: Subquery) -> str:
    step = "" if node.step is None else _duration(node.step, node.step_expr)
    window = f"[{_duration(node.range, node.range_expr)}:{step}]"
    inner = _wrapped(node.expr, _is_operation(node.expr))
    return inner + window + _modifiers(node)


def _aggregation(node: Aggregation) -> str:
    grouping = ""
    if node.grouping or node.without:
        grouping = f" {'without' if node.without else 'by'} {_labels(node.grouping)} "
    parameter = "" if node.parameter is None else f"{format_expr(node.parameter)}, "
    return f"{node.op}{grouping}({parameter}{format_expr(node.expr)})"


def _binary(node: Binary) -> str:
    precedence = PRECEDENCE[node.op]
    from_right = node.op == "^"
    left = _wrapped(node.left, _binds_less(node.left, precedence + from_right))
    # A sign on the right side needs nothing: there is no other way to read "2 ^ -1".
    wrap_right = isinstance(node.right, Binary) and _binds_less(
        node.right, precedence + (not from_right)
    )
    right = _wrapped(node.right, wrap_right)
    return f"{left} {node.op}{_matching(node)} {right}"


def _matching(node: Binary) -> str:
    text = " bool" if node.return_bool else ""
    matching = node.matching
    if matching is None:
        return text
    grouped = {Cardinality.MANY_TO_ONE: "group_left", Cardinality.ONE_TO_MANY: "group_right"}
    group = grouped.get(matching.cardinality)
    if matching.on or matching.labels or group:
        text += f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if group:
        # Always with its list, lest a parenthesis that follows be taken for one.
        text += f" {group} {_labels(matching.include)}"
    return text + _fills(matching)


def _fills(matching: VectorMatching) -> str:
    left, right = matching.fill_left, matching.fill_right
    if left is not None and repr(left) == repr(right):
        return f" fill ({_number(left)})"
    text = "" if left is None else f" fill_left ({_number(left)})"
    return text if right is None else f"{text} fill_right ({_number(right)})"


def _is_operation(node: Expr) -> bool:
    return _binds_less(node, max(PRECEDENCE.values()) + 1)


def _binds_less(node: Expr, precedence: int) -> bool:
    """Tell whether ``node`` falls apart beside an operator of ``precedence``."""
    if isinstance(node, Binary):
        return PRECEDENCE[node.op] < precedence
    signed = isinstance(node, NumberLiteral) and math.copysign(1, node.value) < 0
    if isinstance(node, Unary) or signed:
        return precedence > UNARY_PRECEDENCE
    return False


def _wrapped(node: Expr, wrap: bool) -> str:
    text = format_expr(node)
    return f"({text})" if wrap else text
