"""The demo as a newcomer runs it, with the page open in a real browser meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from bench.processes import free_port
from tests import needs
from tests.browser.operations import OperationsPage

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(400)]

SHOTS = needs.ROOT / "test-results"
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STATES = {"completed", "client_left", "provider_cut", "stalled", "timed_out", "error"}


def start_demo(port: int, *arguments: str) -> subprocess.Popen[str]:
    """Start ``vedette demo`` as a process of its own."""
    command = [sys.executable, "-m", "vedette.cli.main", "demo", "--port", str(port), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=needs.ROOT
    )


def wait_ready(port: int, demo: subprocess.Popen[str]) -> None:
    """Wait until the server of the demo takes traffic."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert demo.poll() is None, demo.communicate()[0]
        try:
            if httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail("the demo's server was not ready within 60 s")


@pytest.fixture
def chromium_page() -> Iterator[Page]:
    """A page in Debian's Chromium with a fresh profile."""
    path = needs.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        yield context.new_page()
        browser.close()


@pytest.mark.browser
def test_demo_fires_resolves_tells_and_agrees_with_the_truth(
    tmp_path: Path, chromium_page: Page
) -> None:
    """90 s of demo: the page lives, the fault fires and resolves, the records are the truth."""
    port, report_file = free_port(), tmp_path / "report.json"
    demo = start_demo(port, "--for", "90s", "--report", str(report_file))
    try:
        wait_ready(port, demo)
        page = OperationsPage(chromium_page)
        page.open(f"http://127.0.0.1:{port}")
        _see_values_change(page)
        _look_at_both_widths(page)
        output, _ = demo.communicate(timeout=240)
    finally:
        demo.kill()
    assert demo.returncode == 0, output[-6_000:]
    report = json.loads(report_file.read_text())
    assert report["alerts_fired"] >= 1
    assert report["alerts_resolved"] >= 1
    assert report["notifications_received"] >= 2
    assert report["chats_by_state"] == report["chats_recorded_by_state"]
    assert {state for state, n in report["chats_by_state"].items() if n} == STATES
    assert sum(report["chats_by_state"].values()) == report["chats_started"]
    assert not psutil.pid_exists(report["server_pid"])


def _see_values_change(page: OperationsPage) -> None:
    """Wait for a live figure, then for another one in its place."""
    value = page.tile("Requests").locator(".value")
    expect(value).to_contain_text("/s", timeout=30_000)
    first = value.inner_text()
    expect(value).not_to_have_text(first, timeout=30_000)
    expect(page.targets()).to_contain_text("up")
    assert page.complaints == []


def _look_at_both_widths(page: OperationsPage) -> None:
    """Take screenshots at desk and phone width; neither overflows."""
    SHOTS.mkdir(exist_ok=True)
    for width in (1440, 390):
        page.page.set_viewport_size({"width": width, "height": 900})
        page.page.wait_for_timeout(1_000)
        page.page.screenshot(path=SHOTS / f"page-{width}.png", full_page=True)
        assert not page.overflows()
    assert page.complaints == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_demo_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM end the demo within 5 s, with every process that it started."""
    port = free_port()
    demo = start_demo(port)
    try:
        wait_ready(port, demo)
        time.sleep(3)
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        began = time.monotonic()
        os.kill(demo.pid, number)
        demo.communicate(timeout=20)
        assert time.monotonic() - began < 5.5
        _, alive = psutil.wait_procs(family, timeout=1)
        assert alive == []
    finally:
        demo.kill()
