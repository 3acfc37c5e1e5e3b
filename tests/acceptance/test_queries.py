"""Queries of a real server: cancelled, timed out, refused, logged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import remote_write
from bench.processes import Running, vedette

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]

# Some seconds of work that looks up now and then whether to go on.
LONG = "count_over_time(quantile_over_time(0.5, (sin(vector(time())))[3000s:1s])[90000s:1s])"
CONFIG = """
query: {concurrency: 1, queue: 1, timeout: 20s, log: queries.log}
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """Run a server with one slot and a queue of one."""
    with vedette(CONFIG, tmp_path) as running:
        yield running


def ask(server: Running, query: str, **params: str) -> httpx.Response:
    """Send an instant query."""
    return httpx.get(f"{server.url}/api/v1/query", params={"query": query, **params}, timeout=60)


def metric(server: Running, line: str) -> float:
    """Return the value of one series of the server's own metrics, 0 when it is not there."""
    for found in httpx.get(f"{server.url}/metrics").text.splitlines():
        if found.startswith(line + " "):
            return float(found.rpartition(" ")[2])
    return 0.0


def eventually(check: Callable[[], Any]) -> None:
    """Wait until ``check`` is true."""
    end = time.monotonic() + 15
    while not check():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def test_a_query_ends_with_its_client(server: Running) -> None:
    """When the client hangs up the query is cancelled, and its slot is free long before its end."""
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{server.url}/api/v1/query", params={"query": LONG}, timeout=0.3)
    began = time.monotonic()
    eventually(lambda: metric(server, 'vedette_queries_failed_total{reason="canceled"}') == 1)
    eventually(lambda: metric(server, "vedette_queries_running") == 0)
    assert time.monotonic() - began < 3
    assert ask(server, "rate(up[1m])").status_code == 200


def test_a_time_out_is_told(server: Running) -> None:
    """`timeout` ends a query with 503 in time."""
    began = time.monotonic()
    answer = ask(server, LONG, timeout="300ms")
    assert (answer.status_code, answer.json()["errorType"]) == (503, "timeout")
    assert time.monotonic() - began < 3


def test_a_full_queue_refuses_and_light_queries_pass(server: Running) -> None:
    """With one query running and one waiting a third is refused; a light one needs no slot."""
    done: list[int] = []

    def long() -> None:
        done.append(ask(server, LONG, timeout="3s").status_code)

    threads = [threading.Thread(target=long) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: metric(server, "vedette_queries_waiting") == 1)
    refused = ask(server, "rate(up[1m])")
    light = ask(server, "up")
    for thread in threads:
        thread.join()
    assert (refused.status_code, refused.json()["errorType"]) == (503, "unavailable")
    assert refused.headers["retry-after"] == "1"
    assert light.status_code == 200
    assert set(done) <= {200, 503}


def test_the_log_survives_rotation(server: Running, tmp_path: Path) -> None:
    """Each query is a line; after the file was moved away a new one begins."""
    log, moved = tmp_path / "queries.log", tmp_path / "queries.log.1"
    assert ask(server, "sum(up)").status_code == 200
    eventually(lambda: log.exists() and log.read_text().endswith("\n"))
    log.rename(moved)
    assert ask(server, "sum(").status_code == 400
    eventually(log.exists)
    eventually(lambda: log.read_text().endswith("\n"))
    first, second = (json.loads(file.read_text()) for file in (moved, log))
    assert (first["query"], first["error"], first["who"]) == ("sum(up)", "", "127.0.0.1")
    assert "parse error" in second["error"]


def test_the_admin_deletes_series_for_good(tmp_path: Path) -> None:
    """What was deleted is gone at once and after a restart; what is sent later is kept."""
    config = "web: {enable_admin_api: true}\nstorage: {segment: 1s}\n"
    now = int(time.time()) * 1000

    def send(running: Running, value: float, at: int) -> None:
        rows = [
            remote_write.series({"__name__": name, "job": "a"}, value, at)
            for name in ("gone", "kept")
        ]
        body = remote_write.compress(b"".join(rows))
        answer = httpx.post(
            f"{running.url}/api/v1/write", content=body, headers=remote_write.HEADERS
        )
        assert answer.status_code == 204, answer.text

    with vedette(config, tmp_path) as running:
        send(running, 1.0, now - 60_000)
        token = (tmp_path / "data" / "admin-token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        for path in ("delete_series?match[]=gone", "clean_tombstones"):
            answer = httpx.post(f"{running.url}/api/v1/admin/tsdb/{path}", headers=headers)
            assert answer.status_code == 204, answer.text
        assert ask(running, "last_over_time(gone[10m])").json()["data"]["result"] == []
        send(running, 2.0, now)
    with vedette(config, tmp_path) as running:
        for name, count in (("gone", "1"), ("kept", "2")):
            answer = ask(running, f"count_over_time({name}[10m])", time=str(now / 1000 + 1))
            assert answer.json()["data"]["result"][0]["value"][1] == count
