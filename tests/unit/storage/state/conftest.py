"""Every test of the state runs on SQLite, and on a PostgreSQL server where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from vedette.storage.state.database import StateDatabase

_NOBODY = 65534
_names = count(1)


def _binary(name: str) -> str:
    found = shutil.which(name)
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if found is None and (folder / name).exists():
            found = str(folder / name)
    if found is None:
        pytest.skip("needs a PostgreSQL server: apt-get install postgresql")
    return found


def _as_user() -> list[str]:
    """Return what a command starts with: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to start PostgreSQL as another user than root")
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a server on a socket in a new folder; return the query part of its addresses."""
    initdb, server, prefix = _binary("initdb"), _binary("postgres"), _as_user()
    # Not below pytest's own folder, which another user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="vedette-pg-"))
    if prefix:
        os.chown(folder, _NOBODY, _NOBODY)
    options = {"cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
    try:
        subprocess.run(
            [
                *prefix,
                initdb,
                "-D",
                str(folder / "data"),
                "-U",
                "vedette",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
            ],
            check=True,
            capture_output=True,
            **options,
        )
        arguments = ["-D", str(folder / "data"), "-k", str(folder), "-F", "-c", "listen_addresses="]
        process = subprocess.Popen(
            [*prefix, server, *arguments], stderr=subprocess.PIPE, text=True, **options
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "ready to accept connections" in line:
                break
        yield f"host={folder}"
        process.terminate()
        process.communicate(timeout=20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Return the place of a new, empty state."""
    if request.param == "sqlite":
        return tmp_path / "with space %41" / "state.db"
    server = request.getfixturevalue("postgres")
    name = f"state_{next(_names)}"
    admin = create_engine(
        f"postgresql+psycopg://vedette@/postgres?{server}", isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return f"postgresql://vedette@/{name}?{server}"


@pytest.fixture
def database(where: Path | str) -> Iterator[StateDatabase]:
    """Return a new, migrated state."""
    opened = StateDatabase(where)
    yield opened
    opened.close()
