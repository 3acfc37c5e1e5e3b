"""The public functions: each does what the method of its name does on the client of ``init()``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from vedette_sdk.client import current_client
from vedette_sdk.streams import StreamTracker

T = TypeVar("T")


def track_stream(
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
    """Return the tracker of one answer stream, to be entered with ``async with``.

    Args:
        client_id, chatbot_id, model: told in the stream's event; ``model`` is also a label.
        stream_id: identity of the event; a random one by default.
        stall_after: seconds without anything from the provider after which the stream stalled.
        timeout: seconds from entering the block after which the stream timed out.
        must_finish: a normal end counts as complete only after ``finish()``; set it to false for
            a provider that has no finish marker.
        provider_class: error class of the provider's own failures.
    """
    return current_client().track_stream(
        client_id=client_id,
        chatbot_id=chatbot_id,
        model=model,
        stream_id=stream_id,
        stall_after=stall_after,
        timeout=timeout,
        must_finish=must_finish,
        provider_class=provider_class,
    )


@dataclass(frozen=True, slots=True)
class CacheCounter:
    """Counts the look-ups of one named cache."""

    name: str

    def hit(self) -> None:
        """Count a look-up that found something."""
        current_client().count_cache(self.name, hit=True)

    def miss(self) -> None:
        """Count a look-up that found nothing."""
        current_client().count_cache(self.name, hit=False)


def track_cache(name: str) -> CacheCounter:
    """Return the counter of the cache ``name``."""
    return CacheCounter(name)


def cache_lookup(name: str, get: Callable[[], T | None]) -> T | None:
    """Return what ``get`` finds, counted as a hit, or as a miss where it is ``None``."""
    found = get()
    current_client().count_cache(name, hit=found is not None)
    return found


def track_chat_message(role: str, language: str = "") -> None:
    """Count a chat message by its role (user, assistant) and language."""
    current_client().track_chat_message(role, language)


def track_ai_request(
    model: str,
    start_time: float,
    success: bool = True,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> None:
    """Measure a request to a language model that was not tracked as a stream.

    ``start_time`` is what ``time.monotonic()``, or ``time.time()``, gave when it began.
    """
    current_client().track_ai_request(model, start_time, success, prompt_tokens, completion_tokens)


def record_error(error_type: str, severity: str = "error") -> None:
    """Count an error of the application."""
    current_client().record_error(error_type, severity)


def record_query(query: str, duration: float, success: bool = True) -> None:
    """Measure a database query that took ``duration`` seconds; its literals are not kept."""
    current_client().record_query(query, duration, success)


def record_launch(
    platform_id: str, success: bool, duration: float, context: Mapping[str, Any] | None = None
) -> None:
    """Measure a launch from a learning platform that took ``duration`` seconds."""
    current_client().record_launch(platform_id, success, duration, context)


def send_event(kind: str, data: Mapping[str, Any]) -> None:
    """Send an event of the application's own to the server."""
    current_client().send_event(kind, data)


def flush(timeout: float = 5.0) -> bool:
    """Send what is queued; return whether all of it left within ``timeout`` seconds."""
    return current_client().flush(timeout)
