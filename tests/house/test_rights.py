"""Every endpoint has exactly one line in the table of rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi.routing import APIRoute

from tests.unit.web.support import fake_services
from vedette.web.api.prometheus import PrometheusApi
from vedette.web.asgi import router
from vedette.web.auth import ENDPOINTS, Right, find_endpoints

RAW = {
    "/federate",
    "/metrics",
    "/api/v1/read",
    "/api/v1/write",
    "/v1/metrics",
    "/api/v1/otlp/v1/metrics",
    "/metrics/{grouping}",
    "/api/v1/import/prometheus",
    "/api/v1/metrics",
    "/api/v1/admin/wipe",
    "/api/events",
    "/api/dashboard/ws",
}


def _routes(owner: Any) -> Iterator[APIRoute]:
    """Return all routes, those of included routers too."""
    for route in owner.routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from _routes(route.original_router)


def _template(path: str) -> str:
    return re.sub(r":\w+}", "}", path)


def test_every_route_is_listed_and_every_listing_is_a_route() -> None:
    """The table of rights and the routes name the same paths."""
    services = fake_services()
    api = PrometheusApi(services)
    routed = {_template(route.path) for route in _routes(router(services))}
    assert "/" in routed
    listed = {e.path for e in ENDPOINTS}
    assert routed <= listed
    assert {path for path in listed - routed - RAW if not api.serves(path)} == set()


def test_every_method_of_a_route_is_listed() -> None:
    """A route answers only to methods that the table allows."""
    for route in _routes(router(fake_services())):
        found = find_endpoints(_template(route.path).replace("{path}", "x"))
        assert set(route.methods or ()) - {"HEAD"} <= {m for e in found for m in e.methods}


def test_whatever_changes_something_needs_a_right() -> None:
    """No endpoint that takes anything but reads is open, save the reads that clients POST."""
    reads_by_post = {
        "query",
        "query_range",
        "query_exemplars",
        "format_query",
        "parse_query",
        "series",
        "labels",
        "read",
    }
    for endpoint in ENDPOINTS:
        if endpoint.methods - {"GET", "WEBSOCKET"} and endpoint.path.split("/")[-1] not in (
            reads_by_post
        ):
            assert endpoint.right in (Right.INGEST, Right.ADMIN)
