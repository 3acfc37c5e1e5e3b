"""What a page shows: panels, their queries, and the thresholds that give a value its state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class KpiState(StrEnum):
    """How a value stands against its thresholds (LAT-09)."""

    TARGET_MET = "target_met"
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"
    NO_DATA = "no_data"


class Better(StrEnum):
    """Which direction of a value is the good one."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Target, warning and critical levels in the panel's unit; ``None`` where there is none."""

    target: float | None
    warning: float | None
    critical: float | None
    better: Better = Better.LOWER


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One PromQL expression of a panel; ``{{label}}`` in the legend stands for a label's value."""

    id: str
    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One tile or chart; ``state_of`` names the query whose value is held against the threshold."""

    id: str
    title: str
    description: str
    unit: str
    queries: tuple[PanelQuery, ...]
    kind: str = "timeseries"
    threshold: Threshold | None = None
    state_of: str | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels, refreshed every ``refresh_seconds``."""

    title: str
    app: str
    refresh_seconds: float
    panels: tuple[Panel, ...]


def classify(value: float | None, threshold: Threshold) -> KpiState:
    """Return the state of ``value``.

    Targets are met when equal (LAT-01 says "≤"), warning and critical begin beyond their level
    (it says ">"). Between target and warning the state is ``ok``.
    """
    if value is None or math.isnan(value):
        return KpiState.NO_DATA
    sign = 1 if threshold.better is Better.LOWER else -1
    if threshold.critical is not None and sign * value > sign * threshold.critical:
        return KpiState.CRITICAL
    if threshold.warning is not None and sign * value > sign * threshold.warning:
        return KpiState.WARNING
    if threshold.target is not None and sign * value > sign * threshold.target:
        return KpiState.OK
    return KpiState.TARGET_MET
