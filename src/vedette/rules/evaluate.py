"""What a rule makes of a query's result: pure, with ``now`` and the previous state as arguments.

The semantics are Prometheus': an alert is pending until its condition has held for ``for``, fires,
and is resolved when the condition ends, after ``keep_firing_for`` where that is given. A resolved
instance is kept for 15 minutes so that its end is told more than once.

One thing is kept differently: while ``keep_firing_for`` holds an alert, its state is firing and
``resolved_at`` says since when the condition is false; so a restart does not begin it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from vedette.model.alerts import AlertInstance, AlertState
from vedette.model.histograms import HistogramValue, histogram_value
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.results import QueryResult, ScalarResult, VectorResult
from vedette.model.samples import is_absent
from vedette.rules.gotemplate.values import Struct, Value
from vedette.rules.histogram_text import histogram_text
from vedette.rules.rule import Rule, RuleKind
from vedette.rules.templates import Surrounding, Template, TemplateData, TemplateError

_NOTHING = Surrounding()
RESOLVED_RETENTION_MS = 15 * 60_000


class RuleError(Exception):
    """A rule could not be evaluated; its alerts stay as they were."""


class Change(StrEnum):
    """Why the state of an alert is another one than before."""

    CONDITION_MET = "condition_met"
    HELD_LONG_ENOUGH = "held_long_enough"
    CONDITION_ENDED_WHILE_PENDING = "condition_ended_while_pending"
    CONDITION_ENDED = "condition_ended"
    KEPT_FIRING = "kept_firing"
    RETENTION_PASSED = "retention_passed"
    RULE_REMOVED = "rule_removed"
    UNSEEN_TOO_LONG = "unseen_too_long"


@dataclass(frozen=True, slots=True)
class StateChange:
    """One alert's change of state at one evaluation."""

    labels: Labels
    change: Change


@dataclass(frozen=True, slots=True)
class Series:
    """One sample to write, by the labels of its series (``__name__`` included)."""

    labels: Labels
    value: float | HistogramValue


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation of one rule yields."""

    instances: tuple[AlertInstance, ...] = ()
    samples: tuple[Series, ...] = ()
    changes: tuple[StateChange, ...] = ()


def evaluate(
    rule: Rule,
    result: QueryResult | None,
    previous: Sequence[AlertInstance],
    now_ms: int,
    sequence: int = 0,
    limit: int = 0,
    around: Surrounding = _NOTHING,
) -> Evaluation:
    """Return what ``rule`` makes of ``result``, given its instances of the evaluation before.

    ``None`` is a result without series.

    Raises:
        RuleError: the result is no vector, two results get the same labels, or there are more
            than ``limit`` of them.
    """
    rows = [] if result is None else rows_of(result)
    if rule.kind is RuleKind.RECORDING:
        samples = _record(rule, rows)
        _check_limit(len(samples), limit, "series")
        return Evaluation(samples=samples)
    fresh = _fresh(rule, rows, now_ms, sequence, around)
    instances, changes = _advance(rule, fresh, previous, now_ms, sequence)
    active = [one for one in instances if one.state is not AlertState.RESOLVED]
    _check_limit(len(active), limit, "alerts")
    return Evaluation(tuple(instances), tuple(state_series(active)), tuple(changes))


def _check_limit(count: int, limit: int, what: str) -> None:
    if limit and count > limit:
        raise RuleError(f"the group's limit of {limit} is exceeded with {count} {what}")


def rows_of(result: QueryResult) -> list[Series]:
    """Return the rows of an instant result at its last time.

    Raises:
        RuleError: it is neither a vector nor a scalar.
    """
    if isinstance(result, ScalarResult):
        return [Series(Labels(), float(result.values[-1]))]
    if not isinstance(result, VectorResult):
        raise RuleError("a rule's expression must yield an instant vector or a scalar")
    if not len(result.ts) or not len(result.values):
        return []
    values = np.ascontiguousarray(result.values[:, -1])
    here = np.flatnonzero(~is_absent(values))
    labels = result.labels if len(here) == len(values) else result.labels.take(here)
    rows = [Series(one, v) for one, v in zip(labels.rows(), values[here].tolist(), strict=True)]
    native = result.histograms
    if native is not None:
        for k, number in enumerate(native.index[here, -1].tolist()):
            if number >= 0:
                rows[k] = Series(rows[k].labels, histogram_value(native, number))
    return rows


def rows_in_order(query: str, result: QueryResult) -> list[Series]:
    """Return the rows of ``result`` by their labels, unless ``query`` has an order of its own.

    Templates take the first row of a query; which that is must not hang on chance.

    Raises:
        RuleError: as ``rows_of``.
    """
    rows = rows_of(result)
    if query.lstrip(" (").startswith(("sort", "topk", "bottomk")):
        return rows
    return sorted(rows, key=lambda row: row.labels.pairs)


def _record(rule: Rule, rows: Iterable[Series]) -> tuple[Series, ...]:
    added = {name: template.text for name, template in rule.labels} | {METRIC_NAME: rule.name}
    found: dict[Labels, Series] = {}
    for row in rows:
        target = row.labels.merged(added)
        if target in found:
            raise RuleError(
                f"two results have the same labels after the rule's labels are applied: {target}"
            )
        found[target] = Series(target, row.value)
    return tuple(found.values())


def _fresh(
    rule: Rule, rows: Iterable[Series], now_ms: int, sequence: int, around: Surrounding
) -> dict[Labels, AlertInstance]:
    found: dict[Labels, AlertInstance] = {}
    for row in rows:
        data = TemplateData(row.labels, template_value(row.value), around)
        added = _expand(rule.labels, data) | {"alertname": rule.name}
        labels = row.labels.without(METRIC_NAME).merged(added)
        if labels in found:
            raise RuleError(
                "vector contains metrics with the same labelset after applying alert labels: "
                f"{labels}"
            )
        found[labels] = AlertInstance(
            rule=rule.key,
            labels=labels,
            annotations=Labels.of(_expand(rule.annotations, data)),
            state=AlertState.PENDING,
            # A histogram has no single value; Prometheus says 0 there too.
            value=row.value if isinstance(row.value, float) else 0.0,
            active_at=now_ms,
            evaluated_at=now_ms,
            sequence=sequence,
        )
    return found


def template_value(value: float | HistogramValue) -> Value:
    """Return a sample's value as templates see it."""
    if isinstance(value, float):
        return value
    fields: dict[str, Value] = {"Count": value.count, "Sum": value.sum, "Schema": value.schema}
    return Struct("*histogram.FloatHistogram", fields, text=histogram_text(value))


def _expand(templates: Iterable[tuple[str, Template]], data: TemplateData) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, template in templates:
        try:
            texts[name] = template.expand(data)
        except TemplateError as error:
            # As in Prometheus: an alert whose text cannot be made must fire all the same.
            texts[name] = f"<error expanding template: {error.message}>"
    return texts


def _advance(
    rule: Rule,
    fresh: dict[Labels, AlertInstance],
    previous: Sequence[AlertInstance],
    now_ms: int,
    sequence: int,
) -> tuple[list[AlertInstance], list[StateChange]]:
    instances: list[AlertInstance] = []
    changes: list[StateChange] = []

    def take(instance: AlertInstance | None, labels: Labels, change: Change | None) -> None:
        if change is not None:
            changes.append(StateChange(labels, change))
        if instance is not None:
            instances.append(instance)

    seen: set[Labels] = set()
    for old in previous:
        new = fresh.get(old.labels)
        if new is None:
            stamped = replace(old, evaluated_at=now_ms, sequence=sequence)
            take(*_absent(rule, stamped, now_ms))
        elif old.state is not AlertState.RESOLVED:
            seen.add(old.labels)
            take(*_present(rule, _continued(old, new), now_ms))
    for labels, new in fresh.items():
        if labels not in seen:
            instance, _, change = _present(rule, new, now_ms)
            take(instance, labels, change or Change.CONDITION_MET)
    return instances, changes


def _continued(old: AlertInstance, new: AlertInstance) -> AlertInstance:
    # A clock that was set back must not make an alert wait for longer than its "for".
    active_at = min(old.active_at, new.active_at)
    return replace(new, state=old.state, active_at=active_at, fired_at=old.fired_at, resolved_at=0)


def _present(
    rule: Rule, instance: AlertInstance, now_ms: int
) -> tuple[AlertInstance, Labels, Change | None]:
    """The condition is met."""
    if instance.state is AlertState.FIRING or now_ms - instance.active_at < rule.hold_ms:
        return instance, instance.labels, None
    fired = replace(instance, state=AlertState.FIRING, fired_at=now_ms)
    return fired, instance.labels, Change.HELD_LONG_ENOUGH


def _absent(
    rule: Rule, instance: AlertInstance, now_ms: int
) -> tuple[AlertInstance | None, Labels, Change | None]:
    """The condition is not met."""
    labels = instance.labels
    if instance.state is AlertState.PENDING:
        return None, labels, Change.CONDITION_ENDED_WHILE_PENDING
    if instance.state is AlertState.RESOLVED:
        if now_ms - instance.resolved_at > RESOLVED_RETENTION_MS:
            return None, labels, Change.RETENTION_PASSED
        return instance, labels, None
    since = min(instance.resolved_at or now_ms, now_ms)
    if now_ms - since < rule.keep_firing_ms:
        change = None if instance.resolved_at else Change.KEPT_FIRING
        return replace(instance, resolved_at=since), labels, change
    ended = replace(instance, state=AlertState.RESOLVED, resolved_at=now_ms)
    return ended, labels, Change.CONDITION_ENDED


def state_series(instances: Iterable[AlertInstance]) -> Iterable[Series]:
    """Yield ``ALERTS`` and ``ALERTS_FOR_STATE`` of those that are pending or fire."""
    for one in instances:
        if one.state is AlertState.RESOLVED:
            continue
        yield Series(one.labels.merged({METRIC_NAME: "ALERTS", "alertstate": one.state.value}), 1.0)
        yield Series(one.labels.merged({METRIC_NAME: "ALERTS_FOR_STATE"}), one.active_at / 1000)


@dataclass(frozen=True, slots=True)
class Outage:
    """How a time in which nobody evaluated is taken; all in milliseconds.

    Attributes:
        tolerance: after a longer one a pending alert begins anew.
        grace: an alert whose ``for`` is at least this long waits so long at least before it fires.
        brief: so short a time changes nothing.
    """

    tolerance: int = 3_600_000
    grace: int = 600_000
    brief: int = 0


def restore(
    rules: Iterable[Rule], stored: Iterable[AlertInstance], now_ms: int, outage: Outage
) -> Evaluation:
    """Return the instances to go on with after a start; ``changes`` says what became of others.

    Firing alerts stay as they are: the next evaluation goes on with them or resolves them. A rule
    that is gone resolves its alerts. The time that a pending alert was not watched does not count
    for its ``for``, as Prometheus restores it from ``ALERTS_FOR_STATE``.
    """
    known = {rule.key: rule for rule in rules}
    instances: list[AlertInstance] = []
    changes: list[StateChange] = []
    for one in stored:
        kept, change = _restored(one, known.get(one.rule), now_ms, outage)
        if kept is not None:
            instances.append(kept)
        if change is not None:
            changes.append(StateChange(one.labels, change))
    return Evaluation(tuple(instances), changes=tuple(changes))


def _restored(
    one: AlertInstance, rule: Rule | None, now_ms: int, outage: Outage
) -> tuple[AlertInstance | None, Change | None]:
    if one.state is AlertState.PENDING:
        if rule is None:
            return None, Change.RULE_REMOVED
        if now_ms - one.evaluated_at > outage.tolerance:
            return None, Change.UNSEEN_TOO_LONG
        return replace(one, active_at=_resumed(one, rule.hold_ms, now_ms, outage)), None
    if rule is not None:
        return one, None
    if one.state is AlertState.FIRING:
        ended = replace(one, state=AlertState.RESOLVED, resolved_at=now_ms)
        return ended, Change.RULE_REMOVED
    if now_ms - one.resolved_at > RESOLVED_RETENTION_MS:
        return None, Change.RETENTION_PASSED
    return one, None


def _resumed(one: AlertInstance, hold_ms: int, now_ms: int, outage: Outage) -> int:
    """Return since when a pending alert shall count as active."""
    away = now_ms - one.evaluated_at
    remaining = hold_ms - (one.evaluated_at - one.active_at)
    if away <= outage.brief or remaining <= 0:
        return one.active_at
    if hold_ms >= outage.grace and remaining < outage.grace:
        return now_ms + outage.grace - hold_ms
    return one.active_at + away
