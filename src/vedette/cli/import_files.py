"""``vedette import``: bring samples with timestamps into a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.app.transfer import Access, TransferError, import_file
from vedette.cli.client import DEFAULT_URL, TOKEN_VARIABLE, Url
from vedette.cli.progress import slow_progress


def import_files(
    files: Annotated[list[Path], typer.Argument(help="Text or OpenMetrics; .gz is unpacked.")],
    url: Url = DEFAULT_URL,
    token: Annotated[
        str,
        typer.Option(
            envvar=["VEDETTE_INGEST_KEY", TOKEN_VARIABLE],
            help="Ingest key or admin token, where one is needed.",
            show_default=False,
        ),
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option(help="A label that every series gets: NAME=VALUE.")
    ] = None,
) -> None:
    """Import files of Prometheus' text format or OpenMetrics, timestamps and all.

    Files may be of any size. A file that ends with `# EOF` is OpenMetrics, with timestamps in
    seconds; any other is text, in milliseconds. Lines without a timestamp are of now. Samples that
    are more than five minutes older than what a series holds already are refused by the store and
    counted in its metrics.

    **Examples**

    `vedette import dump.om`

    `vedette import --label job=old backup-*.txt.gz`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    failed = False
    for file in files:
        size = file.stat().st_size if file.is_file() and file.suffix != ".gz" else None
        try:
            with slow_progress(console, str(file), size, "bytes") as advance:
                result = import_file(file, Access(url, token), label or [], advance)
        except TransferError as error:
            console.print(str(error), style="red", markup=False)
            failed = True
            continue
        refused = sum(result.rejected.values())
        console.print(f"{file}: {result.samples} samples, {refused} lines refused", markup=False)
        if refused:
            console.print(f"  first: {result.message}", style="yellow", markup=False)
    raise typer.Exit(1 if failed else 0)
