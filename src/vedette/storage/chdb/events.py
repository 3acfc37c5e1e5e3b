"""Events in the column store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from vedette.model.events import Event
from vedette.storage.chdb.native import block, numbers, text, texts
from vedette.storage.chdb.session import StatementRunner

EVENT_COLUMNS = "app, type, ts, id, data"


def event_block(events: Sequence[Event]) -> bytes:
    """Return ``events`` as a Native block of the table's columns."""
    return block(
        len(events),
        [
            ("app", "String", b"".join(text(e.app.encode()) for e in events)),
            ("type", "String", b"".join(text(e.type.encode()) for e in events)),
            ("ts", "Int64", np.array([e.ts for e in events], np.int64).tobytes()),
            ("id", "String", b"".join(text(e.id.encode()) for e in events)),
            ("data", "String", b"".join(text(e.data) for e in events)),
        ],
    )


def _where(app: str, type: str, since: int, until: int) -> tuple[str, dict[str, str | int]]:
    conditions = ["ts >= {since:Int64}", "ts < {until:Int64}"]
    parameters: dict[str, str | int] = {"since": since, "until": until}
    if app:
        conditions.append("app = {app:String}")
        parameters["app"] = app
    if type:
        conditions.append("type = {type:String}")
        parameters["type"] = type
    return " AND ".join(conditions), parameters


def find(
    run: StatementRunner,
    *,
    app: str,
    type: str,
    since: int,
    until: int,
    limit: int,
    before: tuple[int, str],
) -> list[Event]:
    """Return events from the newest to the oldest; see ``ColumnStore.find_events``."""
    where, parameters = _where(app, type, since, until)
    parameters |= {"ts": before[0], "id": before[1], "limit": limit}
    # FINAL: a segment that was replayed after a power cut may have been stored twice.
    columns = run.rows(
        "SELECT CAST(app AS String) AS app_name,"  # noqa: S608 # fixed texts
        " CAST(type AS String) AS type_name, ts, id, data"
        f" FROM events FINAL WHERE {where}"
        " AND (ts < {ts:Int64} OR (ts = {ts:Int64} AND id < {id:String}))"
        " ORDER BY ts DESC, id DESC LIMIT {limit:UInt32}"
        " SETTINGS do_not_merge_across_partitions_select_final = 1",
        parameters,
    )
    if not columns:
        return []
    return [
        Event(id.decode(), app.decode(), type.decode(), ts, data)
        for id, app, type, ts, data in zip(
            texts(columns["id"]),
            texts(columns["app_name"]),
            texts(columns["type_name"]),
            numbers(columns["ts"]).tolist(),
            texts(columns["data"]),
            strict=True,
        )
    ]


def count(
    run: StatementRunner, *, app: str, type: str, since: int, until: int, by: str
) -> dict[str, int]:
    """Return the number of events per value of a member; see ``ColumnStore.count_events``."""
    where, parameters = _where(app, type, since, until)
    member = "''"
    if by:
        member = "JSONExtractRaw(data, {by:String})"
        parameters["by"] = by
    columns = run.rows(
        f"SELECT {member} AS member, count() AS n"  # noqa: S608 # fixed texts
        f" FROM events FINAL WHERE {where} GROUP BY member"
        " SETTINGS do_not_merge_across_partitions_select_final = 1",
        parameters,
    )
    counts: dict[str, int] = {}
    if columns:
        sizes = numbers(columns["n"]).tolist()
        for raw, n in zip(texts(columns["member"]), sizes, strict=True):
            key = _member(raw)
            counts[key] = counts.get(key, 0) + n
    return counts


def _member(raw: bytes) -> str:
    if not raw:
        return ""
    value = orjson.loads(raw)
    return value if isinstance(value, str) else orjson.dumps(value).decode()
