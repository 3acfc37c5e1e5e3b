"""The ASGI middleware: every request measured by its route template, with no code per handler."""

from __future__ import annotations

import logging
from typing import Any

from vedette_sdk.asgi import ASGIApp, Message, Receive, Scope, Send
from vedette_sdk.client import Client, current_client
from vedette_sdk.exposition import CONTENT_TYPE, render
from vedette_sdk.routes import route_template
from vedette_sdk.streams import RequestInfo, request_context

_log = logging.getLogger("vedette_sdk.http")

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
CLIENT_CLOSED_REQUEST = 499
"""nginx's code for a client that left before the answer had begun."""


class VedetteMiddleware:
    """Measures requests and sets ``X-Response-Time`` on every answer (MET-14).

    The header holds the milliseconds until the answer began; the histogram holds the seconds
    until it ended, which for a stream is its last byte.

    Args:
        app: the application to wrap.
        client: where figures go; the one that ``init()`` made, looked up at each request.
        metrics_path: answers ``GET`` there with the metrics; ``None`` leaves the path alone.
        answer_errors: answer with a plain 500 where the application raised before it answered,
            as the server would, so that this answer has the header too. Only for the outermost
            wrapper: inside a framework it would take the place of the framework's own error page.
    """

    def __init__(
        self,
        app: ASGIApp,
        client: Client | None = None,
        metrics_path: str | None = "/metrics",
        *,
        answer_errors: bool = False,
    ) -> None:
        self._app = app
        self._client = client
        self._metrics_path = metrics_path
        self._answer_errors = answer_errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; anything but HTTP passes through untouched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = self._client or current_client()
        exchange = _Exchange(client, scope, receive, send)
        if scope["path"] == self._metrics_path and scope["method"] in ("GET", "HEAD"):
            await _answer_metrics(client, scope, exchange.send)
            return
        metrics = client.metrics
        metrics.http_in_flight.inc()
        try:
            with request_context(exchange.info):
                await self._app(scope, exchange.receive, exchange.send)
        # Every unhandled error of the application is measured, and raised again.
        except Exception:
            exchange.status = exchange.status or 500
            if self._answer_errors and not exchange.started:
                await _answer_500(exchange.send)
            raise
        finally:
            metrics.http_in_flight.dec()
            exchange.measure()


class _Exchange:
    """One request and its answer."""

    def __init__(self, client: Client, scope: Scope, receive: Receive, send: Send) -> None:
        self._client = client
        self._scope = scope
        self._receive = receive
        self._send = send
        self.info = RequestInfo(client.clock.monotonic())
        self.status = 0
        self.started = False

    async def receive(self) -> Message:
        """Pass a message on, and note that the client has left."""
        message = await self._receive()
        # After the answer is complete the server says so too; by then it means nothing.
        if message["type"] == "http.disconnect":
            self.info.disconnected = True
        return message

    async def send(self, message: Message) -> None:
        """Pass a message on, with the time on its first one."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            milliseconds = (self._client.clock.monotonic() - self.info.started) * 1000
            header = (b"x-response-time", b"%.2fms" % milliseconds)
            message = {**message, "headers": [*message.get("headers", ()), header]}
        await self._send(message)

    def measure(self) -> None:
        """Write the figures of the exchange, which has ended."""
        duration = self._client.clock.monotonic() - self.info.started
        method = self._scope["method"]
        labels = (
            method if method in _METHODS else "other",
            route_template(self._scope),
            str(self.status or CLIENT_CLOSED_REQUEST),
        )
        self._client.metrics.http_requests.get(*labels).inc()
        self._client.metrics.http_duration.get(*labels).observe(duration)
        if duration > self._client.options.slow_request_seconds:
            self._client.metrics.slow_requests.inc()
            fields = ("method", "route", "statusCode")
            extra: dict[str, Any] = dict(zip(fields, labels, strict=True))
            _log.warning("Slow request detected", extra=extra | {"duration": f"{duration:.2f}s"})


async def _answer_metrics(client: Client, scope: Scope, send: Send) -> None:
    client.sweep()
    body = render(client.registry)
    headers = [
        (b"content-type", CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _answer_500(send: Send) -> None:
    body = b"Internal Server Error"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def instrument(
    app: ASGIApp, client: Client | None = None, metrics_path: str | None = "/metrics"
) -> VedetteMiddleware:
    """Return ``app`` with the middleware around all of it, its error pages included."""
    return VedetteMiddleware(app, client, metrics_path, answer_errors=True)
