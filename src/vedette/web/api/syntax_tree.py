"""The syntax tree of an expression as the JSON that Prometheus' page and other tools read.

The members are those that Prometheus 3 answers ``/api/v1/parse_query`` with; durations and times
are in milliseconds.
"""

from __future__ import annotations

import math
from decimal import Decimal

from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import (
    Aggregation,
    AtPreprocessor,
    Binary,
    Call,
    Duration,
    DurationExpr,
    Expr,
    Matcher,
    MatrixSelector,
    NumberLiteral,
    Paren,
    RangeModifier,
    StringLiteral,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from vedette.query.promql.functions_table import FUNCTIONS

Tree = dict[str, object]


def syntax_tree(node: Expr) -> Tree:
    """Return ``node`` and everything below it as plain objects."""
    match node:
        case NumberLiteral() | StringLiteral():
            return _literal(node)
        case VectorSelector() | MatrixSelector():
            return _selection(node)
        case Subquery():
            return _subquery(node)
        case Call():
            return _call(node)
        case Aggregation():
            return _aggregation(node)
        case Binary():
            return _binary(node)
        case Unary():
            return {"type": "unaryExpr", "op": node.op, "expr": syntax_tree(node.expr)}
        case Paren():
            return {"type": "parenExpr", "expr": syntax_tree(node.expr)}


def _literal(node: NumberLiteral | StringLiteral) -> Tree:
    if isinstance(node, StringLiteral):
        return {"type": "stringLiteral", "val": node.value}
    return {"type": "numberLiteral", "val": _decimal(node.value)}


def _selection(node: VectorSelector | MatrixSelector) -> Tree:
    if isinstance(node, VectorSelector):
        return {"type": "vectorSelector", **_selector(node)}
    range_ = {"range": node.range, "rangeExpr": _duration(node.range_expr)}
    return {"type": "matrixSelector", **_selector(node.selector), **range_}


def _decimal(value: float) -> str:
    """Return ``value`` without an exponent, as Go's ``FormatFloat(v, 'f', -1, 64)`` does."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = f"{Decimal(repr(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _selector(node: VectorSelector) -> Tree:
    return {
        "name": node.name or "",
        "offset": node.offset,
        "offsetExpr": _duration(node.offset_expr),
        "matchers": _matchers(node),
        **_time(node.at),
        "anchored": node.modifier is RangeModifier.ANCHORED,
        "smoothed": node.modifier is RangeModifier.SMOOTHED,
    }


def _duration(node: Duration | None) -> Tree | None:
    if node is None:
        return None
    if not isinstance(node, DurationExpr):
        return {"type": "numberLiteral", "val": _decimal(node), "duration": True}
    left, right = (None, *node.args)[-2:] if node.args else (None, None)
    return {
        "type": "durationExpr",
        "op": node.op,
        "lhs": _duration(left),
        "rhs": _duration(right),
        "wrapped": False,
    }


def _matchers(node: VectorSelector) -> list[Tree]:
    # A name before the braces comes last in Prometheus' tree.
    by_name = [m for m in node.matchers if m.name == METRIC_NAME and m.value == node.name]
    others = [m for m in node.matchers if m not in by_name]
    return [_matcher(m) for m in (*others, *by_name)]


def _matcher(matcher: Matcher) -> Tree:
    return {"name": matcher.name, "value": matcher.value, "type": matcher.op.value}


def _time(at: int | AtPreprocessor | None) -> Tree:
    if isinstance(at, AtPreprocessor):
        return {"timestamp": None, "startOrEnd": at.value}
    return {"timestamp": at, "startOrEnd": None}


def _subquery(node: Subquery) -> Tree:
    return {
        "type": "subquery",
        "expr": syntax_tree(node.expr),
        "range": node.range,
        "rangeExpr": _duration(node.range_expr),
        "offset": node.offset,
        "offsetExpr": _duration(node.offset_expr),
        "step": node.step or 0,
        "stepExpr": _duration(node.step_expr),
        **_time(node.at),
    }


def _call(node: Call) -> Tree:
    signature = FUNCTIONS[node.function]
    unlimited = signature.max_args is None
    count = signature.max_args or 0
    if unlimited:
        count = signature.min_args + 1
    return {
        "type": "call",
        "func": {
            "name": node.function,
            "argTypes": [signature.arg_type(k).value for k in range(count)],
            "variadic": -1 if unlimited else count - signature.min_args,
            "returnType": signature.returns.value,
        },
        "args": [syntax_tree(argument) for argument in node.args],
    }


def _aggregation(node: Aggregation) -> Tree:
    return {
        "type": "aggregation",
        "op": node.op,
        "expr": syntax_tree(node.expr),
        "param": None if node.parameter is None else syntax_tree(node.parameter),
        "grouping": list(node.grouping),
        "without": node.without,
    }


def _binary(node: Binary) -> Tree:
    return {
        "type": "binaryExpr",
        "op": node.op,
        "lhs": syntax_tree(node.left),
        "rhs": syntax_tree(node.right),
        "matching": None if node.matching is None else _matching(node.matching),
        "bool": node.return_bool,
    }


def _matching(matching: VectorMatching) -> Tree:
    return {
        "card": matching.cardinality.value,
        "labels": list(matching.labels),
        "on": matching.on,
        "include": list(matching.include),
        "fillValues": {"lhs": matching.fill_left, "rhs": matching.fill_right},
    }
