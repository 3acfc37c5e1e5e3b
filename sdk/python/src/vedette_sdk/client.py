"""The one place where the SDK is put together: options, metrics, shipping, clock."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client import REGISTRY, CollectorRegistry

from vedette_sdk.clock import Clock, SystemClock
from vedette_sdk.metrics import HTTP_BUCKETS, metrics_of, shipping_metrics_of
from vedette_sdk.shipping import Shipper, ShippingOptions
from vedette_sdk.streams import StreamRecord, StreamTracker, abandoned, new_record
from vedette_sdk.verdict import FAILURES, OTHER, StreamState

ERROR_CLASSES = ("openai", "tts", "network", "validation", "other")
"""The preset of AVL-05; ``openai`` stands for the language model's provider (AVL-06)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What ``init()`` was told; times in seconds.

    Attributes:
        app: name of the application at the server.
        namespace: prefix of the metrics' names.
        url: the server, such as ``http://127.0.0.1:9797``; without it nothing is sent.
        ingest_key: the application's key for sending events.
        error_classes: classes of stream errors; ``other`` is always one of them.
        provider_class: class of the language model provider's own failures; ``None`` takes the
            first of ``error_classes``.
        slow_request_seconds: requests above it are logged and counted as slow (MET-15).
        stall_after, timeout: limits of streams that name none of their own.
        http_buckets: upper bounds of the HTTP histogram.
        caches: names of the caches whose counters start at zero.
        batch_size, flush_interval, queue_size: how events are sent (ING-04).
    """

    app: str = "default"
    namespace: str = "chatbot"
    url: str | None = None
    ingest_key: str | None = field(default=None, repr=False)
    error_classes: Sequence[str] = ERROR_CLASSES
    provider_class: str | None = None
    slow_request_seconds: float = 5.0
    stall_after: float | None = None
    timeout: float | None = None
    http_buckets: Sequence[float] = HTTP_BUCKETS
    caches: Sequence[str] = ()
    batch_size: int = 200
    flush_interval: float = 1.0
    queue_size: int = 10_000


class Client:
    """An instrumented application. Nothing that it does while serving ever raises."""

    def __init__(
        self,
        options: Options,
        *,
        registry: CollectorRegistry | None = None,
        clock: Clock | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.options = options
        self.registry = registry or REGISTRY
        self.metrics = metrics_of(self.registry, options.namespace, options.http_buckets)
        self._clock: Clock = clock or SystemClock()
        self._classes = frozenset(options.error_classes) | {OTHER}
        self.provider_class = options.provider_class or next(iter(options.error_classes), OTHER)
        for name in sorted(self._classes):
            self.metrics.stream_errors.get(name)
        for cache in options.caches:
            self.metrics.cache_requests.get(cache, "hit")
            self.metrics.cache_requests.get(cache, "miss")
        # Filled by the garbage collector, which may run while any lock is held.
        self._orphans: deque[StreamRecord] = deque()
        self._shipper = self._make_shipper(transport)

    def _make_shipper(self, transport: httpx.BaseTransport | None) -> Shipper | None:
        options = self.options
        metrics = shipping_metrics_of(self.registry)
        if not options.url:
            return None
        shipping = ShippingOptions(
            url=options.url,
            app=options.app,
            ingest_key=options.ingest_key,
            batch_size=max(1, options.batch_size),
            flush_interval=max(0.01, options.flush_interval),
            queue_size=max(1, options.queue_size),
        )
        return Shipper(shipping, metrics, self._clock, transport=transport, sweep=self.sweep)

    @property
    def clock(self) -> Clock:
        """The clock that every figure is taken from."""
        return self._clock

    def error_class(self, name: str | None) -> str:
        """Return ``name`` where it is a declared class, else ``other``."""
        return name if name is not None and name in self._classes else OTHER

    def send_event(self, kind: str, data: Mapping[str, Any]) -> None:
        """Queue an event of type ``kind`` for the server, where there is one."""
        if self._shipper is not None:
            self._shipper.put(kind, data)

    def flush(self, seconds: float = 5.0) -> bool:
        """Send what is queued; return whether all of it left within ``seconds``."""
        self.sweep()
        return self._shipper is None or self._shipper.flush(seconds)

    def close(self, seconds: float = 5.0) -> bool:
        """Flush and stop sending; figures are still counted."""
        self.sweep()
        return self._shipper is None or self._shipper.close(seconds)

    def track_stream(
        self,
        *,
        client_id: str = "",
        chatbot_id: str = "",
        model: str = "unknown",
        stream_id: str | None = None,
        stall_after: float | None = None,
        timeout: float | None = None,
        must_finish: bool = True,
        provider_class: str | None = None,
    ) -> StreamTracker:
        """Return the tracker of one answer stream, to be entered with ``async with``."""
        record = new_record(
            client_id=client_id,
            chatbot_id=chatbot_id,
            model=model,
            stream_id=stream_id,
            must_finish=must_finish,
            provider_class=self.error_class(provider_class or self.provider_class),
        )
        options = self.options
        return StreamTracker(
            self,
            record,
            stall_after=options.stall_after if stall_after is None else stall_after,
            timeout=options.timeout if timeout is None else timeout,
        )

    def stream_started(self, record: StreamRecord) -> None:
        """Count a stream as begun and active."""
        self.sweep()
        self.metrics.streams_started.inc()
        self.metrics.active_streams.inc()

    def stream_abandoned(self, record: StreamRecord) -> None:
        """Remember a stream that was collected; appending to a deque takes no lock."""
        self._orphans.append(record)

    def sweep(self) -> None:
        """End the streams that were abandoned since the last time."""
        while self._orphans:
            try:
                record = self._orphans.popleft()
            except IndexError:  # another thread was faster
                return
            abandoned(record)
            self.stream_ended(record)

    def stream_ended(self, record: StreamRecord) -> None:
        """Write the figures of a stream that has ended, and send its event."""
        verdict = record.verdict
        if verdict is None:
            return
        now = self._clock.monotonic()
        metrics = self.metrics
        metrics.active_streams.dec()
        metrics.streams_ended[verdict.state].inc()
        failed = self.error_class(verdict.error_class) if verdict.state in FAILURES else None
        if failed is not None:
            metrics.stream_errors.get(failed).inc()
        for name, count in record.error_counts.items():
            metrics.stream_errors.get(self.error_class(name)).inc(count)
        if record.first_token is not None:
            metrics.first_token.observe(record.first_token - record.received)
        if record.first_audio is not None:
            metrics.first_audio.observe(record.first_audio - record.received)
        if verdict.state is StreamState.COMPLETED:
            metrics.complete.observe(now - record.received)
        metrics.stream_words.inc(record.words)
        metrics.ai_tokens.get(record.model, "prompt").inc(record.prompt_tokens or 0)
        metrics.ai_tokens.get(record.model, "completion").inc(record.tokens_out)
        self.send_event("stream_end", self._stream_event(record, now, failed))

    def _stream_event(self, record: StreamRecord, now: float, failed: str | None) -> dict[str, Any]:
        verdict = record.verdict
        assert verdict is not None  # noqa: S101 - the caller has asked
        gaps = record.pieces - 1
        first = record.first_token
        return {
            "stream_id": record.stream_id,
            "timestamp": self._clock.now_ms(),
            "state": verdict.state.value,
            "reason": verdict.reason,
            "client_id": record.client_id,
            "chatbot_id": record.chatbot_id,
            "model": record.model,
            "first_token_ms": _ms(first, record.received),
            "first_token_from_start_ms": _ms(first, record.begun),
            "inter_token_ms": _ms(record.last_token, first, gaps) if gaps > 0 else None,
            "first_audio_ms": _ms(record.first_audio, record.received),
            "duration_ms": _ms(now, record.received),
            "words": record.words,
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.tokens_out,
            "tokens_estimated": record.tokens_estimated,
            "error_class": failed,
        }

    def count_cache(self, cache: str, *, hit: bool) -> None:
        """Count a look-up in a named cache (CCH-03)."""
        self.metrics.cache_requests.get(cache, "hit" if hit else "miss").inc()

    def track_chat_message(self, role: str, language: str = "") -> None:
        """Count a chat message."""
        self.metrics.messages.get(role, language or "unknown").inc()

    def track_ai_request(
        self,
        model: str,
        start_time: float,
        success: bool = True,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
    ) -> None:
        """Measure a request to a language model that was not tracked as a stream.

        ``start_time`` is what ``time.monotonic()``, or ``time.time()`` in seconds, gave when the
        request began.
        """
        duration = max(0.0, self._since(start_time))
        self.metrics.ai_duration.get(model, _status(success)).observe(duration)
        self.metrics.ai_tokens.get(model, "prompt").inc(max(0, prompt_tokens))
        self.metrics.ai_tokens.get(model, "completion").inc(max(0, completion_tokens))

    def _since(self, start: float) -> float:
        # A machine that has been up for thirty years is less likely than the other clock.
        if start > 1e9:
            return self._clock.now_ms() / 1000 - start
        return self._clock.monotonic() - start

    def record_error(self, error_type: str, severity: str = "error") -> None:
        """Count an error of the application."""
        self.metrics.errors.get(error_type, severity).inc()

    def record_query(self, query: str, duration: float, success: bool = True) -> None:
        """Measure a database query that took ``duration`` seconds, and send it as an event.

        Literals are taken out of the text: they are the users' data.
        """
        words = query.split(None, 1)
        operation = words[0].lower() if words and words[0].isalpha() else "other"
        self.metrics.query_duration.get(operation, _status(success)).observe(max(0.0, duration))
        data = {"query": without_literals(query), "duration_ms": round(duration * 1000, 3)}
        self._report("database_metric", data, success)

    def record_launch(
        self,
        platform_id: str,
        success: bool,
        duration: float,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Measure a launch from a learning platform that took ``duration`` seconds."""
        self.metrics.launches.get(platform_id, _status(success)).inc()
        self.metrics.launch_duration.observe(max(0.0, duration))
        data = {"platform_id": platform_id, "duration_ms": round(duration * 1000, 3)}
        self._report("lti_launch", {**data, "context": dict(context or {})}, success)

    def _report(self, kind: str, data: Mapping[str, Any], success: bool) -> None:
        self.send_event(kind, {**data, "success": success, "timestamp": self._clock.now_ms()})


_LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_MAX_QUERY = 500


def without_literals(query: str) -> str:
    """Return at most 500 characters of ``query`` with ``?`` for every string and number."""
    return " ".join(_LITERAL.sub("?", query[: 4 * _MAX_QUERY]).split())[:_MAX_QUERY]


def _ms(later: float | None, earlier: float | None, parts: int = 1) -> float | None:
    if later is None or earlier is None:
        return None
    return round((later - earlier) * 1000 / parts, 3)


def _status(success: bool) -> str:
    return "success" if success else "error"


_lock = threading.Lock()
_current: Client | None = None


def init(
    *,
    app: str = "default",
    namespace: str = "chatbot",
    url: str | None = None,
    ingest_key: str | None = None,
    registry: CollectorRegistry | None = None,
    clock: Clock | None = None,
    transport: httpx.BaseTransport | None = None,
    **options: Any,
) -> Client:
    """Set the SDK up, once, when the application starts; further options are those of ``Options``.

    ``url`` and ``ingest_key`` default to ``VEDETTE_URL`` and ``VEDETTE_INGEST_KEY``. Without a
    url everything works, and events go nowhere.

    Raises:
        ValueError: ``namespace`` is not a metric name, or ``url`` no http address.
        TypeError: an option that does not exist.
    """
    url = url or os.environ.get("VEDETTE_URL") or None
    if url is not None and not url.startswith(("http://", "https://")):
        raise ValueError(f"not an http address: {url!r}; write it like http://127.0.0.1:9797")
    key = ingest_key or os.environ.get("VEDETTE_INGEST_KEY") or None
    chosen = Options(app=app, namespace=namespace, url=url, ingest_key=key, **options)
    client = Client(chosen, registry=registry, clock=clock, transport=transport)
    global _current
    with _lock:
        former, _current = _current, client
    if former is not None:
        former.close(0.0)
    return client


def current_client() -> Client:
    """Return what ``init()`` made; without it, a client that keeps all figures local."""
    global _current
    if _current is None:
        with _lock:
            if _current is None:
                _current = Client(Options())
    return _current
