"""What the column store asks of an engine, wherever that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Engine(Protocol):
    """ClickHouse behind two calls; blocking, safe to call from several threads.

    Both raise ``EngineError`` when the engine refuses, and ``StorageError`` when it is not there.
    """

    def query(
        self, sql: str, parameters: Mapping[str, str | int] | None = None
    ) -> bytes | bytearray:
        """Run ``sql`` with ``{name:Type}`` parameters; return its result in format Native."""
        ...

    def insert(self, sql: str, data: bytes) -> None:
        """Run the INSERT ``sql`` on ``data``, which is in format Native; all of it or nothing."""
        ...

    def close(self) -> None:
        """Close; what was inserted stays."""
        ...
