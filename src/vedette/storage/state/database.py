"""Connecting to the state's database, and bringing its schema up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, create_engine, event, inspect, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from vedette.storage.interface import StorageError
from vedette.storage.state.tables import HEAD

_MIGRATION_LOCK = 0x7665646574746531
_VERSION_TABLE = "state_version"


class StateDatabase:
    """The state's database, migrated; safe to use from several threads.

    Args:
        where: a file for SQLite, or a URL ``postgresql://user:password@host/database``.

    Raises:
        StorageError: it cannot be reached, or a newer Vedette has migrated it.
    """

    def __init__(self, where: Path | str) -> None:
        self.url = _url(where)
        try:
            if self.is_sqlite:
                self.engine = create_engine(self.url)
                event.listen(self.engine, "connect", _prepare_sqlite)
            else:
                # Without a named encoding, psycopg gives bytes where the cluster is SQL_ASCII.
                self.engine = create_engine(
                    self.url, pool_pre_ping=True, connect_args={"client_encoding": "utf8"}
                )
        except ImportError as error:
            raise StorageError(
                "a PostgreSQL state needs psycopg: pip install 'vedette[postgres]'"
            ) from error
        try:
            self._migrate()
        except StorageError:
            self.engine.dispose()
            raise
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise StorageError(f"cannot open the state at {self}: {_reason(error)}") from error

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of this machine."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection whose work is committed at the end, or undone as a whole.

        Raises:
            StorageError: the database refused.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StorageError(f"the state at {self} refused: {_reason(error)}") from error

    def upsert(self, connection: Connection, table: Table, row: dict[str, Any]) -> None:
        """Insert ``row``, or replace the one with the same primary key."""
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in row.items() if name not in keys}
        insert = sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)
        connection.execute(insert.values(row).on_conflict_do_update(index_elements=keys, set_=rest))

    def insert_new(self, connection: Connection, table: Table, row: dict[str, Any]) -> bool:
        """Insert ``row`` unless its primary key exists; say whether it was inserted."""
        insert = sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)
        # An INSERT's row count is not reported by every driver; what it returns is.
        statement = insert.values(row).on_conflict_do_nothing().returning(*table.primary_key)
        return connection.execute(statement).first() is not None

    def copy_to(self, file: Path) -> bool:
        """Write a consistent copy of a SQLite state to ``file``; say whether it is one.

        Raises:
            StorageError: the database or the disk refused.
        """
        if not self.is_sqlite:
            return False
        try:
            with self.engine.connect().execution_options(
                isolation_level="AUTOCOMMIT"
            ) as connection:
                connection.exec_driver_sql("VACUUM INTO ?", (str(file),))
        except SQLAlchemyError as error:
            raise StorageError(f"cannot copy the state to {file}: {_reason(error)}") from error
        return True

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _migrate(self) -> None:
        with self.engine.begin() as connection:
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            if _version(connection) == HEAD:
                return
            # Imported only when there is something to do: it takes half a second.
            from vedette.storage.state.upgrade import upgrade

            upgrade(connection, _VERSION_TABLE)


def _version(connection: Connection) -> str:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return ""
    return str(connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar() or "")  # noqa: S608 # a constant


def _url(where: Path | str) -> URL:
    if isinstance(where, Path):
        where.parent.mkdir(parents=True, exist_ok=True)
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except ArgumentError:
        raise StorageError(
            "the state's address is not readable: give a file, or"
            " postgresql://user:password@host:port/database"
        ) from None
    if url.get_backend_name() != "postgresql":
        raise StorageError(
            f"the state cannot live in {url.get_backend_name()}: give a file for SQLite, or a"
            " postgresql:// address"
        )
    return url.set(drivername="postgresql+psycopg")


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    for pragma in (
        "journal_mode = WAL",
        "busy_timeout = 5000",
        "foreign_keys = ON",
        # A commit is on the disk when it returns, also after a power cut.
        "synchronous = FULL",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _reason(error: SQLAlchemyError) -> str:
    """Return the driver's own words; SQLAlchemy's would repeat statement and values."""
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split())[:400]
