"""Grouping by equal timestamps and joining of parts keep every sample, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.arrays import offsets_of
from vedette.model.blocks import AnyBlock, Block, RaggedBlock
from vedette.model.samples import ABSENT, STALE_BITS, bits
from vedette.storage.regroup import Runs, block_runs, combine, crop, regroup

_VALUES = np.array(
    [STALE_BITS, 0x7FF8000000000001, 0x8000000000000000, 0x7FF0000000000000, 0x3FF0000000000000],
    np.uint64,
).view(np.float64)

Points = dict[tuple[int, int], tuple[int, int]]
"""(series, timestamp) to (bits of the value, start)."""

_series = st.dictionaries(
    st.integers(0, 5),
    st.sampled_from([(0, 15, 30), (0, 15), (1, 16, 31), (15,), (0, 30)]),
    max_size=6,
)


def _points(blocks: tuple[AnyBlock, ...]) -> Points:
    found: Points = {}
    seen: set[int] = set()
    for block in blocks:
        assert not seen & set(block.columns.tolist()), "a series stands in two blocks"
        seen.update(block.columns.tolist())
        runs = block_runs(block)
        start = runs.start if runs.start is not None else np.zeros(len(runs.ts), np.int64)
        for k, series in enumerate(runs.series.tolist()):
            part = slice(int(runs.offsets[k]), int(runs.offsets[k + 1]))
            assert (np.diff(runs.ts[part]) > 0).all()
            rows = zip(runs.ts[part], bits(runs.values)[part], start[part], strict=True)
            found.update({(series, int(t)): (int(v), int(s)) for t, v, s in rows})
    return found


def _runs(series: dict[int, tuple[int, ...]], salt: int, start: bool) -> Runs:
    stamps = [np.array(ts, np.int64) for ts in series.values()]
    ts = np.concatenate([np.zeros(0, np.int64), *stamps])
    values = _VALUES[(ts + salt + np.arange(len(ts))) % len(_VALUES)]
    offsets = offsets_of(np.array([len(t) for t in stamps], np.int64))
    numbers = np.array(list(series), np.int32)
    return Runs(numbers, offsets, ts, values, ts + salt if start else None)


def _expected(runs: Runs) -> Points:
    block = RaggedBlock(runs.series, runs.offsets, runs.ts, runs.values, runs.start)
    return _points((block,)) if len(runs.series) else {}


@given(_series, st.integers(1, 4), st.booleans())
def test_regrouping_keeps_every_sample(
    series: dict[int, tuple[int, ...]], least: int, start: bool
) -> None:
    """Series share a block exactly when their timestamps are equal, and nothing is lost."""
    runs = _runs(series, 0, start)
    blocks = regroup(runs, least)
    assert _points(blocks) == _expected(runs)
    dense = [block for block in blocks if isinstance(block, Block)]
    assert len({block.ts.tobytes() for block in dense}) == len(dense)
    assert all(len(block.columns) >= least for block in dense)


@given(st.lists(st.tuples(_series, st.integers(1, 4), st.booleans()), max_size=3), st.data())
def test_combining_is_a_union_in_which_the_earlier_part_wins(
    parts: list[tuple[dict[int, tuple[int, ...]], int, bool]], data: st.DataObject
) -> None:
    """However parts overlap, each series stands once, and each sample is the first part's."""
    expected: Points = {}
    blocks: list[AnyBlock] = []
    for salt, (series, least, start) in enumerate(parts):
        runs = _runs(series, salt, start)
        expected = _expected(runs) | expected
        blocks += regroup(runs, least)
    assert _points(combine(blocks)) == expected
    lo, hi = sorted(data.draw(st.tuples(st.integers(-1, 32), st.integers(-1, 32))))
    cropped = [crop(block, lo, hi) for block in combine(blocks)]
    inside = {key: value for key, value in expected.items() if lo <= key[1] <= hi}
    assert _points(tuple(block for block in cropped if block)) == inside


def test_absent_samples_of_dense_parts_do_not_hide_those_of_others() -> None:
    """A hole in one part is filled from the next one, start timestamps too."""
    columns, ts = np.arange(2, dtype=np.int32), np.array([10, 20])
    first = Block(columns, ts, np.array([[1.0, ABSENT], [ABSENT, 4.0]]))
    second = Block(columns, ts, np.array([[9.0, 2.0], [3.0, 9.0]]), np.full((2, 2), 7))
    (joined,) = combine([first, second])
    assert isinstance(joined, Block)
    assert joined.values.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert joined.start is not None
    assert joined.start.tolist() == [[0, 7], [7, 0]]
