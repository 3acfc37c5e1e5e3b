"""What the rule engine shows of itself, and what it counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from vedette.model.alerts import AlertInstance
from vedette.model.labels import Labels
from vedette.rules.evaluate import Change
from vedette.rules.rule import Rule, RuleGroup


class RuleHealth(StrEnum):
    """Health of a rule, named as the rules API of Prometheus names it."""

    UNKNOWN = "unknown"
    OK = "ok"
    ERR = "err"


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """One rule and its latest evaluation.

    Attributes:
        labels, annotations: the texts of their templates, unexpanded.
        last_evaluation_ms: milliseconds, 0 before the first.
        evaluation_seconds: how long the latest evaluation took.
        alerts: all instances, resolved ones of the last 15 minutes included.
    """

    rule: Rule
    labels: Labels
    annotations: Labels
    health: RuleHealth = RuleHealth.UNKNOWN
    last_error: str = ""
    last_evaluation_ms: int = 0
    evaluation_seconds: float = 0.0
    alerts: tuple[AlertInstance, ...] = ()

    @classmethod
    def of(cls, rule: Rule) -> RuleStatus:
        """Return the status of a rule that was not evaluated yet."""
        labels = Labels.of((name, template.text) for name, template in rule.labels)
        annotations = Labels.of((name, template.text) for name, template in rule.annotations)
        return cls(rule, labels, annotations)


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group and its latest evaluation.

    ``iterations`` counts its evaluations, ``missed`` those that were left out because the one
    before took too long.
    """

    group: RuleGroup
    rules: tuple[RuleStatus, ...]
    last_evaluation_ms: int = 0
    evaluation_seconds: float = 0.0
    missed: int = 0
    iterations: int = 0


@dataclass(slots=True)
class RuleCounters:
    """Counts since the start, for the metrics endpoint.

    Attributes:
        evaluations, failures: evaluations of single rules, and those that failed.
        missed: evaluations of whole groups that were left out because the one before took too long.
        samples: samples written (recorded series, ALERTS, ALERTS_FOR_STATE, staleness markers).
        samples_refused: those that storage refused.
        state_failures: times that alert states or leases could not be read or written.
        changes: changes of alert states by :class:`Change`.
    """

    evaluations: int = 0
    failures: int = 0
    missed: int = 0
    samples: int = 0
    samples_refused: int = 0
    state_failures: int = 0
    changes: Counter[Change] = field(default_factory=Counter)
