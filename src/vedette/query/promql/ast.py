"""Nodes of a PromQL expression.

Every node carries the half-open span ``[start, end)`` of its text, in characters, so that an
error or an annotation can name line and column. Nodes are frozen and compare without their span.
Durations and timestamps are in milliseconds.

The language is described in the documentation of Prometheus, "Querying basics" and "Operators".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from vedette.model.matchers import Matcher as Matcher
from vedette.model.matchers import MatchOp as MatchOp


class ValueType(StrEnum):
    """The four types of a PromQL expression."""

    SCALAR = "scalar"
    STRING = "string"
    VECTOR = "vector"
    MATRIX = "matrix"


class Cardinality(StrEnum):
    """How many series of each side one result series of a binary operation may come from."""

    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "many-to-one"
    ONE_TO_MANY = "one-to-many"
    MANY_TO_MANY = "many-to-many"


class AtPreprocessor(StrEnum):
    """The two functions that an ``@`` modifier knows."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of characters in the query text."""

    start: int
    end: int


class RangeModifier(StrEnum):
    """How a selector treats the edges of its window, where samples rarely stand."""

    ANCHORED = "anchored"
    SMOOTHED = "smoothed"


@dataclass(frozen=True, slots=True)
class DurationExpr:
    """Arithmetic in seconds that depends on the query: ``step()`` or ``range()`` stands in it.

    ``op`` is ``step``, ``range``, ``min_of``, ``max_of`` or an arithmetic operator; one operand
    of ``-`` alone is negated. Constant arithmetic is computed by the parser.
    """

    op: str
    args: tuple[Duration, ...]
    span: Span = field(compare=False)


Duration: TypeAlias = float | DurationExpr


@dataclass(frozen=True, slots=True)
class NumberLiteral:
    """A number, ``Inf`` and ``NaN`` included."""

    value: float
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class StringLiteral:
    """A string in double quotes, single quotes or backticks, unescaped."""

    value: str
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class VectorSelector:
    """Series by matchers (the metric name is a matcher on ``__name__``) at one instant.

    Where ``offset_expr`` is set, the offset is only known with the query, and ``offset`` is 0.
    """

    name: str | None
    matchers: tuple[Matcher, ...]
    offset: int
    at: int | AtPreprocessor | None
    span: Span = field(compare=False)
    modifier: RangeModifier | None = None
    offset_expr: DurationExpr | None = None


@dataclass(frozen=True, slots=True)
class MatrixSelector:
    """The samples of a vector selector over a window of ``range`` milliseconds.

    Where ``range_expr`` is set, the range is only known with the query, and ``range`` is 0.
    """

    selector: VectorSelector
    range: int
    span: Span = field(compare=False)
    range_expr: DurationExpr | None = None


@dataclass(frozen=True, slots=True)
class Subquery:
    """An expression evaluated every ``step`` ms over ``range`` ms (``None``: the default step).

    ``range_expr``, ``step_expr`` and ``offset_expr`` are as in the selectors.
    """

    expr: Expr
    range: int
    step: int | None
    offset: int
    at: int | AtPreprocessor | None
    span: Span = field(compare=False)
    range_expr: DurationExpr | None = None
    step_expr: DurationExpr | None = None
    offset_expr: DurationExpr | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A function applied to its arguments."""

    function: str
    args: tuple[Expr, ...]
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """An aggregation operator; ``parameter`` is the k of topk, the φ of quantile, and so on."""

    op: str
    expr: Expr
    parameter: Expr | None
    grouping: tuple[str, ...]
    without: bool
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class VectorMatching:
    """How the series of both sides of a binary operation find each other.

    ``fill_left`` and ``fill_right`` are the values that stand in for a missing series of a side.
    """

    cardinality: Cardinality
    labels: tuple[str, ...]
    on: bool
    include: tuple[str, ...]
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary operation; ``matching`` is ``None`` unless both sides are vectors."""

    op: str
    left: Expr
    right: Expr
    return_bool: bool
    matching: VectorMatching | None
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign before an expression: ``+`` or ``-``."""

    op: str
    expr: Expr
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Paren:
    """An expression in parentheses, kept because it decides grouping and position."""

    expr: Expr
    span: Span = field(compare=False)


Expr: TypeAlias = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | MatrixSelector
    | Subquery
    | Call
    | Aggregation
    | Binary
    | Unary
    | Paren
)
