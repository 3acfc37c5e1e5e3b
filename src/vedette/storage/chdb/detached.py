"""Parts that the engine found broken at its start and set aside: what they held is missing.

Source: ClickHouse's system.detached_parts; the engine opens without such parts and says nothing.
"""

from __future__ import annotations

import logging

from vedette.storage.chdb.damage import day_of_part
from vedette.storage.chdb.native import texts
from vedette.storage.chdb.session import StatementRunner

log = logging.getLogger(__name__)

_BROKEN = (
    "SELECT toString(table) AS table_name, toString(name) AS part, toString(path) AS path"
    " FROM system.detached_parts WHERE database = currentDatabase()"
    " AND startsWith(ifNull(toString(reason), ''), 'broken') ORDER BY path"
)


def tell_broken(run: StatementRunner) -> int:
    """Log each part that was set aside as broken, and return how many there are.

    Raises:
        StorageError: the store cannot say.
    """
    found = run.rows(_BROKEN)
    if not found:
        return 0
    tables, parts, paths = (texts(found[name]) for name in ("table_name", "part", "path"))
    for table, part, path in zip(tables, parts, paths, strict=True):
        log.error(
            "the store is damaged: a part of %s (of %s) could not be opened and is set aside as "
            "%s; what it held is missing from answers. Look at the disk; restore a backup, or "
            "remove that folder to go on without",
            table.decode(),
            day_of_part(part.decode()) or "an unknown day",
            path.decode(),
        )
    return len(parts)
