"""The live summary in the terminal; plain lines where it is not one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vedette.demo.timeline import Mode

_PLAIN_EVERY = 5.0
"""Seconds between plain lines."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the screen shows; ``recorded`` is what Vedette has counted so far."""

    elapsed: float
    seconds: float | None
    mode: Mode
    started: int
    under_way: int
    first_token_ms: float | None
    recorded: Mapping[str, int] = field(default_factory=dict)
    alerts: Sequence[tuple[str, str, str]] = ()
    notifications: int = 0
    latest_notification: str = ""
    resident_bytes: int = 0


class Screen:
    """Shows summaries, and lines of news above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_plain = 0.0

    def start(self) -> None:
        """Begin to draw."""
        if self._live:
            self._live.start()

    def stop(self) -> None:
        """Leave the last drawing standing."""
        if self._live:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line of news."""
        self._console.print(text, style=style or None, markup=False, highlight=False)

    def show(self, summary: Summary) -> None:
        """Draw ``summary``, or print it as a line every few seconds."""
        if self._live:
            self._live.update(Group(*draw(summary)), refresh=True)
        elif summary.elapsed >= self._next_plain:
            self._next_plain = summary.elapsed + _PLAIN_EVERY
            self.say(plain(summary))


def plain(summary: Summary) -> str:
    """Return ``summary`` as one line."""
    states = " ".join(f"{state}={count}" for state, count in summary.recorded.items())
    firing = [f"{name}({level})" for name, level, state in summary.alerts if state == "firing"]
    return (
        f"{summary.elapsed:5.0f} s  provider {summary.mode}  chats {summary.started} "
        f"({summary.under_way} under way)  p95 first token {_ms(summary.first_token_ms)}  "
        f"recorded {states or 'nothing yet'}  firing {', '.join(firing) or 'nothing'}  "
        f"notifications {summary.notifications}"
    )


def draw(summary: Summary) -> list[Table | Text]:
    """Return ``summary`` as what rich can draw."""
    end = f" of {summary.seconds:.0f}" if summary.seconds else ""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", min_width=16)
    table.add_column()
    well = summary.mode is Mode.HEALTHY
    table.add_row("time", f"{summary.elapsed:.0f}{end} s")
    table.add_row("provider", Text(summary.mode, style="green" if well else "bold red"))
    table.add_row("chats", f"{summary.started} started, {summary.under_way} under way")
    table.add_row("first token", f"p95 {_ms(summary.first_token_ms)}, as the clients see it")
    states = "  ".join(f"{state} {count}" for state, count in summary.recorded.items())
    table.add_row("recorded", states or "nothing yet")
    table.add_row("alerts", _alerts(summary.alerts))
    latest = f", the latest: {summary.latest_notification}" if summary.notifications else ""
    table.add_row("notifications", f"{summary.notifications}{latest}")
    table.add_row("server", f"{summary.resident_bytes / 1e6:.0f} MB resident")
    return [Text(""), table]


def _alerts(alerts: Sequence[tuple[str, str, str]]) -> Text:
    if not alerts:
        return Text("none", style="green")
    text = Text()
    for name, severity, state in alerts:
        style = "bold red" if state == "firing" else "yellow"
        text.append(f"{name} {severity} {state}   ", style=style)
    return text


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} ms"
