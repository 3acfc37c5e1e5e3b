"""Looking up series, label names and label values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from vedette.model.labels import Labels
from vedette.storage.interface import Check
from vedette.web import render
from vedette.web.api.params import (
    BadParameterError,
    Call,
    limit,
    selectors,
    span,
    unescape_label,
    window,
)
from vedette.web.http import Response
from vedette.web.services import Services

T = TypeVar("T")


class LookupApi:
    """The endpoints that tell what there is to ask for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path; :meth:`label_values` has a name in its path."""
        return {"/api/v1/series": self.series, "/api/v1/labels": self.labels}

    async def series(self, call: Call) -> Response:
        """Return the label sets that ``match[]`` selects."""
        if not call.params.get("match[]"):
            raise BadParameterError("no match[] parameter provided")
        params, (start, end) = call.params, window(call.params)
        most = limit(call.params)
        # One more than asked for tells whether something is left out.
        more = most and most + 1
        look = self._services.samples.series
        found = await self._looked_up(
            call, lambda check: look(selectors(params), start, end, more, check)
        )
        return await self._cut(found, most, Labels.as_dict)

    async def labels(self, call: Call) -> Response:
        """Return label names."""
        params, (start, end) = call.params, window(call.params)
        look = self._services.samples.label_names
        found = await self._looked_up(
            call, lambda check: look(selectors(params), start, end, check)
        )
        return await self._cut(found, limit(call.params), str)

    async def label_values(self, call: Call) -> Response:
        """Return the values of the label that the path names."""
        name = unescape_label(call.path.removeprefix("/api/v1/label/").removesuffix("/values"))
        params, (start, end) = call.params, window(call.params)
        look = self._services.samples.label_values
        found = await self._looked_up(
            call, lambda check: look(name, selectors(params), start, end, check)
        )
        return await self._cut(found, limit(call.params), str)

    async def _looked_up(self, call: Call, look: Callable[[Check], T]) -> T:
        timeout = span(call.params, "timeout") / 1000
        return await self._services.queries.lookup(look, timeout=timeout)

    async def _cut(self, found: Sequence[T], most: int, shown: Callable[[T], object]) -> Response:
        warnings = (render.TRUNCATED,) if most and len(found) > most else ()
        body = await self._services.queries.aside(
            lambda: render.success([shown(one) for one in found[: most or None]], warnings)
        )
        return Response(200, body)
