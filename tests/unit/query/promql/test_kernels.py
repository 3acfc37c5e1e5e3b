"""The loops over series with their own timestamps give what numpy gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import RaggedBlock
from vedette.model.samples import STALE
from vedette.query.promql import counters, kernels, select, windows
from vedette.query.promql.budget import Budget
from vedette.query.promql.kernels import PLAIN, Kernels
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.values import Part
from vedette.query.promql.windows import Windows

_ODD = [float("nan"), float("inf"), -float("inf"), -0.0]
_VALUES = st.one_of(st.integers(-9, 20).map(float), st.floats(-1e6, 1e6), st.sampled_from(_ODD))
_RAW = st.one_of(_VALUES, st.just(STALE))
_FINITE = st.one_of(st.integers(-9, 50).map(float), st.floats(-1e6, 1e6))
_ENDS = st.builds(
    lambda first, step, count: first + step * np.arange(count, dtype=np.int64),
    st.integers(-20, 100),
    st.integers(0, 30),
    st.integers(1, 8),
)
_SPANS = st.integers(1, 90)
_LOOPS = pytest.mark.parametrize("name", ["plain", "compiled"])


@st.composite
def _blocks(draw: st.DrawFn, values: st.SearchStrategy[float]) -> RaggedBlock:
    """Draw a few series with timestamps of their own, some of them empty."""
    ts: list[int] = []
    offsets = [0]
    for _ in range(draw(st.integers(1, 4))):
        gaps = draw(st.lists(st.integers(1, 40), max_size=12))
        ts += (draw(st.integers(-60, 20)) + np.cumsum(gaps, dtype=np.int64)).tolist()
        offsets.append(len(ts))
    found = draw(st.lists(values, min_size=len(ts), max_size=len(ts)))
    return RaggedBlock(
        np.arange(len(offsets) - 1, dtype=np.int32),
        np.array(offsets, np.int64),
        np.array(ts, np.int64),
        np.array(found, np.float64),
    )


@contextmanager
def _with(loops: Kernels | None) -> Iterator[None]:
    with (
        patch.object(windows, "compiled", lambda _: loops),
        patch.object(select, "compiled", lambda _: loops),
    ):
        yield


def _loops(name: str) -> Kernels:
    if name == "plain":
        return PLAIN
    found = kernels.wait_until_compiled()
    if found is None:
        pytest.skip("needs numba: pip install 'vedette[speed]'")
    return found


def _mask(part: Part) -> Mask:
    return np.broadcast_to(True if part.present is None else part.present, part.values.shape)


def _windows(block: RaggedBlock, ends: I64, span: int, closed: bool) -> Windows:
    lo, hi = windows.flat_bounds(block.ts, block.offsets, ends, span, closed)
    budget = Budget(EngineOptions(), lambda: None)
    return Windows(block.ts, block.values, lo, hi, ends, span, False, budget)


def _both(
    name: str, block: RaggedBlock, reach: tuple[I64, int, bool], work: Callable[[Windows], F64]
) -> tuple[F64, F64, I64]:
    """Return what ``work`` makes of the windows with loops and with numpy, and their counts."""
    with np.errstate(all="ignore"):
        with _with(_loops(name)):
            looped = _windows(block, *reach)
            ours = work(looped)
        with _with(None):
            plain = _windows(block, *reach)
            theirs = work(plain)
    np.testing.assert_array_equal(looped.lo, plain.lo)
    np.testing.assert_array_equal(looped.hi, plain.hi)
    return ours, theirs, plain.count


def _agree(ours: F64, theirs: F64, where: Mask) -> None:
    np.testing.assert_allclose(
        np.where(where, ours, 0.0), np.where(where, theirs, 0.0), rtol=1e-9, atol=1e-6
    )


@_LOOPS
@given(_blocks(_FINITE), _ENDS, _SPANS, st.booleans(), st.tuples(*[st.booleans()] * 3))
def test_extrapolation(
    name: str,
    block: RaggedBlock,
    ends: I64,
    span: int,
    closed: bool,
    kind: tuple[bool, bool, bool],
) -> None:
    """``rate``, ``increase`` and ``delta`` are the same by loop and by numpy, resets included."""
    if not len(block.ts):
        return
    ours, theirs, count = _both(
        name, block, (ends, span, closed), lambda w: counters.extrapolated(w, *kind)
    )
    _agree(ours, theirs, count >= 2)


@_LOOPS
@given(_blocks(_FINITE), _ENDS, _SPANS, st.booleans())
def test_sums(name: str, block: RaggedBlock, ends: I64, span: int, closed: bool) -> None:
    """The sum of each window is the same by loop and by numpy."""
    if not len(block.ts):
        return
    ours, theirs, count = _both(name, block, (ends, span, closed), windows.window_sums)
    _agree(ours, theirs, count >= 0)


@_LOOPS
@given(_blocks(_VALUES), _ENDS, _SPANS, st.booleans(), st.sampled_from([np.fmin, np.fmax]))
def test_extremes(
    name: str, block: RaggedBlock, ends: I64, span: int, closed: bool, pick: np.ufunc
) -> None:
    """The extremes of each window are the same by loop and by numpy, NaN and Inf included."""
    if not len(block.ts):
        return
    ours, theirs, count = _both(
        name, block, (ends, span, closed), lambda w: windows.window_extremes(w, pick)
    )
    np.testing.assert_array_equal(ours[count > 0], theirs[count > 0])


@_LOOPS
@given(_blocks(_RAW), _ENDS, _SPANS, st.booleans())
def test_newest_samples(name: str, block: RaggedBlock, ends: I64, span: int, closed: bool) -> None:
    """An instant selection sees the same samples by loop and by numpy; stale series are gone."""
    if not len(block.ts):
        return
    reach = select.Reach(ends, span, closed, Budget(EngineOptions(), lambda: None))
    found = []
    for loops in (_loops(name), None):
        with _with(loops):
            parts = list(select._ragged_instants(block, 0, reach, False))
        shown = [np.where(_mask(p), p.values, 0.0) for p in parts]
        found.append((np.concatenate([p.columns for p in parts]), np.concatenate(shown, axis=1)))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_a_reset_that_left_the_window_leaves_no_trace() -> None:
    """After a huge reset has left the window a small one is still counted to its last digit."""
    values = np.array([1e17, 0.0, 3.25, 0.0, 1.0, 2.0])
    lo = np.array([[0], [1], [2]])
    hi = np.array([[4], [5], [6]])
    out = np.zeros((3, 1))
    kernels.resets(values, lo, hi, out)
    assert out[:, 0].tolist() == [1e17 + 3.25, 3.25, 3.25]
