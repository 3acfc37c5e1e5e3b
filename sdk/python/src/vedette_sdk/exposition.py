"""``GET /metrics``: the Prometheus text format, version 0.0.4."""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Lean(Collector):
    """The registry without its ``_created`` gauges, which double every counter and histogram."""

    def __init__(self, registry: Collector) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            created = f"{metric.name}_created"
            metric.samples = [sample for sample in metric.samples if sample.name != created]
            yield metric


def render(registry: CollectorRegistry) -> bytes:
    """Return the exposition of ``registry``, over all workers where several share a folder.

    Several worker processes share their figures through prometheus-client's
    ``PROMETHEUS_MULTIPROC_DIR``.
    """
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call] # it has no annotations
        registry = shared
    return generate_latest(_Lean(registry))
