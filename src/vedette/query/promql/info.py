"""``info()``: labels of info metrics such as ``target_info``, added to the series they are about.

Series belong together by the labels ``instance`` and ``job``. Of several info series of one metric
the one with the newest sample counts at each step. Semantics: the documentation of Prometheus,
"Query functions".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import re2

from vedette.model.arrays import I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.query.promql.ast import Call, Expr, MatrixSelector, Subquery, VectorSelector
from vedette.query.promql.evaluation import Evaluation
from vedette.query.promql.features import children
from vedette.query.promql.labeling import braced, encode, group_by, with_column
from vedette.query.promql.remarks import execution_error
from vedette.query.promql.selectors import matches, matches_empty
from vedette.query.promql.values import CELL_BYTES, Frame, Vector, distinct

_IDENTIFYING = ("instance", "job")
_TARGET_INFO = Matcher(METRIC_NAME, MatchOp.EQUAL, "target_info")
_ANY_INFO = Matcher(METRIC_NAME, MatchOp.REGEX, ".+_info")
_POSITIVE = (MatchOp.EQUAL, MatchOp.REGEX)


def info(evaluation: Evaluation, call: Call, frame: Frame) -> Vector:
    """Evaluate ``info(v, {…})`` at the steps of ``frame``.

    Raises:
        QueryError: two info series of a metric are equally new, or two metrics disagree.
    """
    base = evaluation.vector(call.args[0], frame)
    selector = call.args[1] if len(call.args) > 1 else None
    matchers = selector.matchers if isinstance(selector, VectorSelector) else ()
    names, data = _name_matchers(matchers), _by_label(matchers)
    ignored = _ignored(base, names)
    found = _select(evaluation, call, frame, base, (names, data, ignored))
    if found is None:
        return _kept_bare(base, ignored, data)
    chosen = _Chosen.of(found, base, call)
    return _enriched(evaluation, call, base, (chosen, data, ignored))


def _name_matchers(matchers: Sequence[Matcher]) -> list[Matcher]:
    """Return the matchers of the metric names that are info metrics here."""
    named = [matcher for matcher in matchers if matcher.name == METRIC_NAME]
    if any(matcher.op in _POSITIVE for matcher in named):
        return named
    return [_ANY_INFO, *named] if named else [_TARGET_INFO]


def _by_label(matchers: Sequence[Matcher]) -> dict[str, list[Matcher]]:
    data: dict[str, list[Matcher]] = {}
    for matcher in matchers:
        if matcher.name != METRIC_NAME:
            data.setdefault(matcher.name, []).append(matcher)
    return data


def _ignored(base: Vector, names: Sequence[Matcher]) -> Mask:
    """Return bool[S]: series that are info series themselves, and stay as they are."""
    column = base.labels.column(METRIC_NAME)
    codes, values = (np.zeros(len(base), np.int32), ("",)) if column is None else column
    hits = np.array([all(matches(m, value) for m in names) for value in values], np.bool_)
    return np.asarray(hits[codes])


def _select(
    evaluation: Evaluation,
    call: Call,
    frame: Frame,
    base: Vector,
    parts: tuple[list[Matcher], dict[str, list[Matcher]], Mask],
) -> Vector | None:
    """Return the info series with the times (s) of their samples, ``None`` if none can match."""
    names, data, ignored = parts
    identity: list[Matcher] = []
    for label in _IDENTIFYING:
        values = _values(base.labels, label, ~ignored)
        if values:
            pattern = "|".join(re2.escape(value) for value in values)
            identity.append(Matcher(label, MatchOp.REGEX, pattern))
    if not identity:
        return None
    matchers = (*names, *identity, *(m for group in data.values() for m in group))
    node = VectorSelector(None, matchers, 0, None, call.span)
    at = replace(frame, ts=_reference_times(call.args[0], frame))
    for part in evaluation.instants(node, at, times=False).parts():
        if part.histograms is not None:
            raise execution_error("this should be an info metric, with float samples", call.span)
    return evaluation.instants(node, at, times=True).collect(len(frame), evaluation.budget)


def _values(table: LabelTable, label: str, rows: Mask) -> list[str]:
    column = table.column(label)
    if column is None:
        return []
    return [column[1][code] for code in np.unique(column[0][rows]).tolist() if column[1][code]]


def _reference_times(expr: Expr, frame: Frame) -> I64:
    """Return int64[K]: the times at which the first selector of ``expr`` looks at its samples."""
    times = frame.ts
    for node in _way_to_selector(expr):
        if isinstance(node, VectorSelector | Subquery):
            times = frame.moved(node.at, node.offset, times)
    return times


def _way_to_selector(expr: Expr) -> list[Expr]:
    if isinstance(expr, VectorSelector):
        return [expr]
    if isinstance(expr, MatrixSelector):
        return [expr.selector]
    for child in children(expr):
        way = _way_to_selector(child)
        if way:
            return [expr, *way]
    return []


# ---- which info series counts at each step


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The info series that count.

    Attributes:
        found: the info series.
        groups: for each identity (values of instance and job), of those that any info series has,
            one row number per info metric.
        newest: int64[R, K], the info series of each row at each step, −1 where there is none.
    """

    found: Vector
    groups: dict[tuple[str, ...], list[int]]
    newest: I64

    @classmethod
    def of(cls, found: Vector, base: Vector, call: Call) -> _Chosen:
        rows = group_by(found.labels, (METRIC_NAME, *_IDENTIFYING))
        needed = base.mask().any(axis=0)
        newest = np.full((len(rows), found.values.shape[1]), -1, np.int64)
        time = np.full(newest.shape, -np.inf)
        mask = found.mask()
        for series, row in enumerate(rows.ids.tolist()):
            there = mask[series] & needed
            tie = there & (found.values[series] == time[row])
            if tie.any():
                step = int(np.flatnonzero(tie)[0])
                raise _duplicate(found, int(newest[row, step]), series, time[row, step], call)
            later = there & (found.values[series] > time[row])
            newest[row, later], time[row, later] = series, found.values[series, later]
        groups: dict[tuple[str, ...], list[int]] = {}
        for row, series in enumerate(rows.first.tolist()):
            groups.setdefault(_identity(found.labels.labels(series)), []).append(row)
        return cls(found, groups, newest)

    def combinations(self, identity: tuple[str, ...]) -> tuple[I64, I64]:
        """Return int64[C, M], the info series that count together, and int64[K]: which when."""
        rows = self.groups.get(identity, [])
        together = self.newest[rows]
        unique, which = np.unique(together, axis=1, return_inverse=True)
        return unique.T, which.reshape(-1).astype(np.int64)


def _identity(labels: Labels) -> tuple[str, ...]:
    return tuple(labels.get(label) for label in _IDENTIFYING)


def _duplicate(found: Vector, old: int, new: int, seconds: float, call: Call) -> Exception:
    ms = round(seconds * 1000)
    first, second = (braced(found.labels.labels(series)) for series in (old, new))
    return execution_error(
        f"found duplicate series for info metric: existing {first} @ {ms}, new {second} @ {ms}",
        call.span,
    )


# ---- the result


def _kept_bare(base: Vector, ignored: Mask, data: dict[str, list[Matcher]]) -> Vector:
    """Return the series of ``base`` that need no info series."""
    return base if _optional(data) else base.take(np.flatnonzero(ignored))


def _optional(data: dict[str, list[Matcher]]) -> bool:
    return all(matches_empty(matcher) for group in data.values() for matcher in group)


def _enriched(
    evaluation: Evaluation,
    call: Call,
    base: Vector,
    parts: tuple[_Chosen, dict[str, list[Matcher]], Mask],
) -> Vector:
    chosen, data, ignored = parts
    optional = _optional(data)
    rows: list[int] = []
    added: list[dict[str, str]] = []
    kept: list[Mask] = []
    steps = base.values.shape[1]
    always = np.ones(steps, np.bool_)
    known: dict[tuple[str, ...], list[tuple[dict[str, str], Mask]]] = {}
    tables = base.labels.rows()
    for row in evaluation.budget.paced(range(len(base))):
        if ignored[row]:
            variants = [(dict[str, str](), always)]
        else:
            identity = _identity(tables[row])
            if identity not in known:
                known[identity] = _variants(chosen, identity, data, optional, call)
            variants = known[identity]
        for labels, when in variants:
            rows.append(row)
            added.append(labels)
            kept.append(when)
    evaluation.budget.cells(len(rows) * steps)
    evaluation.budget.need(2 * CELL_BYTES * len(rows) * steps)
    result = base.take(np.array(rows, np.int64))
    result = result.where(np.array(kept, np.bool_).reshape(len(rows), steps))
    table = _with_labels(result.labels, added)
    seen = np.flatnonzero(result.mask().any(axis=1))
    result = replace(result, labels=table).take(seen)
    return distinct(result, call.span, evaluation.budget)


def _variants(
    chosen: _Chosen,
    identity: tuple[str, ...],
    data: dict[str, list[Matcher]],
    optional: bool,
    call: Call,
) -> list[tuple[dict[str, str], Mask]]:
    """Return the label sets that are added to series of ``identity``, and bool[K] when each is."""
    combinations, which = chosen.combinations(identity)
    out = []
    for number, series in enumerate(combinations.tolist()):
        present = [k for k in series if k >= 0]
        if present or optional:
            labels = _joint(chosen.found.labels, present, data, call)
            out.append((labels, which == number))
    if not len(combinations) and optional:
        out.append(({}, np.ones(len(which), np.bool_)))
    return out


def _joint(
    table: LabelTable, series: list[int], data: dict[str, list[Matcher]], call: Call
) -> dict[str, str]:
    """Return the data labels of info ``series``; raises where two of them disagree."""
    labels: dict[str, str] = {}
    for k in series:
        for name, value in table.labels(k):
            if name == METRIC_NAME or name in _IDENTIFYING or (data and name not in data):
                continue
            if labels.setdefault(name, value) != value:
                raise execution_error(f"conflicting label: {name}", call.span)
    return labels


def _with_labels(table: LabelTable, added: list[dict[str, str]]) -> LabelTable:
    """Return ``table`` with labels added to each series; what a series has already stays."""
    for name in sorted({name for labels in added for name in labels}):
        column = table.column(name)
        own = [""] * len(table)
        if column is not None:
            own = [column[1][code] for code in column[0].tolist()]
        values = [mine or more.get(name, "") for mine, more in zip(own, added, strict=True)]
        table = with_column(table, name, *encode(values))
    return table
