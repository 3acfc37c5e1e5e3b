"""Running the Alembic migrations of the state on an open connection."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

import vedette.storage.migrations
from vedette.storage.interface import StorageError


def _config() -> Config:
    config = Config()
    folder = Path(vedette.storage.migrations.__file__).parent / "state"
    # ConfigParser would read a % in the path as the start of a reference.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def newest() -> str:
    """Return the newest revision that is shipped."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def upgrade(connection: Connection, version_table: str) -> None:
    """Bring the schema behind ``connection`` to the newest revision, in its transaction.

    Raises:
        StorageError: a newer Vedette has migrated this database.
    """
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["version_table"] = version_table
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StorageError(
            f"the state's schema is not known to this Vedette ({error}): start the newer Vedette"
            " that wrote it, or use another data folder"
        ) from error
