"""Runs the tests of a file: the rules are evaluated as the server evaluates them, on given series.

As promtool does it: all groups at every multiple of the evaluation interval, in the given order;
alerts are judged as of the latest evaluation, queries after the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.model.results import QueryResult
from vedette.model.samples import STALE
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.rules.evaluate import (
    RuleError,
    Series,
    evaluate,
    rows_in_order,
    rows_of,
    template_value,
)
from vedette.rules.gotemplate.values import TemplateError, go_float
from vedette.rules.histogram_text import histogram_expression
from vedette.rules.rule import Rule, RuleGroup
from vedette.rules.templates import Found, Surrounding
from vedette.rules.testing.cases import (
    AlertCase,
    ExpectedSample,
    QueryCase,
    TestFile,
    TestGroup,
)
from vedette.rules.testing.store import TestSamples


@dataclass(frozen=True, slots=True)
class Failure:
    """What is not as expected: two lists of lines to compare, or a message alone.

    Attributes:
        what: the alert's name, the query, or the rule.
        at: ms after the start of the test, or −1.
    """

    kind: str
    what: str
    line: int
    at: int = -1
    message: str = ""
    expected: tuple[str, ...] = ()
    got: tuple[str, ...] = ()


@dataclass(slots=True)
class GroupOutcome:
    """What became of one test group."""

    name: str
    line: int
    failures: list[Failure] = field(default_factory=list)


def run_tests(
    file: TestFile, options: EngineOptions, wanted: Callable[[str], bool] = lambda _: True
) -> list[GroupOutcome]:
    """Run the test groups of ``file`` whose name is ``wanted``."""
    return [_Run(file, group, options).outcome() for group in file.tests if wanted(group.name)]


class _Run:
    """One test group: its samples, and what the rules know."""

    def __init__(self, file: TestFile, group: TestGroup, options: EngineOptions) -> None:
        self._file = file
        self._group = group
        self._samples = TestSamples()
        self._engine = Engine(self._samples, options)
        self._instances: dict[str, tuple[AlertInstance, ...]] = {}
        self._written: dict[str, frozenset[Labels]] = {}
        self._failures: list[Failure] = []

    def outcome(self) -> GroupOutcome:
        group = self._group
        for fault in group.faults:
            self._failures.append(Failure("input", str(fault), fault.line))
        if not group.faults and self._evaluate():
            for case in group.queries:
                self._judge_query(case)
        return GroupOutcome(group.name, group.line, self._failures)

    def _evaluate(self) -> bool:
        """Evaluate all rules at all times; say whether that went without an error."""
        start, step = self._group.start_ms, self._file.interval_ms
        for labels, samples in self._group.series:
            self._samples.load(labels, start, self._group.interval_ms, samples)
        cases = sorted(self._group.alerts, key=lambda case: case.at)
        for at in range(0, self._group.last + 1, step):
            self._samples.until = start + at
            for group in _ordered(self._file.rules, self._file.order):
                for rule in group.rules:
                    self._evaluate_rule(group, rule, start + at)
            if self._failures and self._failures[-1].kind == "rule":
                return False
            while cases and cases[0].at < at + step:
                self._judge_alerts(cases.pop(0))
        return True

    def _evaluate_rule(self, group: RuleGroup, rule: Rule, now: int) -> None:
        when = now - (group.query_offset_ms or 0)
        try:
            result = self._engine.instant(rule.expr, when)
            previous = self._instances.get(rule.key, ())
            around = Surrounding(
                self._group.external_labels,
                self._group.external_url,
                lambda text: self._query(text, now),
                now / 1000,
            )
            done = evaluate(rule, result, previous, now, 0, group.limit, around)
        except (QueryError, RuleError, PromQLSyntaxError) as error:
            at = now - self._group.start_ms
            self._failures.append(Failure("rule", rule.name, rule.line, at, str(error)))
            return
        self._instances[rule.key] = done.instances
        self._write(rule.key, done.samples, when)

    def _write(self, key: str, samples: Sequence[Series], when: int) -> None:
        labels = frozenset(one.labels for one in samples)
        for gone in self._written.get(key, frozenset()) - labels:
            self._samples.append(gone, when, STALE)
        self._written[key] = labels
        for one in samples:
            self._samples.append(one.labels, when, one.value)

    def _query(self, text: str, now: int) -> Found:
        try:
            rows = rows_in_order(text, self._engine.instant(text, now))
        except (QueryError, RuleError, PromQLSyntaxError) as error:
            raise TemplateError(str(error)) from None
        return [(row.labels, template_value(row.value)) for row in rows]

    def _judge_alerts(self, case: AlertCase) -> None:
        rules = {rule.key for group in self._file.rules for rule in group.rules}
        got = sorted(
            _alert_text(one.labels, one.annotations)
            for key, instances in self._instances.items()
            for one in instances
            if key in rules
            and one.state is AlertState.FIRING
            and one.labels.get("alertname") == case.name
        )
        expected = sorted(
            _alert_text(one.labels.merged({"alertname": case.name}), one.annotations)
            for one in case.alerts
        )
        if got != expected:
            self._failures.append(
                Failure(
                    "alert",
                    case.name,
                    case.line,
                    case.at,
                    expected=tuple(expected),
                    got=tuple(got),
                )
            )

    def _judge_query(self, case: QueryCase) -> None:
        try:
            result: QueryResult = self._engine.instant(case.expr, self._group.start_ms + case.at)
            got = sorted(rows_of(result), key=lambda row: row.labels.pairs)
        except (QueryError, RuleError, PromQLSyntaxError) as error:
            self._failures.append(Failure("query", case.expr, case.line, case.at, str(error)))
            return
        expected = sorted(case.samples, key=lambda row: row.labels.pairs)
        if len(got) == len(expected) and all(
            one.labels == other.labels and _same(one.value, other.value, self._file.fuzzy)
            for one, other in zip(expected, got, strict=True)
        ):
            return
        self._failures.append(
            Failure(
                "query",
                case.expr,
                case.line,
                case.at,
                expected=tuple(_sample_text(one) for one in expected),
                got=tuple(_sample_text(one) for one in got),
            )
        )


def _ordered(groups: Iterable[RuleGroup], order: Sequence[str]) -> list[RuleGroup]:
    places = {name: k for k, name in enumerate(order)}
    return sorted(groups, key=lambda group: places.get(group.name, len(order)))


def _alert_text(labels: Labels, annotations: Labels) -> str:
    return f"{labels}  {annotations}" if annotations.pairs else str(labels)


def _sample_text(sample: ExpectedSample | Series) -> str:
    value = sample.value
    shown = histogram_expression(value) if isinstance(value, HistogramValue) else go_float(value)
    return f"{sample.labels} {shown}"


def _same(expected: float | HistogramValue, got: float | HistogramValue, fuzzy: bool) -> bool:
    if isinstance(expected, HistogramValue) or isinstance(got, HistogramValue):
        if not (isinstance(expected, HistogramValue) and isinstance(got, HistogramValue)):
            return False
        return histogram_expression(expected) == histogram_expression(got)
    if expected == got or (math.isnan(expected) and math.isnan(got)):
        return True
    # "Fuzzy" takes a neighbouring number for the same, as promtool does.
    near = (float(np.nextafter(expected, -np.inf)), float(np.nextafter(expected, np.inf)))
    return fuzzy and got in near
