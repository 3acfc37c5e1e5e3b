"""Snapshots of the column store: parts are frozen by hard links, and attached to an empty store.

Parts never change once they are written, so that a snapshot is consistent at once and takes no
room until the store merges or drops what it shares. Source of the statements: ClickHouse's
documentation, "ALTER TABLE … FREEZE" and "ATTACH PART".
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from vedette.storage.chdb.native import numbers, texts
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.interface import StorageError

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PART = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def freeze(run: StatementRunner, columns: Path, name: str, into: Path) -> dict[str, int]:
    """Move a frozen copy of every table of the store at ``columns`` below ``into``.

    Nothing may be inserted meanwhile. Returns the number of parts by table.

    Raises:
        StorageError: the engine or the disk refused.
    """
    if not _NAME.fullmatch(name):
        raise StorageError(f"not a name for a snapshot: {name!r}")
    # The engine would escape anything but letters and digits in the name of the folder.
    name = re.sub(r"[^A-Za-z0-9]", "", name)
    shadow = columns / "shadow" / name
    counts = {}
    try:
        for table, place in _tables(run).items():
            run.do(f"ALTER TABLE {table} FREEZE WITH NAME '{name}'")
            target = into / table
            target.mkdir(parents=True)
            found = shadow / place
            parts = sorted(found.iterdir()) if found.is_dir() else []
            for part in parts:
                part.rename(target / part.name)
            counts[table] = len(parts)
            if not parts and _has_parts(run, table):
                raise StorageError(f"the engine froze nothing of {table} below {shadow}")
    except OSError as error:
        raise StorageError(f"cannot put the snapshot into {into}: {error}") from error
    finally:
        shutil.rmtree(shadow, ignore_errors=True)
    return counts


def attach(run: StatementRunner, columns: Path, source: Path) -> int:
    """Copy the parts below ``source`` into the empty store at ``columns``; return their number.

    Raises:
        StorageError: a table is not known, holds something, or refuses a part.
    """
    attached = 0
    known = _tables(run)
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        place = known.get(folder.name)
        if place is None:
            raise StorageError(
                f"the snapshot has a table {folder.name}, which this Vedette does not know: "
                "restore it with the version that took it"
            )
        detached = columns / place / "detached"
        for part in sorted(path for path in folder.iterdir() if path.is_dir()):
            if not _PART.fullmatch(part.name):
                raise StorageError(f"{part} is no part of a table")
            try:
                shutil.copytree(part, detached / part.name, copy_function=_copy)
            except OSError as error:
                raise StorageError(f"cannot copy {part}: {error}") from error
            run.do(f"ALTER TABLE {folder.name} ATTACH PART '{part.name}'")
            attached += 1
    return attached


def _has_parts(run: StatementRunner, table: str) -> bool:
    found = run.rows(
        "SELECT count() AS n FROM system.parts WHERE active AND database = currentDatabase()"
        " AND table = {table:String}",
        {"table": table},
    )
    return bool(numbers(found["n"])[0])


def _tables(run: StatementRunner) -> dict[str, Path]:
    """Return the folders of the tables that hold data, by name, relative to the store's own."""
    found = run.rows(
        "SELECT name, arrayElement(data_paths, 1) AS place FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
        " AND name != 'schema_version' ORDER BY name"
    )
    names, places = texts(found["name"]), texts(found["place"])
    # The engine shows no UUID of these tables, but paths that end with store/<begin>/<UUID>.
    return {
        name.decode(): Path(*Path(place.decode()).parts[-3:])
        for name, place in zip(names, places, strict=True)
    }


def _copy(source: str, target: str) -> str:
    shutil.copyfile(source, target)
    with Path(target).open("rb") as file:
        os.fsync(file.fileno())
    return target
