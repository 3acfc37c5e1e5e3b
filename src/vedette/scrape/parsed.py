"""What every parser of an exposition returns, and the steps in which it does so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels
from vedette.model.samples import Exemplar
from vedette.scrape.grammar import LineError, Metadata

NUMBERED_AT_ONCE = 20_000


class ExpositionError(Exception):
    """A body cannot be taken at all; ``reason`` is a metric label, the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Exposition:
    """Samples of one scrape in the order of their lines.

    Attributes:
        refs: int32[n]; no −1.
        values: float64[n]; ``HISTOGRAM`` where the sample is in ``histograms``.
        ts: int64[n] milliseconds, −1 where the line has no timestamp; ``None`` when no line has.
        scraped: number of sample lines, the refused ones included.
        rejected: lines refused, by reason.
        errors: the first few of them.
        start: int64[n] start timestamps in ms, 0 where unknown; ``None`` when all are.
        histograms: native histograms, ``index`` int32[n]; ``None`` when there are none.
        exemplars: ``series`` is a ref; ``ts`` is −1 where the exemplar has none.
    """

    refs: I32
    values: F64
    ts: I64 | None
    scraped: int
    rejected: Mapping[str, int]
    errors: tuple[LineError, ...]
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()

    def take(self, places: NDArray[np.integer]) -> Exposition:
        """Return the samples at ``places`` in that order, without the exemplars."""
        return replace(
            self,
            refs=self.refs[places],
            values=self.values[places],
            ts=None if self.ts is None else self.ts[places],
            start=None if self.start is None else self.start[places],
            histograms=None if self.histograms is None else chosen(self.histograms, places),
            exemplars=(),
        )


def chosen(histograms: Histograms, places: NDArray[np.integer]) -> Histograms:
    """Return the histograms of the samples at ``places``; −1 stands for one that is none."""
    index = np.where(places >= 0, histograms.index[places], -1)
    there = index >= 0
    out = np.full(len(places), -1, np.int32)
    out[there] = np.arange(int(there.sum()), dtype=np.int32)
    return histograms.take(index[there], out)


Finish = Callable[[dict[str, str], str], Labels | None]
"""Makes the stored labels of a series from those of its line (``__name__`` included) and the type
of its family; ``None`` where it is left out on purpose. Raises :class:`RejectedLineError` when the
series cannot be kept."""


class Reading(Protocol):
    """A scrape on its way through a parser: ``read``, ``number`` until it is false, ``end``.

    Only ``number`` asks the index, the other steps may run in another thread. A parser has one
    reading at a time.
    """

    @property
    def laborious(self) -> bool:
        """Whether ``read`` takes so long that the event loop should not wait for it."""
        ...

    def read(self) -> None:
        """Read what is not known yet by the full grammar."""
        ...

    def number(self, most: int = NUMBERED_AT_ONCE) -> bool:
        """Number up to ``most`` new series; return whether there are more."""
        ...

    def end(self) -> Exposition:
        """Return what the scrape brought, and remember it for the next one."""
        ...


class Parser(Protocol):
    """Parser of one target's scrapes; keeps what it knows of the series between them."""

    @property
    def metadata(self) -> Mapping[str, Metadata]:
        """Metadata by metric family, as of the latest scrape."""
        ...

    def begin(self, body: bytes) -> Reading:
        """Take what is known already, which is quick.

        Raises:
            ExpositionError: the body as a whole cannot be taken.
        """
        ...


def parse(parser: Parser, body: bytes) -> Exposition:
    """Parse one body by all steps at once; raises as ``begin``."""
    reading = parser.begin(body)
    reading.read()
    while reading.number():
        pass
    return reading.end()
