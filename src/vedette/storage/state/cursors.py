"""Cursors: how far each reader of the spool got."""

from __future__ import annotations

from sqlalchemy import select

from vedette.storage.state.database import StateDatabase
from vedette.storage.state.tables import cursors as table


class SqlCursors:
    """Ingest sequences by the name of a reader."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def load(self, name: str) -> int | None:
        """Return the sequence that ``name`` has reached, ``None`` when it is new.

        Raises:
            StorageError: the database refused.
        """
        with self._database.transaction() as connection:
            wanted = select(table.c.sequence).where(table.c.name == name)
            found = connection.execute(wanted).scalar()
        return None if found is None else int(found)

    def save(self, name: str, sequence: int) -> None:
        """Note that ``name`` has everything up to ``sequence``; raises as ``load``."""
        row = {"name": name, "sequence": sequence}
        with self._database.transaction() as connection:
            self._database.upsert(connection, table, row)
