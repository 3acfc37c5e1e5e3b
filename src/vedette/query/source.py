"""Where the query engine gets its samples, and the double that stands for it in tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import re2

from vedette.model.arrays import F64, I32, I64
from vedette.model.blocks import AnyBlock, Block, LabelTable, RaggedBlock, Selection
from vedette.model.histograms import Histograms, joined
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import ABSENT
from vedette.storage.interface import NO_LIMITS, SelectLimits


class SampleSource(Protocol):
    """What the engine asks of storage; ``vedette.storage.interface.Samples`` satisfies it."""

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms).

        Raises:
            SelectionTooLargeError: ``limits`` would be exceeded; see ``Samples.select``.
        """
        ...


@dataclass(frozen=True, slots=True)
class MemorySeries:
    """The samples of one series: ts int64[n] ascending, values float64[n].

    ``start`` (int64[n]) and ``histograms`` (``index`` int32[n]) as in a block, or ``None``.
    """

    labels: Labels
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None

    def take(self, at: slice | I64) -> MemorySeries:
        """Return only the samples ``at``."""
        histograms = self.histograms
        return MemorySeries(
            self.labels,
            self.ts[at],
            self.values[at],
            None if self.start is None else self.start[at],
            None if histograms is None else histograms.at(histograms.index[at]),
        )


class MemorySamples:
    """A :class:`SampleSource` over lists of ``(labels, ts, values)``, for tests and benches.

    Series of one metric with equal timestamps share a :class:`Block`, others stand in a
    :class:`RaggedBlock`. ``layout`` forces a form: ``"ragged"`` puts every series into ragged
    blocks, ``"merged"`` puts all series of a metric into one block over the union of their
    timestamps, with ``ABSENT`` in the holes.
    """

    def __init__(
        self, series: Iterable[tuple[Labels, I64, F64]] = (), layout: str = "shared"
    ) -> None:
        self._layout = layout
        self._metrics: dict[str, list[MemorySeries]] = {}
        for labels, ts, values in series:
            self.add(labels, ts, values)

    def add(
        self,
        labels: Labels,
        ts: I64,
        values: F64,
        start: I64 | None = None,
        histograms: Histograms | None = None,
    ) -> None:
        """Add samples; those of a known series are joined to it, later additions winning."""
        rows = self._metrics.setdefault(labels.metric, [])
        bare = labels.without(METRIC_NAME)
        new = MemorySeries(
            bare, np.asarray(ts, np.int64), np.asarray(values, np.float64), start, histograms
        )
        for k, row in enumerate(rows):
            if row.labels == bare:
                rows[k] = _join(new, row)
                return
        rows.append(new)

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return the selections of the metrics that match."""
        tests = [(m.name, _test(m)) for m in matchers]
        found = []
        for metric, rows in self._metrics.items():
            if not all(test(metric) for name, test in tests if name == METRIC_NAME):
                continue
            others = [(name, test) for name, test in tests if name != METRIC_NAME]
            kept = [row for row in rows if all(test(row.labels.get(name)) for name, test in others)]
            cut = [_cut(row, start, end) for row in kept]
            if cut:
                blocks = self._blocks(cut)
                found.append(Selection(metric, LabelTable.of([r.labels for r in cut]), blocks))
        return tuple(found)

    def _blocks(self, rows: list[MemorySeries]) -> tuple[AnyBlock, ...]:
        if self._layout == "merged":
            return (_shared(rows, list(range(len(rows)))),)
        shared: dict[bytes, list[int]] = {}
        for k, row in enumerate(rows):
            shared.setdefault(row.ts.tobytes() if self._layout == "shared" else b"", []).append(k)
        blocks: list[AnyBlock] = []
        alone: list[int] = []
        for columns in shared.values():
            if self._layout == "ragged" or len(columns) == 1:
                alone += columns
                continue
            blocks.append(_shared(rows, columns))
        if alone:
            blocks.append(_ragged(rows, alone))
        return tuple(blocks)


def _join(first: MemorySeries, second: MemorySeries) -> MemorySeries:
    """Return the samples of both by time, those of ``first`` winning."""
    both = [first, second]
    joint = MemorySeries(
        first.labels,
        np.concatenate([row.ts for row in both]),
        np.concatenate([row.values for row in both]),
        _starts(both),
        _natives(both),
    )
    return joint.take(np.unique(joint.ts, return_index=True)[1])


def _starts(rows: list[MemorySeries]) -> I64 | None:
    if all(row.start is None for row in rows):
        return None
    return np.concatenate(
        [np.zeros(len(row.ts), np.int64) if row.start is None else row.start for row in rows]
    )


def _natives(rows: list[MemorySeries]) -> Histograms | None:
    """Return the histograms of all samples of ``rows``, one series after another."""
    parts = [row.histograms for row in rows if row.histograms is not None]
    if not parts:
        return None
    before, index = 0, []
    for row in rows:
        own = np.full(len(row.ts), -1, np.int32)
        if row.histograms is not None:
            own = row.histograms.index
            own = np.where(own < 0, own, own + np.int32(before))
            before += row.histograms.rows
        index.append(own)
    return joined(parts, np.concatenate(index).astype(np.int32))


def _cut(row: MemorySeries, start: int, end: int) -> MemorySeries:
    a, b = np.searchsorted(row.ts, [start, end + 1]).tolist()
    return row.take(slice(a, b))


def _ragged(rows: list[MemorySeries], columns: list[int]) -> RaggedBlock:
    chosen = [rows[k] for k in columns]
    return RaggedBlock(
        np.array(columns, np.int32),
        np.concatenate([[0], np.cumsum([len(row.ts) for row in chosen])]).astype(np.int64),
        np.concatenate([row.ts for row in chosen]),
        np.concatenate([row.values for row in chosen]),
        _starts(chosen),
        _natives(chosen),
    )


def _shared(rows: list[MemorySeries], columns: list[int]) -> Block:
    chosen = [rows[k] for k in columns]
    ts = np.unique(np.concatenate([row.ts for row in chosen]))
    series = np.repeat(np.arange(len(chosen)), [len(row.ts) for row in chosen])
    at = np.searchsorted(ts, np.concatenate([row.ts for row in chosen])), series
    shape = len(ts), len(chosen)
    values = np.full(shape, ABSENT)
    values[at] = np.concatenate([row.values for row in chosen])
    start, histograms = _starts(chosen), _natives(chosen)
    if start is not None:
        starts = np.zeros(shape, np.int64)
        starts[at] = start
        start = starts
    if histograms is not None:
        index: I32 = np.full(shape, -1, np.int32)
        index[at] = histograms.index
        histograms = histograms.at(index)
    return Block(np.array(columns, np.int32), ts, values, start, histograms)


class _test:  # noqa: N801  # used as a function; a class only so that the pattern compiles once
    def __init__(self, matcher: Matcher) -> None:
        self._want = matcher.op in (MatchOp.EQUAL, MatchOp.REGEX)
        self._value = matcher.value
        self._pattern = None
        if matcher.op in (MatchOp.REGEX, MatchOp.NOT_REGEX):
            self._pattern = re2.compile(f"(?s:{matcher.value})")

    def __call__(self, value: str) -> bool:
        if self._pattern is None:
            return (value == self._value) == self._want
        return (self._pattern.fullmatch(value) is not None) == self._want
