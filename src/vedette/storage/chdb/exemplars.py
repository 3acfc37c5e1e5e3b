"""The table ``exemplars``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vedette.model.labels import METRIC_NAME, Labels, series_id
from vedette.storage.chdb.catalog import StoredSeries
from vedette.storage.chdb.native import block, nested, numbers, text, texts
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.columns import StoredExemplar

EXEMPLAR_COLUMNS = "app, metric, id, ts, value, names, values"


def exemplar_block(exemplars: Sequence[StoredExemplar]) -> bytes:
    """Return the Native block of ``exemplars``."""
    ends = np.cumsum([len(e.labels) for e in exemplars], dtype=np.uint64).tobytes()
    pairs = [pair for e in exemplars for pair in e.labels]
    return block(
        len(exemplars),
        [
            ("app", "String", b"".join(text(e.app.encode()) for e in exemplars)),
            ("metric", "String", b"".join(text(e.series.metric.encode()) for e in exemplars)),
            ("id", "FixedString(16)", b"".join(series_id(e.series) for e in exemplars)),
            ("ts", "Int64", np.array([e.ts for e in exemplars], np.int64).tobytes()),
            ("value", "Float64", np.array([e.value for e in exemplars], np.float64).tobytes()),
            ("names", "Array(String)", ends + b"".join(text(n.encode()) for n, _ in pairs)),
            ("values", "Array(String)", ends + b"".join(text(v.encode()) for _, v in pairs)),
        ],
    )


def find(
    run: StatementRunner, series: StoredSeries, start: int, end: int, limit: int
) -> list[StoredExemplar]:
    """Return the newest exemplars of ``series``; see ``ColumnStore.find_exemplars``."""
    columns = run.rows(
        "SELECT CAST(app AS String) AS app_name, id, ts, value,"
        " CAST(names AS Array(String)) AS label_names, values FROM exemplars"
        " WHERE metric = {metric:String} AND ts BETWEEN {start:Int64} AND {end:Int64}"
        " ORDER BY ts DESC LIMIT {limit:UInt32}",
        {"metric": series.metric, "start": start, "end": end, "limit": limit},
    )
    if not columns:
        return []
    ids = numbers(columns["id"])
    at = np.minimum(np.searchsorted(series.ids, ids), len(series.ids) - 1)
    known = np.flatnonzero(series.ids[at] == ids).tolist()
    labels: dict[int, Labels] = {}
    apps, names, values = (
        texts(columns["app_name"]),
        nested(columns["label_names"]),
        nested(columns["values"]),
    )
    ends, of_names, of_values = names.offsets.tolist(), texts(names.items), texts(values.items)
    ts, value = numbers(columns["ts"]).tolist(), numbers(columns["value"]).tolist()
    found = []
    for k in known:
        s = int(at[k])
        if s not in labels:
            labels[s] = series.table.labels(s).merged({METRIC_NAME: series.metric})
        pairs = zip(of_names[ends[k] : ends[k + 1]], of_values[ends[k] : ends[k + 1]], strict=True)
        own = Labels(tuple((name.decode(), text_.decode()) for name, text_ in pairs))
        found.append(StoredExemplar(apps[k].decode(), labels[s], ts[k], value[k], own))
    return found
