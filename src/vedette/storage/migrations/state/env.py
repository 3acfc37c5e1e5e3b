"""Alembic's entry point; ``vedette.storage.state.upgrade`` gives it the connection."""

from __future__ import annotations

from alembic import context

from vedette.storage.state.tables import METADATA

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    version_table=_attributes["version_table"],
    target_metadata=METADATA,
    render_as_batch=True,
)
context.run_migrations()
