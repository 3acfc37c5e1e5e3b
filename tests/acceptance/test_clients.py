"""Debian's promtool, vmalert and vmagent against a real server."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import remote_write
from bench.processes import Running, free_port, vedette
from tests import needs

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(180)]

PATIENCE = 30.0


def write(server: Running, *rows: tuple[dict[str, str], float, int]) -> None:
    """Remote-write samples."""
    body = remote_write.compress(b"".join(remote_write.series(*row) for row in rows))
    answer = httpx.post(
        f"{server.url}/api/v1/write", content=body, headers=remote_write.HEADERS, timeout=20
    )
    assert answer.status_code == 204, answer.text


def query(server: Running, expr: str) -> list[dict[str, Any]]:
    """Return the result of an instant query."""
    answer = httpx.get(f"{server.url}/api/v1/query", params={"query": expr})
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def eventually(server: Running, expr: str) -> list[dict[str, Any]]:
    """Return the result of ``expr`` as soon as it has one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := query(server, expr):
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing for {expr} within {PATIENCE} s")


@contextmanager
def process(*command: object) -> Iterator[None]:
    """Run a program until the block ends."""
    running = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
        assert running.poll() is None, f"{command[0]} ended by itself"
    finally:
        running.terminate()
        running.wait(10)


def promtool(*arguments: str, cwd: Path | None = None, text: str = "") -> str:
    """Run promtool; return what it prints."""
    found = subprocess.run(
        [needs.peer("promtool"), *arguments],
        capture_output=True,
        text=True,
        input=text,
        cwd=cwd,
        timeout=60,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_promtool_asks(tmp_path: Path) -> None:
    """`promtool query` instant, range, series and labels give what was written."""
    with vedette("", tmp_path) as server:
        now = int(time.time())
        for back in range(5):
            at = (now - 60 * back) * 1000
            write(
                server,
                ({"__name__": "kept", "job": "a", "path": "/é"}, 4.0 - back, at),
                ({"__name__": "kept", "job": "b"}, 1.0, at),
            )
        instant = promtool("query", "instant", server.url, "sum by (job) (kept)")
        assert '{job="a"} => 4 @' in instant
        assert '{job="b"} => 1 @' in instant
        start, end = f"--start={now - 240}", f"--end={now}"
        ranged = promtool("query", "range", start, end, "--step=1m", server.url, 'kept{job="a"}')
        assert [line.split()[0] for line in ranged.splitlines()[1:]] == list("01234")
        series = promtool("query", "series", "--match=kept", start, end, server.url)
        assert series.splitlines() == [
            '{__name__="kept", job="a", path="/é"}',
            '{__name__="kept", job="b"}',
        ]
        labels = promtool("query", "labels", server.url, "job")
        assert {"a", "b"} <= set(labels.split())
        empty = subprocess.run(
            [needs.peer("promtool"), "query", "instant", server.url, "kept{"],
            capture_output=True,
            text=True,
        )
        assert empty.returncode != 0
        assert "parse error" in empty.stderr


def test_promtool_approves_of_our_metrics(tmp_path: Path) -> None:
    """`/metrics` passes `promtool check metrics` without a word; `debug metrics` collects it."""
    with vedette("", tmp_path) as server:
        query(server, "up")
        text = httpx.get(f"{server.url}/metrics").text
        assert promtool("check", "metrics", text=text) == ""
        promtool("debug", "metrics", server.url, cwd=tmp_path)
    with tarfile.open(tmp_path / "debug.tar.gz") as found:
        (name,) = found.getnames()
        member = found.extractfile(name)
        assert member is not None
        assert b"vedette_build_info" in member.read()


RULES = """
groups:
  - name: peers
    interval: 1s
    rules:
      - record: doubled
        expr: sum by (job) (kept) * 2
        labels: {by: vmalert}
      - alert: Kept
        expr: kept > 3
        for: 2s
        labels: {severity: page}
"""


def test_vmalert_evaluates_and_writes_back(tmp_path: Path) -> None:
    """vmalert asks Vedette, writes recorded series and alert states to it, and restores them."""
    (tmp_path / "rules.yml").write_text(RULES)
    port = free_port()
    with vedette("", tmp_path) as server:
        command = (
            needs.peer("vmalert"),
            f"-rule={tmp_path / 'rules.yml'}",
            f"-datasource.url={server.url}",
            f"-remoteWrite.url={server.url}",
            f"-remoteRead.url={server.url}",
            "-remoteWrite.flushInterval=500ms",
            "-evaluationInterval=1s",
            # Nobody listens there: only evaluation and writing back are looked at.
            f"-notifier.url=http://127.0.0.1:{free_port()}",
            f"-httpListenAddr=127.0.0.1:{port}",
        )
        now = int(time.time() * 1000)
        write(server, ({"__name__": "kept", "job": "a"}, 4.0, now))
        with process(*command):
            (recorded,) = eventually(server, "doubled")
            assert recorded["metric"] == {"__name__": "doubled", "by": "vmalert", "job": "a"}
            assert recorded["value"][1] == "8"
            (state,) = eventually(server, 'ALERTS{alertname="Kept",alertstate="firing"}')
            assert state["metric"]["severity"] == "page"
            (since,) = eventually(server, "ALERTS_FOR_STATE")
        with process(*command):
            time.sleep(3)
            (again,) = eventually(server, "ALERTS_FOR_STATE")
            assert again["value"][1] == since["value"][1]


def test_vmagent_writes(tmp_path: Path) -> None:
    """vmagent scrapes Vedette's own metrics and remote-writes them to it."""
    port = free_port()
    with vedette("", tmp_path) as server:
        target = server.url.removeprefix("http://")
        (tmp_path / "scrape.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s"},
                    "scrape_configs": [
                        {"job_name": "by-vmagent", "static_configs": [{"targets": [target]}]}
                    ],
                }
            )
        )
        command = (
            needs.peer("vmagent"),
            f"-promscrape.config={tmp_path / 'scrape.yml'}",
            f"-remoteWrite.url={server.url}/api/v1/write",
            f"-remoteWrite.tmpDataPath={tmp_path / 'vmagent'}",
            "-remoteWrite.flushInterval=500ms",
            f"-httpListenAddr=127.0.0.1:{port}",
        )
        with process(*command):
            (up,) = eventually(server, 'up{job="by-vmagent"}')
            assert up["value"][1] == "1"
            eventually(server, 'rate(vedette_ingest_accepted_total{job="by-vmagent"}[10s]) > 0')


def test_prometheus_federates(tmp_path: Path) -> None:
    """Debian's Prometheus scrapes /federate and has the same samples at the same times."""
    port = free_port()
    with vedette("", tmp_path) as server:
        now = int(time.time() * 1000)
        write(server, ({"__name__": "kept", "job": "a", "path": 'q"\\\n'}, 4.25, now))
        config = {
            "scrape_configs": [
                {
                    "job_name": "federate",
                    "scrape_interval": "1s",
                    "honor_labels": True,
                    "metrics_path": "/federate",
                    "params": {"match[]": ["kept"]},
                    "static_configs": [{"targets": [server.url.removeprefix("http://")]}],
                }
            ]
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(config))
        command = (
            needs.peer("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        with process(*command):
            theirs = f"http://127.0.0.1:{port}"
            found: list[Any] = []
            end = time.monotonic() + PATIENCE
            while not found and time.monotonic() < end:
                time.sleep(0.3)
                try:
                    answer = httpx.get(f"{theirs}/api/v1/query", params={"query": "kept[5m]"})
                    found = answer.json()["data"]["result"]
                except (httpx.TransportError, ValueError):
                    continue
    (series,) = found
    assert series["metric"]["path"] == 'q"\\\n'
    assert series["values"] == [[now / 1000, "4.25"]]
