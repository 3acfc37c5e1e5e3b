"""Where the query engine gets its samples, and the double that stands for it in tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import re2

from vedette.model.arrays import F64, I64
from vedette.model.blocks import AnyBlock, Block, LabelTable, RaggedBlock, Selection
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import ABSENT


class SampleSource(Protocol):
    """What the engine asks of storage; ``vedette.storage.interface.Samples`` satisfies it."""

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms)."""
        ...


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
        self._metrics: dict[str, list[tuple[Labels, I64, F64]]] = {}
        for labels, ts, values in series:
            self.add(labels, ts, values)

    def add(self, labels: Labels, ts: I64, values: F64) -> None:
        """Add samples; those of a known series are joined to it, later additions winning."""
        rows = self._metrics.setdefault(labels.metric, [])
        bare = labels.without(METRIC_NAME)
        for k, (known, old_ts, old_values) in enumerate(rows):
            if known == bare:
                rows[k] = (bare, *_join(old_ts, old_values, ts, values))
                return
        rows.append((bare, np.asarray(ts, np.int64), np.asarray(values, np.float64)))

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> tuple[Selection, ...]:
        """Return the selections of the metrics that match."""
        tests = [(m.name, _test(m)) for m in matchers]
        found = []
        for metric, rows in self._metrics.items():
            if not all(test(metric) for name, test in tests if name == METRIC_NAME):
                continue
            others = [(name, test) for name, test in tests if name != METRIC_NAME]
            kept = [row for row in rows if all(test(row[0].get(name)) for name, test in others)]
            cut = [_cut(row, start, end) for row in kept]
            if cut:
                blocks = self._blocks(cut)
                found.append(Selection(metric, LabelTable.of([r[0] for r in cut]), blocks))
        return tuple(found)

    def _blocks(self, rows: list[tuple[Labels, I64, F64]]) -> tuple[AnyBlock, ...]:
        if self._layout == "merged":
            return (_merged(rows),)
        shared: dict[bytes, list[int]] = {}
        for k, (_, ts, _) in enumerate(rows):
            shared.setdefault(ts.tobytes() if self._layout == "shared" else b"", []).append(k)
        blocks: list[AnyBlock] = []
        alone: list[int] = []
        for columns in shared.values():
            if self._layout == "ragged" or len(columns) == 1:
                alone += columns
                continue
            values = np.stack([rows[k][2] for k in columns], axis=1)
            blocks.append(Block(np.array(columns, np.int32), rows[columns[0]][1], values))
        if alone:
            blocks.append(_ragged(rows, alone))
        return tuple(blocks)


def _join(old_ts: I64, old: F64, new_ts: I64, new: F64) -> tuple[I64, F64]:
    ts = np.concatenate([new_ts, old_ts]).astype(np.int64)
    values = np.concatenate([new, old]).astype(np.float64)
    unique, first = np.unique(ts, return_index=True)
    return unique, values[first]


def _cut(row: tuple[Labels, I64, F64], start: int, end: int) -> tuple[Labels, I64, F64]:
    labels, ts, values = row
    a, b = np.searchsorted(ts, [start, end + 1]).tolist()
    return labels, ts[a:b], values[a:b]


def _ragged(rows: list[tuple[Labels, I64, F64]], columns: list[int]) -> RaggedBlock:
    lengths = [len(rows[k][1]) for k in columns]
    return RaggedBlock(
        np.array(columns, np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([rows[k][1] for k in columns]),
        np.concatenate([rows[k][2] for k in columns]),
    )


def _merged(rows: list[tuple[Labels, I64, F64]]) -> Block:
    ts = np.unique(np.concatenate([row[1] for row in rows]))
    values = np.full((len(ts), len(rows)), ABSENT)
    for k, (_, own, samples) in enumerate(rows):
        values[np.searchsorted(ts, own), k] = samples
    return Block(np.arange(len(rows), dtype=np.int32), ts, values)


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
