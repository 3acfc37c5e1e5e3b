"""Alerts: instances of a rule for one label set, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vedette.model.labels import Labels


class AlertState(StrEnum):
    """Where an instance stands between its condition's first true moment and its end."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertInstance:
    """State of one alert of one rule, as the rule loop keeps and persists it.

    Attributes:
        rule: key of the rule, ``group file;group;alert name;hash of expression and labels``.
        labels: ``alertname``, the rule's labels, and those of the result series.
        annotations: expanded templates.
        state: pending, firing or resolved.
        value: result at the latest evaluation.
        active_at, fired_at, resolved_at, evaluated_at: milliseconds; 0 when it has not happened.
        sequence: ingest sequence that the latest evaluation saw.
    """

    rule: str
    labels: Labels
    annotations: Labels
    state: AlertState
    value: float
    active_at: int
    fired_at: int = 0
    resolved_at: int = 0
    evaluated_at: int = 0
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Alert:
    """What the notification pipeline is told: one alert that fires, or has ended.

    ``starts_at`` and ``ends_at`` are milliseconds; ``ends_at`` is 0 while it fires.
    """

    labels: Labels
    annotations: Labels
    starts_at: int
    ends_at: int = 0
    value: float = 0.0
    generator_url: str = ""

    @property
    def resolved(self) -> bool:
        """Whether the alert has ended."""
        return self.ends_at != 0
