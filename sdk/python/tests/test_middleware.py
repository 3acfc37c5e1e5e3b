"""The middleware in front of real and raw ASGI applications."""

from __future__ import annotations

import logging
import re

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from vedette_sdk.asgi import ASGIApp, Receive, Scope, Send
from vedette_sdk.middleware import VedetteMiddleware, instrument
from vedette_sdk.testing import RecordingClient


def _app(client: RecordingClient) -> Starlette:
    async def hello(request: Request) -> PlainTextResponse:
        client.time.pass_time(1.24532)
        return PlainTextResponse("hello")

    async def broken(request: Request) -> PlainTextResponse:
        raise RuntimeError

    async def slow(request: Request) -> PlainTextResponse:
        client.time.pass_time(6.234)
        return PlainTextResponse("at last", status_code=201)

    return Starlette(
        routes=[Route("/hello/{name}", hello), Route("/broken", broken), Route("/slow", slow)]
    )


async def _get(app: ASGIApp, path: str, method: str = "GET") -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return await http.request(method, path)


def _count(client: RecordingClient, route: str, status: str, method: str = "GET") -> float | None:
    labels = {"method": method, "route": route, "status_code": status}
    return client.value("chatbot_http_requests_total", **labels)


async def test_header_and_figures(client: RecordingClient) -> None:
    """An answer has X-Response-Time with two decimals, and is counted by its route template."""
    answer = await _get(instrument(_app(client), client), "/hello/you")
    assert answer.headers["x-response-time"] == "1245.32ms"
    assert _count(client, "/hello/{name}", "200") == 1
    labels = {"method": "GET", "route": "/hello/{name}", "status_code": "200"}
    name = "chatbot_http_request_duration_seconds"
    assert client.value(f"{name}_sum", **labels) == pytest.approx(1.24532)
    assert client.value(f"{name}_bucket", le="1.0", **labels) == 0
    assert client.value(f"{name}_bucket", le="2.0", **labels) == 1
    assert client.value("chatbot_http_requests_in_flight") == 0


@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/nowhere", 404)])
async def test_errors_have_the_header_too(client: RecordingClient, path: str, status: int) -> None:
    """Error pages carry the header, and unknown paths share one label."""
    answer = await _get(instrument(_app(client), client), path)
    assert answer.status_code == status
    assert re.fullmatch(r"\d+\.\d\dms", answer.headers["x-response-time"])
    assert _count(client, path if status == 500 else "unmatched", str(status)) == 1


async def test_raw_application_that_raises(client: RecordingClient) -> None:
    """Where nobody else answers, the outermost wrapper does, and the error still goes up."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError

    answer = await _get(instrument(app, client), "/x")
    assert answer.status_code == 500
    assert "x-response-time" in answer.headers
    transport = httpx.ASGITransport(app=instrument(app, client))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with pytest.raises(LookupError):
            await http.get("/x")


async def test_inside_a_framework_its_own_error_page_stays(client: RecordingClient) -> None:
    """Added as a framework's middleware it leaves the answer to the framework."""
    app = _app(client)
    app.add_middleware(VedetteMiddleware, client=client)
    app.add_exception_handler(500, lambda request, error: PlainTextResponse("mended", 500))
    answer = await _get(app, "/broken")
    assert answer.text == "mended"
    assert _count(client, "/broken", "500") == 1


async def test_slow_request_is_logged(
    client: RecordingClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A request above the limit writes one warning with the four fields, and is counted."""
    with caplog.at_level(logging.WARNING, "vedette_sdk"):
        await _get(instrument(_app(client), client), "/slow")
        await _get(instrument(_app(client), client), "/hello/you")
    [record] = caplog.records
    assert record.getMessage() == "Slow request detected"
    assert record.levelname == "WARNING"
    fields = {name: record.__dict__[name] for name in ("method", "route", "duration", "statusCode")}
    assert fields == {
        "method": "GET",
        "route": "/slow",
        "duration": "6.23s",
        "statusCode": "201",
    }
    assert client.value("chatbot_slow_requests_total") == 1


async def test_metrics_endpoint(client: RecordingClient) -> None:
    """GET /metrics is the text format with version and charset, one HELP and TYPE a family."""
    app = instrument(_app(client), client)
    await _get(app, '/hello/quo"te')
    answer = await _get(app, "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.content)
    families = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith("_created")]
    states = next(family for family in families if family.name == "chatbot_streams")
    assert {sample.labels["state"]: sample.value for sample in states.samples} == dict.fromkeys(
        ["completed", "client_left", "provider_cut", "stalled", "timed_out", "error"], 0.0
    )
    assert _count(client, "unmatched", "200") is None


async def test_strange_methods_share_a_label(client: RecordingClient) -> None:
    """A method that HTTP does not know cannot open label values."""
    await _get(instrument(_app(client), client), "/hello/x", "BREW")
    assert _count(client, "/hello/{name}", "405", "other") == 1


async def test_other_connections_pass_through(client: RecordingClient) -> None:
    """Lifespan and WebSocket scopes reach the application as they are."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    scope: Scope = {"type": "lifespan"}
    await instrument(app, client)(scope, nothing, nothing)  # type: ignore[arg-type] # both at once
    assert seen == [scope]
