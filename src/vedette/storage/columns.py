"""What the spool is flushed into: a column store, and its double in memory.

Calls block and may come from several threads. Everything that passes is an array, bytes or a
frozen model object, so that the engine may live in another process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vedette.model.arrays import F64, I64
from vedette.model.blocks import Selection
from vedette.model.events import Event
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.metadata import MetricMetadata
from vedette.storage.interface import NO_LIMITS, Check, SelectLimits, never_stop
from vedette.storage.retention import StoredDay


@dataclass(frozen=True, slots=True)
class ChunkBatch:
    """Samples of S chunks, a chunk being what one segment holds of one series.

    Rows are sorted by (application, canonical labels), no two rows have both equal; each holds at
    least one sample.

    Attributes:
        apps: the application of each chunk.
        canonical: canonical labels of each chunk's series, ``__name__`` included.
        metrics: name of each chunk's metric.
        ids: 16 bytes per chunk, the ``series_id`` of its labels, S × 16 in all.
        offsets: int64[S + 1]; chunk k has the samples ``offsets[k]:offsets[k + 1]``.
        ts: int64[N] milliseconds, strictly ascending within a chunk.
        values: float64[N]; any bit pattern but ``ABSENT``.
        start: int64[N] start timestamps, 0 unknown; ``None`` when all are unknown.
        histograms: of the samples with the value ``HISTOGRAM`` (``index`` int32[N]), or ``None``.
    """

    apps: tuple[str, ...]
    canonical: tuple[bytes, ...]
    metrics: tuple[str, ...]
    ids: bytes
    offsets: I64
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None

    def __len__(self) -> int:
        return len(self.canonical)

    def lengths(self) -> I64:
        """Return int64[S], the number of samples of each chunk."""
        return np.diff(self.offsets)


@dataclass(frozen=True, slots=True)
class StoredExemplar:
    """An exemplar with the labels of its series (``__name__`` included); ``ts`` in ms."""

    app: str
    series: Labels
    ts: int
    value: float
    labels: Labels


class ColumnStore(Protocol):
    """Where flushed data rests. Blocking; raises ``StorageError`` when the engine cannot."""

    def insert_samples(self, chunks: ChunkBatch, token: str) -> None:
        """Insert; durable (fsynced) when it returns. A repeated ``token`` changes nothing."""
        ...

    def insert_events(self, events: Sequence[Event], token: str) -> None:
        """Insert; durable (fsynced) when it returns. A repeated ``token`` changes nothing."""
        ...

    def insert_exemplars(self, exemplars: Sequence[StoredExemplar], token: str) -> None:
        """Insert; durable (fsynced) when it returns. A repeated ``token`` changes nothing."""
        ...

    def find_exemplars(
        self, matchers: Sequence[Matcher], start: int, end: int, limit: int
    ) -> list[StoredExemplar]:
        """Return the newest ``limit`` exemplars of each matching metric, in any order.

        ``start <= ts <= end``; only on days on which the series has samples.
        """
        ...

    def delete_series(self, matchers: Sequence[Sequence[Matcher]], start: int, end: int) -> None:
        """Delete samples and exemplars of ``start <= ts <= end`` that any of ``matchers`` selects.

        Series without a sample left are no longer listed; durable when it returns.
        """
        ...

    def insert_metadata(self, statements: Sequence[MetricMetadata], seen: int) -> None:
        """Remember ``statements``, which were made at ``seen`` (ms)."""
        ...

    def load_metadata(self) -> list[MetricMetadata]:
        """Return all statements, oldest first."""
        ...

    def days(self) -> list[StoredDay]:
        """Return the days that hold anything, in order."""
        ...

    def drop_days(self, days: Collection[int]) -> None:
        """Let go of everything that was stored for ``days``."""
        ...

    def bounds(self) -> tuple[int, int] | None:
        """Return the oldest and the newest timestamp of all samples, or ``None`` without any."""
        ...

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric with all samples of ``start <= ts <= end`` (ms).

        Series that share their timestamps stand in one ``Block``, see ``regroup``; a series and
        timestamp that were inserted twice come once. Applications are not told apart: chunks with
        equal labels are one series. ``limits`` are kept where they cost nothing: an engine may
        load somewhat more.

        Raises:
            SelectionTooLargeError: ``limits`` are exceeded.
        """
        ...

    def series(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        limit: int,
        check: Check = never_stop,
    ) -> list[Labels]:
        """Return label sets (``__name__`` included) that any of ``matchers`` selects, sorted.

        No ``matchers`` select everything; only series with samples in the range count, where the
        engine may take the range as wide as a day. ``limit`` 0 means no limit.
        """
        ...

    def label_names(
        self,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the label names of the selected series, sorted."""
        ...

    def label_values(
        self,
        name: str,
        matchers: Sequence[Sequence[Matcher]],
        start: int,
        end: int,
        check: Check = never_stop,
    ) -> list[str]:
        """Return the values of label ``name`` among the selected series, sorted."""
        ...

    def find_events(
        self, *, app: str, type: str, since: int, until: int, limit: int, before: tuple[int, str]
    ) -> list[Event]:
        """Return at most ``limit`` events, ordered by (ts, id) from the newest to the oldest.

        ``since <= ts < until``; empty ``app`` or ``type`` mean any; only events whose (ts, id) is
        less than ``before``.
        """
        ...

    def count_events(
        self, *, app: str, type: str, since: int, until: int, by: str
    ) -> dict[str, int]:
        """Return the number of events per value of the data's top-level member ``by``.

        Values that are no strings count under their compact JSON text, absent ones under "";
        an empty ``by`` counts all under "".
        """
        ...
