"""Leases: rights that one process at a time holds, and loses when it stops renewing them."""

from __future__ import annotations

from sqlalchemy import delete, or_, update

from vedette.storage.state.database import StateDatabase
from vedette.storage.state.tables import leases as table


class SqlLeases:
    """Leases by conditional update: the database decides between two that ask at once.

    Times come from the callers; their clocks have to agree to well under the leases' lengths.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def acquire(self, name: str, holder: str, ttl_ms: int, now_ms: int) -> bool:
        """Take or renew the lease ``name`` until ``now_ms + ttl_ms``; say whether it is held.

        Raises:
            StorageError: the database refused.
        """
        row = {"name": name, "holder": holder, "expires_at": now_ms + ttl_ms}
        free = or_(table.c.holder == holder, table.c.expires_at <= now_ms)
        take = update(table).where(table.c.name == name, free).values(row)
        with self._database.transaction() as connection:
            if connection.execute(take).rowcount == 1:
                return True
            return self._database.insert_new(connection, table, row)

    def release(self, name: str, holder: str) -> None:
        """Give the lease up if ``holder`` has it; another's stays."""
        give = delete(table).where(table.c.name == name, table.c.holder == holder)
        with self._database.transaction() as connection:
            connection.execute(give)
