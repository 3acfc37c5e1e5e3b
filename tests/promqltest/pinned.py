"""The same question asked later or earlier: selectors pinned with ``@`` to the time of a case."""

from __future__ import annotations

from dataclasses import replace

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

_OF_THE_TIME = frozenset(
    (
        *("days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute"),
        *("month", "year", "predict_linear", "time", "timestamp"),
        *("start", "end", "range", "step"),
    )
)
"""Functions whose result may change with the evaluation time though their arguments do not."""


def pinned(expr: Expr, ts: int) -> list[tuple[Expr, int]]:
    """Return ``expr`` with its selectors and subqueries at ``ts`` (ms), and when to evaluate it.

    The result is the same at each of these times. Nothing is returned for an expression that looks
    at the time of its evaluation.
    """
    if _looks_at_time(expr):
        return []
    times = [-10 * ts, 0, int(ts / 5), ts, 10 * ts] if ts else [-1000, 0, 1000]
    fixed = _at(expr, ts)
    return [(fixed, time) for time in times]


def _looks_at_time(expr: Expr) -> bool:
    # What stands in a subquery is pinned with it.
    if isinstance(expr, Subquery):
        return False
    if isinstance(expr, Call) and expr.function in _OF_THE_TIME:
        return True
    return any(map(_looks_at_time, _operands(expr)))


def _operands(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Paren(inner) | Unary(_, inner):
            return (inner,)
        case Binary():
            return (expr.left, expr.right)
        case Call():
            return expr.args
        case Aggregation():
            return (expr.expr,) if expr.parameter is None else (expr.parameter, expr.expr)
    return ()


def _at(expr: Expr, ts: int) -> Expr:
    match expr:
        case VectorSelector() | Subquery():
            return expr if isinstance(expr.at, int) else replace(expr, at=ts)
        case MatrixSelector(selector):
            fixed = selector if isinstance(selector.at, int) else replace(selector, at=ts)
            return replace(expr, selector=fixed)
        case Paren() | Unary():
            return replace(expr, expr=_at(expr.expr, ts))
        case Binary():
            return replace(expr, left=_at(expr.left, ts), right=_at(expr.right, ts))
        case Call():
            return replace(expr, args=tuple(_at(arg, ts) for arg in expr.args))
        case Aggregation():
            parameter = None if expr.parameter is None else _at(expr.parameter, ts)
            return replace(expr, parameter=parameter, expr=_at(expr.expr, ts))
    return expr
