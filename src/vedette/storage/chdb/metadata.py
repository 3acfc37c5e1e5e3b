"""The table ``metadata``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vedette.model.metadata import MetricMetadata
from vedette.storage.chdb.native import block, text, texts
from vedette.storage.chdb.session import StatementRunner

_COLUMNS = "metric, type, help, unit, seen"


def insert(run: StatementRunner, statements: Sequence[MetricMetadata], seen: int) -> None:
    """Write ``statements``; see ``ColumnStore.insert_metadata``."""
    data = block(
        len(statements),
        [
            ("metric", "String", b"".join(text(s.metric.encode()) for s in statements)),
            ("type", "String", b"".join(text(s.type.encode()) for s in statements)),
            ("help", "String", b"".join(text(s.help.encode()) for s in statements)),
            ("unit", "String", b"".join(text(s.unit.encode()) for s in statements)),
            ("seen", "Int64", np.full(len(statements), seen, np.int64).tobytes()),
        ],
    )
    run.insert(f"INSERT INTO metadata ({_COLUMNS})", data)


def load(run: StatementRunner) -> list[MetricMetadata]:
    """Return all statements, oldest first."""
    columns = run.rows(
        "SELECT metric, CAST(type AS String) AS type_name, help, CAST(unit AS String) AS unit_name"
        " FROM metadata FINAL ORDER BY seen, metric, type, help, unit"
    )
    if not columns:
        return []
    rows = zip(
        *(texts(columns[name]) for name in ("metric", "type_name", "help", "unit_name")),
        strict=True,
    )
    return [MetricMetadata(*(cell.decode() for cell in row)) for row in rows]
