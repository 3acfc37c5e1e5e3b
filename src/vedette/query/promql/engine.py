"""The PromQL engine: a query and a source of samples in, a result out.

Synchronous and bound by the CPU alone. Time comes in as arguments. Whoever wants to stop a query
passes ``check``, which is called between pieces of work and raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vedette.model.arrays import I64
from vedette.model.results import (
    QueryResult,
    SamplesResult,
    ScalarResult,
    StringResult,
    VectorResult,
    steps,
)
from vedette.query.errors import QueryError as QueryError
from vedette.query.promql.ast import Expr, MatrixSelector, Paren, Subquery, ValueType
from vedette.query.promql.budget import Budget
from vedette.query.promql.check import value_type
from vedette.query.promql.durations import depends_on_query, resolved
from vedette.query.promql.evaluator import Evaluator
from vedette.query.promql.features import refusal
from vedette.query.promql.labeling import METADATA, is_named, label_order
from vedette.query.promql.native.judged import selectors_of_statistics
from vedette.query.promql.options import EngineOptions as EngineOptions
from vedette.query.promql.parser import parse
from vedette.query.promql.remarks import Remarks, bad_data, execution_error
from vedette.query.promql.values import CELL_BYTES, Frame, Scalar, String, Value, Vector, distinct
from vedette.query.source import SampleSource
from vedette.query.usage import Usage

_CACHED_LENGTH = 8192
"""Characters of the longest text whose expression is remembered."""

Check = Callable[[], None]


def _go_on() -> None:
    """Never stop a query."""


class Engine:
    """Answers PromQL queries from ``samples``.

    Safe to call from several threads, as the source is.
    """

    def __init__(self, samples: SampleSource, options: EngineOptions | None = None) -> None:
        self._samples = samples
        self.options = options or EngineOptions()

    def instant(
        self,
        query: str | Expr,
        ts: int,
        check: Check = _go_on,
        usage: Usage | None = None,
        *,
        first_occurrence: bool = False,
    ) -> QueryResult:
        """Evaluate ``query`` at ``ts`` (ms); what it used is entered in ``usage``.

        ``first_occurrence`` is as in the options, for this query.

        Raises:
            PromQLSyntaxError: ``query`` is no PromQL expression.
            QueryError: the query cannot be answered.
        """
        expr = self._parsed(query, 0, 0)
        try:
            return self._instant(expr, ts, Budget(self._for(first_occurrence), check, usage))
        except MemoryError:
            raise _out_of_memory() from None

    def _instant(self, expr: Expr, ts: int, budget: Budget) -> QueryResult:
        frame = Frame(np.array([ts], np.int64), 0, ts, ts)
        remarks = Remarks()
        statistics = selectors_of_statistics(expr)
        evaluator = Evaluator(self._samples, budget.options, frame, remarks, budget, statistics)
        inner = expr
        while isinstance(inner, Paren):
            inner = inner.expr
        if isinstance(inner, MatrixSelector | Subquery):
            with np.errstate(all="ignore"):
                series = tuple(evaluator.samples(inner, frame))
            return SamplesResult(series, remarks.all())
        value = _quietly(evaluator, expr, frame)
        if isinstance(value, String):
            return StringResult(ts, value.text, remarks.all())
        return _result(value, frame.ts, expr, remarks, budget)

    def range(
        self,
        query: str | Expr,
        start: int,
        end: int,
        step: int,
        check: Check = _go_on,
        usage: Usage | None = None,
        *,
        first_occurrence: bool = False,
    ) -> VectorResult | ScalarResult:
        """Evaluate ``query`` from ``start`` to at most ``end``, every ``step`` (all ms).

        Raises:
            PromQLSyntaxError: ``query`` is no PromQL expression.
            QueryError: the range is not sound, or the query cannot be answered.
        """
        expr = self._parsed(query, step, end - start)
        if value_type(expr) is ValueType.MATRIX:
            raise bad_data(
                'invalid expression type "range vector" for range query, '
                "must be Scalar or instant Vector",
                expr.span,
            )
        frame = Frame(self._steps(start, end, step), step, start, end)
        try:
            return self._range(expr, frame, Budget(self._for(first_occurrence), check, usage))
        except MemoryError:
            raise _out_of_memory() from None

    def _range(self, expr: Expr, frame: Frame, budget: Budget) -> VectorResult | ScalarResult:
        remarks = Remarks()
        statistics = selectors_of_statistics(expr)
        evaluator = Evaluator(self._samples, budget.options, frame, remarks, budget, statistics)
        value = _quietly(evaluator, expr, frame)
        if isinstance(value, String):
            raise bad_data(
                'invalid expression type "string" for range query, '
                "must be Scalar or instant Vector",
                expr.span,
            )
        return _result(value, frame.ts, expr, remarks, budget)

    def _for(self, first_occurrence: bool) -> EngineOptions:
        return replace(self.options, first_occurrence=True) if first_occurrence else self.options

    def _parsed(self, query: str | Expr, step: int, length: int) -> Expr:
        """Return the expression that a query of ``step`` and ``length`` (ms) evaluates."""
        if isinstance(query, str):
            if len(query) > self.options.max_text:
                raise bad_data(
                    f"the query has {len(query):,} characters, more than {self.options.max_text:,}"
                )
            facts = _remembered(query, self.options)
        else:
            facts = _facts(query, self.options)
        if facts.refusal is not None:
            raise facts.refusal
        return resolved(facts.expr, step, length) if facts.depends_on_query else facts.expr

    def _steps(self, start: int, end: int, step: int) -> I64:
        if step <= 0:
            raise bad_data(
                "zero or negative query resolution step widths are not accepted. "
                "Try a positive integer"
            )
        if end < start:
            raise bad_data("end timestamp must not be before start time")
        if (end - start) // step >= self.options.max_steps:
            raise bad_data(
                f"exceeded maximum resolution of {self.options.max_steps:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        return steps(start, end, step)


class _Facts(NamedTuple):
    """An expression, why it may not be evaluated, and whether its durations are not all known."""

    expr: Expr
    refusal: QueryError | None
    depends_on_query: bool


def _facts(expr: Expr, options: EngineOptions) -> _Facts:
    return _Facts(expr, refusal(expr, options), depends_on_query(expr))


@lru_cache(maxsize=1024)
def _known(text: str, options: EngineOptions) -> _Facts:
    return _facts(parse(text), options)


def _remembered(text: str, options: EngineOptions) -> _Facts:
    # Long texts are rare, and some hundreds of them would fill the memory.
    if len(text) > _CACHED_LENGTH:
        return _facts(parse(text), options)
    facts = _known(text, options)
    if facts.refusal is not None:
        # An exception that is raised again would gather tracebacks; it is made anew.
        return _facts(facts.expr, options)
    return facts


def _quietly(evaluator: Evaluator, expr: Expr, frame: Frame) -> Value:
    # Inf − Inf, 0 / 0 and overflow are answers in PromQL, not faults to warn of.
    with np.errstate(all="ignore"):
        return evaluator.value(expr, frame)


def _out_of_memory() -> QueryError:
    return execution_error(
        "the query ran out of memory; select fewer series, a shorter range or a longer step"
    )


def _result(
    value: Vector | Scalar, ts: I64, expr: Expr, remarks: Remarks, budget: Budget
) -> VectorResult | ScalarResult:
    if isinstance(value, Scalar):
        return ScalarResult(ts, value.values, remarks.all())
    vector = _renamed(value, expr, budget)
    budget.need(2 * CELL_BYTES * vector.values.size)
    budget.check()
    if vector.present is not None:
        rows = np.flatnonzero(vector.present.any(axis=1))
        if len(rows) < len(vector):
            vector = vector.take(rows)
    if len(ts) > 1:
        vector = vector.take(label_order(vector.labels))
    values = np.ascontiguousarray(vector.marked())
    return VectorResult(vector.labels, ts, values, remarks.all(), vector.histograms)


def _renamed(vector: Vector, expr: Expr, budget: Budget) -> Vector:
    """Take away the names that were marked to go, and merge what thereby becomes the same."""
    if vector.unnamed is None or not is_named(vector.labels) or not vector.unnamed.any():
        return vector
    codes = vector.labels.codes.copy()
    for name in METADATA:
        if name in vector.labels.names:
            codes[vector.labels.names.index(name), vector.unnamed] = 0
    labels = type(vector.labels)(vector.labels.names, codes, vector.labels.values)
    return distinct(replace(vector, labels=labels, unnamed=None), expr.span, budget)
