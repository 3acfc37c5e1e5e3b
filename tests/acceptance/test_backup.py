"""Snapshots and backups of a running server, brought back into a new folder."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from bench.processes import vedette
from tests.acceptance.test_forward import SERIES, push, value

pytestmark = [pytest.mark.acceptance, pytest.mark.chdb, pytest.mark.timeout(120)]

QUERY = "sum(sum_over_time(sent_on[1h]))"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``vedette`` with ``arguments``."""
    return subprocess.run(
        [sys.executable, "-m", "vedette.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_backup_brings_everything_back(tmp_path: Path) -> None:
    """Samples, events and pushed groups of a backup are those of its moment, come what may."""
    now = time.time_ns() // 1_000_000
    archive, again = tmp_path / "backup.tar", tmp_path / "again"
    (tmp_path / "first").mkdir()
    with vedette("", tmp_path / "first") as running:
        push(running.url, now - 2_000, 2.0)
        event = {"type": "order", "data": {"n": 1}}
        httpx.post(f"{running.url}/api/events", json=event).raise_for_status()
        pushed = httpx.post(f"{running.url}/metrics/job/batch", content="done 1\n")
        pushed.raise_for_status()
        data_dir = str(tmp_path / "first" / "data")
        done = command("backup", str(archive), "--url", running.url, "--data-dir", data_dir)
        assert done.returncode == 0, done.stderr
        push(running.url, now - 1_000, 3.0)
        assert list((tmp_path / "first" / "data" / "snapshots").iterdir()) == []
        twice = command("backup", str(archive), "--url", running.url, "--data-dir", data_dir)
        assert twice.returncode == 1
        assert "exists already" in twice.stderr
    done = command("restore", str(archive), "--data-dir", str(again / "data"))
    assert done.returncode == 0, done.stderr
    with vedette("", again) as running:
        assert value(running.url, QUERY) == 2.0 * SERIES
        found = httpx.get(f"{running.url}/api/events?type=order").json()
        assert [each["data"] for each in found["events"]] == [{"n": 1}]
        (group,) = httpx.get(f"{running.url}/api/v1/metrics").json()["data"]
        assert group["labels"] == {"job": "batch"}
        push(running.url, now - 500, 5.0)
        assert value(running.url, QUERY) == 7.0 * SERIES


def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    """A damaged file, a folder in use and a missing right end in one line that says so."""
    odd = tmp_path / "odd.tar"
    odd.write_bytes(b"not a tar file")
    refused = command("restore", str(odd), "--data-dir", str(tmp_path / "new"))
    assert refused.returncode == 1
    assert "no backup that can be read" in refused.stderr
    refused = command("restore", str(odd), "--data-dir", str(tmp_path))
    assert "is not empty" in refused.stderr
    with vedette("", tmp_path) as running:
        refused = command("snapshot", "--url", running.url, "--data-dir", str(tmp_path / "new"))
    assert refused.returncode == 1
    assert "wants the admin token" in refused.stderr
