"""Durations that depend on the query: ``x[step() * 2]``, ``x offset range()``."""

from __future__ import annotations

import math
from dataclasses import replace

from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Duration,
    DurationExpr,
    Expr,
    MatrixSelector,
    Paren,
    Subquery,
    Unary,
    VectorSelector,
)
from vedette.query.promql.literals import MAX_DURATION_S, computed
from vedette.query.promql.remarks import bad_data


def depends_on_query(expr: Expr) -> bool:
    """Tell whether a duration in ``expr`` is only known with the query."""
    match expr:
        case VectorSelector():
            return expr.offset_expr is not None
        case MatrixSelector(selector):
            return expr.range_expr is not None or selector.offset_expr is not None
        case Subquery(inner):
            own = (expr.range_expr, expr.step_expr, expr.offset_expr)
            return own != (None, None, None) or depends_on_query(inner)
        case Paren(inner) | Unary(_, inner):
            return depends_on_query(inner)
        case Binary():
            return depends_on_query(expr.left) or depends_on_query(expr.right)
        case Call():
            return any(map(depends_on_query, expr.args))
        case Aggregation():
            parameter = expr.parameter is not None and depends_on_query(expr.parameter)
            return parameter or depends_on_query(expr.expr)
    return False


def resolved(expr: Expr, step: int, length: int) -> Expr:
    """Return ``expr`` with its durations computed for a query of ``step`` and ``length`` (ms).

    Raises:
        QueryError: a range or a step is not positive, or a duration has no value.
    """
    return _Resolver(step / 1000, length / 1000).expr(expr)


class _Resolver:
    def __init__(self, step: float, length: float) -> None:
        self._known = {"step": step, "range": length}

    def expr(self, node: Expr) -> Expr:
        match node:
            case VectorSelector() | MatrixSelector() | Subquery():
                return self._selector(node)
            case Paren(inner):
                return replace(node, expr=self.expr(inner))
            case Unary(_, inner):
                return replace(node, expr=self.expr(inner))
            case Binary():
                return replace(node, left=self.expr(node.left), right=self.expr(node.right))
            case Call():
                return replace(node, args=tuple(map(self.expr, node.args)))
            case Aggregation():
                parameter = None if node.parameter is None else self.expr(node.parameter)
                return replace(node, parameter=parameter, expr=self.expr(node.expr))
        return node

    def _selector(self, node: VectorSelector | MatrixSelector | Subquery) -> Expr:
        if isinstance(node, VectorSelector):
            return self._vector_selector(node)
        length = node.range if node.range_expr is None else self._positive(node.range_expr)
        if isinstance(node, MatrixSelector):
            selector = self._vector_selector(node.selector)
            return replace(node, selector=selector, range=length, range_expr=None)
        return replace(
            node,
            expr=self.expr(node.expr),
            range=length,
            range_expr=None,
            step=node.step if node.step_expr is None else self._positive(node.step_expr),
            step_expr=None,
            offset=node.offset if node.offset_expr is None else self._ms(node.offset_expr),
            offset_expr=None,
        )

    def _vector_selector(self, node: VectorSelector) -> VectorSelector:
        if node.offset_expr is None:
            return node
        return replace(node, offset=self._ms(node.offset_expr), offset_expr=None)

    def _positive(self, node: DurationExpr) -> int:
        ms = self._ms(node)
        if ms < 1:
            raise bad_data(f"duration must be greater than 0, got {ms}ms", node.span)
        return ms

    def _ms(self, node: DurationExpr) -> int:
        seconds = self._seconds(node)
        if math.isnan(seconds) or math.isinf(seconds):
            raise bad_data("duration is NaN or infinite", node.span)
        if abs(seconds) > MAX_DURATION_S:
            raise bad_data("duration is longer than 292 years", node.span)
        return int(seconds * 1000)

    def _seconds(self, node: Duration) -> float:
        if not isinstance(node, DurationExpr):
            return node
        if node.op in self._known:
            return self._known[node.op]
        try:
            return computed(node.op, [self._seconds(arg) for arg in node.args])
        except (ArithmeticError, ValueError):
            raise bad_data(
                "duration expression has no value (division by zero?)", node.span
            ) from None
