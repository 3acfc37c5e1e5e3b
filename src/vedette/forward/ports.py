"""What sending on needs of others: a backlog that can be read on, and a place for its cursor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vedette.model.arrays import I32
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import SampleBatch


@dataclass(frozen=True, slots=True)
class Page:
    """What follows a position in the backlog.

    Attributes:
        batches: in the order of their ingest sequence; refs as :meth:`Backlog.canonical` takes.
        last: ingest sequence up to which everything is in this page or the ones before.
        lost: whether batches between the page before and this one are gone from the backlog.
    """

    batches: tuple[SampleBatch, ...]
    last: int
    lost: bool = False


class Backlog(Protocol):
    """Acknowledged samples in the order of their ingest sequence. Calls block."""

    @property
    def sequence(self) -> int:
        """Ingest sequence of the newest durable batch."""
        ...

    def read(self, name: str, after: int, samples: int) -> Page:
        """Return batches with a sequence above ``after``: some when there are any, about
        ``samples`` samples; the reader ``name`` keeps its place between calls.

        Raises:
            StorageError: the disk cannot be read.
        """
        ...

    def hold(self, name: str, sequence: int) -> None:
        """Ask to keep what is newer than ``sequence`` until the reader ``name`` has it."""
        ...

    def release(self, name: str) -> None:
        """Keep nothing for the reader ``name`` any more."""
        ...

    def canonical(self, refs: I32) -> list[bytes]:
        """Return the canonical labels of each ref."""
        ...


class Cursors(Protocol):
    """How far each destination got; survives restarts. Calls block; raise ``StorageError``."""

    def load(self, name: str) -> int | None:
        """Return the ingest sequence that ``name`` has reached, ``None`` when it is new."""
        ...

    def save(self, name: str, sequence: int) -> None:
        """Note that ``name`` has everything up to ``sequence``."""
        ...


class Descriptions(Protocol):
    """What targets and senders say of metrics. The call does not block."""

    def described(self) -> Mapping[str, MetricMetadata]:
        """Return one statement for each metric family."""
        ...
