"""The Prometheus HTTP API, as Grafana, promtool and other clients call it.

Source of parameters, shapes and error types: Prometheus' documentation, "HTTP API".
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import cramjam

from vedette.kit.duration import parse_duration
from vedette.model.matchers import Matcher
from vedette.model.results import QueryResult
from vedette.query.errors import QueryError
from vedette.query.promql.ast import VectorSelector
from vedette.query.promql.parser import PromQLSyntaxError, parse
from vedette.storage.interface import StorageError
from vedette.web import render
from vedette.web.api import status
from vedette.web.errors import ApiError, as_api_error, retry_header
from vedette.web.http import (
    Receive,
    Response,
    Scope,
    Send,
    headers_of,
    parameters,
    respond,
)
from vedette.web.services import Services

MAX_POINTS = 11_000
MAX_RESULT_POINTS = 5_000_000
_INLINE_POINTS = 2_000
_WORTH_COMPRESSING = 1_024
_STATUS = {"bad_data": 400, "execution": 422, "timeout": 503, "canceled": 499, "internal": 500}
_MIN_MS, _MAX_MS = -(1 << 53), 1 << 53

Params = Mapping[str, Sequence[str]]


class BadParameterError(Exception):
    """A parameter cannot be read; the message names it."""


class PrometheusApi:
    """Answers everything below ``/api/v1`` but remote write."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._status = status.StatusApi(services)
        self._routes: dict[str, Callable[[Params], Awaitable[bytes]]] = {
            "/api/v1/query": self._query,
            "/api/v1/query_range": self._query_range,
            "/api/v1/series": self._series,
            "/api/v1/labels": self._labels,
            "/api/v1/metadata": self._status.metadata,
            "/api/v1/targets": self._status.targets,
            "/api/v1/rules": self._status.rules,
            "/api/v1/alerts": self._status.alerts,
            "/api/v1/status/buildinfo": self._status.buildinfo,
        }

    def serves(self, path: str) -> bool:
        """Return whether ``path`` is one of this API."""
        return path in self._routes or path.startswith("/api/v1/label/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope, await parameters(scope, receive))
        if len(answer.body) >= _WORTH_COMPRESSING and accepts_gzip(scope):
            answer = await self._services.queries.blocking(lambda: compressed(answer))
        await respond(send, answer)

    async def _answer(self, scope: Scope, params: Params) -> Response:
        handler = self._routes.get(scope["path"])
        try:
            if handler is None:
                name = scope["path"].removeprefix("/api/v1/label/").removesuffix("/values")
                body = await self._label_values(name, params)
            else:
                body = await handler(params)
        except BadParameterError as error:
            self._services.stats.rejected["bad_parameter"] += 1
            return Response(400, render.failure("bad_data", str(error)))
        except PromQLSyntaxError as error:
            name = "match[]" if handler is None or "match[]" in params else "query"
            text = f'invalid parameter "{name}": {error}'
            return Response(400, render.failure("bad_data", text))
        except QueryError as error:
            code = _STATUS.get(error.kind, 422)
            return Response(code, render.failure(error.kind, str(error)))
        except StorageError as error:
            problem = as_api_error(error)
            body = render.failure("unavailable", problem.message)
            return Response(problem.status, body, headers=retry_header(problem))
        except ApiError as error:
            return Response(error.status, render.failure("bad_data", error.message))
        return Response(200, body)

    async def _query(self, params: Params) -> bytes:
        now = self._services.clock.now_ms()
        result = await self._services.queries.instant(
            required(params, "query"),
            moment(params, "time", now),
            timeout=span(params, "timeout") / 1000,
            lookback=span(params, "lookback_delta"),
        )
        return await self._rendered(result, range_query=False)

    async def _query_range(self, params: Params) -> bytes:
        query = required(params, "query")
        start, end = moment(params, "start"), moment(params, "end")
        step = span(params, "step", needed=True)
        if end < start:
            raise BadParameterError(
                'invalid parameter "end": end timestamp must not be before start'
            )
        if step <= 0:
            raise BadParameterError(
                'invalid parameter "step": zero or negative query resolution step widths are not '
                "accepted; try a positive number of seconds"
            )
        if (end - start) // step + 1 > MAX_POINTS:
            raise BadParameterError(
                f"exceeded maximum resolution of {MAX_POINTS} points per series; raise the step "
                f"to at least {math.ceil((end - start) / (MAX_POINTS - 1) / 1000)}s"
            )
        result = await self._services.queries.range(
            query,
            start,
            end,
            step,
            timeout=span(params, "timeout") / 1000,
            lookback=span(params, "lookback_delta"),
        )
        return await self._rendered(result, range_query=True)

    async def _rendered(self, result: QueryResult, *, range_query: bool) -> bytes:
        points = render.size(result)
        if points > MAX_RESULT_POINTS:
            raise QueryError(
                "execution",
                f"the result has {points:,} points, more than {MAX_RESULT_POINTS:,}; "
                "aggregate it, raise the step, or narrow the range",
            )
        if points <= _INLINE_POINTS:
            return render.answer(result, range_query=range_query)
        return await self._services.queries.blocking(
            lambda: render.answer(result, range_query=range_query)
        )

    async def _series(self, params: Params) -> bytes:
        if not params.get("match[]"):
            raise BadParameterError('no "match[]" parameter was given')
        start, end = self._window(params)
        found = await self._services.queries.blocking(
            lambda: self._services.samples.series(selectors(params), start, end, limit(params))
        )
        return await self._services.queries.blocking(
            lambda: render.success([labels.as_dict() for labels in found])
        )

    async def _labels(self, params: Params) -> bytes:
        start, end = self._window(params)
        matchers = selectors(params)
        found = await self._services.queries.blocking(
            lambda: self._services.samples.label_names(matchers, start, end)
        )
        return render.success(found[: limit(params) or None])

    async def _label_values(self, name: str, params: Params) -> bytes:
        name = unescape_label(name)
        start, end = self._window(params)
        matchers = selectors(params)
        found = await self._services.queries.blocking(
            lambda: self._services.samples.label_values(name, matchers, start, end)
        )
        return render.success(found[: limit(params) or None])

    def _window(self, params: Params) -> tuple[int, int]:
        start, end = moment(params, "start", _MIN_MS), moment(params, "end", _MAX_MS)
        return start, end


def required(params: Params, name: str) -> str:
    """Return a parameter that must be there."""
    values = params.get(name)
    if not values or not values[0]:
        raise BadParameterError(f'invalid parameter "{name}": it is missing')
    return values[0]


def moment(params: Params, name: str, default: int | None = None) -> int:
    """Return a time in ms; written as seconds since the epoch or as RFC 3339."""
    text = params.get(name, [""])[0]
    if not text:
        if default is None:
            raise BadParameterError(f'invalid parameter "{name}": it is missing')
        return default
    try:
        value = float(text)
    except ValueError:
        return _rfc3339(name, text)
    if not math.isfinite(value) or abs(value) > _MAX_MS / 1000:
        raise BadParameterError(f'invalid parameter "{name}": {text!r} is out of range')
    return round(value * 1000)


def _rfc3339(name: str, text: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise BadParameterError(
            f'invalid parameter "{name}": cannot parse {text!r} as a timestamp; write seconds '
            "since the epoch, or RFC 3339 such as 2026-01-02T15:04:05Z"
        )
    return round(parsed.timestamp() * 1000)


def span(params: Params, name: str, *, needed: bool = False) -> int:
    """Return a duration in ms, written as seconds or like 5m; 0 where it was not given."""
    text = params.get(name, [""])[0]
    if not text:
        if needed:
            raise BadParameterError(f'invalid parameter "{name}": it is missing')
        return 0
    try:
        value = float(text)
    except ValueError:
        try:
            return parse_duration(text)
        except ValueError as error:
            raise BadParameterError(f'invalid parameter "{name}": {error}') from error
    if not math.isfinite(value) or abs(value) > _MAX_MS / 1000:
        raise BadParameterError(f'invalid parameter "{name}": {text!r} is out of range')
    if value < 0 and not needed:
        raise BadParameterError(f'invalid parameter "{name}": {text!r} is less than zero')
    return round(value * 1000)


def limit(params: Params) -> int:
    """Return the ``limit`` parameter; 0 means none."""
    text = params.get("limit", ["0"])[0]
    if not text.isdecimal():
        raise BadParameterError('invalid parameter "limit": it must be a whole number, 0 or more')
    return int(text)


def selectors(params: Params) -> list[tuple[Matcher, ...]]:
    """Return the matchers of each ``match[]`` parameter."""
    found = []
    for text in params.get("match[]", []):
        expr = parse(text)
        if not isinstance(expr, VectorSelector):
            raise BadParameterError(
                f'invalid parameter "match[]": {text!r} is not a series selector such as '
                'up{job="api"}'
            )
        found.append(expr.matchers)
    return found


_ESCAPED = re.compile(r"_([0-9a-fA-F]{1,6})_")


def unescape_label(name: str) -> str:
    """Return a label name given in a path: ``U__`` marks UTF-8 names in Prometheus' escaping."""
    if not name.startswith("U__"):
        return name
    plain = name[3:].replace("__", "\x00")
    return _ESCAPED.sub(_unescaped, plain).replace("\x00", "_")


def _unescaped(match: re.Match[str]) -> str:
    code = int(match.group(1), 16)
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else match.group()


def accepts_gzip(scope: Scope) -> bool:
    """Return whether the client takes gzip."""
    return "gzip" in headers_of(scope).get("accept-encoding", "")


def compressed(answer: Response) -> Response:
    """Return the answer in gzip; quick rather than small, as it travels on the same machine."""
    body = bytes(cramjam.gzip.compress(answer.body, level=1))
    extra = ((b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
    return Response(answer.status, body, answer.content_type, (*answer.headers, *extra))
