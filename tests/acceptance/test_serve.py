"""``vedette serve`` and ``check-config`` as processes: input, restarts, kills, bad input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bench import remote_write
from bench.processes import Running, free_port, vedette

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

PATIENCE = 20.0


def eventually(check: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the first true value of ``check``; fail when it does not come in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail(f"not within {seconds} s: {check}")


def query(server: Running, expr: str, at: float | None = None) -> list[dict[str, Any]]:
    """Return the result of an instant query."""
    params: dict[str, Any] = {"query": expr}
    if at is not None:
        params["time"] = at
    answer = httpx.get(f"{server.url}/api/v1/query", params=params)
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def write(server: Running, *rows: tuple[dict[str, str], float, int]) -> httpx.Response:
    """Remote-write samples."""
    body = remote_write.compress(b"".join(remote_write.series(*row) for row in rows))
    return httpx.post(
        f"{server.url}/api/v1/write", content=body, headers=remote_write.HEADERS, timeout=20
    )


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """Samples and events are there after kill -9 and a restart, each once."""
    now = int(time.time()) * 1000
    config = "storage: {segment: 1s}\n"
    with vedette(config, tmp_path) as server:
        for k in range(20):
            answer = write(server, ({"__name__": "kept_total"}, k, now - 20_000 + k * 1000))
            assert answer.status_code == 204, answer.text
        events = b"\n".join(b'{"type":"t","data":{"state":"s%d"}}' % (k % 2) for k in range(10))
        taken = httpx.post(f"{server.url}/api/events", content=events)
        assert taken.json()["accepted"] == 10
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
    for _ in range(2):
        with vedette(config, tmp_path) as server:
            kept = query(server, "count_over_time(kept_total[5m])", now / 1000)
            assert kept[0]["value"][1] == "20"
            by = httpx.get(f"{server.url}/api/events/count", params={"by": "state"}).json()["by"]
            assert by == {"s0": 5, "s1": 5}
            time.sleep(2.5)  # a segment is flushed meanwhile, and the next start reads the store


def test_sigterm_stops_quickly_and_cleanly(tmp_path: Path) -> None:
    """SIGTERM ends the server with exit code 0 within 5 s, also with clients connected."""
    with vedette("", tmp_path) as server, httpx.Client(base_url=server.url) as http:
        assert http.get("/-/healthy").status_code == 200
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 5


def test_rules_fire_and_a_webhook_is_told(tmp_path: Path) -> None:
    """A rule over remote-written samples fires, is shown, and its alert log gets a line."""
    (tmp_path / "rules.yml").write_text(
        """
groups:
  - name: g
    rules:
      - record: doubled
        expr: sum(pushed) * 2
      - alert: TooMuch
        expr: doubled > 10
        labels: {severity: warning}
        annotations: {summary: "il y en a {{ $value }}"}
"""
    )
    config = """
rules: {files: [rules.yml], evaluation_interval: 200ms}
alerting:
  route: {receiver: log, group_wait: 0s, group_interval: 1s}
  receivers: [{name: log, log: [{}]}]
"""
    with vedette(config, tmp_path) as server:
        write(server, ({"__name__": "pushed"}, 7.0, int(time.time() * 1000)))

        def alerts() -> list[dict[str, Any]]:
            found = httpx.get(f"{server.url}/api/v1/alerts").json()["data"]["alerts"]
            return [alert for alert in found if alert["state"] == "firing"]

        (alert,) = eventually(alerts)
        assert alert["annotations"]["summary"] == "il y en a 14"
        assert query(server, 'ALERTS{alertname="TooMuch",alertstate="firing"}')
        log = tmp_path / "data" / "logs" / "alerts.log"
        eventually(lambda: log.exists() and "TooMuch" in log.read_text())


def test_a_dead_engine_is_restarted_and_nothing_is_lost(tmp_path: Path) -> None:
    """After a SIGSEGV of the column store's process, ingest goes on and the store comes back."""
    now = int(time.time()) * 1000
    with vedette("storage: {segment: 1s}\n", tmp_path) as server:
        children = psutil.Process(server.process.pid).children()
        assert children
        children[0].send_signal(signal.SIGSEGV)
        children[0].wait(10)
        assert write(server, ({"__name__": "kept"}, 1.0, now)).status_code == 204
        assert query(server, "kept", now / 1000)
        eventually(lambda: psutil.Process(server.process.pid).children())
        time.sleep(3)
        assert query(server, "count_over_time(kept[1m])", now / 1000)[0]["value"][1] == "1"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "way"),
    [
        ("/api/v1/write", b"no snappy", remote_write.HEADERS, 400, "remote_write"),
        (
            "/api/v1/write",
            b"\xff\xff\xff\xff\x0f" + b"x",
            remote_write.HEADERS,
            413,
            "remote_write",
        ),
        ("/api/events", b'{"type": 1}', {}, 400, "events"),
        ("/api/events", b"{" * 50_000, {}, 400, "events"),
    ],
)
def test_bad_bodies_are_refused_and_counted(
    path: str, body: bytes, headers: dict[str, str], status: int, way: str, bad_input: Running
) -> None:
    """A malformed body gets a 4xx that says what is wrong, and a counter rises."""
    before = _rejected(bad_input, way)
    answer = httpx.post(bad_input.url + path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.text
    assert _rejected(bad_input, way) > before


def _rejected(server: Running, way: str) -> float:
    lines = httpx.get(server.url + "/metrics").text.splitlines()
    found = [li for li in lines if li.startswith("vedette_ingest_rejected_total{")]
    return sum(float(li.rpartition(" ")[2]) for li in found if f'way="{way}"' in li)


@pytest.fixture(scope="module")
def bad_input(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all bad bodies: each must find it alive."""
    with vedette("", tmp_path_factory.mktemp("bad")) as server:
        yield server


def _cli(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vedette.cli.main", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "COLUMNS": "100"}
    )


@pytest.mark.parametrize("command", ["serve", "demo", "check-config"])
def test_help_is_for_people(command: str) -> None:
    """Each command's help says what it does and gives examples."""
    answer = _cli(command, "--help")
    assert answer.returncode == 0
    assert "Examples" in answer.stdout
    assert f"vedette {command}" in answer.stdout


def test_check_config_names_place_and_fix(tmp_path: Path) -> None:
    """A typo is reported as file, line, column and fix, with exit code 1; a good file with 0."""
    bad = tmp_path / "bad.yml"
    bad.write_text("server:\n  lisen: 127.0.0.1:9797\n")
    answer = _cli("check-config", str(bad))
    assert answer.returncode == 1
    assert f'{bad}:2:3: unknown key "lisen"; did you mean "listen"?' in answer.stderr
    good = tmp_path / "good.yml"
    good.write_text("server: {listen: '127.0.0.1:9797'}\n")
    assert _cli("check-config", str(good)).returncode == 0


def test_serve_refuses_a_used_port_and_an_open_door(tmp_path: Path) -> None:
    """A taken port and a bind beyond loopback without a token end with the next step."""
    with vedette("", tmp_path) as server:
        port = server.url.rpartition(":")[2]
        used = _cli("serve", "--port", port, "--data-dir", str(tmp_path / "other"))
        assert used.returncode == 1
        assert "--port" in used.stderr
        same = _cli("serve", "--port", str(free_port()), "--data-dir", str(tmp_path / "data"))
        assert same.returncode == 1
        assert f"pid {server.process.pid}" in same.stderr
    door = _cli("serve", "--listen", "0.0.0.0:9", "--data-dir", str(tmp_path / "third"))
    assert door.returncode == 1
    assert "VEDETTE_ADMIN_TOKEN" in door.stderr
