"""From the records of a segment to inserts."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.model.labels import Labels, parse_canonical, series_id
from vedette.model.samples import SampleBatch
from vedette.storage.spool import chunks
from vedette.storage.spool.frames import Record, SamplesRecord, SeriesRecord

Key = tuple[str, Labels]


def _labels(number: int) -> Labels:
    return Labels.of({"__name__": f"m{number * 7 % 10}", "n": str(number)})


def _record(sequence: int, app: str, samples: list[tuple[int, int]], started: bool) -> Record:
    refs, ts = zip(*samples, strict=True)
    values = np.array([1000 * sequence + k for k in range(len(samples))], np.float64)
    start = np.array(ts, np.int64) - 1 if started else None
    return SamplesRecord(
        sequence,
        SampleBatch(app, np.array(refs, np.int32), np.array(ts, np.int64), values, "", start),
    )


def _series(refs: list[int]) -> SeriesRecord:
    return SeriesRecord(np.array(refs, np.int32), tuple(_labels(ref).canonical() for ref in refs))


_sample = st.tuples(st.integers(0, 12), st.integers(0, 6))
_batch = st.tuples(st.sampled_from(["a", "b"]), st.lists(_sample, min_size=1), st.booleans())


@settings(deadline=None)
@given(st.lists(_batch, max_size=6), st.integers(0, 14), st.integers(1, 9))
def test_inserts_hold_each_sample_once_sorted_and_split(
    batches: list[tuple[str, list[tuple[int, int]], bool]], defined: int, part: int
) -> None:
    """Inserts hold, of every defined series, the first sample of each time, in order."""
    wanted: dict[Key, dict[int, tuple[float, int]]] = {}
    records: list[Record] = [_series(list(range(defined)))]
    starts = any(started for _, _, started in batches)
    for sequence, (app, samples, started) in enumerate(batches):
        records.append(_record(sequence, app, samples, started))
        for k, (ref, ts) in enumerate(samples):
            if ref < defined:
                row = wanted.setdefault((app, _labels(ref)), {})
                row.setdefault(ts, (1000 * sequence + k, ts - 1 if started else 0))
    got: dict[Key, dict[int, tuple[float, int]]] = {}
    order: list[tuple[str, bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "PART_SAMPLES", part)
        parts = list(chunks.sample_parts(records))
    for found in parts:
        labels = [parse_canonical(canonical) for canonical in found.canonical]
        assert found.metrics == tuple(each.metric for each in labels)
        assert found.ids == b"".join(map(series_id, labels))
        assert len(found) == 1 or len(found.ts) <= part
        assert (found.start is not None) == starts
        start = np.zeros(len(found.ts), np.int64) if found.start is None else found.start
        for k, key in enumerate(zip(found.apps, labels, strict=True)):
            span = slice(int(found.offsets[k]), int(found.offsets[k + 1]))
            assert (np.diff(found.ts[span]) > 0).all()
            rest = zip(found.values[span].tolist(), start[span].tolist(), strict=True)
            got[key] = dict(zip(found.ts[span].tolist(), rest, strict=True))
            order.append((key[0], key[1].canonical()))
    assert got == wanted
    assert order == sorted(order)


def test_more_series_than_sixteen_bits_count_are_in_order() -> None:
    """The order holds beyond 65,536 keys too."""
    refs = np.random.default_rng(1).permutation(70_000).astype(np.int32)
    batches = [
        SamplesRecord(
            k, SampleBatch("a", refs, np.full(len(refs), k), refs.astype(np.float64) + k / 4.0)
        )
        for k in range(2)
    ]
    canonical = tuple(b"__name__\xffm%06d\xff" % ref for ref in refs.tolist())
    parts = list(chunks.sample_parts([SeriesRecord(refs, canonical), *batches]))
    metrics = [int(metric[1:]) for part in parts for metric in part.metrics]
    assert metrics == list(range(70_000))
    values = np.concatenate([part.values for part in parts])
    assert (values == np.arange(70_000).repeat(2) + np.tile([0, 0.25], 70_000)).all()


def test_samples_without_a_definition_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What damage took is told, and the rest is kept."""
    records = [_series([1]), _record(1, "a", [(1, 5), (9, 5), (0, 6)], started=False)]
    with caplog.at_level(logging.ERROR):
        parts = list(chunks.sample_parts(records))
    assert [part.ts.tolist() for part in parts] == [[5]]
    assert "2 samples" in caplog.text
