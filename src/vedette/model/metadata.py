"""What senders say about metric families: type, help and unit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """One statement on a metric family; empty strings where nothing is said.

    Attributes:
        metric: name of the family, which is the metric's name without suffixes such as ``_bucket``.
        type: as in OpenMetrics (``counter``, ``gauge``, ``histogram``, …), or ``unknown``.
        help: text for people.
        unit: base unit, such as ``seconds``.
    """

    metric: str
    type: str = "unknown"
    help: str = ""
    unit: str = ""
