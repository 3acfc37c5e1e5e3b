"""Limits and checks of selections and look-ups, the same for every engine."""

from __future__ import annotations

import pytest

from tests.storage.test_union import STEP, T0, life
from tests.unit.storage.chdb.chunks import labels, named, points
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.columns import ColumnStore
from vedette.storage.interface import SelectionTooLargeError, SelectLimits
from vedette.storage.spool.files import CrashFiles


class TooLateError(Exception):
    """What a check raises."""


class Impatient:
    """Goes on a number of times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooLateError


@pytest.mark.parametrize("flushed", [0, 5, 10])
async def test_no_more_samples_are_loaded_than_allowed(
    columns: ColumnStore, own: str, flushed: int
) -> None:
    """A limit of just the samples of the range is kept, one less is refused, wherever they lie."""
    series = [labels(own, k=str(k)) for k in range(6)]
    files = CrashFiles()
    async with life(columns, files) as now:
        for k in range(flushed):
            await now.send(series, T0 + k * STEP, "t" if k % 2 else "")
        await now.pipeline.flush()
        sent = now.expected
    async with life(columns, CrashFiles(), sent) as now:
        for k in range(flushed, 10):
            await now.send(series, T0 + k * STEP, "t" if k % 2 else "")
        for first, last in ((0, 9), (2, 7)):
            span = T0 + first * STEP, T0 + last * STEP
            count = 6 * (last - first + 1)
            whole = now.samples.select(named(own), *span, SelectLimits(count))
            assert sum(map(len, points(whole).values())) >= count
            with pytest.raises(SelectionTooLargeError, match="too many samples"):
                now.samples.select(named(own), *span, SelectLimits(count - 1))
        assert len(points(now.samples.select(named(own), *span, SelectLimits(0)))) == 6


async def test_an_answer_of_the_engine_is_bounded_by_memory(
    chdb_columns: ColumnStore, own: str
) -> None:
    """The engine refuses what is larger than the bytes that are allowed, before it is sent."""
    async with life(chdb_columns) as now:
        await now.send([labels(own, k=str(k)) for k in range(2000)], T0)
        await now.pipeline.flush()
    async with life(chdb_columns) as now:
        with pytest.raises(SelectionTooLargeError, match="fewer series or a shorter time"):
            now.samples.select(named(own), T0, T0, SelectLimits(max_bytes=10_000))


async def test_a_check_ends_selections_and_look_ups(columns: ColumnStore, own: str) -> None:
    """Whatever the check raises comes out."""
    mine = [[Matcher("__name__", MatchOp.REGEX, f"{own}_.*")]]
    async with life(columns) as now:
        await now.send([labels(f"{own}_{k}", a="1") for k in range(5)], T0)
        await now.pipeline.flush()
    async with life(columns) as now:
        samples = now.samples
        with pytest.raises(TooLateError):
            samples.select(mine[0], T0, T0, SelectLimits(check=Impatient(0)))
        with pytest.raises(TooLateError):
            samples.series(mine, T0, T0, 0, Impatient(0))
        with pytest.raises(TooLateError):
            samples.label_names(mine, T0, T0, Impatient(0))
        with pytest.raises(TooLateError):
            samples.label_values("a", mine, T0, T0, Impatient(0))
        patient = Impatient(1000)
        assert len(samples.series(mine, T0, T0, 0, patient)) == 5
        assert len(samples.select(mine[0], T0, T0, SelectLimits(check=patient))) == 5
        assert patient.left < 998
