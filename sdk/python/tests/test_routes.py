"""The route label of real routers, as they leave their scope."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from vedette_sdk.asgi import ASGIApp, Receive, Scope, Send
from vedette_sdk.routes import route_template


async def _page(request: object) -> PlainTextResponse:
    return PlainTextResponse("x")


def _fastapi() -> FastAPI:
    app, sub, router = FastAPI(), FastAPI(), APIRouter(prefix="/api")

    @app.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    @router.get("/orders/{order}")
    async def order(order: str) -> str:
        return order

    @sub.get("/deep/{key}")
    async def deep(key: str) -> str:
        return key

    app.include_router(router, prefix="/v1")
    app.mount("/tenants/{tenant}", sub)
    return app


def _starlette() -> Starlette:
    return Starlette(
        routes=[
            Route("/pages/{path:path}", _page),
            Mount("/nested", routes=[Route("/{number:int}", _page)]),
            Mount("/files", app=PlainTextResponse("file")),
        ]
    )


async def _label(app: ASGIApp, path: str, method: str = "GET") -> str:
    found: list[str] = []

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        found.append(route_template(scope))

    transport = httpx.ASGITransport(app=outermost)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.request(method, path)
    return found[0]


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/items/3", "/items/{item}"),
        ("/items/not-a-number", "/items/{item}"),
        ("/v1/api/orders/A7", "/v1/api/orders/{order}"),
        ("/tenants/acme/deep/k", "/tenants/{tenant}/deep/{key}"),
        ("/wp-login.php", "unmatched"),
        ("/tenants/acme/nothing", "unmatched"),
    ],
)
async def test_fastapi(path: str, label: str) -> None:
    """FastAPI's label is the template with its prefixes, never a value out of the path."""
    assert await _label(_fastapi(), path) == label


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/pages/a/b", "/pages/{path}"),
        ("/nested/3", "/nested/{number}"),
        ("/nested/x", "unmatched"),
        ("/files/logo.png", "/files/{path}"),
        ("/nothing", "unmatched"),
    ],
)
async def test_starlette(path: str, label: str) -> None:
    """Starlette's label is the template with its mounts, and one label for a folder of files."""
    assert await _label(_starlette(), path) == label


async def test_wrong_method_keeps_the_route() -> None:
    """A 405 belongs to the route whose path it asked for."""
    assert await _label(_fastapi(), "/items/3", "DELETE") == "/items/{item}"


def test_application_may_name_its_route() -> None:
    """Without a known router the application can put the label into the scope itself."""
    scope: dict[str, Any] = {"path": "/x/1", "vedette.route": "/x/{id}"}
    assert route_template(scope) == "/x/{id}"
    assert route_template({"path": "/x/1"}) == "unmatched"


def test_endpoint_alone_is_enough() -> None:
    """Routers that leave only the endpoint in the scope are read by it."""
    app = _starlette()
    scope = {"path": "/pages/a", "endpoint": _page, "app": app, "path_params": {"path": "a"}}
    assert route_template(scope) == "/pages/{path}"
