"""Types of PromQL expressions, and the rules about which types fit where.

The rules are those of Prometheus. Each ``check_*`` looks at one node whose operands are known to
be sound, so that the parser can apply it to every node once, from the leaves up.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from types import MappingProxyType

from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Cardinality,
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
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS, Signature
from vedette.query.promql.syntax_error import PromQLSyntaxError

TRIMS = frozenset(("</", ">/"))
COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
SET_OPERATORS = frozenset(("and", "or", "unless"))

_DOCUMENTED = MappingProxyType(
    {
        ValueType.SCALAR: "scalar",
        ValueType.STRING: "string",
        ValueType.VECTOR: "instant vector",
        ValueType.MATRIX: "range vector",
    }
)
_REMEDIES = MappingProxyType(
    {
        (ValueType.MATRIX, ValueType.VECTOR): "; add a range such as [5m]",
        (ValueType.VECTOR, ValueType.MATRIX): "; apply a function such as rate() to it",
        (ValueType.VECTOR, ValueType.SCALAR): "; wrap it in vector()",
        (ValueType.SCALAR, ValueType.VECTOR): "; wrap it in scalar()",
        (ValueType.STRING, ValueType.VECTOR): "; put it in quotes",
    }
)
# Longer names are no slips of the finger, and comparing them costs time.
_MAX_SUGGESTED = 60


def value_type(expr: Expr) -> ValueType:
    """Return the type of ``expr``, which must have passed its checks."""
    while isinstance(expr, Paren | Unary):
        expr = expr.expr
    match expr:
        case NumberLiteral():
            return ValueType.SCALAR
        case StringLiteral():
            return ValueType.STRING
        case VectorSelector() | Aggregation():
            return ValueType.VECTOR
        case MatrixSelector() | Subquery():
            return ValueType.MATRIX
        case Call():
            return FUNCTIONS[expr.function].returns
        case Binary():
            sides = (value_type(expr.left), value_type(expr.right))
            return ValueType.VECTOR if ValueType.VECTOR in sides else ValueType.SCALAR


def require(expr: Expr, actual: ValueType, wanted: ValueType, where: str, text: str) -> None:
    """Raise :class:`PromQLSyntaxError` unless ``expr`` has the type wanted in ``where``."""
    if actual is not wanted:
        message = f"expected type {_DOCUMENTED[wanted]} in {where}, got {_DOCUMENTED[actual]}"
        remedy = _REMEDIES.get((wanted, actual), "")
        raise PromQLSyntaxError(message + remedy, expr.span.start, expr.span.end, text)


def unknown_function(name: str, start: int, text: str) -> PromQLSyntaxError:
    """Return the error that there is no function ``name``, with the most similar name."""
    message = f'unknown function with name "{name[:_MAX_SUGGESTED]}"'
    if len(name) <= _MAX_SUGGESTED:
        similar = get_close_matches(name.lower(), [*FUNCTIONS, *AGGREGATIONS], n=1)
        message += f'; did you mean "{similar[0]}"?' if similar else ""
    return PromQLSyntaxError(message, start, start + len(name), text)


def check_call(node: Call, types: Sequence[ValueType], text: str) -> None:
    """Check number and types of the arguments of ``node``."""
    signature = FUNCTIONS[node.function]
    count = len(node.args)
    too_many = signature.max_args is not None and count > signature.max_args
    if count < signature.min_args or too_many:
        message = f'{_arity(signature, count)} in call to "{node.function}", got {count}'
        raise PromQLSyntaxError(message, node.span.start, node.span.end, text)
    for index, (arg, actual) in enumerate(zip(node.args, types, strict=True)):
        where = f'call to function "{node.function}"'
        require(arg, actual, signature.arg_type(index), where, text)
    if node.function == "info" and count == 2:
        selector = node.args[1]
        if not isinstance(selector, VectorSelector) or selector.name is not None:
            message = "expected label selectors only as second argument of info()"
            raise PromQLSyntaxError(message, selector.span.start, selector.span.end, text)


def _arity(signature: Signature, count: int) -> str:
    least, most = signature.min_args, signature.max_args
    if least == most:
        return f"expected {least} argument(s)"
    return (
        f"expected at least {least} argument(s)"
        if count < least
        else (f"expected at most {most} argument(s)")
    )


def check_aggregation(
    node: Aggregation, actual: ValueType, parameter: ValueType | None, text: str
) -> None:
    """Check the types of the operand and the parameter of ``node``."""
    require(node.expr, actual, ValueType.VECTOR, "aggregation expression", text)
    wanted = AGGREGATIONS[node.op].parameter
    if node.parameter is not None and parameter is not None and wanted is not None:
        require(node.parameter, parameter, wanted, "aggregation parameter", text)


def check_unary(node: Unary, actual: ValueType, text: str) -> None:
    """Check that a sign stands before a scalar or an instant vector."""
    if actual not in (ValueType.SCALAR, ValueType.VECTOR):
        message = (
            "unary expression only allowed on expressions of type scalar or instant vector, "
            f"got {_DOCUMENTED[actual]}"
        )
        raise PromQLSyntaxError(message, node.span.start, node.span.end, text)


def check_subquery(node: Subquery, actual: ValueType, text: str) -> None:
    """Check that a subquery is made of an instant vector."""
    if actual is not ValueType.VECTOR:
        message = f"subquery is only allowed on instant vector, got {_DOCUMENTED[actual]} instead"
        if actual is ValueType.SCALAR:
            message += "; wrap it in vector()"
        raise PromQLSyntaxError(message, node.span.start, node.span.end, text)


def check_binary(
    node: Binary, left: ValueType, right: ValueType, operator: tuple[int, int], text: str
) -> None:
    """Check types and modifiers of ``node``, whose operator stands at ``operator``.

    ``node.matching`` holds what was written, whatever the types of both sides are.
    """
    for side, actual in ((node.left, left), (node.right, right)):
        if actual not in (ValueType.SCALAR, ValueType.VECTOR):
            message = (
                "binary expression must contain only scalar and instant vector types, "
                f"got {_DOCUMENTED[actual]}{_REMEDIES.get((ValueType.VECTOR, actual), '')}"
            )
            raise PromQLSyntaxError(message, side.span.start, side.span.end, text)
    scalars = (left, right).count(ValueType.SCALAR)
    problem = _bool_problem(node, scalars) or _matching_problem(node, scalars)
    if problem:
        raise PromQLSyntaxError(problem, *operator, text)


def _bool_problem(node: Binary, scalars: int) -> str:
    if node.return_bool and node.op not in COMPARISONS:
        return "bool modifier can only be used on comparison operators"
    if node.op in TRIMS and scalars == 2:
        return f'operator "{node.op}" trims histograms, it cannot be used between scalars'
    if node.op in COMPARISONS and not node.return_bool and scalars == 2:
        return f'comparisons between scalars must use BOOL modifier: "{node.op} bool"'
    return ""


def _matching_problem(node: Binary, scalars: int) -> str:
    matching = node.matching
    filled = matching is not None and (matching.fill_left, matching.fill_right) != (None, None)
    if filled and scalars:
        return "filling in missing series only allowed between instant vectors"
    if filled and node.op in SET_OPERATORS:
        return "filling in missing series not allowed for set operators"
    if scalars and node.op in SET_OPERATORS:
        return f'set operator "{node.op}" not allowed in binary scalar expression'
    if matching is None:
        return ""
    if scalars and matching.labels:
        return "vector matching only allowed between instant vectors"
    grouped = matching.cardinality in (Cardinality.MANY_TO_ONE, Cardinality.ONE_TO_MANY)
    if grouped and node.op in SET_OPERATORS:
        return f'no grouping allowed for "{node.op}" operation'
    both = sorted(set(matching.labels) & set(matching.include)) if matching.on else []
    if both:
        return f'label "{both[0]}" must not occur in ON and GROUP clause at once'
    return ""
