"""Deleting what is stored; off unless the settings say otherwise, and for the admin only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vedette.query.errors import QueryError
from vedette.web import render
from vedette.web.api.params import BadParameterError, Call, selectors, window
from vedette.web.http import Response
from vedette.web.services import Administration, Services


class AdminApi:
    """The endpoints below ``/api/v1/admin/tsdb``."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path."""
        return {
            "/api/v1/admin/tsdb/delete_series": self.delete_series,
            "/api/v1/admin/tsdb/clean_tombstones": self.clean_tombstones,
            "/api/v1/admin/tsdb/snapshot": self.snapshot,
        }

    async def delete_series(self, call: Call) -> Response:
        """Delete what ``match[]`` selects from ``start`` to ``end``, for good."""
        administration = self._enabled()
        if not call.params.get("match[]"):
            raise BadParameterError("no match[] parameter provided")
        start, end = window(call.params)
        if end < start:
            raise BadParameterError(
                'invalid parameter "end": end timestamp must not be before start time'
            )
        matchers = await self._services.queries.aside(lambda: selectors(call.params))
        await administration.delete_series(matchers, start, end)
        return Response(204, b"")

    async def clean_tombstones(self, _call: Call) -> Response:
        """Return when what was deleted takes no room any more."""
        await self._enabled().clean_tombstones()
        return Response(204, b"")

    async def snapshot(self, _call: Call) -> Response:
        """Take a snapshot of everything that is stored, and return its name."""
        self._enabled()
        taken = await self._services.snapshot()
        return Response(200, render.success({"name": taken.name}))

    def _enabled(self) -> Administration:
        if self._services.administration is None:
            raise QueryError(
                "unavailable",
                "admin APIs disabled; set web.enable_admin_api in vedette.yml",
            )
        return self._services.administration
