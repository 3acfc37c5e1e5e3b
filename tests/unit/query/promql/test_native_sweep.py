"""Expressions over floats and histograms mixed: every layout of the samples gives one answer."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.promqltest.natives import columns, result_points
from tests.promqltest.run import equal
from vedette.model.histograms import CUSTOM_BUCKETS, HistogramValue
from vedette.model.labels import Labels
from vedette.model.results import VectorResult
from vedette.model.samples import STALE
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.notation import Point
from vedette.query.source import MemorySamples

STEP = 15_000
OPTIONS = EngineOptions(
    delayed_name_removal=True, experimental_functions=True, extended_selectors=True
)
QUERIES = (
    "x", "-x", "x * 2", "0.5 * x", "x / 0", "x + x", "x - y", "x == x", "x != bool y", "x </ 2",
    "x >/ -0.5", "x and y", "x or y", "x unless y", "abs(x)", "sort(x)", "vector(scalar(x))",
    "sum by (a) (x)", "avg(x)", "count(x)", "max(x)", "group by (a) (x)", "topk(2, x)",
    "limitk(2, x)", 'count_values("v", x)', "quantile(0.5, x)", "stddev(x)", "rate(x[1m])",
    "increase(x[2m])", "delta(x[1m])", "irate(x[1m])", "idelta(x[1m])", "resets(x[2m])",
    "changes(x[2m])", "sum_over_time(x[1m])", "avg_over_time(x[2m])", "max_over_time(x[1m])",
    "last_over_time(x[1m])", "first_over_time(x[1m])", "count_over_time(x[1m])",
    "rate(x[1m] anchored)", "increase(x[1m] smoothed)", "delta(x[2m] smoothed)", "x smoothed",
    "rate(x[2m:30s])", "histogram_quantile(0.4, x)", "histogram_fraction(0, 2, sum(x))",
    "histogram_count(x)", "histogram_sum(rate(x[1m]))", "histogram_stddev(x)", "timestamp(x)",
    'label_replace(x, "c", "$1", "a", "(.*)")', "absent_over_time(x[15s])", "x @ 60",
)  # fmt: skip


def histogram(rnd: random.Random, k: int) -> HistogramValue:
    """Return some histogram that counts about ``k`` in a bucket."""
    if rnd.random() < 0.3:
        bounds = tuple(sorted(rnd.sample([1.0, 2.0, 5.0, 10.0], rnd.randint(0, 3))))
        counts = [float(rnd.randint(0, 5) + k) for _ in range(len(bounds) + 1)]
        buckets = tuple(enumerate(counts))
        return HistogramValue(
            CUSTOM_BUCKETS, sum(counts), 3.0 * k, positive=buckets, custom_bounds=bounds
        )
    above = tuple((i, float(rnd.randint(0, 4) + k)) for i in range(rnd.randint(0, 4)))
    below = tuple((i, float(rnd.randint(0, 4))) for i in range(rnd.randint(0, 3)))
    zero = float(rnd.randint(0, 3))
    total = zero + sum(count for _, count in above + below)
    threshold, hint = rnd.choice([0.0, 1e-3, 0.7]), rnd.choice([0, 0, 0, 3])
    return HistogramValue(rnd.randint(-1, 3), total, 2.0 * k, threshold, zero, hint, above, below)


def point(rnd: random.Random, kind: str, k: int) -> Point:
    """Return a sample of a series of floats (f), histograms (h) or both (m), or a hole."""
    chance = rnd.random()
    if chance < 0.13:
        return None if chance < 0.1 else STALE
    if kind == "f" or (kind == "m" and rnd.random() < 0.5):
        return float(rnd.randint(0, 9) + k)
    return histogram(rnd, k)


def samples(seed: int, layout: str) -> MemorySamples:
    """Return the series x and y of ``seed``, in blocks of a form."""
    rnd, source = random.Random(seed), MemorySamples(layout=layout)
    for name in "xy":
        for s in range(rnd.randint(3, 12)):
            kind = rnd.choice("ffhhm")
            points = [point(rnd, kind, k) for k in range(13)]
            kept = [k for k, each in enumerate(points) if each is not None]
            values, natives = columns([points[k] for k in kept])
            labels = Labels.of({"__name__": name, "a": str(s % 3), "b": str(s)})
            source.add(labels, np.array(kept, np.int64) * STEP, values, None, natives)
    return source


def answer(source: MemorySamples, query: str) -> tuple[dict[Labels, list[Point]], list[str]]:
    """Return the points of a range query by series, and its remarks."""
    result = Engine(source, OPTIONS).range(query, 0, 12 * STEP, 20_000)
    assert isinstance(result, VectorResult)
    natives = result.histograms
    rows = {
        labels: result_points(
            result.values[k], None if natives is None else natives.at(natives.index[k])
        )
        for k, labels in enumerate(result.labels.rows())
    }
    return rows, sorted(note.text for note in result.annotations)


@pytest.mark.parametrize("seed", range(4))
def test_layouts_agree(seed: int) -> None:
    """Shared, ragged and merged blocks of the same samples give the same points and remarks."""
    sources = [samples(seed, layout) for layout in ("shared", "ragged", "merged")]
    for query in QUERIES:
        (rows, notes), *others = [answer(source, query) for source in sources]
        for other, remarks in others:
            assert remarks == notes, query
            assert other.keys() == rows.keys(), query
            for labels, points in rows.items():
                assert all(map(equal, points, other[labels])), (query, str(labels))


@pytest.mark.parametrize("seed", range(4))
def test_an_instant_is_a_step_of_a_range(seed: int) -> None:
    """An instant query gives what a range query gives at that step, histograms too."""
    source = samples(seed, "shared")
    for query in QUERIES:
        rows, _ = answer(source, query)
        result = Engine(source, OPTIONS).instant(query, 100_000)
        assert isinstance(result, VectorResult)
        natives = result.histograms
        found = {
            labels: result_points(
                result.values[k], None if natives is None else natives.at(natives.index[k])
            )[0]
            for k, labels in enumerate(result.labels.rows())
        }
        wanted = {labels: points[5] for labels, points in rows.items() if points[5] is not None}
        assert found.keys() == wanted.keys(), query
        assert all(equal(wanted[labels], found[labels]) for labels in wanted), query
