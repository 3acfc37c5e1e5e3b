"""Exemplars and metadata over memory, spool and column store, the same for every engine."""

from __future__ import annotations

import numpy as np

from tests.storage.test_union import STEP, T0, Life, life
from tests.unit.storage.chdb.chunks import equal, labels, named
from vedette.kit.clock import FakeClock
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import Exemplar, SampleBatch
from vedette.storage.columns import ColumnStore
from vedette.storage.exemplars import StoredExemplars
from vedette.storage.head.exemplars import ExemplarRefusal
from vedette.storage.memory_columns import MemoryColumns
from vedette.storage.spool.files import CrashFiles

Seen = dict[Labels, list[tuple[int, float, Labels]]]


def trace(number: int) -> Labels:
    """Return the labels of an exemplar."""
    return Labels.of({"trace_id": f"{number:08x}"})


async def _show(now: Life, columns: ColumnStore, series: Labels, *shown: Exemplar) -> None:
    """Send exemplars of one series together with no sample."""
    (ref,) = now.index.refs([series]).tolist()
    none = np.zeros(0, np.int64)
    own = tuple(Exemplar(ref, e.ts, e.value, e.labels) for e in shown)
    batch = SampleBatch("a", none.astype(np.int32), none, none.astype(float), exemplars=own)
    await now.pipeline.append_samples(batch)


def _seen(now: Life, columns: ColumnStore, metric: str, start: int, end: int) -> Seen:
    stored = StoredExemplars(now.pipeline.exemplars, now.index, columns)
    found = stored.exemplars([named(metric)], start, end)
    assert [e.series for _, row in found for e in row] == [
        k for k, (_, row) in enumerate(found) for _ in row
    ]
    return {series: [(e.ts, e.value, e.labels) for e in row] for series, row in found}


async def test_exemplars_are_seen_once_wherever_they_lie(columns: ColumnStore, own: str) -> None:
    """Exemplars are found before and after flush and restart, in time order, within the range."""
    a, b = labels(own, k="a"), labels(own, k="b")
    files = CrashFiles()
    wanted: Seen = {
        a: [(T0, 0.5, trace(1)), (T0 + STEP, 1.5, trace(2))],
        b: [(T0 + STEP, 2.5, Labels())],
    }
    span = T0, T0 + STEP
    async with life(columns, files) as now:
        await _show(now, columns, a, Exemplar(0, T0 + STEP, 1.5, trace(2)))
        await _show(now, columns, a, Exemplar(0, T0, 0.5, trace(1)))
        await _show(now, columns, b, Exemplar(0, T0 + STEP, 2.5, Labels()))
        assert _seen(now, columns, own, *span) == wanted
        await now.pipeline.flush()
        assert _seen(now, columns, own, *span) == wanted
    async with life(columns, files) as now:
        assert len(now.pipeline.exemplars) == 3
        assert _seen(now, columns, own, *span) == wanted
    async with life(columns, CrashFiles()) as now:
        assert _seen(now, columns, own, *span) == wanted
        assert _seen(now, columns, own, T0, T0) == {a: wanted[a][:1]}
        stored = StoredExemplars(now.pipeline.exemplars, now.index, columns)
        (only,) = stored.exemplars([[*named(own), equal("k", "b")], named(own + "x")], *span)
        assert only[0] == b


async def test_unflushed_exemplars_survive_a_restart(columns: ColumnStore, own: str) -> None:
    """What was acknowledged is replayed from the spool and flushed later, once."""
    files, series = CrashFiles(), labels(own)
    async with life(columns, files) as now:
        await _show(now, columns, series, Exemplar(0, T0, 1.0, trace(7)))
    async with life(columns, files) as now:
        await now.pipeline.flush()
        assert now.pipeline.stats.flush.exemplars == 1
    async with life(columns, CrashFiles()) as now:
        found = _seen(now, columns, own, T0, T0)
        assert found == {series: [(T0, 1.0, trace(7))]}


async def test_exemplars_are_refused_for_a_reason(own: str) -> None:
    """Repeated, old, future, wordy and unknown ones are counted, and not stored."""
    columns, series = MemoryColumns(), labels(own)
    now_ms = FakeClock().now_ms()
    wordy = Labels.of({"trace_id": "x" * 121})
    async with life(columns) as now:
        first = Exemplar(0, now_ms, 1.0, trace(1))
        await _show(now, columns, series, first)
        await _show(
            now,
            columns,
            series,
            first,
            Exemplar(0, now_ms - 300_001, 1.0, trace(2)),
            Exemplar(0, now_ms + 600_001, 1.0, trace(3)),
            Exemplar(0, now_ms, 1.0, wordy),
        )
        assert now.pipeline.exemplars.take([Exemplar(-1, now_ms, 1.0, trace(1))], now_ms) == ()
        assert now.pipeline.stats.exemplars_refused == dict.fromkeys(ExemplarRefusal, 1)
        assert now.pipeline.stats.exemplars == 1


async def test_memory_of_exemplars_is_bounded(own: str) -> None:
    """Beyond the limit the first to come goes first."""
    async with life(MemoryColumns()) as now:
        recent = type(now.pipeline.exemplars)(3)
        for k in range(5):
            recent.take([Exemplar(k % 2, T0 + k, 1.0, trace(k))], T0)
        assert len(recent) == 3
        assert [e.ts - T0 for e in recent.find([0, 1], T0, T0 + 9)] == [2, 4, 3]


async def test_metadata_outlives_the_process(columns: ColumnStore, own: str) -> None:
    """What was put comes back after flush and restart, the latest statement first."""
    first = MetricMetadata(own, "counter", "Requests.", "")
    second = MetricMetadata(own, "counter", "Requests served. é\n", "requests")
    async with life(columns) as now:
        now.pipeline.metadata.put([first])
        await now.pipeline.flush()
    async with life(columns) as now:
        now.pipeline.metadata.put([first, second])
        assert now.pipeline.metadata.unsaved() == (second,)
        await now.pipeline.flush()
        assert now.pipeline.metadata.unsaved() == ()
    async with life(columns) as now:
        known = now.pipeline.metadata
        found = known.metadata(own)
        assert set(found[own]) == {first, second}
        assert list(known.metadata(own, 0, 1)) == [own]
        assert len(known.metadata(own, 0, 1)[own]) == 1
        assert known.metadata(own + "x") == {}


async def test_metadata_is_bounded(own: str) -> None:
    """Metrics, statements and lengths beyond the limits are refused and counted."""
    async with life(MemoryColumns()) as now:
        known = type(now.pipeline.metadata)(2)
        known.put([MetricMetadata(f"m{k}") for k in range(3)])
        known.put([MetricMetadata("m0", help="x" * 5000), MetricMetadata("m1", unit="u" * 2000)])
        assert known.refused == 3
        known.put([MetricMetadata("m0", help=str(k)) for k in range(20)])
        assert [s.help for s in known.metadata("m0")["m0"]] == [str(k) for k in range(19, 3, -1)]
        assert list(known.metadata(limit=1)) == ["m0"]
        assert len(known.unsaved()) == 17
