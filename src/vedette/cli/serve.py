"""``vedette serve``: run the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.app.serve import ServeOptions, StartError, run
from vedette.config.loader import ConfigError


def serve(
    config: Annotated[
        Path | None, typer.Option(help="vedette.yml; without it the server uses its defaults.")
    ] = None,
    prometheus_config: Annotated[
        Path | None,
        typer.Option(help="prometheus.yml, read as it is, beside or instead of vedette.yml."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="host:port to listen on, instead of the file's.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port, instead of the file's.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of everything that is stored.")
    ] = None,
) -> None:
    """Start the server: collect, store, evaluate, alert, and show.

    It listens on 127.0.0.1:9797 unless told otherwise. Ctrl-C or SIGTERM stop it; nothing that was
    acknowledged is lost.

    **Examples**

    `vedette serve` (defaults: watches itself, takes remote write and events)

    `vedette serve --config vedette.yml`

    `vedette serve --prometheus-config prometheus.yml` (SIGHUP or POST /-/reload read it again)

    `vedette serve --config vedette.yml --port 9800 --data-dir /var/lib/vedette`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        raise typer.Exit(
            run(ServeOptions(config, listen, port, data_dir, prometheus_config), console)
        )
    except ConfigError as error:
        for fault in error.faults:
            console.print(str(fault), markup=False)
        console.print("not started: mend the faults above", style="bold red")
    except StartError as error:
        console.print(f"not started: {error}", style="bold red")
    raise typer.Exit(1)
