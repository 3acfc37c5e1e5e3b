"""What was told to whom, kept over restarts."""

from __future__ import annotations

import orjson
from sqlalchemy import delete, select

from vedette.model.notifications import LogEntry
from vedette.storage.state.database import StateDatabase
from vedette.storage.state.tables import notifications as table


class SqlNotificationLog:
    """Implements the notification pipeline's ``NotificationLog``."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get(self, receiver: str, group_key: str) -> LogEntry | None:
        """Return the latest entry of an integration and a group, expired or not.

        Raises:
            StorageError: the database refused; the same below.
        """
        query = select(table).where(table.c.receiver == receiver, table.c.group_key == group_key)
        with self._database.transaction() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return LogEntry(
            receiver=row.receiver,
            group_key=row.group_key,
            firing=_load(row.firing),
            resolved=_load(row.resolved),
            sent_at=row.sent_at,
            expires_at=row.expires_at,
        )

    def put(self, entry: LogEntry) -> None:
        """Replace the entry of the same integration and group."""
        row = {
            "receiver": entry.receiver,
            "group_key": entry.group_key,
            "firing": _dump(entry.firing),
            "resolved": _dump(entry.resolved),
            "sent_at": entry.sent_at,
            "expires_at": entry.expires_at,
        }
        with self._database.transaction() as connection:
            self._database.upsert(connection, table, row)

    def expire(self, now_ms: int) -> int:
        """Delete the entries that expired at ``now_ms`` or earlier; return their number."""
        with self._database.transaction() as connection:
            return connection.execute(delete(table).where(table.c.expires_at <= now_ms)).rowcount


def _dump(identities: frozenset[bytes]) -> str:
    return orjson.dumps(sorted(identity.hex() for identity in identities)).decode()


def _load(text: str) -> frozenset[bytes]:
    return frozenset(bytes.fromhex(identity) for identity in orjson.loads(text))
