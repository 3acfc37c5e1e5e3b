"""What the rooms above ask of storage. Engines and doubles both stand behind these Protocols.

Everything that passes is a frozen model object, an array or bytes, so that a part may later live
in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from vedette.model.arrays import I32
from vedette.model.blocks import Selection
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import Exemplar, SampleBatch


class StorageError(Exception):
    """Storage could not do what was asked; the message says what and what to do."""


class DamagedStoreError(StorageError):
    """What was asked for lies in a part of the store that cannot be read; the message says where
    and what to do. Asking again does not help.
    """


class OverloadedError(StorageError):
    """The ingest queue is full; the sender should come again after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SeriesLimitError(StorageError):
    """A new series was refused because the limit of series is reached."""


class SelectionTooLargeError(StorageError):
    """A selection would load more than its limits allow; nothing was loaded."""


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


Check: TypeAlias = Callable[[], None]
"""Called between the steps of longer work, from the thread that does it: returns while somebody
waits for the result, and raises what shall end the work (a passed deadline, a client that left)."""


def never_stop() -> None:
    """Be the ``Check`` of work that nobody hurries."""


@dataclass(frozen=True, slots=True)
class SelectLimits:
    """What one selection may cost.

    Attributes:
        max_samples: samples that may be loaded; 0 means no limit.
        max_bytes: memory that they may take, labels not counted; 0 means no limit.
        check: whether to go on.
    """

    max_samples: int = 0
    max_bytes: int = 0
    check: Check = never_stop


NO_LIMITS = SelectLimits()


class Samples(Protocol):
    """Samples for the query engine; blocking, safe to call from several threads."""

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms).

        Raises:
            SelectionTooLargeError: an estimate says that ``limits`` would be exceeded.
            StorageError: the store cannot answer.

        Whatever ``limits.check`` raises passes through, here and below.
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
        """Return the label sets that any of ``matchers`` selects (empty: all), sorted.

        ``limit`` 0 means no limit.
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

    @property
    def sequence(self) -> int:
        """The ingest sequence of the newest batch that queries see."""
        ...


class Deletion(Protocol):
    """Deleting what is stored, for administrators."""

    async def delete_series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> None:
        """Delete what any of ``matchers`` selects in ``start <= ts <= end`` (ms).

        Samples and exemplars are gone for queries when the call returns, and stay so after a
        crash. What is sent later with such timestamps is stored as usual.

        Raises:
            InvalidRegexError: a pattern is not RE2.
            StorageError: disk or store refused; the deletion may have happened in part, and is
                completed by the next flush once it was written down.
        """
        ...

    async def clean_tombstones(self) -> None:
        """Return when everything that was deleted is gone from the column store too.

        Raises:
            StorageError: the store refused.
        """
        ...


class Exemplars(Protocol):
    """Exemplars of stored series; blocking, safe to call from several threads."""

    def exemplars(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> list[tuple[Labels, tuple[Exemplar, ...]]]:
        """Return the exemplars of the series that any of ``matchers`` selects, series sorted.

        Those of ``start <= ts <= end`` (ms), each once, by time; ``Exemplar.series`` is the place
        of the series in the result. Newest first, a bounded number per query is kept.

        Raises:
            StorageError: the store cannot answer.
        """
        ...


class MetadataStore(Protocol):
    """Type, help and unit by metric family, from scrapes, remote write and OTLP alike.

    A receiver calls ``put`` with what a request or scrape says, on the event loop and as often as
    it likes: what is known already costs a look into a dictionary, and nothing waits for the disk.
    What is new is persisted with the next flush; a crash before that loses no more than the next
    scrape tells again.
    """

    def put(self, statements: Sequence[MetricMetadata]) -> None:
        """Take ``statements``; those beyond the limits of number and length are counted."""
        ...

    def metadata(
        self, metric: str = "", limit: int = 0, limit_per_metric: int = 0
    ) -> Mapping[str, Sequence[MetricMetadata]]:
        """Return statements by metric, newest first; of ``metric`` only unless it is empty.

        ``limit`` bounds the number of metrics, ``limit_per_metric`` that of the statements on
        each; 0 means no limit.
        """
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
