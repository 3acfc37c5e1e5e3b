"""Histograms, start timestamps and every pattern of bits, over head, spool and column store."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.storage.test_union import STEP, T0, Life, life
from tests.unit.storage.chdb.chunks import labels, named
from tests.unit.storage.rich import (
    Drawn,
    Exact,
    drawn,
    exact,
    histogram_values,
    rich_points,
    sample_batch,
    within,
)
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import ABSENT, HISTOGRAM, NAN_BITS, STALE
from vedette.storage.chdb.columns import ChdbColumns
from vedette.storage.columns import ColumnStore
from vedette.storage.head.admission import Refusal
from vedette.storage.matching import matches
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.spool.files import CrashFiles

Expected = dict[Labels, dict[int, Exact]]
_few = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
_many = settings(max_examples=40, deadline=None)
SLOTS = 16
_hours = itertools.count(-20_000)


def _next_hour() -> int:
    """Return a time later than all that the shared store has: earlier samples count as too old."""
    return T0 + next(_hours) * 3_600_000


_push = st.lists(st.tuples(st.integers(0, 5), st.integers(0, SLOTS), drawn), min_size=1, max_size=9)
_scrape = st.dictionaries(st.integers(6, 11), drawn, min_size=1)
_Delete = tuple[int, int, str]
_delete = st.tuples(
    st.integers(0, SLOTS), st.integers(0, SLOTS), st.sampled_from(["[0126]", ".+", "3|9"])
)
_Step = list[tuple[int, int, Drawn]] | dict[int, Drawn] | _Delete | str
_steps = st.lists(
    _push | _scrape | _delete | st.sampled_from(["flush", "restart"]), min_size=1, max_size=9
)


_window = st.tuples(st.integers(-1, SLOTS), st.integers(-1, SLOTS))


@_many
@given(_steps, _window)
def test_every_kind_of_sample_comes_back(steps: list[_Step], window: tuple[int, int]) -> None:
    """Wherever they lie, samples of all kinds are selected bit by bit, the first of each time.

    What was deleted is gone, whether it lay in memory, in the spool or in the store.
    """
    series = [labels(f"own_{k % 2}", k=str(k)) for k in range(12)]
    asyncio.run(_run(MemoryColumns(), "own", series, steps, window))


@pytest.mark.chdb
@_few
@given(_steps, _window)
def test_every_kind_of_sample_comes_back_from_the_engine(
    chdb_columns: ColumnStore,
    steps: list[_Step],
    window: tuple[int, int],
) -> None:
    """The same as above."""
    own = f"own{random.SystemRandom().getrandbits(64)}"
    series = [labels(f"{own}_{k % 2}", k=str(k)) for k in range(12)]
    asyncio.run(_run(chdb_columns, own, series, steps, window))


async def _run(
    columns: ColumnStore,
    own: str,
    series: list[Labels],
    steps: list[_Step],
    window: tuple[int, int],
) -> None:
    files, base = CrashFiles(), _next_hour()
    expected: Expected = {}
    spans = (base + window[0] * STEP, base + window[1] * STEP), (base - STEP, base + 40 * STEP)
    left = list(enumerate(steps))
    while left:
        async with life(columns, files) as now:
            while left:
                at, step = left.pop(0)
                if step == "restart":
                    break
                if step == "flush":
                    await now.pipeline.flush()
                elif isinstance(step, list):
                    await _send_pushed(now, series, expected, step, base)
                elif isinstance(step, tuple):
                    await _delete_from(now, own, expected, step, base)
                elif isinstance(step, dict):
                    await _send_scraped(now, series, expected, step, base + at * STEP)
                _check(now, own, expected, spans)
            _check(now, own, expected, spans)
    async with life(columns, files) as now:
        await now.pipeline.flush()
        _check(now, own, expected, spans)
    async with life(columns, CrashFiles()) as now:
        _check(now, own, expected, spans)


async def _send_pushed(
    now: Life,
    series: list[Labels],
    expected: Expected,
    step: list[tuple[int, int, Drawn]],
    base: int,
) -> None:
    refs = now.index.refs(series)
    stamps = [base + slot * STEP for _, slot, _ in step]
    numbers = [int(refs[k]) for k, _, _ in step]
    batch = sample_batch(numbers, stamps, [sample for _, _, sample in step])
    await now.pipeline.append_samples(batch)
    for (k, _, sample), ts in zip(step, stamps, strict=True):
        expected.setdefault(series[k], {}).setdefault(ts, exact(*sample))


async def _send_scraped(
    now: Life, series: list[Labels], expected: Expected, step: dict[int, Drawn], ts: int
) -> None:
    refs = now.index.refs(series)
    numbers = [int(refs[k]) for k in step]
    await now.pipeline.append_samples(
        sample_batch(numbers, [ts] * len(step), list(step.values()), "t")
    )
    for k, sample in step.items():
        expected.setdefault(series[k], {})[ts] = exact(*sample)


async def _delete_from(now: Life, own: str, expected: Expected, step: _Delete, base: int) -> None:
    start, end, which = base + step[0] * STEP, base + step[1] * STEP, step[2]
    by = Matcher("k", MatchOp.REGEX, which)
    metrics = [Matcher("__name__", MatchOp.REGEX, f"{own}_.")]
    await now.pipeline.delete_series([[*metrics, by]], start, end)
    for series, points in expected.items():
        if matches([by], series):
            for ts in [ts for ts in points if start <= ts <= end]:
                del points[ts]


def _check(now: Life, own: str, expected: Expected, spans: Iterable[tuple[int, int]]) -> None:
    for start, end in spans:
        for metric in (f"{own}_0", f"{own}_1"):
            found = rich_points(now.samples.select(named(metric), start, end))
            wanted = {s: p for s, p in expected.items() if s.metric == metric}
            assert within(found, start, end) == within(wanted, start, end)


async def test_resent_histograms_are_duplicates_or_conflicts(own: str) -> None:
    """A histogram with equal buckets is a duplicate, one with another count a conflict."""
    value = HistogramValue(3, 4.0, 5.0, positive=((1, 4.0),))
    other = replace(value, positive=((1, 3.0),))
    async with life(MemoryColumns()) as now:
        refs = now.index.refs([labels(own, k="0"), labels(own, k="1")]).tolist()
        await now.pipeline.append_samples(sample_batch(refs, [T0] * 2, [(value, 0), (value, 0)]))
        await now.pipeline.append_samples(sample_batch(refs, [T0] * 2, [(value, 0), (other, 0)]))
        refused = now.head.stats.refused
        assert (refused[Refusal.DUPLICATE], refused[Refusal.CONFLICT]) == (1, 1)


async def test_reserved_patterns_from_outside_become_the_ordinary_nan(own: str) -> None:
    """Nobody can forge an absent sample, or a histogram without one; a stale marker stays."""
    value = HistogramValue(3, 4.0, 5.0)
    async with life(MemoryColumns()) as now:
        refs = now.index.refs([labels(own, k=str(k)) for k in range(4)])
        batch = sample_batch(refs.tolist(), [T0] * 4, [(value, 0), (1.0, 0), (1.0, 0), (value, 0)])
        batch = replace(batch, values=np.array([HISTOGRAM, HISTOGRAM, ABSENT, STALE]))
        await now.pipeline.append_samples(batch)
        found = rich_points(now.samples.select(named(own), T0, T0))
        nan = (NAN_BITS, 0, b"")
        assert [found[labels(own, k=str(k))][T0] for k in range(4)] == [
            exact(value),
            nan,
            nan,
            exact(STALE),
        ]


@pytest.mark.chdb
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(histogram_values(), min_size=1, max_size=3), min_size=1, max_size=4))
def test_histograms_survive_the_merging_of_rows(
    chdb_columns: ColumnStore, parts: list[list[HistogramValue]]
) -> None:
    """Rows that the engine merges keep each histogram with its sample, and plain SQL reads them."""
    assert isinstance(chdb_columns, ChdbColumns)
    series = labels(f"own{random.SystemRandom().getrandbits(64)}")
    asyncio.run(_merge(chdb_columns, series, parts))


async def _merge(columns: ChdbColumns, series: Labels, parts: list[list[HistogramValue]]) -> None:
    expected: dict[int, Exact] = {}
    base = _next_hour()
    async with life(columns) as now:
        (ref,) = now.index.refs([series]).tolist()
        for part in parts:
            stamps = [base + (len(expected) + k) * STEP for k in range(len(part))]
            samples: list[Drawn] = [(value, 0) for value in part]
            await now.pipeline.append_samples(sample_batch([ref] * len(part), stamps, samples))
            await now.pipeline.flush()
            expected.update(zip(stamps, [exact(value) for value in part], strict=True))
    columns.engine.query("OPTIMIZE TABLE samples FINAL")
    columns.engine.query("OPTIMIZE TABLE histograms FINAL")
    found = rich_points(columns.select(named(series.metric), base, base + 99 * STEP))
    assert found == {series: expected}
    text = columns.engine.query(
        "SELECT toString(groupArray((s, length(p), length(n), length(c)))) AS t FROM (SELECT"
        " schema AS s, positive AS p, negative AS n, custom_bounds AS c FROM histogram_points"
        f" WHERE metric = '{series.metric}' ORDER BY ts)"
    )
    rows = [
        f"({v.schema},{len(v.positive)},{len(v.negative)},{len(v.custom_bounds)})"
        for part in parts
        for v in part
    ]
    assert f"[{','.join(rows)}]".encode() in bytes(text)
