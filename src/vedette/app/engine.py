"""Which engine holds the columns: the embedded one, in a child process (decision 0002)."""

from __future__ import annotations

from pathlib import Path

from vedette.storage.chdb.columns import ChdbColumns as ChdbColumns
from vedette.storage.chdb.columns import open_in_child


def open_columns(data_dir: Path) -> ChdbColumns:
    """Open the column store of a data folder.

    Raises:
        StorageError: it does not open; another server may have it.
    """
    return open_in_child(data_dir / "columns")
