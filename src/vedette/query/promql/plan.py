"""What can be said of an expression before any sample is read."""

from __future__ import annotations

from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    StringLiteral,
    Subquery,
    Unary,
    ValueType,
    VectorSelector,
)
from vedette.query.promql.functions_table import FUNCTIONS
from vedette.query.promql.select import Reach

_OF_THE_STEP = frozenset(
    (
        *(
            "time",
            "timestamp",
            "start_timestamp",
            "predict_linear",
            "year",
            "month",
            "day_of_month",
            "day_of_week",
        ),
        *("day_of_year", "days_in_month", "hour", "minute"),
    )
)
"""Functions whose result depends on the evaluation time itself, not only on their arguments."""


def is_step_invariant(expr: Expr) -> bool:
    """Return whether ``expr`` has the same value at every step, for it looks at fixed times."""
    match expr:
        case NumberLiteral() | StringLiteral():
            return True
        case VectorSelector() | Subquery():
            return expr.at is not None
        case MatrixSelector(selector):
            return selector.at is not None
        case Paren(inner) | Unary(_, inner):
            return is_step_invariant(inner)
        case Binary():
            return is_step_invariant(expr.left) and is_step_invariant(expr.right)
        case Call():
            fixed = expr.function not in _OF_THE_STEP
            return fixed and all(map(is_step_invariant, expr.args))
        case Aggregation():
            fixed = expr.parameter is None or is_step_invariant(expr.parameter)
            return fixed and is_step_invariant(expr.expr)


def is_scalar(expr: Expr) -> bool:
    """Return whether ``expr`` is a scalar."""
    match expr:
        case NumberLiteral():
            return True
        case Paren(inner) | Unary(_, inner):
            return is_scalar(inner)
        case Binary():
            return is_scalar(expr.left) and is_scalar(expr.right)
        case Call():
            return FUNCTIONS[expr.function].returns is ValueType.SCALAR
        case _:
            return False


def subquery_range(reach: Reach, step: int) -> range:
    """Return the times of a subquery: the multiples of ``step`` in any window of ``reach``.

    A ``range`` takes no memory, so that its length can be judged first.
    """
    low = int(reach.ends[0]) - reach.span
    first = low // step * step
    if first < low or (first == low and not reach.closed):
        first += step
    return range(first, int(reach.ends[-1]) + 1, step)
