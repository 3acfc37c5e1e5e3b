"""Pages of the backlog become requests: relabelled, split, and nothing is in two of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vedette.forward.pages import LabelCache, split_page
from vedette.forward.settings import Destination
from vedette.kit.relabel import Action, RelabelRule
from vedette.kit.secrets import Secret
from vedette.model.arrays import I32
from vedette.model.histograms import HistogramValue, histogram_value, histograms_of
from vedette.model.labels import Labels, parse_canonical
from vedette.model.samples import HISTOGRAM, Exemplar, SampleBatch, is_histogram
from vedette.storage.series_index import MemorySeriesIndex

PLACE = Destination("d", Secret("http://d/"), version=2, samples_per_request=3, shards=3)
RULES = (
    RelabelRule(Action.DROP, ("k",), regex="1"),
    RelabelRule(target_label="site", source_labels=("zone",), regex="(.+)-.*"),
    RelabelRule(Action.LABELDROP, regex="zone"),
)


def series(k: int) -> Labels:
    """Return the labels of a series."""
    return Labels.of({"__name__": "m", "k": str(k)})


def refs_of(index: MemorySeriesIndex, *numbers: int) -> I32:
    """Return the refs of series."""
    return index.refs([series(k) for k in numbers])


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 9)), max_size=8), max_size=6),
    st.integers(1, 4),
    st.integers(1, 5),
)
def test_every_sample_is_in_one_request(
    batches: list[list[tuple[int, float]]], shards: int, size: int
) -> None:
    """Each sample goes out once, a series in one shard and in order, no request too large."""
    index = MemorySeriesIndex()
    found = []
    for at, batch in enumerate(batches):
        # A series is once in a batch, as in a scrape.
        samples = dict(batch)
        found.append(
            SampleBatch(
                "a",
                refs_of(index, *samples),
                np.full(len(samples), at + 1, np.int64),
                np.array(list(samples.values()), np.float64),
            )
        )
    if not found:
        return
    place = replace(PLACE, shards=shards, samples_per_request=size)
    split = split_page(tuple(found), place, LabelCache(index.canonical, place))
    got: dict[Labels, list[tuple[int, float]]] = {}
    where: dict[Labels, set[int]] = {}
    for number, shard in enumerate(split.shards):
        for request in shard:
            assert 0 < len(request.ts) <= size
            stamps = zip(request.rows, request.ts.tolist(), request.values.tolist(), strict=True)
            for row, ts, value in stamps:
                labels = parse_canonical(request.labels[row])
                got.setdefault(labels, []).append((ts, value))
                where.setdefault(labels, set()).add(number)
    wanted: dict[Labels, list[tuple[int, float]]] = {}
    for at, batch in enumerate(batches):
        for k, value in dict(batch).items():
            wanted.setdefault(series(k), []).append((at + 1, value))
    assert got == wanted
    assert all(len(each) == 1 for each in where.values())
    assert len(split.shards) <= max(1, min(shards, -(-sum(map(len, found)) // size)))


def test_rules_see_external_labels_and_drop_series() -> None:
    """External labels come first, then the rules; what they drop is counted and not sent."""
    index = MemorySeriesIndex()
    refs = refs_of(index, 0, 1, 2)
    batch = SampleBatch("a", refs, np.full(3, 5, np.int64), np.arange(3.0))
    place = replace(PLACE, external_labels=(("k", "x"), ("zone", "north-1")), relabel=RULES)
    split = split_page((batch,), place, LabelCache(index.canonical, place))
    sent = [
        parse_canonical(request.labels[row])
        for shard in split.shards
        for request in shard
        for row in request.rows
    ]
    assert sent == [series(k).merged({"site": "north"}) for k in (0, 2)]
    assert split.left_out == {"relabelled": 1}


def test_series_are_relabelled_once() -> None:
    """The labels of a series are asked for and relabelled the first time only."""
    index = MemorySeriesIndex()
    refs = refs_of(index, 0, 1)
    asked: list[int] = []

    def canonical(wanted: I32) -> list[bytes]:
        asked.extend(wanted.tolist())
        return index.canonical(wanted)

    cache = LabelCache(canonical, replace(PLACE, relabel=RULES))
    assert cache.encoded(refs) == cache.encoded(refs) == [series(0).canonical(), b""]
    assert asked == refs.tolist()


def test_histograms_and_starts_stay_with_their_samples() -> None:
    """After joining, leaving out and sorting each histogram and start is where it was."""
    index = MemorySeriesIndex()
    refs = refs_of(index, 2, 1, 0)
    batches = []
    for at in (10, 20):
        values = np.array([HISTOGRAM, HISTOGRAM, 7.0])
        natives = histograms_of(
            [HistogramValue(0, at + k, 1.0) for k in range(2)], np.array([0, 1, -1], np.int32)
        )
        start = np.array([at - 1, at - 2, at - 3], np.int64)
        stamps = np.full(3, at, np.int64)
        batches.append(SampleBatch("a", refs, stamps, values, start=start, histograms=natives))
    place = replace(PLACE, relabel=RULES, shards=1, samples_per_request=100)
    split = split_page(tuple(batches), place, LabelCache(index.canonical, place))
    ((request,),) = split.shards
    assert request.histograms is not None
    assert request.start is not None
    found = {}
    for k, row in enumerate(request.rows):
        name = parse_canonical(request.labels[row]).get("k"), int(request.ts[k])
        at = int(request.histograms.index[k])
        count = histogram_value(request.histograms, at).count if at >= 0 else None
        found[name] = count, int(request.start[k])
    assert found == {
        ("2", 10): (10.0, 9),
        ("2", 20): (20.0, 19),
        ("0", 10): (None, 7),
        ("0", 20): (None, 17),
    }
    without = replace(place, send_histograms=False)
    split = split_page(tuple(batches), without, LabelCache(index.canonical, without))
    ((request,),) = split.shards
    assert not is_histogram(request.values).any()
    assert split.left_out == {"histogram": 4}


def test_exemplars_go_once_also_without_samples() -> None:
    """An exemplar goes with its series, or by itself, unless the series is dropped or too old."""
    index = MemorySeriesIndex()
    refs = refs_of(index, 0, 1, 2)
    examples = tuple(
        Exemplar(int(ref), ts, 1.0, Labels.of({"trace": "a"})) for ref in refs for ts in (5, 50)
    )
    batch = SampleBatch(
        "a", refs[:1], np.array([50], np.int64), np.array([1.0]), exemplars=examples
    )
    place = replace(PLACE, relabel=RULES, send_exemplars=True)
    split = split_page((batch,), place, LabelCache(index.canonical, place), oldest=10)
    sent = [
        (parse_canonical(request.labels[each.series]), each.ts)
        for shard in split.shards
        for request in shard
        for each in request.exemplars
    ]
    assert sent == [(series(0), 50), (series(2), 50)]
    quiet = replace(place, send_exemplars=False)
    split = split_page((batch,), quiet, LabelCache(index.canonical, quiet))
    assert [r.exemplars for shard in split.shards for r in shard] == [()]
