"""What is known of metrics, by the names of their series."""

from __future__ import annotations

from collections.abc import Mapping

from vedette.model.metadata import MetricMetadata

_SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_info", "_created")


class Described:
    """Finds the statement on the family that a series belongs to."""

    def __init__(self, families: Mapping[str, MetricMetadata]) -> None:
        self._families = families

    def __call__(self, metric: str) -> MetricMetadata | None:
        """Return what is known of ``metric``, or of the family that its suffix makes it part of."""
        found = self._families.get(metric)
        if found is not None:
            return found
        for suffix in _SUFFIXES:
            if metric.endswith(suffix):
                return self._families.get(metric.removesuffix(suffix))
        return None


class _Nothing:
    def described(self) -> Mapping[str, MetricMetadata]:
        return {}


NOTHING_KNOWN = _Nothing()
"""``Descriptions`` where nobody has said anything."""
