"""Instrument a Python web application or AI chatbot for Vedette.

::

    import vedette_sdk

    vedette_sdk.init(app="shop-chat", url="http://127.0.0.1:9797")
    app = vedette_sdk.instrument(app)  # any ASGI application

    async def answer():
        async with vedette_sdk.track_stream(model="gpt-4o", stall_after=10) as stream:
            async for chunk in stream.watch(provider):
                text = stream.chunk(chunk)
                yield text
"""

from __future__ import annotations

from vedette_sdk.api import (
    CacheCounter,
    cache_lookup,
    flush,
    record_error,
    record_launch,
    record_query,
    send_event,
    track_ai_request,
    track_cache,
    track_chat_message,
    track_stream,
)
from vedette_sdk.client import ERROR_CLASSES, Client, Options, current_client, init
from vedette_sdk.metrics import FINE_HTTP_BUCKETS, HTTP_BUCKETS
from vedette_sdk.middleware import VedetteMiddleware, instrument
from vedette_sdk.streams import StreamTracker
from vedette_sdk.verdict import (
    StreamInterrupted,
    StreamStalled,
    StreamState,
    StreamTimedOut,
    Verdict,
)

__all__ = [
    "init",
    "instrument",
    "track_stream",
    "track_cache",
    "cache_lookup",
    "track_chat_message",
    "track_ai_request",
    "record_error",
    "record_query",
    "record_launch",
    "send_event",
    "flush",
    "VedetteMiddleware",
    "StreamTracker",
    "StreamState",
    "StreamInterrupted",
    "StreamStalled",
    "StreamTimedOut",
    "Verdict",
    "CacheCounter",
    "Client",
    "Options",
    "current_client",
    "ERROR_CLASSES",
    "HTTP_BUCKETS",
    "FINE_HTTP_BUCKETS",
]
