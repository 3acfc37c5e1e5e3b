"""Which series the store holds, per metric and days, as label tables that are kept at hand."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import I64
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME, Labels, canonical_metric, parse_canonical
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.chdb.native import Column, block, nested, numbers, text, texts
from vedette.storage.chdb.session import StatementRunner
from vedette.storage.matching import matching_metrics, matching_rows

SERIES_COLUMNS = "app, metric, id, day, names, values"


@dataclass(frozen=True, slots=True)
class StoredSeries:
    """Series of one metric: ids S16[S] ascending, labels without ``__name__`` in the same order.

    ``whole`` tells that these are all series of the metric in the days that were asked for.
    """

    metric: str
    ids: NDArray[Any]
    table: LabelTable
    whole: bool = True

    def take(self, rows: I64) -> StoredSeries:
        """Return some of them."""
        whole = self.whole and len(rows) == len(self.ids)
        return StoredSeries(self.metric, self.ids[rows], self.table.take(rows), whole)


@dataclass(frozen=True, slots=True)
class Registration:
    """A series on a day, to be written."""

    app: str
    canonical: bytes
    id: bytes
    day: int


class Catalog:
    """Reads and writes the table ``series``; keeps label tables of at most ``limit`` series."""

    def __init__(self, run: StatementRunner, limit: int = 200_000) -> None:
        self._run = run
        self._limit = limit
        self._lock = threading.Lock()
        self._generation: dict[str, int] = {}
        self._cache: OrderedDict[tuple[str, int, int], tuple[int, StoredSeries]] = OrderedDict()
        self._size = 0
        self._written: OrderedDict[int, set[tuple[str, bytes]]] = OrderedDict()

    def written(self, day: int) -> Set[tuple[str, bytes]]:
        """Return application and id of every series that this process has written for ``day``."""
        return self._written.get(day, frozenset())

    def register(self, wanted: Sequence[Registration]) -> None:
        """Write those registrations that this process has not written yet."""
        new = [w for w in wanted if (w.app, w.id) not in self._written.get(w.day, ())]
        if not new:
            return
        for day in sorted({w.day for w in new}):
            of_day = [w for w in new if w.day == day]
            self._run.insert(f"INSERT INTO series ({SERIES_COLUMNS})", _series_block(of_day))
            self._written.setdefault(day, set()).update((w.app, w.id) for w in of_day)
        while len(self._written) > 4:
            self._written.pop(min(self._written))
        with self._lock:
            for metric in {canonical_metric(w.canonical) for w in new}:
                self._generation[metric] = self._generation.get(metric, 0) + 1

    def forget(self) -> None:
        """Drop what is kept, after partitions were dropped."""
        with self._lock:
            self._cache.clear()
            self._size = 0
        self._written.clear()

    def select(
        self, matchers: Sequence[Matcher], first_day: int, last_day: int
    ) -> list[StoredSeries]:
        """Return the matching series per metric, metrics in the order of their names."""
        exact = [m.value for m in matchers if m.name == METRIC_NAME and m.op is MatchOp.EQUAL]
        names = exact[:1] if exact else self.metrics(first_day, last_day)
        found = []
        for series in self._load(matching_metrics(matchers, names), first_day, last_day):
            mask = matching_rows(matchers, series.table)
            chosen = series if mask is None else series.take(np.flatnonzero(mask))
            if len(chosen.ids):
                found.append(chosen)
        return found

    def metrics(self, first_day: int, last_day: int) -> list[str]:
        """Return the names of all metrics with samples on these days, sorted."""
        columns = self._run.rows(
            "SELECT DISTINCT CAST(metric AS String) AS name FROM series"
            " WHERE day BETWEEN {first:Int64} AND {last:Int64} ORDER BY name",
            {"first": first_day, "last": last_day},
        )
        return [name.decode() for name in texts(columns.get("name", []))]

    def _load(self, metrics: Sequence[str], first_day: int, last_day: int) -> list[StoredSeries]:
        found: dict[str, StoredSeries] = {}
        with self._lock:
            before = {metric: self._generation.get(metric, 0) for metric in metrics}
            for metric in metrics:
                entry = self._cache.get((metric, first_day, last_day))
                if entry is not None and entry[0] == before[metric]:
                    self._cache.move_to_end((metric, first_day, last_day))
                    found[metric] = entry[1]
        missing = [metric for metric in metrics if metric not in found]
        if missing:
            loaded = self._read(missing, first_day, last_day)
            found |= loaded
            with self._lock:
                for metric, series in loaded.items():
                    self._keep((metric, first_day, last_day), before[metric], series)
        return [found[metric] for metric in metrics if metric in found]

    def _keep(self, key: tuple[str, int, int], generation: int, series: StoredSeries) -> None:
        old = self._cache.pop(key, None)
        self._size += len(series.ids) - (len(old[1].ids) if old else 0)
        self._cache[key] = (generation, series)
        while self._size > self._limit and len(self._cache) > 1:
            _, (_, dropped) = self._cache.popitem(last=False)
            self._size -= len(dropped.ids)

    def _read(
        self, metrics: Sequence[str], first_day: int, last_day: int
    ) -> dict[str, StoredSeries]:
        named = {f"m{k}": metric for k, metric in enumerate(metrics)}
        condition = ", ".join(f"{{{name}:String}}" for name in named)
        columns = self._run.rows(
            "SELECT CAST(metric AS String) AS metric_name, id,"  # noqa: S608 # fixed texts
            " CAST(any(names) AS Array(String)) AS names, any(values) AS values FROM series"
            " WHERE day BETWEEN {first:Int64} AND {last:Int64}"
            f" AND metric IN ({condition}) GROUP BY metric, id ORDER BY metric, id",
            {"first": first_day, "last": last_day, **named},
        )
        return _tables(columns) if columns else {}


def _tables(columns: dict[str, Column]) -> dict[str, StoredSeries]:
    metrics, ids = texts(columns["metric_name"]), numbers(columns["id"])
    names, values = nested(columns["names"]), nested(columns["values"])
    flat_names = _decoded(texts(names.items))
    flat_values = _decoded(texts(values.items))
    ends = names.offsets.tolist()
    rows: dict[bytes, list[int]] = {}
    for r, metric in enumerate(metrics):
        rows.setdefault(metric, []).append(r)
    found = {}
    for metric, chosen in rows.items():
        labels = [
            Labels(
                tuple(
                    zip(
                        flat_names[ends[r] : ends[r + 1]],
                        flat_values[ends[r] : ends[r + 1]],
                        strict=True,
                    )
                )
            )
            for r in chosen
        ]
        name = metric.decode()
        found[name] = StoredSeries(name, ids[chosen[0] : chosen[-1] + 1], LabelTable.of(labels))
    return found


def _decoded(items: list[bytes]) -> list[str]:
    kept: dict[bytes, str] = {}
    return [kept.get(item) or kept.setdefault(item, item.decode()) for item in items]


def _series_block(wanted: Sequence[Registration]) -> bytes:
    labels = [parse_canonical(w.canonical) for w in wanted]
    pairs = [[p for p in one.pairs if p[0] != METRIC_NAME] for one in labels]
    ends = np.cumsum([len(p) for p in pairs], dtype=np.uint64).tobytes()
    return block(
        len(wanted),
        [
            ("app", "String", b"".join(text(w.app.encode()) for w in wanted)),
            ("metric", "String", b"".join(text(one.metric.encode()) for one in labels)),
            ("id", "FixedString(16)", b"".join(w.id for w in wanted)),
            ("day", "Int64", np.array([w.day for w in wanted], np.int64).tobytes()),
            (
                "names",
                "Array(String)",
                ends + b"".join(text(n.encode()) for p in pairs for n, _ in p),
            ),
            (
                "values",
                "Array(String)",
                ends + b"".join(text(v.encode()) for p in pairs for _, v in p),
            ),
        ],
    )
