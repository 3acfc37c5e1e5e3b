"""The built page against made-up data: what is wrong, by keyboard, at every width, and offline."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from hatch_build import find_node, folders
from tests import needs
from tests.browser.operations import OperationsPage

pytestmark = pytest.mark.browser

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
WIDTHS = (390, 768, 1024, 1440, 1920)


@dataclass(frozen=True)
class Mock:
    """The development server with made-up data."""

    url: str

    def tell(self, order: str) -> None:
        """Change its scenario, or make it drop or accept live channels."""
        httpx.post(f"{self.url}mock/{order}").raise_for_status()


@pytest.fixture
def mock() -> Iterator[Mock]:
    """A mock server on a free port, in the middle of its fault."""
    ui, static = folders(needs.ROOT)
    if not (static / "index.html").is_file():
        pytest.skip("needs the built page: make ui")
    node, _ = find_node()
    command = [str(node), str(ui / "mock" / "server.mjs"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Mock(server.stdout.readline().split()[0])
        server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = needs.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, mock: Mock) -> Iterator[OperationsPage]:
    """The page on the mock's data, live."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = OperationsPage(context.new_page())
        page.open(mock.url.rstrip("/"))
        yield page


def test_the_header_says_what_is_wrong_and_leads_there(page: OperationsPage, mock: Mock) -> None:
    """Worst state first, links to it; when it is over all is good, and the change is read out."""
    expect(page.verdict()).to_contain_text("Critical")
    page.verdict().get_by_role("link", name="1 critical alert").click()
    expect(page.alerts()).to_be_focused()
    names = page.alerts().get_by_role("heading", level=3).all_inner_texts()
    assert names[:2] == ["StreamsFailing", "FirstTokenSlow"]
    mock.tell("scenario?name=calm")
    expect(page.verdict()).to_contain_text("All good", timeout=15_000)
    expect(page.news()).to_contain_text("Resolved: ")
    assert "StreamsFailing (critical)" in page.news().inner_text()
    mock.tell("scenario?name=fault")
    expect(page.news()).to_contain_text("Alert firing: ", timeout=15_000)
    assert page.complaints == []


def test_the_keyboard_suffices(page: OperationsPage) -> None:
    """The first key leads past the header; arrows read a chart; Escape leaves the zoom."""
    keys = page.page.keyboard
    keys.press("Tab")
    expect(page.page.get_by_role("link", name="Skip to the figures")).to_be_focused()
    keys.press("Enter")
    expect(page.page.get_by_role("main")).to_be_focused()
    chart = page.chart("Requests")
    chart.focus()
    keys.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^\d{4}-\d\d-\d\d .*all "))
    keys.press("Escape")
    box = chart.bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + 150, box["y"] + 60)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 350, box["y"] + 60, steps=4)
    page.page.mouse.up()
    expect(page.page).to_have_url(re.compile("from="))
    keys.press("Escape")
    expect(page.page).not_to_have_url(re.compile("from="))
    assert page.complaints == []


def test_nothing_is_cut_or_too_wide(page: OperationsPage) -> None:
    """No width scrolls sideways, and descriptions and end states are whole at each."""
    for width in WIDTHS:
        page.page.set_viewport_size({"width": width, "height": 900})
        expect(page.tile("How streams end").get_by_role("term")).to_have_count(6)
        expect(page.page.get_by_text("that the client left are not counted.")).to_be_visible()
        assert not page.overflows(), width


def test_a_lost_channel_is_said_and_old_figures_are_not_called_present(
    page: OperationsPage, mock: Mock
) -> None:
    """Without the live channel the verdict is unknown, and returns with the channel."""
    mock.tell("drop")
    expect(page.verdict()).to_contain_text("Unknown", timeout=15_000)
    expect(page.alerts()).to_contain_text("When last heard of")
    mock.tell("accept")
    page.page.get_by_role("button", name="Reconnect now").click()
    expect(page.connection()).to_contain_text("Live")
    expect(page.verdict()).to_contain_text("Critical", timeout=15_000)
