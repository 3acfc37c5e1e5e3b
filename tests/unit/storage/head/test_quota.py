"""Limits on the number of series."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.storage.chdb.chunks import labels, points
from vedette.model.samples import Exemplar, SampleBatch
from vedette.storage.head.admission import Refusal
from vedette.storage.head.head import Head, HeadSettings
from vedette.storage.head.quota import SeriesQuota
from vedette.storage.series_index import MemorySeriesIndex


@pytest.mark.parametrize(
    ("quota", "reason"),
    [
        (SeriesQuota(metric=3), Refusal.METRIC_LIMIT),
        (SeriesQuota(app=3), Refusal.APP_LIMIT),
        (SeriesQuota(target=3), Refusal.TARGET_LIMIT),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_series_beyond_a_limit_are_refused_and_old_ones_go_on(
    quota: SeriesQuota, reason: Refusal, together: bool
) -> None:
    """The first three series store their samples for good, the others are counted each time."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(quota=quota))
    refs = index.refs([labels("m", k=str(k)) for k in range(5)])
    groups = [refs] if together else [refs[k : k + 1] for k in range(5)]
    for ts in (10, 20):
        for k, group in enumerate(groups):
            batch = SampleBatch("a", group, np.full(len(group), ts + k), np.ones(len(group)), "t")
            head.append(batch, ts, ts)
    assert head.stats.refused[reason] == 4
    assert sum(map(len, points(head.select([], 0, 99)).values())) == 6


def test_limits_are_of_each_metric_target_and_application() -> None:
    """Each has its own count, and a series counts where it came from first."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(quota=SeriesQuota(metric=2, target=2, app=3)))
    sent = [("m", "a", "t"), ("m", "a", "u"), ("n", "a", "u"), ("n", "b", ""), ("m", "c", "")]
    refs = index.refs([labels(name, k=str(k)) for k, (name, _, _) in enumerate(sent)])
    for k, (_, app, target) in enumerate(sent):
        head.append(SampleBatch(app, refs[k : k + 1], np.full(1, 9), np.ones(1), target), k, 9)
    assert head.stats.refused == {Refusal.METRIC_LIMIT: 1}
    again = SampleBatch("z", refs[:4], np.full(4, 10), np.ones(4), "")
    assert len(head.append(again, 9, 9)) == 4
    assert Refusal.APP_LIMIT not in head.stats.refused


@pytest.mark.parametrize(
    "quota", [SeriesQuota(metric=4), SeriesQuota(app=4), SeriesQuota(target=4)]
)
def test_series_that_went_silent_make_room(quota: SeriesQuota) -> None:
    """After an hour without a sample a series does not count; one that goes on does."""
    hour, step = 3_600_000, 600_000
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(quota=quota))
    refs = index.refs([labels("m", k=str(k)) for k in range(8)])

    def taken(first: int, last: int, ts: int) -> int:
        group = refs[first:last]
        stamps = np.full(len(group), ts)
        return len(head.append(SampleBatch("a", group, stamps, np.ones(len(group)), "t"), ts, ts))

    assert taken(0, 5, 0) == 4
    for ts in range(step, hour + 2 * step, step):
        assert taken(0, 1, ts) == 1
    assert taken(4, 8, hour + 2 * step) == 3
    assert taken(1, 2, hour + 3 * step) == 0
    assert taken(0, 1, hour + 3 * step) == 1


def test_exemplars_of_refused_series_are_refused() -> None:
    """A series beyond a limit gets no exemplars either; others keep theirs."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(quota=SeriesQuota(metric=2)))
    refs = index.refs([labels("m", k=str(k)) for k in range(4)])
    shown = tuple(Exemplar(ref, 5, 1.0, labels("x")) for ref in [-1, *refs.tolist()])
    batch = SampleBatch("a", refs[:2], np.full(2, 5), np.ones(2), exemplars=shown)
    assert len(head.append(batch, 1, 5)) == 2
    kept = [each.series for each in head.exemplars_within_limits(batch)]
    assert kept == [-1, *refs[:2].tolist(), -1, -1]
