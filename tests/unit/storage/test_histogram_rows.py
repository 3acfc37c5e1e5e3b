"""Histograms beside samples: joined, compared and collected."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.rich import histogram_values, packed
from vedette.model.arrays import I32
from vedette.model.histograms import (
    Histograms,
    HistogramValue,
    histogram_value,
    histograms_of,
)
from vedette.model.samples import HISTOGRAM
from vedette.storage.histogram_rows import (
    HistogramArena,
    collected,
    equal_samples,
    named_rows,
    picked,
    side_by_side,
    through,
)

_lists = st.lists(histogram_values(), min_size=1, max_size=5)


def _beside(values: list[HistogramValue]) -> Histograms:
    return histograms_of(values, np.arange(len(values), dtype=np.int32))


def _read(histograms: Histograms | None, index: I32) -> list[bytes]:
    if histograms is None:
        return [b""] * len(index)
    return [
        packed(histogram_value(histograms, row)) if row >= 0 else b""
        for row in histograms.index.tolist()
    ]


@given(_lists, st.data())
def test_what_an_index_names_is_kept(values: list[HistogramValue], data: st.DataObject) -> None:
    """However few rows are left, each sample keeps its own histogram."""
    held = _beside(values)
    rows = st.integers(-1, len(values) - 1)
    index = np.array(data.draw(st.lists(rows, min_size=1, max_size=9)), np.int32)
    wanted = [packed(values[row]) if row >= 0 else b"" for row in index.tolist()]
    seen = through(held, index)
    assert (seen is None) == (not any(wanted))
    assert _read(seen, index) == wanted
    assert _read(named_rows(held.at(index)), index) == wanted
    reverse = np.arange(len(index))[::-1]
    assert _read(picked(held.at(index), reverse), index) == wanted[::-1]
    arena = HistogramArena(held)
    assert _read(collected(arena, index).seen_through(index), index) == wanted


@given(st.lists(st.none() | _lists, min_size=1, max_size=4))
def test_parts_side_by_side_and_in_an_arena(parts: list[list[HistogramValue] | None]) -> None:
    """Joining shifts rows as needed; floats between stay floats."""
    wanted = [packed(value) if value else b"" for part in parts for value in part or [None]]
    joined = side_by_side(
        [(_beside(part), len(part)) if part is not None else (None, 1) for part in parts]
    )
    assert _read(joined, np.zeros(len(wanted), np.int32)) == wanted
    batches = [part for part in parts if part is not None]
    if not batches:
        return
    arena = HistogramArena(_beside(batches[0]))
    first = arena.seen_through(np.arange(len(batches[0]), dtype=np.int32))
    rest = [arena.append(_beside(part)) for part in batches[1:]]
    index = np.concatenate([first.index, *rest])
    assert _read(arena.seen_through(index), index) == [text for text in wanted if text]
    assert _read(first, first.index) == [packed(value) for value in batches[0]]


@given(_lists, _lists)
def test_equality_is_that_of_all_bits(
    first: list[HistogramValue], second: list[HistogramValue]
) -> None:
    """Samples are equal exactly when all but the hints on resets are equal bit by bit."""
    pairs = [(a, b) for a in first for b in [*second, a]]
    values = np.full(len(pairs), HISTOGRAM)
    same = equal_samples(
        values, _beside([a for a, _ in pairs]), values, _beside([b for _, b in pairs])
    )
    unhinted = [(packed(a)[3:], packed(b)[3:], a.schema == b.schema) for a, b in pairs]
    assert same.tolist() == [a == b and schema for a, b, schema in unhinted]
