"""``vedette check-config``: say what is wrong with a configuration, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.config.loader import ConfigError, load


def check_config(
    file: Annotated[Path, typer.Argument(help="The vedette.yml to check.")],
) -> None:
    """Check a configuration file and the rule files that it names.

    Prints one line a fault, `file:line:column: what is wrong; how to mend it`, and exits with 1
    when there is any. Nothing is started and nothing is written.

    **Examples**

    `vedette check-config vedette.yml`

    `vedette check-config vedette.yml && vedette serve --config vedette.yml`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        settings = load(file)
    except ConfigError as error:
        for fault in error.faults:
            console.print(str(fault), markup=False)
        count = len(error.faults)
        console.print(f"{count} fault{'s' if count > 1 else ''} found", style="bold red")
        raise typer.Exit(1) from None
    jobs, files = len(settings.scrape.jobs), len(settings.rules.files)
    Console(soft_wrap=True, highlight=False).print(
        f"{file} is valid: {jobs} scrape job{'s' * (jobs != 1)}, "
        f"{files} rule file pattern{'s' * (files != 1)}, "
        f"{len(settings.receivers)} receiver{'s' * (len(settings.receivers) != 1)}",
        style="green",
    )
