"""The block: one metric × the series that share a timestamp vector × a span of time.

A scrape appends a row to its target's block, the query engine evaluates on it, the store keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.samples import Exemplar


@dataclass(frozen=True, slots=True)
class LabelTable:
    """Labels of S series, dictionary-encoded by column.

    Attributes:
        names: label names, sorted.
        codes: int32[len(names), S]; ``values[k][codes[k, s]]`` is the value of label k of series s.
        values: for each name its dictionary; entry 0 is always "" (the label is absent).
    """

    names: tuple[str, ...]
    codes: I32
    values: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, rows: list[Labels]) -> LabelTable:
        """Encode ``rows``; the slow way in, for tests and small results."""
        names = sorted({name for row in rows for name, _ in row})
        codes = np.zeros((len(names), len(rows)), np.int32)
        dictionaries: list[dict[str, int]] = [{"": 0} for _ in names]
        position = {name: k for k, name in enumerate(names)}
        for s, row in enumerate(rows):
            for name, value in row:
                k = position[name]
                codes[k, s] = dictionaries[k].setdefault(value, len(dictionaries[k]))
        return cls(tuple(names), codes, tuple(tuple(d) for d in dictionaries))

    def __len__(self) -> int:
        return int(self.codes.shape[1])

    def column(self, name: str) -> tuple[I32, tuple[str, ...]] | None:
        """Return codes int32[S] and dictionary of ``name``, or ``None`` where no series has it."""
        if name not in self.names:
            return None
        k = self.names.index(name)
        return self.codes[k], self.values[k]

    def labels(self, s: int) -> Labels:
        """Return the labels of series ``s``."""
        row = zip(self.names, self.codes[:, s].tolist(), self.values, strict=True)
        return Labels(tuple((name, values[code]) for name, code, values in row if code))

    def rows(self) -> list[Labels]:
        """Return the labels of every series, in order."""
        columns = [
            [(name, value) if value else None for value in map(values.__getitem__, codes.tolist())]
            for name, codes, values in zip(self.names, self.codes, self.values, strict=True)
        ]
        if not columns:
            return [Labels()] * len(self)
        return [Labels(tuple(p for p in row if p)) for row in zip(*columns, strict=True)]

    def take(self, series: NDArray[np.integer]) -> LabelTable:
        """Return the table of ``series`` only, in that order; dictionaries are shared."""
        return LabelTable(self.names, self.codes[:, series], self.values)

    def with_name(self, metric: str) -> LabelTable:
        """Return the table with ``__name__`` set to ``metric`` for every series."""
        others = self.drop(METRIC_NAME)
        at = sum(name < METRIC_NAME for name in others.names)
        row = np.ones((1, len(self)), np.int32)
        return LabelTable(
            (*others.names[:at], METRIC_NAME, *others.names[at:]),
            np.concatenate([others.codes[:at], row, others.codes[at:]]),
            (*others.values[:at], ("", metric), *others.values[at:]),
        )

    def drop(self, *names: str) -> LabelTable:
        """Return the table without the columns ``names``."""
        if not any(name in self.names for name in names):
            return self
        keep = [k for k, name in enumerate(self.names) if name not in names]
        return LabelTable(
            tuple(self.names[k] for k in keep),
            self.codes[keep],
            tuple(self.values[k] for k in keep),
        )


@dataclass(frozen=True, slots=True)
class Block:
    """S series of one metric over n shared timestamps.

    Attributes:
        columns: int32[S], the series as numbered by the label table of the selection.
        ts: int64[n], milliseconds, strictly ascending.
        values: float64[n, S]; ``ABSENT`` where a series has no sample, ``STALE`` where it ended,
            ``HISTOGRAM`` where ``histograms`` holds the sample.
        start: int64[n, S] start timestamps, ``None`` when all are unknown. Above 0 a real one, 0
            unknown, below 0 a synthetic one (the time is its negative): the last time at which the
            target was scraped without the series. Only evaluations that ask for first occurrences
            use synthetic ones.
        histograms: the samples that are histograms, or ``None``.
        exemplars: those of the span, with series as in ``columns``.
    """

    columns: I32
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True, slots=True)
class RaggedBlock:
    """S series of one metric, each with its own timestamps, N samples in all.

    Attributes:
        columns: int32[S], the series as numbered by the label table of the selection.
        offsets: int64[S + 1]; series k has the samples ``offsets[k]:offsets[k + 1]``.
        ts: int64[N], ascending within each series.
        values: float64[N]; ``STALE`` where a series ended, ``HISTOGRAM`` where ``histograms`` holds
            the sample, never ``ABSENT``.
        start: int64[N] or ``None``, histograms: as in :class:`Block`.
    """

    columns: I32
    offsets: I64
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()


AnyBlock: TypeAlias = Block | RaggedBlock


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selector found of one metric: every series stands in exactly one block.

    ``labels`` holds S series without ``__name__``; a block may hold samples somewhat outside the
    asked range, never fewer than those inside it.
    """

    metric: str
    labels: LabelTable
    blocks: tuple[AnyBlock, ...]
