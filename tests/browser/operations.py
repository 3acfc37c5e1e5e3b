"""The operational page as a person reads it: the page object of the browser tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect


@dataclass
class OperationsPage:
    """Finds things by what they say, so that tests survive a change of the markup.

    ``complaints`` gathers console errors and uncaught exceptions from the moment of construction.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on(
            "console", lambda m: self.complaints.append(m.text) if m.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, base_url: str, query: str = "") -> None:
        """Load the page and wait until its live channel is open (20 s at most)."""
        self.page.goto(f"{base_url}/{query}")
        expect(self.connection()).to_contain_text("Live", timeout=20_000)

    def connection(self) -> Locator:
        """Return the word of the live channel: Live, Reconnecting, Polling, Stale."""
        return self.page.locator(".connection")

    def verdict(self) -> Locator:
        """Return the header's answer to "is anything wrong", with the links to its reasons."""
        return self.page.locator(".verdict")

    def news(self) -> Locator:
        """Return what is read aloud when alerts begin or end."""
        return self.alerts().get_by_role("status")

    def tile(self, title: str) -> Locator:
        """Return the tile with the heading ``title``."""
        heading = self.page.get_by_role("link", name=title, exact=True)
        return self.page.locator(".tile").filter(has=heading)

    def tile_value(self, title: str) -> str:
        """Return the figure of a tile with its unit, such as ``412ms``; ``–`` for none."""
        return self.tile(title).locator(".value").inner_text()

    def tile_time(self, title: str) -> str:
        """Return the wall-clock time of a tile's figure."""
        return self.tile(title).locator("time").inner_text()

    def chart(self, title: str) -> Locator:
        """Return the chart of a panel; arrow keys move its crosshair."""
        return self.page.get_by_role("slider", name=f"Chart of {title}", exact=True)

    def table(self, title: str) -> Locator:
        """Open the table alternative of a chart and return it."""
        button = self.page.get_by_role("button", name=f"Table of {title}", exact=True)
        if button.get_attribute("aria-pressed") != "true":
            button.click()
        return self.page.get_by_role("region", name=f"Table of {title}").get_by_role("table")

    def choose_range(self, name: str) -> None:
        """Press one of 5m, 15m, 1h, 6h, 24h."""
        self.page.get_by_role("button", name=f"Last {name}", exact=True).click()

    def alerts(self) -> Locator:
        """Return the section of the alerts."""
        return self.page.get_by_role("region", name="Alerts", exact=True)

    def targets(self) -> Locator:
        """Return the section of the scrape targets."""
        return self.page.get_by_role("region", name="Targets", exact=True)

    def overflows(self) -> bool:
        """Say whether the page is wider than its window."""
        return bool(
            self.page.evaluate(
                "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            )
        )
