"""Metric families from plain mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

# From a tuple of label values to the value; mappings are invariant in their keys, hence Any.
Labelled = Mapping[Any, float]


def counter(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """Return a counter family; ``_total`` is added to the name."""
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family


def gauge(name: str, text: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    """Return a gauge family."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family
