"""Series with equal timestamps are put together without losing or changing a sample."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.query.promql.budget import Budget
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.regroup import cut_block, regrouped

Series = dict[int, list[tuple[int, float]]]

FREE = Budget(EngineOptions(), lambda: None)


def series_of(blocks: list[AnyBlock]) -> Series:
    """Return the samples of every column."""
    found: Series = {}
    for block in blocks:
        for k, column in enumerate(block.columns.tolist()):
            assert column not in found
            if isinstance(block, Block):
                found[column] = list(
                    zip(block.ts.tolist(), block.values[:, k].tolist(), strict=True)
                )
            else:
                piece = slice(int(block.offsets[k]), int(block.offsets[k + 1]))
                found[column] = list(
                    zip(block.ts[piece].tolist(), block.values[piece].tolist(), strict=True)
                )
    return found


@st.composite
def ragged_blocks(draw: st.DrawFn) -> RaggedBlock:
    """A block of up to 40 series that follow one of three clocks, or none."""
    clocks = [
        np.cumsum(draw(st.lists(st.integers(1, 20), min_size=1, max_size=5))) for _ in range(3)
    ]
    choice = draw(st.lists(st.integers(0, 3), min_size=1, max_size=40))
    stamps = [clocks[c] if c < 3 else np.arange(k % 3) * 7 for k, c in enumerate(choice)]
    offsets = np.concatenate([[0], np.cumsum([len(ts) for ts in stamps])]).astype(np.int64)
    ts = np.concatenate(stamps).astype(np.int64)
    columns = np.array(draw(st.permutations(range(len(choice)))), np.int32)
    return RaggedBlock(columns, offsets, ts, np.arange(len(ts), dtype=np.float64))


@given(block=ragged_blocks(), low=st.integers(-5, 40), span=st.integers(0, 90))
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost(block: RaggedBlock, low: int, span: int) -> None:
    """Every sample in reach is there once, under its column, with its time and value."""
    wanted = {
        column: kept
        for column, samples in series_of([block]).items()
        if (kept := [(t, v) for t, v in samples if low <= t <= low + span])
    }
    got = series_of(list(regrouped(cut_block(block, low, low + span), FREE)))
    assert {column: samples for column, samples in got.items() if samples} == wanted


def test_equal_clocks_are_put_together() -> None:
    """Twenty series of two scrapes become two blocks, and the odd one stays ragged."""
    ts = [np.array([10, 20, 30]), np.array([11, 21, 31])]
    stamps = [ts[k % 2] for k in range(20)] + [np.array([10, 25, 30])]
    block = RaggedBlock(
        np.arange(21, dtype=np.int32),
        np.arange(22, dtype=np.int64) * 3,
        np.concatenate(stamps),
        np.arange(63.0),
    )
    shared = [piece for piece in regrouped(block, FREE) if isinstance(piece, Block)]
    assert sorted(tuple(piece.ts.tolist()) for piece in shared) == [(10, 20, 30), (11, 21, 31)]
    assert sorted(len(piece.columns) for piece in shared) == [10, 10]
