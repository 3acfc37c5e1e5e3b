"""Rules and groups as they are evaluated: read, checked, with their templates compiled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from vedette.rules.templates import Template

# Part of every persisted alert state: a change of the canonical form needs a new version here.
_RULE_KEY_VERSION = b"vedette-rule-1"


class RuleKind(StrEnum):
    """What a rule makes of its result, named as the rules API of Prometheus names it."""

    ALERTING = "alerting"
    RECORDING = "recording"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        kind: alerting or recording.
        name: the alert's name, or the recorded metric's.
        expr: PromQL text.
        labels, annotations: name and template, sorted by name.
        hold_ms: ``for``; keep_firing_ms: ``keep_firing_for``.
        file, line: where it stands.
        key: identity under which its state is kept (see :func:`rule_key`).
        first_occurrence: whether the first sample of a new series counts as an increase.
        app: the application that its series belong to; "" where the rule does not say.
    """

    kind: RuleKind
    name: str
    expr: str
    labels: tuple[tuple[str, Template], ...] = ()
    annotations: tuple[tuple[str, Template], ...] = ()
    hold_ms: int = 0
    keep_firing_ms: int = 0
    file: str = ""
    line: int = 0
    key: str = ""
    first_occurrence: bool = True
    app: str = ""


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Rules that are evaluated one after the other, at the same timestamps.

    Attributes:
        interval_ms: between two evaluations.
        limit: the most alerts or series that a rule of the group may yield; 0 is unlimited.
        query_offset_ms: how far in the past the expressions are evaluated; ``None`` means the
            server's own setting.
    """

    name: str
    file: str
    interval_ms: int
    rules: tuple[Rule, ...]
    limit: int = 0
    query_offset_ms: int | None = None

    @property
    def key(self) -> str:
        """Identity of the group among all files."""
        return f"{self.file};{self.name}"


def rule_key(
    file: str, group: str, name: str, expr: str, labels: tuple[tuple[str, Template], ...]
) -> str:
    """Return the identity of a rule: where it stands, its name, and a hash of what it asks.

    Durations and annotations are left out: an edit of them keeps the state of its alerts.
    """
    parts = [expr, *(f"{label}\x00{template.text}" for label, template in labels)]
    digest = blake2b("\x01".join(parts).encode(), digest_size=8, person=_RULE_KEY_VERSION)
    return f"{file};{group};{name};{digest.hexdigest()}"
