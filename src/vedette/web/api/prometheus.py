"""The Prometheus HTTP API, as Grafana, promtool and other clients call it.

path → handler → :class:`Response`; exceptions become the API's error types here, once. Source of
parameters, shapes and error types: Prometheus' documentation, "HTTP API", and the answers of
Prometheus 3 to the same requests. docs/http-api.md says where Vedette differs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vedette.query.errors import QueryError
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.storage.interface import StorageError
from vedette.web import render
from vedette.web.api.admin import AdminApi
from vedette.web.api.lookups import LookupApi
from vedette.web.api.params import BadParameterError, Call
from vedette.web.api.queries import QueryApi
from vedette.web.api.rules import RulesApi
from vedette.web.api.server import ServerApi
from vedette.web.api.targets import TargetsApi
from vedette.web.auth import Caller
from vedette.web.compression import WORTH_COMPRESSING, accepts_gzip, compressed
from vedette.web.connection import Lookout
from vedette.web.errors import ApiError, as_api_error, retry_header
from vedette.web.http import (
    Receive,
    Response,
    Scope,
    Send,
    parameters,
    respond,
)
from vedette.web.services import Services

_STATUS = {
    "bad_data": 400,
    "execution": 422,
    "timeout": 503,
    "canceled": 499,
    "unavailable": 503,
    "not_found": 404,
    "internal": 500,
}
_RETRY_SECONDS = b"1"

Handler = Callable[[Call], Awaitable[Response]]


class PrometheusApi:
    """Answers everything below ``/api/v1`` but what is pushed or read remotely, and federation."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lookout = Lookout()
        self._lookups = LookupApi(services)
        self._routes: dict[str, Handler] = {
            **QueryApi(services).routes(),
            **self._lookups.routes(),
            **TargetsApi(services).routes(),
            **RulesApi(services).routes(),
            **ServerApi(services).routes(),
            **AdminApi(services).routes(),
        }

    def serves(self, path: str) -> bool:
        """Return whether ``path`` is one of this API."""
        return path in self._routes or path.startswith("/api/v1/label/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send, caller: Caller) -> None:
        """Answer one request."""
        call = Call(scope["path"], await parameters(scope, receive), caller.who)
        answer = await self._lookout.while_connected(receive, self._answer(call))
        if len(answer.body) >= WORTH_COMPRESSING and accepts_gzip(scope):
            answer = await self._services.queries.aside(lambda: compressed(answer))
        await respond(send, answer)

    async def _answer(self, call: Call) -> Response:
        handler = self._routes.get(call.path, self._lookups.label_values)
        try:
            return await handler(call)
        except BadParameterError as error:
            self._services.stats.rejected["bad_parameter"] += 1
            return Response(400, render.failure("bad_data", str(error)))
        except PromQLSyntaxError as error:
            text = f'invalid parameter "query": {error}'
            return Response(400, render.failure("bad_data", text))
        except QueryError as error:
            code = _STATUS.get(error.kind, 422)
            retry = ((b"retry-after", _RETRY_SECONDS),) if error.kind == "unavailable" else ()
            return Response(code, render.failure(error.kind, str(error)), headers=retry)
        except StorageError as error:
            problem = as_api_error(error)
            body = render.failure("unavailable", problem.message)
            return Response(problem.status, body, headers=retry_header(problem))
        except ApiError as error:
            kind = error.code if error.code in _STATUS else "bad_data"
            return Response(error.status, render.failure(kind, error.message))
