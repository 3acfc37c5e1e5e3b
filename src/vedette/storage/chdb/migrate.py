"""Bringing the schema of the column store up to date; forward only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from vedette.kit.clock import Clock, SystemClock
from vedette.storage.chdb.native import numbers
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.interface import StorageError

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Step:
    """One migration: its number, its name and its statements."""

    version: int
    name: str
    statements: tuple[str, ...]


def steps() -> list[Step]:
    """Return the migrations that this version of Vedette ships, in order."""
    found = []
    for file in resources.files("vedette.storage.migrations.columns").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            statements = re.split(r"(?m)^;\s*$", file.read_text("utf-8"))
            kept = tuple(s.strip() for s in statements if s.strip())
            found.append(Step(int(match[1]), match[2], kept))
    return sorted(found, key=lambda step: step.version)


def migrate(run: StatementRunner, clock: Clock | None = None) -> list[int]:
    """Run the steps that the store has not seen; return their numbers.

    A step that a crash interrupted is run again, so that its statements are made idempotent here:
    ``CREATE`` becomes ``CREATE … IF NOT EXISTS``.

    Raises:
        StorageError: a statement failed, or a newer Vedette has migrated this store.
    """
    clock = clock or SystemClock()
    run.do(
        "CREATE TABLE IF NOT EXISTS schema_version (version UInt32, name String, applied_at Int64)"
        " ENGINE = MergeTree ORDER BY version SETTINGS fsync_after_insert = 1"
    )
    columns = run.rows("SELECT DISTINCT version FROM schema_version ORDER BY version")
    done = set(numbers(columns["version"]).tolist()) if columns else set()
    known = steps()
    newest = known[-1].version
    if done and max(done) > newest:
        raise StorageError(
            f"the store has schema {max(done)}, this Vedette knows {newest}:"
            " start the newer Vedette that wrote it, or use another data folder"
        )
    ran = []
    for step in known:
        if step.version in done:
            continue
        for statement in step.statements:
            run.do(re.sub(r"(?m)^CREATE (TABLE|VIEW) ", r"CREATE \1 IF NOT EXISTS ", statement))
        run.do(
            "INSERT INTO schema_version SELECT {version:UInt32}, {name:String}, {at:Int64}",
            {"version": step.version, "name": step.name, "at": clock.now_ms()},
        )
        ran.append(step.version)
    return ran
