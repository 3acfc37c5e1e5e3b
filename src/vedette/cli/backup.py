"""``vedette snapshot``, ``vedette backup`` and ``vedette restore``: copies of everything stored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vedette.app.snapshots import Snapshot, pack, request_snapshot
from vedette.app.snapshots import restore as restore_snapshot
from vedette.app.transfer import Access, TransferError
from vedette.cli.client import DEFAULT_URL, TOKEN_VARIABLE, Url
from vedette.storage.interface import StorageError

_Token = Annotated[
    str,
    typer.Option(
        envvar=TOKEN_VARIABLE,
        help="The admin token; without it, that of --data-dir is read.",
        show_default=False,
    ),
]
_DataDir = Annotated[Path, typer.Option(help="Data folder of the server, for its admin token.")]


def snapshot(url: Url = DEFAULT_URL, token: _Token = "", data_dir: _DataDir = Path("data")) -> None:
    """Let a running server take a snapshot of everything that it stores.

    It lies below `snapshots/` in the data folder, made of hard links: it takes next to no room at
    first. Remove the folder when it is not needed any more.

    **Examples**

    `vedette snapshot`

    `vedette snapshot --url http://127.0.0.1:9800 --data-dir /var/lib/vedette`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    print(_taken(console, url, token, data_dir).path)  # noqa: T201 - for scripts


def backup(
    file: Annotated[Path, typer.Argument(help="The tar file to write.", show_default=False)],
    url: Url = DEFAULT_URL,
    token: _Token = "",
    data_dir: _DataDir = Path("data"),
) -> None:
    """Write everything that a server on this machine stores into one file, while it runs.

    **Examples**

    `vedette backup /backups/vedette-$(date +%F).tar`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    taken = _taken(console, url, token, data_dir)
    try:
        with console.status(f"writing {file}"):
            size = pack(taken.path, file)
    except StorageError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    finally:
        shutil.rmtree(taken.path, ignore_errors=True)
    console.print(f"{file}: {size / 1e6:,.1f} MB; bring it back with: vedette restore {file}")


def restore(
    source: Annotated[Path, typer.Argument(help="A backup's tar file, or a snapshot's folder.")],
    data_dir: Annotated[Path, typer.Option(help="A new or empty folder.")],
) -> None:
    """Bring a backup or a snapshot back into an empty data folder, to be served from there.

    **Examples**

    `vedette restore backup.tar --data-dir /var/lib/vedette-new`

    `vedette serve --data-dir /var/lib/vedette-new`
    """
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        with console.status(f"restoring {source}"):
            parts = restore_snapshot(source, data_dir)
    except StorageError as error:
        console.print(f"not restored: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    console.print(f"{parts} parts restored; start with: vedette serve --data-dir {data_dir}")


def _taken(console: Console, url: str, token: str, data_dir: Path) -> Snapshot:
    try:
        with console.status("taking a snapshot"):
            return request_snapshot(Access(url, token or _token_of(data_dir)))
    except TransferError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None


def _token_of(data_dir: Path) -> str:
    try:
        return (data_dir / "admin-token").read_text().strip()
    except OSError:
        return ""
