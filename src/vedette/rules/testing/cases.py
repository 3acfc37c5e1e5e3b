"""Files of rule tests, read with a fault for everything that does not fit.

The format is described in Prometheus' documentation, "Unit testing for rules". All times are
milliseconds after the start of the test.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vedette.kit.yamlpos import Fault, Kind, Node, Section, compose
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.query.promql.notation import Point, labels_of, points, series_line
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.rules.files import read_rules
from vedette.rules.rule import RuleGroup

DEFAULT_INTERVAL_MS = 60_000
MAX_EVALUATIONS = 1_000_000


@dataclass(frozen=True, slots=True)
class ExpectedAlert:
    """A firing alert, less its name."""

    labels: Labels
    annotations: Labels


@dataclass(frozen=True, slots=True)
class AlertCase:
    """Which alerts of one name fire at one time."""

    name: str
    at: int
    alerts: tuple[ExpectedAlert, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ExpectedSample:
    """A sample of a query's result; ``value`` may be a native histogram."""

    labels: Labels
    value: float | HistogramValue


@dataclass(frozen=True, slots=True)
class QueryCase:
    """What a query yields at one time."""

    expr: str
    at: int
    samples: tuple[ExpectedSample, ...]
    line: int


@dataclass(frozen=True, slots=True)
class TestGroup:
    """One entry of ``tests``: its own series, evaluated from the start with all rules.

    Attributes:
        interval_ms: between two samples of ``series``.
        start_ms: the time that the test begins at, since the epoch.
        faults: of the series and samples, which matter only when the group is run.
    """

    name: str
    line: int
    interval_ms: int
    series: tuple[tuple[Labels, tuple[Point, ...]], ...]
    alerts: tuple[AlertCase, ...]
    queries: tuple[QueryCase, ...]
    external_labels: Labels
    external_url: str
    start_ms: int
    faults: tuple[Fault, ...]

    @property
    def last(self) -> int:
        """The latest time that anything is expected at."""
        times = [case.at for case in self.alerts] + [case.at for case in self.queries]
        return max(times, default=0)


@dataclass(frozen=True, slots=True)
class TestFile:
    """One file of rule tests, with the rule files that it names."""

    interval_ms: int
    rules: tuple[RuleGroup, ...]
    order: tuple[str, ...]
    fuzzy: bool
    tests: tuple[TestGroup, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def load_test_file(path: Path, *, ignore_unknown: bool = False) -> TestFile:
    """Read the tests in ``path`` and the rule files that it names, relative to its folder.

    Raises:
        OSError: ``path`` cannot be read.
        UnicodeDecodeError: it is no text.
    """
    text = path.read_text("utf-8")
    return read_tests(text, str(path), path.parent, ignore_unknown=ignore_unknown)


def read_tests(text: str, file: str, base: Path, *, ignore_unknown: bool = False) -> TestFile:
    """Return the tests in ``text``, the content of ``file``; ``base`` is where it stands."""
    faults: list[Fault] = []
    root = compose(text, file, faults)
    if root is None:
        return TestFile(DEFAULT_INTERVAL_MS, (), (), False, (), tuple(faults), ())
    return _File(root, faults, base, ignore_unknown).read()


class _File:
    def __init__(self, root: Node, faults: list[Fault], base: Path, ignore_unknown: bool) -> None:
        self._top = Section(root, faults, "the test file")
        self._faults = faults
        self._warnings: list[Fault] = []
        self._base = base
        self._ignore_unknown = ignore_unknown

    def read(self) -> TestFile:
        top = self._top
        # Prometheus takes 0 for "not given".
        interval = top.duration("evaluation_interval", 0) or DEFAULT_INTERVAL_MS
        order = top.texts("group_eval_order")
        for name in sorted({name for name in order if order.count(name) > 1}):
            top.fault("group_eval_order", f'the group "{name}" stands twice in the order')
        rules = self._rules()
        fuzzy = top.boolean("fuzzy_compare", False)
        tests = tuple(self._test(section, interval) for section in top.sections("tests", "a test"))
        top.done()
        faults = tuple(sorted(self._faults))
        return TestFile(interval, rules, order, fuzzy, tests, faults, tuple(self._warnings))

    def _rules(self) -> tuple[RuleGroup, ...]:
        groups: list[RuleGroup] = []
        for node in self._top.scalars("rule_files"):
            paths = _matches(node.text, self._base)
            if not paths:
                self._warnings.append(node.fault(f'no file matches "{node.text}"'))
            for path in paths:
                try:
                    text = path.read_text("utf-8")
                except (OSError, UnicodeDecodeError) as error:
                    self._faults.append(node.fault(f"{path} cannot be read: {error}"))
                    continue
                found = read_rules(text, str(path), ignore_unknown=self._ignore_unknown)
                groups += found.groups
                self._faults += found.faults
        return tuple(groups)

    def _test(self, section: Section, default: int) -> TestGroup:
        faults: list[Fault] = []
        interval = section.duration("interval", 0) or default
        series = [_series(each, faults) for each in section.sections("input_series", "a series")]
        alerts = [_alerts(each) for each in section.sections("alert_rule_test", "an alert test")]
        queries = [
            _query(each, faults) for each in section.sections("promql_expr_test", "a query test")
        ]
        group = TestGroup(
            name=section.text("name"),
            line=section.node.line,
            interval_ms=interval,
            series=tuple(one for one in series if one is not None),
            alerts=tuple(alerts),
            queries=tuple(queries),
            external_labels=_labels(section, "external_labels"),
            external_url=section.text("external_url"),
            start_ms=_start(section),
            faults=tuple(faults),
        )
        if group.last // default > MAX_EVALUATIONS:
            section.faults.append(
                section.node.fault(
                    f"the test needs more than {MAX_EVALUATIONS:,} evaluations",
                    "make evaluation_interval longer or eval_time earlier",
                )
            )
        section.done()
        return group


def _matches(pattern: str, base: Path) -> list[Path]:
    path = base / pattern
    if not any(sign in pattern for sign in "*?["):
        return [path] if path.is_file() else []
    if Path(pattern).is_absolute():
        anchor = Path(path.anchor)
        return sorted(p for p in anchor.glob(str(path.relative_to(anchor))) if p.is_file())
    return sorted(p for p in base.glob(pattern) if p.is_file())


def _labels(section: Section, key: str) -> Labels:
    pairs = section.pairs(key)
    return Labels.of((name.text, "" if value.is_null else value.text) for name, value in pairs)


def _start(section: Section) -> int:
    node = section.scalar("start_timestamp")
    if node is None:
        return 0
    try:
        return round(float(node.text) * 1000)
    except (ValueError, OverflowError):
        pass
    try:
        when = datetime.fromisoformat(node.text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        section.fault(
            "start_timestamp",
            f'not a time: "{node.text}"',
            "write seconds since the epoch, or 2024-01-31T12:00:00Z",
        )
        return 0
    return round(when.timestamp() * 1000)


def _series(section: Section, faults: list[Fault]) -> tuple[Labels, tuple[Point, ...]] | None:
    section.require("series")
    name, values = section.text("series"), section.text("values")
    section.done()
    try:
        labels, inline = series_line(name)
        if inline:
            raise ValueError("samples stand in `series`; write them into `values`")
        return labels, tuple(points(values))
    except (ValueError, PromQLSyntaxError) as error:
        faults.append(section.node.fault(f"not a series with its samples: {error}"))
        return None


def _alerts(section: Section) -> AlertCase:
    section.require("alertname")
    alerts = []
    for each in section.sections("exp_alerts", "an expected alert"):
        alerts.append(ExpectedAlert(_labels(each, "exp_labels"), _labels(each, "exp_annotations")))
        each.done()
    case = AlertCase(
        section.text("alertname"),
        section.duration("eval_time", 0),
        tuple(alerts),
        section.node.line,
    )
    section.done()
    return case


def _query(section: Section, faults: list[Fault]) -> QueryCase:
    section.require("expr")
    samples = [_sample(each, faults) for each in section.sections("exp_samples", "a sample")]
    case = QueryCase(
        section.text("expr"),
        section.duration("eval_time", 0),
        tuple(one for one in samples if one is not None),
        section.node.line,
    )
    section.done()
    return case


def _sample(section: Section, faults: list[Fault]) -> ExpectedSample | None:
    text = section.text("labels")
    histogram = section.text("histogram")
    value = _number(section, "value")
    section.done()
    try:
        labels = labels_of(text)
        return ExpectedSample(labels, _histogram(histogram) if histogram else value)
    except (ValueError, PromQLSyntaxError) as error:
        faults.append(section.node.fault(f"not a sample: {error}"))
        return None


def _histogram(text: str) -> HistogramValue:
    found: Sequence[object] = points(text)
    if len(found) == 1 and isinstance(found[0], HistogramValue):
        return found[0]
    raise ValueError(f'"{text}" is not one native histogram')


def _number(section: Section, key: str) -> float:
    node = section.scalar(key)
    if node is None or node.kind is not Kind.SCALAR:
        return 0.0
    text = node.text.replace("_", "").lower()
    try:
        if re.fullmatch(r"[-+]?0x[0-9a-f]+", text):
            return float(int(text, 16))
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        section.fault(key, f'"{key}" must be a number, not "{node.text}"')
        return 0.0
