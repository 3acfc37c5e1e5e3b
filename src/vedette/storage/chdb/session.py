"""Statements on an engine, with results as columns and one kind of error."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from vedette.storage.chdb.damage import advice
from vedette.storage.chdb.engine import Engine
from vedette.storage.chdb.library import EngineError
from vedette.storage.chdb.native import Column, parse
from vedette.storage.interface import DamagedStoreError, SelectionTooLargeError, StorageError

log = logging.getLogger(__name__)

# The engine's codes for a query beyond its limits of size, memory and time.
_TOO_MUCH = ("TOO_MANY_ROWS_OR_BYTES", "MEMORY_LIMIT_EXCEEDED", "TIMEOUT_EXCEEDED")


class StatementRunner:
    """Runs the store's statements; whatever the engine refuses becomes a ``StorageError``."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._told: set[str] = set()

    def rows(
        self, sql: str, parameters: Mapping[str, str | int] | None = None
    ) -> dict[str, Column]:
        """Return the columns of the result by name; empty when there is no row.

        Values reach the engine as ``{name:Type}`` parameters alone, never inside ``sql``.
        """
        try:
            return parse(self.engine.query(sql, parameters))
        except EngineError as error:
            if any(code in str(error) for code in _TOO_MUCH):
                raise SelectionTooLargeError(
                    f"the store refused a query: {error}; ask for fewer series or a shorter time"
                ) from error
            self._refuse_damage(error)
            raise StorageError(f"the store refused a query: {error}") from error

    def do(self, sql: str, parameters: Mapping[str, str | int] | None = None) -> None:
        """Run a statement without result."""
        try:
            self.engine.query(sql, parameters)
        except EngineError as error:
            raise StorageError(f"the store refused a statement: {error}") from error

    def insert(self, sql: str, data: bytes) -> None:
        """Insert a Native block."""
        try:
            self.engine.insert(sql, data)
        except EngineError as error:
            raise StorageError(f"the store refused an insert: {error}") from error

    def _refuse_damage(self, error: EngineError) -> None:
        """Raise when ``error`` tells of a damaged part; log each part once."""
        part, told = advice(str(error))
        if not part:
            return
        if part not in self._told:
            self._told.add(part)
            log.error("%s; the engine says: %s", told, error)
        raise DamagedStoreError(told) from error
