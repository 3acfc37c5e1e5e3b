"""The live stream of the page: one query per panel and tick, however many look (DSH-06, DSH-07).

The hub evaluates only while somebody looks. Each viewer has a small mailbox; a viewer who reads
too slowly loses the oldest metric updates, never the newest, and holds up nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Coroutine, Sequence

import numpy as np
import orjson

from vedette.dashboards.panels import KpiState, Panel, classify
from vedette.kit.clock import iso
from vedette.model.alerts import AlertInstance
from vedette.model.results import QueryResult, ScalarResult, VectorResult
from vedette.query.errors import QueryError
from vedette.storage.interface import StorageError
from vedette.web.http import Receive, Send
from vedette.web.services import Services, TargetView

log = logging.getLogger(__name__)

MAX_VIEWERS = 100
MAILBOX = 8
MAX_SERIES = 50
_TRY_AGAIN_LATER = 1013

Point = dict[str, object]


class Viewer:
    """One open page: its mailbox and whether its tab is hidden."""

    def __init__(self) -> None:
        self.paused = False
        self._messages: deque[bytes] = deque(maxlen=MAILBOX)
        self._news = asyncio.Event()

    def post(self, message: bytes) -> None:
        """Put a message into the mailbox; the oldest falls out of a full one."""
        self._messages.append(message)
        self._news.set()

    async def take(self) -> bytes:
        """Wait for the next message."""
        while not self._messages:
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()


class LiveHub:
    """Evaluates the page's panels and tells every viewer."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._viewers: set[Viewer] = set()
        self._somebody = asyncio.Event()
        self._alerts = b""
        self._health = b""

    @property
    def viewers(self) -> int:
        """How many pages are open."""
        return len(self._viewers)

    async def run(self) -> None:
        """Tick until cancelled."""
        clock = self._services.clock
        period = self._services.dashboard.refresh_seconds
        while True:
            await self._somebody.wait()
            began = clock.monotonic()
            await self._tick()
            await clock.sleep(period - (clock.monotonic() - began))

    async def serve(self, receive: Receive, send: Send) -> None:
        """Serve one accepted WebSocket until it closes."""
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        if len(self._viewers) >= MAX_VIEWERS:
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": "too many"})
            return
        await send({"type": "websocket.accept"})
        viewer = Viewer()
        for first in (self._health_message(), self._alerts_message()):
            viewer.post(first)
        self._viewers.add(viewer)
        self._somebody.set()
        try:
            await _until_first(_pump(viewer, send), _listen(viewer, receive))
        finally:
            self._viewers.discard(viewer)
            if not self._viewers:
                self._somebody.clear()

    async def _tick(self) -> None:
        # Metrics need evaluation; alerts and health are snapshots, sent only when they differ.
        if any(not viewer.paused for viewer in self._viewers):
            self._tell(await self.metric_update(), always=False)
        alerts, health = self._alerts_message(), self._health_message()
        if alerts != self._alerts:
            self._alerts = alerts
            self._tell(alerts, always=True)
        if health != self._health:
            self._health = health
            self._tell(health, always=True)

    def _tell(self, message: bytes, *, always: bool) -> None:
        for viewer in self._viewers:
            if always or not viewer.paused:
                viewer.post(message)

    async def metric_update(self) -> bytes:
        """Return the message with the newest value of every query and the state of every KPI."""
        now = self._services.clock.now_ms()
        panels: dict[str, dict[str, list[Point]]] = {}
        states: dict[str, Point] = {}
        for panel in self._services.dashboard.panels:
            values = {query.id: await self._points(query.expr, now) for query in panel.queries}
            panels[panel.id] = values
            states[panel.id] = kpi_state(panel, values)
        data = {"at": now, "panels": panels, "states": states}
        return orjson.dumps({"type": "metric_update", "data": data})

    async def _points(self, expr: str, now: int) -> list[Point]:
        try:
            result = await self._services.panels.instant(expr, now)
        except (QueryError, StorageError) as error:
            log.warning("panel query failed: %s: %s", expr, error)
            return []
        # A defect in one panel must not take the live stream, and with it the server, down.
        except Exception:
            log.exception("panel query failed by a defect: %s", expr)
            return []
        return points(result)

    def _alerts_message(self) -> bytes:
        active = [
            _alert(rule.name, alert)
            for group in self._services.groups()
            for rule in group.rules
            for alert in rule.alerts
        ]
        resolved = [
            _alert(a.labels.get("alertname"), a) | {"resolved_at": iso(a.resolved_at)}
            for a in self._services.recently_resolved()
        ]
        return orjson.dumps({"type": "alert", "data": {"alerts": active, "resolved": resolved}})

    def _health_message(self) -> bytes:
        data = health(self._services.targets())
        return orjson.dumps({"type": "health_status", "data": data})


def points(result: QueryResult) -> list[Point]:
    """Return the newest value of each series; NaN and infinities are null."""
    if isinstance(result, ScalarResult):
        return [{"labels": {}, "value": _finite(float(result.values[-1]))}]
    if not isinstance(result, VectorResult):
        return []
    latest = np.ascontiguousarray(result.values[:MAX_SERIES, -1]).tolist()
    rows = result.labels.take(np.arange(len(latest))).rows()
    return [
        {"labels": row.as_dict(), "value": _finite(value)}
        for row, value in zip(rows, latest, strict=True)
    ]


def kpi_state(panel: Panel, values: dict[str, list[Point]]) -> Point:
    """Return the state of a panel: the worst among the series of its ``state_of`` query."""
    shown = panel.state_of or panel.queries[0].id
    found = [p["value"] for p in values[shown] if isinstance(p["value"], float)]
    if panel.threshold is None:
        first = found[0] if found else None
        state = KpiState.OK if found else KpiState.NO_DATA
        return {"state": state.value, "value": first}
    threshold = panel.threshold
    if not found:
        return {"state": KpiState.NO_DATA.value, "value": None}
    order = list(KpiState)
    worst = max(found, key=lambda value: order.index(classify(value, threshold)))
    return {"state": classify(worst, threshold).value, "value": worst}


def health(targets: Sequence[TargetView]) -> dict[str, object]:
    """Return the state of all targets: healthy when all are up, unhealthy when none is."""
    up = sum(target.health == "up" for target in targets)
    known = [target for target in targets if target.health != "unknown"]
    status = "healthy" if up == len(known) else "degraded" if up else "unhealthy"
    return {
        "status": status,
        "up": up,
        "total": len(targets),
        "targets": [
            {
                "job": target.job,
                "instance": target.instance,
                "health": target.health,
                "last_scrape": iso(target.last_scrape) if target.last_scrape else None,
                "last_error": target.last_error,
                "scrape_seconds": round(target.scrape_seconds, 4),
            }
            for target in targets
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _alert(name: str, alert: AlertInstance) -> Point:
    return {
        "name": name,
        "state": alert.state.value,
        "severity": alert.labels.get("severity", "none"),
        "labels": alert.labels.as_dict(),
        "annotations": alert.annotations.as_dict(),
        "active_at": iso(alert.active_at),
        "value": _finite(alert.value),
    }


async def _pump(viewer: Viewer, send: Send) -> None:
    while True:
        message = await viewer.take()
        await send({"type": "websocket.send", "text": message.decode()})


async def _listen(viewer: Viewer, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text") or ""
        if len(text) > 1_000:
            return
        with contextlib.suppress(orjson.JSONDecodeError):
            said = orjson.loads(text)
            kind = said.get("type") if isinstance(said, dict) else None
            if kind in ("pause", "resume"):
                viewer.paused = kind == "pause"


async def _until_first(*coroutines: Coroutine[None, None, None]) -> None:
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
