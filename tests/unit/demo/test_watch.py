"""What the demo sees of the server from outside."""

from __future__ import annotations

import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from vedette.config.loader import load
from vedette.demo.config import SHORTENED, write_config
from vedette.demo.memory import Memory, children_of, memory_of, seconds_since_start
from vedette.demo.readback import ReadBackError, Server
from vedette.demo.screen import Screen, Summary
from vedette.demo.timeline import Mode
from vedette.demo.truth import STATES
from vedette.demo.watch import MemoryWatcher, PageWatcher
from vedette.kit.clock import FakeClock


def _update(*values: float | None) -> dict[str, Any]:
    series = [{"labels": {"n": str(n)}, "value": value} for n, value in enumerate(values)]
    return {"type": "metric_update", "data": {"at": 1, "panels": {"p": {"q": series}}}}


def test_first_chart_is_the_second_point_of_one_series() -> None:
    """A series without a value, and two series with a point each, are no chart yet."""
    clock = FakeClock()
    page = PageWatcher("ws://nowhere", lambda: 3.5, clock)
    for message in (_update(None, 1.0), _update(2.0, None), _update(None, None)):
        page.take(message)
        assert page.first_chart is None
    page.take(_update(None, 4.0))
    assert page.first_chart == 3.5


def test_alerts_follow_the_latest_message() -> None:
    """The page's alerts are those of the latest message; unknown types are passed over."""
    page = PageWatcher("ws://nowhere", lambda: 0.0, FakeClock())
    alert = {"name": "A", "severity": "warning", "state": "firing", "labels": {}}
    page.take({"type": "alert", "data": {"alerts": [alert], "resolved": []}})
    page.take({"type": "novelty", "data": {}})
    assert page.alerts == [("A", "warning", "firing")]
    page.take({"type": "alert", "data": {"alerts": [], "resolved": [alert]}})
    assert page.alerts == []
    assert page.messages == {"alert": 2, "novelty": 1}


def test_memory_is_read_from_proc(tmp_path: Path) -> None:
    """Resident and anonymous bytes, and the child processes, come from the files of proc(5)."""
    (tmp_path / "7/task/7").mkdir(parents=True)
    (tmp_path / "7/status").write_text("Name:\tx\nVmRSS:\t  300 kB\nRssAnon:\t 200 kB\n")
    (tmp_path / "7/task/7/children").write_text("8 9 ")
    assert memory_of(7, tmp_path) == Memory(300 * 1024, 200 * 1024)
    assert children_of(7, tmp_path) == [8, 9]
    assert memory_of(8, tmp_path) == Memory()
    assert children_of(8, tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
def test_own_memory_and_age() -> None:
    """This process has memory and an age, and the watcher keeps the peak."""
    watcher = MemoryWatcher(os.getpid(), FakeClock())
    watcher.look()
    assert 0 < watcher.now.anonymous < watcher.now.resident <= watcher.peak.resident
    age = seconds_since_start()
    assert age is not None
    assert age > 0


def _server(answers: dict[str, Any]) -> Server:
    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.get(request.url.path)
        if callable(found):
            found = found(request)
        return httpx.Response(404) if found is None else httpx.Response(200, json=found)

    return Server("http://test", httpx.MockTransport(answer))


async def test_counters_of_all_states() -> None:
    """The raw counters have a figure for every state, zero where the server has no series."""
    row = {"metric": {"state": "completed"}, "value": [1.5, "12"]}
    server = _server({"/api/v1/query": {"status": "success", "data": {"result": [row]}}})
    assert await server.counters("127.0.0.1:1") == dict.fromkeys(STATES, 0) | {"completed": 12}
    await server.close()


async def test_streams_follow_the_cursor() -> None:
    """All pages of events are read."""

    def page(request: httpx.Request) -> dict[str, Any]:
        cursor = request.url.params["cursor"]
        event = {"data": {"stream_id": cursor or "first", "state": "error"}}
        return {"events": [event], "next": None if cursor else "second"}

    server = _server({"/api/events": page})
    assert await server.streams(0) == [("first", "error"), ("second", "error")]
    await server.close()


async def test_last_scrape_of_the_application() -> None:
    """Only the application's own job counts; a target that was never scraped has time 0."""
    targets = [
        {"labels": {"job": "vedette"}, "lastScrape": "2026-01-01T00:00:09Z"},
        {"labels": {"job": "streaming-chatbot"}, "lastScrape": "2026-01-01T00:00:05.250Z"},
    ]
    server = _server({"/api/v1/targets": {"data": {"activeTargets": targets}}})
    assert await server.last_scrape_ms() == 1_767_225_605_250
    targets.pop()
    assert await server.last_scrape_ms() == 0
    await server.close()


async def test_a_server_that_fails_is_told() -> None:
    """An answer other than 200 names the endpoint."""
    server = _server({})
    with pytest.raises(ReadBackError, match="/api/events/count answered 404"):
        await server.events(0)
    assert not await server.ready()
    await server.close()


def test_config_is_what_the_server_reads(tmp_path: Path) -> None:
    """The generated configuration loads, with its rules, receiver and targets."""
    path = write_config(
        tmp_path, "127.0.0.1:9797", "127.0.0.1:1", "127.0.0.1:2", tmp_path / "store"
    )
    settings = load(path)
    assert [job.job for job in settings.scrape.jobs] == ["streaming-chatbot", "vedette"]
    assert re.findall(r"\d+ \w", SHORTENED) == ["15 s", "5 m", "3 s", "1 m", "15 s"]


def test_plain_lines_without_a_terminal() -> None:
    """Where the output is no terminal, a line comes every few seconds, with what matters."""
    out = StringIO()
    screen = Screen(Console(file=out, width=500))
    screen.start()
    for elapsed in (0.0, 1.0, 4.9, 5.1):
        screen.show(
            Summary(
                elapsed=elapsed,
                seconds=90,
                mode=Mode.FAULTY,
                started=12,
                under_way=3,
                first_token_ms=None,
                recorded={"completed": 8},
                alerts=[("Slow", "warning", "firing"), ("Other", "critical", "pending")],
                notifications=1,
            )
        )
    screen.stop()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    for part in ("faulty", "chats 12 (3 under way)", "completed=8", "firing Slow(warning)  "):
        assert part in lines[0]


def test_a_terminal_gets_a_live_table() -> None:
    """On a terminal the same figures are drawn in place."""
    out = StringIO()
    screen = Screen(Console(file=out, width=100, force_terminal=True))
    screen.start()
    screen.show(Summary(1.0, None, Mode.HEALTHY, 12, 3, 412.0))
    screen.say("news")
    screen.stop()
    assert "412 ms" in out.getvalue()
    assert "news" in out.getvalue()
