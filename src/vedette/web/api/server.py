"""What the server tells of itself under ``/api/v1/status`` and beside it."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Sequence

from vedette.kit.clock import iso
from vedette.web import render
from vedette.web.api.params import BadParameterError, Call, text, whole
from vedette.web.http import Response
from vedette.web.services import Named, Services

_WORST = 10
_MOST_WORST = 10_000


class ServerApi:
    """Status, features and notifications."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path."""
        return {
            "/api/v1/status/config": self.config,
            "/api/v1/status/flags": self.flags,
            "/api/v1/status/runtimeinfo": self.runtime,
            "/api/v1/status/buildinfo": self.build,
            "/api/v1/status/tsdb": self.cardinality,
            "/api/v1/status/walreplay": self.replay,
            "/api/v1/features": self.features,
            "/api/v1/notifications": self.notifications,
        }

    async def config(self, _call: Call) -> Response:
        """Return the configuration, secrets left out."""
        return _success({"yaml": self._services.server.config()})

    async def flags(self, _call: Call) -> Response:
        """Return settings under Prometheus' names."""
        return _success(dict(self._services.server.flags()))

    async def runtime(self, _call: Call) -> Response:
        """Return what the process is like."""
        now = iso(self._services.clock.now_ms())
        return _success({**self._services.server.runtime(), "serverTime": now})

    async def build(self, _call: Call) -> Response:
        """Return what runs; clients choose their features by ``version``."""
        return _success(
            {
                # Grafana reads the version of the Prometheus API that it may expect.
                "version": "3.0.0",
                "revision": f"vedette-{self._services.version}",
                "branch": "",
                "buildUser": "",
                "buildDate": "",
                "goVersion": f"python{platform.python_version()}",
            }
        )

    async def cardinality(self, call: Call) -> Response:
        """Return which metrics and labels make the most series; ``limit`` of each, 10."""
        most = whole(call.params, "limit", _WORST)
        if not 0 < most <= _MOST_WORST:
            raise BadParameterError(
                f'invalid parameter "limit": {text(call.params, "limit")} is not between 1 '
                f"and {_MOST_WORST:,}"
            )
        server = self._services.server
        view = await self._services.queries.blocking(lambda: server.cardinality(most))
        return _success(
            {
                "headStats": {
                    "numSeries": view.series,
                    "numLabelPairs": view.label_pairs,
                    "chunkCount": view.chunks,
                    "minTime": view.first_ts,
                    "maxTime": view.last_ts,
                },
                "seriesCountByMetricName": _named(view.series_by_metric),
                "labelValueCountByLabelName": _named(view.values_by_label),
                "memoryInBytesByLabelName": _named(view.bytes_by_label),
                "seriesCountByLabelValuePair": _named(view.series_by_pair),
            }
        )

    async def replay(self, _call: Call) -> Response:
        """Return how far the replay of the spool is."""
        first, last, current = self._services.server.replay()
        return _success({"min": first, "max": last, "current": current})

    async def features(self, _call: Call) -> Response:
        """Return what the server can do, by area."""
        return _success(
            {area: dict(names) for area, names in self._services.server.features().items()}
        )

    async def notifications(self, _call: Call) -> Response:
        """Return what the page should tell its viewers, such as that the server is not ready."""
        state = self._services.readiness()
        if state.ready:
            return _success([])
        now = iso(self._services.clock.now_ms())
        return _success([{"text": state.detail, "date": now, "active": True}])


def _success(data: object) -> Response:
    return Response(200, render.success(data))


def _named(rows: Sequence[Named]) -> list[dict[str, object]]:
    return [{"name": row.name, "value": row.value} for row in rows]
