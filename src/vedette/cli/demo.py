"""``vedette demo``: a live chat application with faults, watched by Vedette."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.kit.duration import parse_duration


def demo(
    for_: Annotated[
        str, typer.Option("--for", help="End by itself after this time, e.g. 90s; else on Ctrl-C.")
    ] = "",
    report: Annotated[Path | None, typer.Option(help="Write what happened as JSON.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 9797,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep what is stored here instead of a temporary folder.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the traffic.")] = 1,
) -> None:
    """Watch a live chat application: traffic, a fault, an alert, its recovery.

    Starts Vedette, a chat application that is instrumented with the SDK, a provider that can fail,
    a load generator, and a receiver of notifications, all on loopback. After a while the provider
    becomes slow and faulty, later it recovers. With `--for` the exit code is 0 only if alerts fired
    and resolved, people were told, and every recorded chat agrees with what really happened.

    **Examples**

    `vedette demo`

    `vedette demo --for 90s --report report.json`
    """
    try:
        from vedette.demo.run import DemoOptions, main
    except ModuleNotFoundError as error:
        Console(stderr=True).print(
            f"the demo needs {error.name}: pip install 'vedette[demo]'", style="bold red"
        )
        raise typer.Exit(1) from None
    try:
        seconds = parse_duration(for_) / 1000 if for_ else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from None
    raise typer.Exit(main(DemoOptions(seconds, report, port, data_dir, seed)))
