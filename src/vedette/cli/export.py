"""``vedette export``: write stored samples as OpenMetrics."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.app.transfer import Access, TransferError
from vedette.app.transfer import export as export_to
from vedette.cli.client import DEFAULT_URL, Token, Url
from vedette.cli.progress import slow_progress
from vedette.kit.clock import SystemClock
from vedette.kit.duration import parse_duration


def export(
    match: Annotated[list[str], typer.Option(help="A series selector; may come several times.")],
    start: Annotated[
        str, typer.Option(help="RFC 3339, seconds since 1970, or a duration before now.")
    ] = "1h",
    end: Annotated[str, typer.Option(help="As --start; without it: now.")] = "",
    output: Annotated[Path | None, typer.Option(help="File instead of standard output.")] = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
) -> None:
    """Write samples as OpenMetrics with timestamps, which `vedette import` reads again.

    Native histograms have no form in this format; they are left out, and their number is told.

    **Examples**

    `vedette export --match 'up{job="web"}' --start 2h > up.om`

    `vedette export --match '{job="web"}' --start 2026-01-01T00:00:00Z --output web.om`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    now = SystemClock().now_ms() / 1000
    begin, finish = _time(start, now, "--start"), _time(end or "0s", now, "--end")
    if begin > finish:
        raise typer.BadParameter("it lies behind --end", param_hint="--start")
    try:
        with slow_progress(console, "series", None, "series") as advance:
            if output is None:
                result = export_to(
                    match, begin, finish, Access(url, token), sys.stdout.buffer, advance
                )
                sys.stdout.buffer.flush()
            else:
                with output.open("wb") as file:
                    result = export_to(match, begin, finish, Access(url, token), file, advance)
    except TransferError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    except OSError as error:
        console.print(f"cannot be written: {error.strerror or error}", style="red", markup=False)
        raise typer.Exit(1) from None
    console.print(f"{result.samples} samples of {result.series} series")
    if result.histograms:
        console.print(f"{result.histograms} native histograms left out", style="yellow")


def _time(text: str, now: float, option: str) -> float:
    """Return the time in seconds that ``text`` names."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return now - parse_duration(text) / 1000
    except ValueError:
        pass
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        message = f'"{text}" is no time; write 2026-01-01T00:00:00Z, 1767225600 or 2h'
        raise typer.BadParameter(message, param_hint=option) from None
    if parsed.tzinfo is None:
        raise typer.BadParameter(f'"{text}" lacks a time zone; add Z', param_hint=option)
    return parsed.timestamp()
