"""Limits on the number of series."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.storage.chdb.chunks import labels, points
from vedette.model.samples import SampleBatch
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
