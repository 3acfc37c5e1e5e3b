"""Vedette's own reading endpoints: events, and what the page shows."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import Response

from vedette.dashboards.panels import Panel, PanelQuery, Threshold
from vedette.kit.clock import iso
from vedette.storage.interface import InvalidCursorError
from vedette.web.errors import ApiError
from vedette.web.http import JSON
from vedette.web.services import Services

MAX_PAGE = 1_000
_END_OF_TIME = 1 << 53

Text = Annotated[str, Query(max_length=200)]
Milliseconds = Annotated[int, Query(ge=0, le=_END_OF_TIME)]


def events_router(services: Services) -> APIRouter:
    """Return ``GET /api/events`` and ``GET /api/events/count``."""
    router = APIRouter()

    @router.get("/api/events")
    async def find(
        app: Text = "",
        type: Text = "",
        since: Milliseconds = 0,
        until: Milliseconds = _END_OF_TIME,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        cursor: Text = "",
    ) -> Response:
        """Return stored events, newest first; ``next`` is the cursor of the following page."""
        try:
            found, following = await services.queries.blocking(
                lambda: services.events.find(
                    app=app, type=type, since=since, until=until, limit=limit, cursor=cursor
                )
            )
        except InvalidCursorError as error:
            raise ApiError(400, "bad_parameter", f"cursor: {error}") from None
        rows = [
            {
                "id": event.id,
                "app": event.app,
                "type": event.type,
                "timestamp": iso(event.ts),
                "data": orjson.Fragment(event.data),
            }
            for event in found
        ]
        return answer(services, events=rows, count=len(rows), next=following or None)

    @router.get("/api/events/count")
    async def count(
        app: Text = "",
        type: Text = "",
        since: Milliseconds = 0,
        until: Milliseconds = _END_OF_TIME,
        by: Text = "",
    ) -> Response:
        """Return how many events there are, per value of the data's member ``by``."""
        counts = await services.queries.blocking(
            lambda: services.events.count(app=app, type=type, since=since, until=until, by=by)
        )
        return answer(services, total=sum(counts.values()), by=counts if by else {})

    return router


def dashboards_router(services: Services) -> APIRouter:
    """Return ``GET /api/dashboards/operational``."""
    router = APIRouter()

    @router.get("/api/dashboards/operational")
    async def operational() -> Response:
        """Return the panels of the operational page, their queries and thresholds."""
        page = services.dashboard
        return answer(
            services,
            title=page.title,
            app=page.app or None,
            refresh_seconds=page.refresh_seconds,
            panels=[_panel(panel) for panel in page.panels],
        )

    return router


def snapshots_router(services: Services) -> APIRouter:
    """Return ``POST /api/snapshots``."""
    router = APIRouter()

    @router.post("/api/snapshots")
    async def take() -> Response:
        """Take a snapshot of everything that is stored; it lies on the server's disk."""
        taken = await services.snapshot()
        return answer(services, name=taken.name, path=taken.path)

    return router


def answer(services: Services, **members: object) -> Response:
    """Return a successful answer with the members that API-08 asks for."""
    body = {"success": True, "timestamp": iso(services.clock.now_ms())} | members
    return Response(orjson.dumps(body), media_type=JSON.decode())


def _panel(panel: Panel) -> dict[str, object]:
    return {
        "id": panel.id,
        "title": panel.title,
        "description": panel.description,
        "kind": panel.kind,
        "unit": panel.unit,
        "queries": [_query(query) for query in panel.queries],
        "threshold": _threshold(panel.threshold),
        "state_of": panel.state_of,
    }


def _query(query: PanelQuery) -> dict[str, str]:
    return {"id": query.id, "expr": query.expr, "legend": query.legend}


def _threshold(threshold: Threshold | None) -> dict[str, object] | None:
    if threshold is None:
        return None
    return {
        "target": threshold.target,
        "warning": threshold.warning,
        "critical": threshold.critical,
        "better": threshold.better.value,
    }
