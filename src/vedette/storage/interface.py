"""What the rooms above ask of storage. Engines and doubles both stand behind these Protocols.

Everything that passes is a frozen model object, an array or bytes, so that a part may later live
in another process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vedette.model.arrays import I32
from vedette.model.blocks import Selection
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.samples import SampleBatch


class StorageError(Exception):
    """Storage could not do what was asked; the message says what and what to do."""


class OverloadedError(StorageError):
    """The ingest queue is full; the sender should come again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SeriesLimitError(StorageError):
    """A new series was refused because the limit of series is reached."""


class InvalidCursorError(ValueError):
    """A cursor is none that a page of events ended with."""


class SeriesIndex(Protocol):
    """Numbers series densely within this process."""

    def refs(self, series: Sequence[Labels]) -> I32:
        """Return int32[n] refs, numbering new series; −1 for those that the limit refuses."""
        ...


class Ingest(Protocol):
    """The one way in. A batch is durable and visible to queries when the call returns."""

    async def append_samples(self, batch: SampleBatch) -> int:
        """Write a batch and return its ingest sequence.

        Raises:
            OverloadedError: the queue is full; nothing was taken.
            StorageError: the disk refused; nothing was acknowledged.
        """
        ...

    async def append_events(self, events: Sequence[Event]) -> int:
        """Write events and return their ingest sequence; raises as ``append_samples``."""
        ...


class Samples(Protocol):
    """Samples for the query engine; blocking, safe to call from several threads."""

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms)."""
        ...

    def series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int, limit: int
    ) -> list[Labels]:
        """Return the label sets that any of ``matchers`` selects (empty: all), sorted."""
        ...

    def label_names(self, matchers: Sequence[Sequence[Matcher]], start: int, end: int) -> list[str]:
        """Return the label names of the selected series, sorted."""
        ...

    def label_values(
        self, name: str, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> list[str]:
        """Return the values of label ``name`` among the selected series, sorted."""
        ...

    @property
    def sequence(self) -> int:
        """The ingest sequence of the newest batch that queries see."""
        ...


class Events(Protocol):
    """Stored events; blocking. Both see acknowledged events whether flushed or not."""

    def find(
        self, *, app: str, type: str, since: int, until: int, limit: int, cursor: str
    ) -> tuple[list[Event], str]:
        """Return events newest first and the cursor of the next page ("" at the end).

        Empty ``app`` or ``type`` mean any; ``since <= ts < until`` in milliseconds.
        """
        ...

    def count(self, *, app: str, type: str, since: int, until: int, by: str) -> dict[str, int]:
        """Return the number of events per value of the data's member ``by`` ("": all as "")."""
        ...
