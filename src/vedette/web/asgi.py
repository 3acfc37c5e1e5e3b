"""The server's ASGI application: guard, then hot endpoints, then the router.

request → Guard.admit → raw endpoints (query, write, events, metrics, live) → FastAPI (the rest)
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response as FastResponse
from starlette.middleware.gzip import GZipMiddleware

from vedette.storage.interface import StorageError
from vedette.web import errors
from vedette.web.api.federate import Federation
from vedette.web.api.own import dashboards_router, events_router, snapshots_router
from vedette.web.api.prometheus import PrometheusApi
from vedette.web.auth import Caller, methods_at
from vedette.web.errors import ApiError
from vedette.web.http import (
    TEXT,
    ASGIApp,
    ClientGoneError,
    Message,
    Receive,
    Response,
    Scope,
    Send,
    body_chunks,
    declared_length,
    headers_of,
    import_parameters,
    read_body,
    respond,
    without_body,
)
from vedette.web.live import LiveHub
from vedette.web.pages import pages_router
from vedette.web.remote_read.endpoint import RemoteRead
from vedette.web.services import ImportIntake, IntakeHandler, PushIntake, Services

log = logging.getLogger(__name__)

INTAKE_LIMIT = 64 << 20
INTAKE_BUDGET = 192 << 20
_EXPOSITION = b"text/plain; version=0.0.4; charset=utf-8"
_POLICY_VIOLATION = 1008
_PUSHES = ("/metrics/", "/api/v1/metrics", "/api/v1/admin/wipe")


class Answer:
    """A ``send`` that remembers whether the answer has begun.

    ``guest`` is the origin of another site's page that may read the answer, or "".
    """

    __slots__ = ("_guest", "_send", "begun")

    def __init__(self, send: Send, guest: str = "") -> None:
        self._send = send
        self._guest = guest
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """Send one message."""
        self.begun = True
        if self._guest and message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_shared_with(self._guest)]}
        await self._send(message)


def _shared_with(origin: str) -> Iterable[tuple[bytes, bytes]]:
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", b"Accept, Authorization, Content-Type, Origin"),
        (b"access-control-expose-headers", b"Date"),
        (b"vary", b"origin"),
    )


class WebApp:
    """Everything that Vedette shows or takes over HTTP."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.live = LiveHub(services)
        self._prometheus = PrometheusApi(services)
        self._exports: dict[str, ASGIApp] = {
            "/federate": Federation(services),
            "/api/v1/read": RemoteRead(services),
        }
        self._intake_bytes = 0
        self._router: ASGIApp = GZipMiddleware(router(services), 1024, 6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            return
        if scope.get("method") == "HEAD":
            scope, send = {**scope, "method": "GET"}, without_body(send)
        await self._serve(scope, receive, Answer(send, self._services.guard.guest(scope)))

    async def _serve(self, scope: Scope, receive: Receive, send: Answer) -> None:
        try:
            if scope.get("method") == "OPTIONS" and methods_at(scope["path"]):
                # What a browser asks before it sends a request; it carries no credentials.
                allowed = ", ".join([*methods_at(scope["path"]), "OPTIONS"]).encode()
                await respond(send, Response(204, b"", TEXT, ((b"allow", allowed),)))
                return
            caller = self._services.guard.admit(scope)
            await self._dispatch(scope, receive, send, caller)
        except ClientGoneError:
            return
        except ApiError as error:
            self._services.stats.rejected[error.code] += 1
            await self._refuse(scope, receive, send, error)
        # The last resort: a defect in one endpoint becomes an answer, a log entry and a count.
        except Exception:
            log.exception("a defect while answering %s", scope["path"])
            self._services.stats.failed += 1
            if not send.begun:
                defect = ApiError(500, "internal", "a defect of the server", "its log says more")
                await self._refuse(scope, receive, send, defect)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        path = scope["path"]
        if scope["type"] == "websocket":
            await self.live.serve(receive, send)
        elif self._prometheus.serves(path):
            await self._prometheus(scope, receive, send, caller)
        elif path in self._services.intakes:
            await self._intake(self._services.intakes[path], scope, receive, send, caller)
        elif path == "/api/v1/write":
            await self._intake(self._services.remote_write, scope, receive, send, caller)
        elif path == "/api/events" and scope["method"] == "POST":
            await self._intake(self._services.event_intake, scope, receive, send, caller)
        elif path in self._exports:
            await self._exports[path](scope, receive, send)
        elif self._services.imports and path == "/api/v1/import/prometheus":
            await self._import(self._services.imports, scope, receive, send, caller)
        elif self._services.pushes and path.startswith(_PUSHES):
            await self._push(self._services.pushes, scope, receive, send, caller)
        elif path == "/metrics":
            body = self._services.metrics()
            await respond(send, Response(200, body, _EXPOSITION))
        else:
            await self._router(scope, receive, send)

    async def _push(
        self, pushes: PushIntake, scope: Scope, receive: Receive, send: Send, caller: Caller
    ) -> None:
        """Answer whatever Pushgateway answers."""
        path = scope["path"]
        if path == "/api/v1/metrics":
            await respond(send, Response(200, pushes.groups()))
        elif path == "/api/v1/admin/wipe":
            await pushes.wipe()
            await respond(send, Response(202, b"", TEXT))
        else:
            encoded = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
            grouping = (encoded or quote(path)).removeprefix("/metrics/")
            take = partial(pushes.push, scope["method"], grouping)
            await self._intake(take, scope, receive, send, caller)

    async def _import(
        self, imports: ImportIntake, scope: Scope, receive: Receive, send: Send, caller: Caller
    ) -> None:
        """Take a body of any length, piece by piece."""
        query = scope["query_string"].decode("latin-1")
        labels, timestamp = import_parameters(parse_qsl(query, keep_blank_values=True))
        headers = headers_of(scope)
        app = caller.app or headers.get("x-vedette-app", "") or "default"
        said = await imports.take(body_chunks(receive), headers, labels, timestamp, app)
        retry = ((b"retry-after", str(int(said.retry_after) or 1).encode()),)
        extra = retry if said.retry_after else ()
        await respond(send, Response(said.status, said.body, said.content_type, extra))

    async def _intake(
        self, handler: IntakeHandler, scope: Scope, receive: Receive, send: Send, caller: Caller
    ) -> None:
        headers = headers_of(scope)
        size = declared_length(headers, INTAKE_LIMIT)
        if self._intake_bytes + size > INTAKE_BUDGET:
            error = ApiError(503, "overloaded", "too many bodies are being received", "come again")
            error.retry_after = 1.0
            raise error
        client = scope.get("client") or ("", 0)
        app = caller.app or headers.get("x-vedette-app", "")
        self._intake_bytes += size
        try:
            body = await read_body(receive, INTAKE_LIMIT)
            said = await handler(body, headers, f"{app}@{client[0]}:{client[1]}", app or "default")
        finally:
            self._intake_bytes -= size
        extra = said.headers
        if said.retry_after:
            extra = (*extra, (b"retry-after", str(int(said.retry_after) or 1).encode()))
        await respond(send, Response(said.status, said.body, said.content_type, extra))

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if scope["path"].startswith("/api/v1/"):
            body = errors.prometheus_body(error)
        else:
            body = errors.body(error, self._services.clock)
        await respond(send, Response(error.status, body, headers=errors.retry_header(error)))


def router(services: Services) -> FastAPI:
    """Return the endpoints that are not on a hot path."""
    app = FastAPI(title="Vedette", version=services.version, openapi_url=None)
    app.include_router(events_router(services))
    app.include_router(dashboards_router(services))
    app.include_router(snapshots_router(services))
    app.include_router(pages_router(services.guard))

    @app.get("/-/healthy", include_in_schema=False)
    async def healthy() -> FastResponse:
        """Say that the process answers."""
        return FastResponse("Vedette is healthy.\n", media_type="text/plain")

    @app.get("/-/ready", include_in_schema=False)
    async def ready() -> FastResponse:
        """Say whether traffic can be taken, and what is missing otherwise."""
        state = services.readiness()
        text = "Vedette is ready.\n" if state.ready else f"Not ready: {state.detail}\n"
        return FastResponse(text, 200 if state.ready else 503, media_type="text/plain")

    @app.api_route("/-/reload", methods=["POST", "PUT"], include_in_schema=False)
    async def reload() -> FastResponse:
        """Read the configuration again; with a fault the running one goes on."""
        problem = await services.reload()
        text = f"failed to reload config: {problem}\n" if problem else "reloaded\n"
        return FastResponse(text, 500 if problem else 200, media_type="text/plain")

    async def own_error(_request: Request, error: Exception) -> FastResponse:
        problem = _problem(error)
        body = errors.body(problem, services.clock)
        extra = {k.decode(): v.decode() for k, v in errors.retry_header(problem)}
        return FastResponse(body, problem.status, extra, "application/json")

    for kind in (ApiError, StorageError, RequestValidationError):
        app.add_exception_handler(kind, own_error)
    return app


def _problem(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, StorageError):
        return errors.as_api_error(error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return ApiError(400, "bad_parameter", f"{where}: {first['msg']}")
    raise error
