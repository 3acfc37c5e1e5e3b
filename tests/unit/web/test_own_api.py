"""Vedette's own endpoints, the page and the live stream."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.web.support import FakeQueries, FakeStore, client, fake_services, vector
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.results import ScalarResult
from vedette.storage.interface import InvalidCursorError
from vedette.web.asgi import WebApp
from vedette.web.live import MAILBOX, Viewer, health, kpi_state, points
from vedette.web.pages import BuiltFiles
from vedette.web.services import Readiness, Services, TargetView


async def test_events_come_with_their_cursor() -> None:
    """Events keep their data as sent; the cursor leads on."""
    store = FakeStore()
    store.events = [Event("1" * 32, "shop", "t", 1_000, b'{"a":1}')] * 2
    async with client(fake_services(events=store)) as http:
        answer = (await http.get("/api/events", params={"limit": 1})).json()
    assert answer["events"][0]["data"] == {"a": 1}
    assert answer["events"][0]["timestamp"] == "1970-01-01T00:00:01.000Z"
    assert answer["next"] == "more"
    assert answer["success"] is True


async def test_counts_by_a_member() -> None:
    """Counting by a member gives the total and the parts."""
    async with client() as http:
        answer = (await http.get("/api/events/count", params={"by": "state"})).json()
        total = (await http.get("/api/events/count")).json()
    assert answer["total"] == 4
    assert answer["by"] == {"completed": 3, "error": 1}
    assert total["by"] == {}


async def test_bad_parameters_of_own_endpoints() -> None:
    """A limit out of bounds is a 400 that names it, in the shape of API-11."""
    async with client() as http:
        answer = await http.get("/api/events", params={"limit": 0})
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert "limit" in answer.json()["error"]["message"]


async def test_panels_are_told_with_thresholds() -> None:
    """The page learns everything it shows from the panel list."""
    async with client() as http:
        panels = (await http.get("/api/dashboards/operational")).json()["panels"]
    first_token = next(p for p in panels if p["id"] == "first_token")
    assert first_token["threshold"] == {
        "target": 0.5,
        "warning": 1.0,
        "critical": 2.0,
        "better": "lower",
    }
    assert all(p["queries"] for p in panels)


async def test_readiness_says_what_is_missing() -> None:
    """A server that cannot work yet says why, with 503."""
    services = fake_services(readiness=lambda: Readiness(False, "replaying the spool"))
    async with client(services) as http:
        answer = await http.get("/-/ready")
    assert answer.status_code == 503
    assert "replaying" in answer.text


async def test_static_paths_do_not_leave_their_folder() -> None:
    """No path of a request reaches the file system."""
    async with client() as http:
        for path in ("/static/../auth.py", "/static/%2e%2e/auth.py", "/static//etc/passwd"):
            assert (await http.get(path)).status_code == 404


def test_state_of_a_panel_is_its_worst_series() -> None:
    """One critical series makes the tile critical; none makes it no_data."""
    services = fake_services()
    panel = next(p for p in services.dashboard.panels if p.id == "first_token")
    values = {"p95": [{"value": 0.2}, {"value": 3.0}], "p50": []}
    assert kpi_state(panel, values) == {"state": "critical", "value": 3.0}
    assert kpi_state(panel, {"p95": [{"value": None}], "p50": []})["state"] == "no_data"


def test_what_json_cannot_say_is_null() -> None:
    """NaN and infinities reach the page as null."""
    result = vector({Labels.of({"a": "1"}): [np.nan], Labels.of({"a": "2"}): [np.inf]}, [0])
    assert [p["value"] for p in points(result)] == [None, None]
    assert points(ScalarResult(np.array([0]), np.array([2.0])))[0]["value"] == 2.0


def _target(state: str) -> TargetView:
    return TargetView("j", "i", "", state, "", 0, 0, {}, {}, 1, 1)


def test_health_of_targets() -> None:
    """All up is healthy, some is degraded, none is unhealthy; unknown ones do not count."""
    assert health([])["status"] == "healthy"
    assert health([_target("up"), _target("unknown")])["status"] == "healthy"
    assert health([_target("up"), _target("down")])["status"] == "degraded"
    assert health([_target("down")])["status"] == "unhealthy"


async def test_a_slow_viewer_loses_the_oldest() -> None:
    """A full mailbox drops the oldest message and keeps the newest."""
    viewer = Viewer()
    for number in range(MAILBOX + 3):
        viewer.post(str(number).encode())
    assert await viewer.take() == b"3"


class Socket:
    """The server's end of a WebSocket, driven by a test."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    def types(self) -> list[str]:
        return [json.loads(m["text"])["type"] for m in self.sent if "text" in m]


async def _open(services: Services, headers: list[tuple[bytes, bytes]]) -> tuple[WebApp, Socket]:
    app, socket = WebApp(services), Socket()
    scope = {"type": "websocket", "path": "/api/dashboard/ws", "headers": headers}
    socket.incoming.put_nowait({"type": "websocket.connect"})
    task = asyncio.create_task(app(scope, socket.incoming.get, socket.send))
    await services.clock.advance(0)  # type: ignore[attr-defined]  # the double's own method
    app.task = task  # type: ignore[attr-defined]  # keeps the task alive for the test
    return app, socket


async def test_live_stream_begins_with_health_and_alerts_then_ticks() -> None:
    """A viewer learns health and alerts at once and values at each tick, until the tab hides."""
    services = fake_services()
    app, socket = await _open(services, [(b"host", b"127.0.0.1:9797")])
    assert socket.types() == ["health_status", "alert"]
    hub = asyncio.create_task(app.live.run())
    await services.clock.advance(1)  # type: ignore[attr-defined]  # the double's own method
    assert socket.types().count("metric_update") == 2
    socket.incoming.put_nowait({"type": "websocket.receive", "text": '{"type":"pause"}'})
    await services.clock.advance(3)  # type: ignore[attr-defined]  # the double's own method
    assert socket.types().count("metric_update") == 2
    socket.incoming.put_nowait({"type": "websocket.disconnect"})
    await services.clock.advance(1)  # type: ignore[attr-defined]  # the double's own method
    assert app.live.viewers == 0
    hub.cancel()


async def test_one_evaluation_serves_all_viewers() -> None:
    """However many pages are open, a tick asks each query once."""
    queries = FakeQueries()
    services = fake_services(queries)
    app, first = await _open(services, [(b"host", b"127.0.0.1:9797")])
    second = Socket()
    second.incoming.put_nowait({"type": "websocket.connect"})
    scope = {"type": "websocket", "path": "/api/dashboard/ws", "headers": [(b"host", b"[::1]:1")]}
    task = asyncio.create_task(app(scope, second.incoming.get, second.send))
    await services.clock.advance(0)  # type: ignore[attr-defined]  # the double's own method
    hub = asyncio.create_task(app.live.run())
    await services.clock.advance(0)  # type: ignore[attr-defined]  # the double's own method
    assert first.types().count("metric_update") == second.types().count("metric_update") == 1
    assert len(queries.asked) == sum(len(p.queries) for p in services.dashboard.panels)
    hub.cancel()
    task.cancel()


async def test_a_foreign_page_gets_no_live_stream() -> None:
    """The Origin of a WebSocket is checked like any other."""
    headers = [(b"host", b"127.0.0.1:9797"), (b"origin", b"https://evil.example")]
    _, socket = await _open(fake_services(), headers)
    assert socket.sent == [{"type": "websocket.close", "code": 1008}]


def test_a_page_built_anew_is_served_without_a_restart(tmp_path: Path) -> None:
    """Files are listed again when the page's index has changed, and nothing else is found."""
    files = BuiltFiles(tmp_path)
    assert files.get("index.html") is None
    index = tmp_path / "index.html"
    index.write_text("one")
    assert files.get("index.html") == index
    assert files.get("assets/new.js") is None
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "new.js").write_text("1")
    os.utime(index, ns=(1, 1))
    assert files.get("assets/new.js") == tmp_path / "assets" / "new.js"
    assert files.get("../secret") is None


async def test_a_defect_is_a_counted_500() -> None:
    """An exception that nobody foresaw becomes an answer, and the server goes on."""

    def broken() -> bytes:
        raise ZeroDivisionError

    services = fake_services(metrics=broken)
    async with client(services) as http:
        answer = await http.get("/metrics")
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "internal"
        assert (await http.get("/-/healthy")).status_code == 200
    assert services.stats.failed == 1


async def test_refusals_are_counted_by_reason() -> None:
    """What the guard turns away shows in the server's own metrics."""
    services = fake_services()
    async with client(services) as http:
        await http.get("/nothing")
        await http.get("/metrics", headers={"host": "evil.example"})
        await http.post("/api/v1/write", content=b"x", headers={"content-length": "99999999999"})
    assert services.stats.rejected == {"not_found": 1, "foreign_host": 1, "too_large": 1}


async def test_head_is_get_without_a_body() -> None:
    """Monitors ask with HEAD."""
    async with client() as http:
        answer = await http.head("/-/healthy")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/label/U___ffffff_/values",
        "/api/v1/rules?type=foo",
        "/api/v1/metadata?limit=x",
        "/api/v1/query?query=up&timeout=-1",
        "/api/events?cursor=x",
        "/api/v1/query?query=up&time=1e308",
        "/api/v1/labels?limit=-1",
    ],
)
async def test_odd_parameters_are_no_defects(path: str) -> None:
    """Parameters that make no sense are answered with 400, or harmlessly."""
    services = fake_services(events=BadCursorEvents())
    async with client(services) as http:
        answer = await http.get(path)
    assert answer.status_code in (200, 400)
    assert services.stats.failed == 0


class BadCursorEvents(FakeStore):
    """Knows no cursor."""

    def find(self, **_asked: Any) -> tuple[list[Event], str]:  # type: ignore[override]  # takes anything
        raise InvalidCursorError("not a cursor")
