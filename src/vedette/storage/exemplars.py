"""What queries see of exemplars: the union of memory and column store."""

from __future__ import annotations

from collections.abc import Sequence

from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.samples import Exemplar
from vedette.storage.columns import ColumnStore
from vedette.storage.head.exemplars import RecentExemplars
from vedette.storage.series_index import MemorySeriesIndex

MOST_PER_METRIC = 10_000
"""Exemplars of one metric that a query gets from the store: the newest."""


class StoredExemplars:
    """Implements ``Exemplars``."""

    def __init__(
        self, recent: RecentExemplars, index: MemorySeriesIndex, columns: ColumnStore
    ) -> None:
        self._recent = recent
        self._index = index
        self._columns = columns

    def exemplars(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> list[tuple[Labels, tuple[Exemplar, ...]]]:
        """Return exemplars by series, series sorted; see ``Exemplars``.

        Raises:
            InvalidRegexError: a pattern is not RE2.
            StorageError: the column store cannot answer.
        """
        found: dict[Labels, set[tuple[int, float, Labels]]] = {}
        for one in matchers:
            self._add_recent(found, one, start, end)
            for stored in self._columns.find_exemplars(one, start, end, MOST_PER_METRIC):
                key = stored.ts, stored.value, stored.labels
                found.setdefault(stored.series, set()).add(key)
        return [
            (
                series,
                tuple(
                    Exemplar(k, ts, value, labels)
                    for ts, value, labels in sorted(
                        found[series], key=lambda e: (e[0], e[1], e[2].pairs)
                    )
                ),
            )
            for k, series in enumerate(sorted(found, key=lambda labels: labels.pairs))
        ]

    def _add_recent(
        self,
        found: dict[Labels, set[tuple[int, float, Labels]]],
        matchers: Sequence[Matcher],
        start: int,
        end: int,
    ) -> None:
        for series in self._index.select(matchers):
            refs = series.refs.tolist()
            held = self._recent.find(refs, start, end)
            if not held:
                continue
            place = {ref: k for k, ref in enumerate(refs)}
            for each in held:
                bare = series.table.labels(place[each.series])
                labels = bare.merged({"__name__": series.metric})
                found.setdefault(labels, set()).add((each.ts, each.value, each.labels))
