"""The metric families of an instrumented application, in a prometheus-client registry.

Counters are declared at zero, so that the first error is visible as an increase. Children are
bound once per label set: ``labels()`` costs several times what counting does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vedette_sdk.verdict import OTHER, StreamState

HTTP_BUCKETS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds. The preset for HTTP; it resolves neither health probes nor quick queries."""

FINE_HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds. For applications whose answers take milliseconds."""

FIRST_TOKEN_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
FIRST_AUDIO_BUCKETS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0)
COMPLETE_BUCKETS = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0, 15.0, 30.0, 60.0)
QUERY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
AI_BUCKETS = (0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0)

MAX_LABEL_SETS = 1000
MAX_LABEL_LENGTH = 120

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

M = TypeVar("M")


class Children(Generic[M]):
    """The bound children of one family; past :data:`MAX_LABEL_SETS` all labels read ``other``."""

    def __init__(self, bind: Callable[..., M]) -> None:
        self._labels = bind
        self._bound: dict[tuple[str, ...], M] = {}

    def get(self, *values: str) -> M:
        """Return the child of ``values``, in the order of the family's label names."""
        child = self._bound.get(values)
        return self._bind(values) if child is None else child

    def _bind(self, values: tuple[str, ...]) -> M:
        if len(self._bound) >= MAX_LABEL_SETS:
            return self._labels(*(OTHER for _ in values))
        child = self._labels(*(str(value)[:MAX_LABEL_LENGTH] for value in values))
        self._bound[values] = child
        return child


class Metrics:
    """Every family of one namespace; units are those of the names (seconds, counts)."""

    def __init__(
        self,
        registry: CollectorRegistry,
        namespace: str,
        http_buckets: Sequence[float] = HTTP_BUCKETS,
    ) -> None:
        if not _NAME.fullmatch(namespace):
            raise ValueError(
                f"not a metric prefix: {namespace!r}; use letters, digits and underscores"
            )
        self._registry = registry
        self._namespace = namespace
        self._declare_http(http_buckets)
        self._declare_streams()
        self._declare_helpers()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{self._namespace}_{name}", text, labels, registry=self._registry)

    def _counters(self, name: str, text: str, *labels: str) -> Children[Counter]:
        return Children(self._counter(name, text, *labels).labels)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(
            f"{self._namespace}_{name}",
            text,
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(
            f"{self._namespace}_{name}", text, labels, registry=self._registry, buckets=buckets
        )

    def _histograms(
        self, name: str, text: str, buckets: Sequence[float], *labels: str
    ) -> Children[Histogram]:
        return Children(self._histogram(name, text, buckets, *labels).labels)

    def _declare_http(self, buckets: Sequence[float]) -> None:
        labels = ("method", "route", "status_code")
        self.http_requests = self._counters("http_requests", "Requests by route template.", *labels)
        self.http_duration = self._histograms(
            "http_request_duration_seconds",
            "Time from the receipt of a request to the end of its answer.",
            buckets,
            *labels,
        )
        self.http_in_flight = self._gauge(
            "http_requests_in_flight", "Requests that are being answered."
        )
        self.slow_requests = self._counter(
            "slow_requests", "Requests that took longer than the limit for slow ones."
        )

    def _declare_streams(self) -> None:
        self.streams_started = self._counter("streams_started", "Answer streams begun.")
        ended = self._counter("streams", "Answer streams ended, by their one end state.", "state")
        self.streams_ended = {state: ended.labels(state.value) for state in StreamState}
        self.active_streams = self._gauge("active_streams", "Answer streams under way.")
        self.first_token = self._histogram(
            "stream_first_token_seconds",
            "Time from the receipt of the request to the first text token.",
            FIRST_TOKEN_BUCKETS,
        )
        self.first_audio = self._histogram(
            "stream_first_audio_seconds",
            "Time from the receipt of the request to the first audio chunk.",
            FIRST_AUDIO_BUCKETS,
        )
        self.complete = self._histogram(
            "stream_complete_seconds",
            "Time from the receipt of the request to the end of a completed answer.",
            COMPLETE_BUCKETS,
        )
        self.stream_errors = self._counters(
            "stream_errors", "Errors of answer streams by class.", "class"
        )
        self.stream_words = self._counter("stream_words", "Words sent in answer streams.")
        self.ai_tokens = self._counters("ai_tokens", "Tokens of language models.", "model", "kind")

    def _declare_helpers(self) -> None:
        self.cache_requests = self._counters(
            "cache_requests", "Look-ups in named caches.", "cache", "outcome"
        )
        self.errors = self._counters(
            "errors", "Errors reported by the application.", "type", "severity"
        )
        self.messages = self._counters(
            "messages", "Chat messages by role and language.", "role", "language"
        )
        self.ai_duration = self._histograms(
            "ai_request_duration_seconds",
            "Duration of requests to language models.",
            AI_BUCKETS,
            "model",
            "status",
        )
        self.query_duration = self._histograms(
            "db_query_duration_seconds",
            "Duration of database queries by their first word.",
            QUERY_BUCKETS,
            "operation",
            "status",
        )
        self.launches = self._counters(
            "launches", "Launches from learning platforms.", "platform", "status"
        )
        self.launch_duration = self._histogram(
            "launch_duration_seconds", "Duration of launches.", HTTP_BUCKETS
        )


class ShippingMetrics:
    """What became of the events; the same names whatever the application's namespace is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        dropped = Counter(
            "vedette_sdk_events_dropped",
            "Events that were given up, by reason.",
            ("reason",),
            registry=registry,
        )
        self.dropped = {reason: dropped.labels(reason) for reason in DROP_REASONS}
        self.sent = Counter(
            "vedette_sdk_events_sent", "Events that the server accepted.", registry=registry
        )


DROP_REASONS = ("queue_full", "rejected", "refused", "too_large", "unserialisable")
"""``rejected``: this event alone; ``refused``: the whole batch, as with a wrong ingest key."""

_families: WeakKeyDictionary[CollectorRegistry, dict[str, Metrics]] = WeakKeyDictionary()
_shipping: WeakKeyDictionary[CollectorRegistry, ShippingMetrics] = WeakKeyDictionary()


def metrics_of(
    registry: CollectorRegistry, namespace: str, http_buckets: Sequence[float] = HTTP_BUCKETS
) -> Metrics:
    """Return the families of ``namespace`` in ``registry``, declaring them at the first call.

    Raises:
        ValueError: ``namespace`` is not a metric name, or something else has taken the names.
    """
    known = _families.setdefault(registry, {})
    if namespace not in known:
        known[namespace] = Metrics(registry, namespace, http_buckets)
    return known[namespace]


def shipping_metrics_of(registry: CollectorRegistry) -> ShippingMetrics:
    """Return the families of event shipping in ``registry``."""
    if registry not in _shipping:
        _shipping[registry] = ShippingMetrics(registry)
    return _shipping[registry]
