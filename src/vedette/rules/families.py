"""Families of rules: expressions that differ only in label values and in a last comparison.

A thousand rules like ``rate(x{instance="i7"}[5m]) > 5`` ask the same of different series. A family
is asked once, for all its series, and the result is dealt out to its rules. Pure; decided once when
the rules are loaded.

This is sound because each series of such a result comes from series with one value of the label,
so adding the label to every grouping changes nothing within a value. Expressions for which that
cannot be seen from their form stand alone.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.results import QueryResult, VectorResult
from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    Subquery,
    Unary,
    VectorMatching,
    VectorSelector,
)
from vedette.rules.plan import parsed
from vedette.rules.rule import Rule

MAX_MEMBERS = 512
"""Rules of one family: its selector names their label values in one pattern."""

_COMPARE: Mapping[str, np.ufunc] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
_PARTED = frozenset(
    "sum avg min max count group stddev stdvar".split()  # noqa: SIM905 - reads as it is written
)
_EACH = frozenset(
    [
        "rate",
        "irate",
        "increase",
        "delta",
        "idelta",
        "deriv",
        "resets",
        "changes",
        "predict_linear",
        "avg_over_time",
        "min_over_time",
        "max_over_time",
        "sum_over_time",
        "count_over_time",
        "last_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "present_over_time",
        "quantile_over_time",
        "abs",
        "ceil",
        "floor",
        "exp",
        "ln",
        "log2",
        "log10",
        "sqrt",
        "sgn",
        "round",
        "clamp",
        "clamp_min",
        "clamp_max",
        "timestamp",
    ]
)

Values = tuple[tuple[str, str], ...]
"""Names and values of the equality matchers that a rule fills in, sorted by name."""


@dataclass(frozen=True, slots=True)
class Member:
    """A rule in its family.

    Attributes:
        values: label values that its series have.
        op, limit: the comparison of the whole expression, "" where there is none.
    """

    rule: Rule
    values: Values
    op: str = ""
    limit: float = 0.0


@dataclass(frozen=True, slots=True)
class Family:
    """Rules that are asked together.

    Attributes:
        query: yields the result of all members, before their own comparisons; the text of one that
            stands alone.
        names: labels by which the result is dealt out, sorted.
        dropped: those of ``names`` that a member's own result does not have.
    """

    query: str | Expr
    members: tuple[Member, ...]
    names: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


def families(rules: Sequence[Rule]) -> tuple[Family, ...]:
    """Return ``rules`` in families, in the order of their first rules.

    A rule that has nothing in common with others is a family of its own, with its expression as
    it is.
    """
    found: dict[object, list[Member]] = {}
    for rule in rules:
        expr = parsed(rule.expr)
        body, op, limit = _compared(expr)
        values = _values(body)
        key: object = rule.key
        if values is not None:
            names = tuple(name for name, _ in values)
            key = (rule.first_occurrence, names, _blank(body, values))
        found.setdefault(key, []).append(Member(rule, values or (), op, limit))
    built: list[Family] = []
    for members in found.values():
        built += [
            _family(members[first : first + MAX_MEMBERS])
            for first in range(0, len(members), MAX_MEMBERS)
        ]
    return tuple(built)


def _family(members: Sequence[Member]) -> Family:
    first = members[0]
    if len(members) == 1:
        return Family(first.rule.expr, (replace(first, op="", values=()),))
    body = _compared(parsed(first.rule.expr))[0]
    varied = tuple(
        name
        for k, (name, _) in enumerate(first.values)
        if len({member.values[k][1] for member in members}) > 1
    )
    choices = {name: sorted({dict(member.values)[name] for member in members}) for name in varied}
    kept = _kept(body, frozenset(varied))
    if kept is None:
        raise AssertionError("a family's expression loses its labels")
    own = tuple(
        replace(member, values=tuple(pair for pair in member.values if pair[0] in choices))
        for member in members
    )
    dropped = tuple(name for name in varied if name not in kept)
    return Family(_widened(body, choices), own, varied, dropped)


def _compared(expr: Expr) -> tuple[Expr, str, float]:
    """Return the expression less its comparison with a number, the comparison, and the number."""
    while isinstance(expr, Paren):
        expr = expr.expr
    if isinstance(expr, Binary) and expr.op in _COMPARE and not expr.return_bool:
        number = _number(expr.right)
        if number is not None:
            return expr.left, expr.op, number
    return expr, "", 0.0


def _number(expr: Expr) -> float | None:
    if isinstance(expr, Paren):
        return _number(expr.expr)
    if isinstance(expr, Unary):
        inner = _number(expr.expr)
        return None if inner is None else -inner if expr.op == "-" else inner
    return expr.value if isinstance(expr, NumberLiteral) else None


def _values(expr: Expr) -> Values | None:
    """Return the equality matchers that all selectors share, ``None`` if ``expr`` stands alone."""
    found: list[Values] = []

    def look(selector: VectorSelector) -> VectorSelector:
        found.append(
            tuple(
                sorted(
                    (matcher.name, matcher.value)
                    for matcher in selector.matchers
                    if matcher.op is MatchOp.EQUAL and matcher.name != METRIC_NAME
                )
            )
        )
        return selector

    _mapped(expr, look, ())
    names = [name for name, _ in found[0]] if found else []
    if len(set(found)) != 1 or len(set(names)) != len(names):
        return None
    # An absent label would be asked for by "": that is no value to group by.
    if not all(value for _, value in found[0]) or "le" in names:
        return None
    return found[0] if _kept(expr, frozenset(names)) is not None else None


def _kept(expr: Expr, names: frozenset[str]) -> frozenset[str] | None:
    """Return which of ``names`` the result of ``expr`` has, ``None`` where that is not plain."""
    match expr:
        case VectorSelector() | MatrixSelector():
            return names
        case Paren() | Unary() | Subquery():
            return _kept(expr.expr, names)
        case Call():
            return _kept_by_call(expr, names)
        case Aggregation():
            kept = _kept(expr.expr, names)
            if kept is None or expr.op not in _PARTED or expr.parameter is not None:
                return None
            given = frozenset(expr.grouping)
            return kept - given if expr.without else kept & given
        case Binary():
            return _kept_by_binary(expr, names)
    return None


def _kept_by_call(expr: Call, names: frozenset[str]) -> frozenset[str] | None:
    vectors = [arg for arg in expr.args if _number(arg) is None]
    if expr.function not in _EACH or len(vectors) != 1:
        return None
    return _kept(vectors[0], names)


def _kept_by_binary(expr: Binary, names: frozenset[str]) -> frozenset[str] | None:
    numbers = [_number(expr.left), _number(expr.right)]
    if numbers[1] is not None:
        return _kept(expr.left, names)
    if numbers[0] is not None:
        return _kept(expr.right, names)
    left, right = _kept(expr.left, names), _kept(expr.right, names)
    matching = expr.matching
    if left is None or left != right or matching is None or not _by_all(matching):
        return None
    return left


def _by_all(matching: VectorMatching) -> bool:
    """Whether both sides are matched by all labels, as without any modifier."""
    return not (matching.on or matching.labels or matching.include)


def _mapped(
    expr: Expr, change: Callable[[VectorSelector], VectorSelector], names: tuple[str, ...]
) -> Expr:
    """Return ``expr`` with ``change`` applied to its selectors, and parted by ``names``."""
    match expr:
        case VectorSelector():
            return change(expr)
        case MatrixSelector():
            return replace(expr, selector=change(expr.selector))
        case Paren() | Unary() | Subquery():
            return replace(expr, expr=_mapped(expr.expr, change, names))
        case Call():
            return replace(expr, args=tuple(_mapped(arg, change, names) for arg in expr.args))
        case Aggregation():
            inner = _mapped(expr.expr, change, names)
            if expr.without:
                grouping = tuple(name for name in expr.grouping if name not in names)
            else:
                added = (name for name in names if name not in expr.grouping)
                grouping = (*expr.grouping, *added)
            return replace(expr, expr=inner, grouping=grouping)
        case Binary():
            left, right = _mapped(expr.left, change, names), _mapped(expr.right, change, names)
            return replace(expr, left=left, right=right)
    return expr


def _blank(expr: Expr, values: Values) -> Expr:
    """Return ``expr`` with the values of its equality matchers taken out: the family's mark."""
    return _mapped(expr, lambda selector: _rematched(selector, dict.fromkeys(dict(values))), ())


def _widened(expr: Expr, choices: Mapping[str, Sequence[str]]) -> Expr:
    """Return ``expr`` for all values of ``choices`` at once, parted by their labels."""
    patterns = {
        name: values[0] if len(values) == 1 else "|".join(map(_quoted, values))
        for name, values in choices.items()
    }
    return _mapped(expr, lambda selector: _rematched(selector, patterns), tuple(choices))


def _quoted(value: str) -> str:
    # RE2 knows the escapes of Python's re for all signs but space and newline, which need none.
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", value)


def _rematched(selector: VectorSelector, patterns: Mapping[str, str | None]) -> VectorSelector:
    matchers = [
        matcher
        if matcher.op is not MatchOp.EQUAL or matcher.name not in patterns
        else Matcher(matcher.name, MatchOp.REGEX, patterns[matcher.name] or "")
        for matcher in selector.matchers
    ]
    if all(pattern is None for pattern in patterns.values()):
        # Two rules with their matchers in another order ask the same.
        matchers.sort(key=lambda matcher: (matcher.name, matcher.op, matcher.value))
    return replace(selector, matchers=tuple(matchers))


class Shares:
    """Deals the result of a family out to its members.

    Members that differ in their values are compared at once, each row with its member's number;
    those that share their values with one before them stand in a further layer. The newest
    answer is kept, so that groups which are evaluated at the same time ask once.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self._lock = threading.Lock()
        self._newest: tuple[int, dict[str, VectorResult] | str] | None = None
        self._layers = _layers(family.members)
        self._known: tuple[tuple[tuple[str, ...], ...], list[I64]] | None = None

    def answer(self, ts: int, ask: Callable[[], QueryResult]) -> dict[str, VectorResult] | str:
        """Return the rows of each member at ``ts`` (ms), or why they cannot be asked together.

        What ``ask`` raises is such a reason.
        """
        with self._lock:
            if self._newest is None or self._newest[0] != ts:
                self._newest = (ts, self._asked(ask))
            return self._newest[1]

    def _asked(self, ask: Callable[[], QueryResult]) -> dict[str, VectorResult] | str:
        try:
            result = ask()
        # Whatever an engine can raise may be the fault of one member: each is asked alone then.
        except Exception as fault:  # noqa: BLE001
            return str(fault) or type(fault).__name__
        if not isinstance(result, VectorResult) or result.histograms is not None:
            return "the members compare in another way"
        return self.deal(result)

    def deal(self, result: VectorResult) -> dict[str, VectorResult]:
        """Return the rows of each member that pass its comparison, by the key of its rule.

        A member without rows is left out.
        """
        values: F64 = np.ascontiguousarray(result.values[:, -1])
        labels = result.labels.drop(*self.family.dropped)
        found: dict[str, VectorResult] = {}
        for layer, owners in zip(self._layers, self._owners(result.labels), strict=True):
            passed: Mask = owners >= 0
            for op in layer.ops:
                of_op = layer.op_of[owners] == op
                passed &= ~of_op | _COMPARE[op](values, layer.limits[owners])
            rows = np.flatnonzero(passed)
            if not len(rows):
                continue
            mine = owners[rows]
            for number in np.unique(mine).tolist():
                own = rows[mine == number]
                key = layer.members[number].rule.key
                found[key] = VectorResult(labels.take(own), result.ts, result.values[own])
        return found

    def _owners(self, table: LabelTable) -> list[I64]:
        """Return for each layer the member of each row, −1 where it is no one's."""
        names = self.family.names
        columns = [table.column(name) for name in names]
        if not all(columns):
            return [np.full(len(table), -1, np.int64) for _ in self._layers]
        pairs = [column for column in columns if column is not None]
        joint = np.zeros(len(table), np.int64)
        for codes, dictionary in pairs:
            joint = joint * len(dictionary) + codes
        dictionaries = tuple(dictionary for _, dictionary in pairs)
        # Storage hands out the same dictionaries until a series with a new value appears.
        if self._known is None or any(
            old is not new for old, new in zip(self._known[0], dictionaries, strict=True)
        ):
            self._known = (dictionaries, [_numbers(each, dictionaries) for each in self._layers])
        return [numbers[joint] for numbers in self._known[1]]


@dataclass(frozen=True, slots=True)
class _Layer:
    """Members with values of their own: their comparisons as arrays, the last entry for no one."""

    members: tuple[Member, ...]
    ops: tuple[str, ...]
    op_of: NDArray[np.str_]
    limits: F64


def _layers(members: Sequence[Member]) -> list[_Layer]:
    depths: dict[Values, int] = {}
    parts: list[list[Member]] = []
    for member in members:
        depth = depths.get(member.values, 0)
        depths[member.values] = depth + 1
        if depth == len(parts):
            parts.append([])
        parts[depth].append(member)
    return [
        _Layer(
            tuple(part),
            tuple(sorted({member.op for member in part} - {""})),
            np.array([*(member.op for member in part), ""]),
            np.array([*(member.limit for member in part), np.nan]),
        )
        for part in parts
    ]


def _numbers(layer: _Layer, dictionaries: tuple[tuple[str, ...], ...]) -> I64:
    """Return the member's number for each joint code of label values, −1 for no one's."""
    size = math.prod(len(each) for each in dictionaries)
    numbers: I64 = np.full(size, -1, np.int64)
    places = [{value: code for code, value in enumerate(each)} for each in dictionaries]
    for number, member in enumerate(layer.members):
        joint: int | None = 0
        for (_, value), place in zip(member.values, places, strict=True):
            code = place.get(value)
            joint = None if code is None or joint is None else joint * len(place) + code
        if joint is not None:
            numbers[joint] = number
    return numbers
