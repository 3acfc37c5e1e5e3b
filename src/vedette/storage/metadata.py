"""Type, help and unit of metric families, as their senders say."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from itertools import islice

from vedette.model.metadata import MetricMetadata

_MOST_METRICS = 50_000
_MOST_STATEMENTS = 16
_LONGEST_HELP = 4096
_LONGEST_NAME = 1024


class KnownMetadata:
    """Implements ``MetadataStore`` in memory; what is new waits until somebody has saved it.

    At most ``metrics`` metric families, each with its sixteen latest statements, each of a bounded
    length: what goes beyond is counted in ``refused``.
    """

    def __init__(self, metrics: int = _MOST_METRICS) -> None:
        self.refused = 0
        self._limit = metrics
        self._lock = threading.Lock()
        self._known: set[MetricMetadata] = set()
        self._metrics: dict[str, list[MetricMetadata]] = {}
        self._unsaved: dict[MetricMetadata, None] = {}

    def __len__(self) -> int:
        return len(self._metrics)

    def put(self, statements: Sequence[MetricMetadata]) -> None:
        """Take what is new of ``statements``; see ``MetadataStore``."""
        for statement in statements:
            if statement not in self._known:
                self._take(statement, saved=False)

    def restore(self, statements: Sequence[MetricMetadata]) -> None:
        """Take statements, oldest first, that were saved by an earlier run."""
        for statement in statements:
            if statement not in self._known:
                self._take(statement, saved=True)

    def _take(self, statement: MetricMetadata, *, saved: bool) -> None:
        long = max(len(statement.metric), len(statement.type), len(statement.unit))
        full = statement.metric not in self._metrics and len(self._metrics) >= self._limit
        if full or long > _LONGEST_NAME or len(statement.help) > _LONGEST_HELP:
            self.refused += 1
            return
        with self._lock:
            of_metric = self._metrics.setdefault(statement.metric, [])
            if len(of_metric) >= _MOST_STATEMENTS:
                dropped = of_metric.pop()
                self._known.discard(dropped)
                self._unsaved.pop(dropped, None)
            of_metric.insert(0, statement)
            self._known.add(statement)
            if not saved:
                self._unsaved[statement] = None

    def metadata(
        self, metric: str = "", limit: int = 0, limit_per_metric: int = 0
    ) -> Mapping[str, Sequence[MetricMetadata]]:
        """Return statements by metric, the latest to be made first; see ``MetadataStore``."""
        with self._lock:
            names = [metric] if metric in self._metrics else [] if metric else self._metrics
            return {
                name: tuple(self._metrics[name][: limit_per_metric or None])
                for name in islice(names, limit or None)
            }

    def unsaved(self) -> tuple[MetricMetadata, ...]:
        """Return the statements that nobody has saved."""
        with self._lock:
            return tuple(self._unsaved)

    def saved(self, statements: Sequence[MetricMetadata]) -> None:
        """Note that ``statements`` are safe."""
        with self._lock:
            for statement in statements:
                self._unsaved.pop(statement, None)
