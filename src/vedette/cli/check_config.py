"""``vedette check-config``: say what is wrong with a configuration, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.config.loader import ConfigError, load
from vedette.config.prometheus import with_prometheus
from vedette.config.settings import Settings


def check_config(
    file: Annotated[
        Path | None, typer.Argument(help="The vedette.yml to check.", show_default=False)
    ] = None,
    prometheus: Annotated[
        Path | None, typer.Option(help="A prometheus.yml to check, alone or together with FILE.")
    ] = None,
) -> None:
    """Check configuration files and the rule files that they name.

    Prints one line a fault, `file:line:column: what is wrong; how to mend it`, and exits with 1
    when there is any. Nothing is started and nothing is written.

    **Examples**

    `vedette check-config vedette.yml`

    `vedette check-config --prometheus prometheus.yml`

    `vedette check-config vedette.yml && vedette serve --config vedette.yml`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if file is None and prometheus is None:
        raise typer.BadParameter("name a vedette.yml, or --prometheus with a prometheus.yml")
    try:
        settings = load(file) if file else Settings()
        if prometheus:
            settings = with_prometheus(settings, prometheus)
    except ConfigError as error:
        for fault in error.faults:
            console.print(str(fault), markup=False)
        count = len(error.faults)
        console.print(f"{count} fault{'s' if count > 1 else ''} found", style="bold red")
        raise typer.Exit(1) from None
    for warning in settings.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    names = " and ".join(str(each) for each in (file, prometheus) if each)
    verb = "are" if file and prometheus else "is"
    jobs, files = len(settings.scrape.jobs), len(settings.rules.files)
    Console(soft_wrap=True, highlight=False).print(
        f"{names} {verb} valid: {jobs} scrape job{'s' * (jobs != 1)}, "
        f"{files} rule file pattern{'s' * (files != 1)}, "
        f"{len(settings.receivers)} receiver{'s' * (len(settings.receivers) != 1)}",
        style="green",
    )
