"""What of the language Prometheus offers behind a feature flag only, and which query needs it."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from vedette.query.errors import QueryError
from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
)
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.remarks import bad_data

FEATURES = MappingProxyType(
    {
        "promql-experimental-functions": "experimental_functions",
        "promql-extended-range-selectors": "extended_selectors",
        "promql-binop-fill-modifiers": "fill_modifiers",
        "promql-delayed-name-removal": "delayed_name_removal",
        "use-start-timestamps": "start_timestamps",
        "type-and-unit-labels": "type_and_unit_labels",
    }
)
"""From the names of Prometheus' feature flags to the options of the engine that they switch on."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the operands and arguments of ``expr``."""
    match expr:
        case MatrixSelector(selector):
            return (selector,)
        case Subquery(inner) | Paren(inner) | Unary(_, inner):
            return (inner,)
        case Binary():
            return (expr.left, expr.right)
        case Call():
            return expr.args
        case Aggregation():
            return (expr.expr,) if expr.parameter is None else (expr.parameter, expr.expr)
    return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield ``expr`` and everything below it, parents first."""
    pending = [expr]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(children(node))


def refusal(expr: Expr, options: EngineOptions) -> QueryError | None:
    """Return the error of the first part of ``expr`` whose feature is off, ``None`` if none is."""
    for node in walk(expr):
        message = _missing(node, options)
        if message:
            return bad_data(message, node.span)
    return None


def _missing(node: Expr, options: EngineOptions) -> str:
    match node:
        case Call("holt_winters") if not options.window_2x:
            return (
                'unknown function with name "holt_winters"; since Prometheus 3 it is called '
                '"double_exponential_smoothing"'
            )
        case Call(name) if FUNCTIONS[name].experimental and not options.experimental_functions:
            return f'function "{name}" is not enabled; {_remedy("promql-experimental-functions")}'
        case Aggregation(op) if AGGREGATIONS[op].experimental:
            if not options.experimental_functions:
                return f"{op}() is experimental; {_remedy('promql-experimental-functions')}"
        case VectorSelector() if node.modifier and not options.extended_selectors:
            return f"{node.modifier} modifier is experimental and not enabled; " + _remedy(
                "promql-extended-range-selectors"
            )
        case Binary() if node.matching is not None and not options.fill_modifiers:
            if (node.matching.fill_left, node.matching.fill_right) != (None, None):
                return "binop fill modifiers are experimental and not enabled; " + _remedy(
                    "promql-binop-fill-modifiers"
                )
    return ""


def _remedy(feature: str) -> str:
    return f'name the feature "{feature}" in the settings of queries'
