"""The head against a dictionary that does the same the slow way."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.storage.chdb.chunks import labels, named, points
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import STALE_BITS, SampleBatch, bits
from vedette.storage.head.admission import Refusal
from vedette.storage.head.head import Head, HeadSettings
from vedette.storage.series_index import MemorySeriesIndex

WINDOW = 50
FOREVER = 2**62
_BITS = [STALE_BITS, 0x7FF8000000000001, 0x8000000000000000, 0, 0xFFF0000000000000, 2**62]
SERIES = [labels(f"m{k % 2}", k=str(k)) for k in range(8)]


@dataclass
class Oracle:
    """What the head should hold: bits by series and timestamp, and what it refused."""

    held: dict[Labels, dict[int, int]] = field(default_factory=dict)
    refused: dict[Refusal, int] = field(default_factory=dict)

    def push(self, series: Labels, ts: int, value: int, newest: int | None) -> None:
        points = self.held.setdefault(series, {})
        if newest is not None and ts < newest - WINDOW:
            self._refuse(Refusal.TOO_OLD)
        elif ts in points:
            same = points[ts] == value
            self._refuse(Refusal.DUPLICATE if same else Refusal.CONFLICT)
        else:
            points[ts] = value

    def _refuse(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def within(self, metric: str, start: int, end: int) -> dict[Labels, dict[int, int]]:
        found = {
            series: {ts: v for ts, v in points.items() if start <= ts <= end}
            for series, points in self.held.items()
            if series.metric == metric
        }
        return {series: points for series, points in found.items() if points}


def _floats(patterns: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(patterns, np.uint64).view(np.float64)


def _inside(
    found: dict[Labels, dict[int, int]], start: int, end: int
) -> dict[Labels, dict[int, int]]:
    cut = {s: {t: v for t, v in p.items() if start <= t <= end} for s, p in found.items()}
    return {series: points for series, points in cut.items() if points}


_sample = st.tuples(st.integers(0, 7), st.integers(0, 200), st.sampled_from(_BITS))
_pushes = st.lists(st.lists(_sample, min_size=1, max_size=40), max_size=12)


@settings(deadline=None)
@given(_pushes, st.tuples(st.integers(-1, 201), st.integers(-1, 201)), st.booleans())
def test_pushed_samples_in_any_order(
    batches: list[list[tuple[int, int, int]]], window: tuple[int, int], start: bool
) -> None:
    """Each sample is taken once, in its place, or refused for the reason the rules give."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(budget=1 << 12, out_of_order_ms=WINDOW))
    refs = index.refs(SERIES)
    oracle = Oracle()
    taken = 0
    for sequence, batch in enumerate(batches):
        newest = {s: max(p, default=None) for s, p in oracle.held.items()}
        ordered = sorted(enumerate(batch), key=lambda item: (item[1][0], item[1][1], item[0]))
        seen: set[tuple[int, int]] = set()
        for _, (k, ts, value) in ordered:
            # Within a batch the first of equal timestamps counts, however old they are.
            if (k, ts) in seen:
                first = next(v for j, t, v in batch if (j, t) == (k, ts))
                oracle._refuse(Refusal.DUPLICATE if first == value else Refusal.CONFLICT)
                continue
            seen.add((k, ts))
            oracle.push(SERIES[k], ts, value, newest.get(SERIES[k]))
        ts = np.array([t for _, t, _ in batch], np.int64)
        values = _floats([v for _, _, v in batch])
        numbers = refs[[k for k, _, _ in batch]]
        begin = ts - 1 if start else None
        answer = head.append(SampleBatch("a", numbers, ts, values, "", begin), sequence, FOREVER)
        taken += len(answer)
        if answer.start is not None:
            assert (answer.start == answer.ts - 1).all()
        lo, hi = min(window), max(window)
        for metric in ("m0", "m1"):
            for _ in range(2):  # the second answer comes from the cache
                found = points(head.select(named(metric), lo, hi))
                assert _inside(found, lo, hi) == oracle.within(metric, lo, hi)
    assert taken == sum(len(p) for p in oracle.held.values())
    counted = {reason: n for reason, n in head.stats.refused.items() if n}
    assert counted == oracle.refused


_scrape = st.tuples(
    st.integers(0, 2), st.integers(1, 20), st.lists(st.integers(0, 7), min_size=1, unique=True)
)


@settings(deadline=None)
@given(st.lists(st.tuples(_scrape, st.booleans()), max_size=40), st.integers(0, 400))
def test_scrapes_and_pushes_of_the_same_series(
    steps: list[tuple[tuple[int, int, list[int]], bool]], since: int
) -> None:
    """A series that several targets and senders report stands once, with all its samples."""
    index = MemorySeriesIndex()
    head = Head(index)
    refs = index.refs(SERIES)
    expected: dict[Labels, dict[int, int]] = {}
    now = 0
    for sequence, ((target, step, members), pushed) in enumerate(steps):
        now += step
        patterns = [_BITS[(now + k) % len(_BITS)] for k in members]
        for k, value in zip(members, patterns, strict=True):
            expected.setdefault(SERIES[k], {})[now] = value
        batch = SampleBatch(
            "a",
            refs[members],
            np.full(len(members), now),
            _floats(patterns),
            "" if pushed else f"t{target}",
            np.full(len(members), now - 1) if step > 15 else None,
        )
        assert len(head.append(batch, sequence, FOREVER)) == len(members)
    found: dict[Labels, dict[int, int]] = {}
    for metric in ("m0", "m1"):
        found |= points(head.select(named(metric), since, now))
    assert _inside(found, since, now) == _inside(expected, since, now)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 60),
    st.integers(0, 400),
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_eviction_keeps_what_is_not_flushed_and_tells_what_is_gone(
    flushed: int, age: int, pushes: list[bool], width: int
) -> None:
    """From ``complete_from`` on everything is held; unflushed samples are held in any case."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(budget=1, age_ms=age))
    refs = index.refs(SERIES)
    for sequence, pushed in enumerate(pushes):
        ts, members = sequence * 10, refs[: 1 + sequence % width]
        values = np.full(len(members), float(sequence))
        target = "" if pushed else "t"
        batch = SampleBatch("a", members, np.full(len(members), ts), values, target)
        head.append(batch, sequence, FOREVER)
    head.evict(flushed)
    held = points(head.select([Matcher("k", MatchOp.REGEX, ".*")], -1, FOREVER))
    times: dict[Labels, set[int]] = {series: set(found) for series, found in held.items()}
    for sequence in range(len(pushes)):
        if sequence > flushed or sequence * 10 >= head.complete_from:
            for series in SERIES[: 1 + sequence % width]:
                assert sequence * 10 in times[series]
    if flushed >= len(pushes):
        assert not held


def test_implausible_samples_are_refused_with_a_reason() -> None:
    """Series beyond the limit and times ahead of the clock are counted, the rest is taken."""
    index = MemorySeriesIndex(limit=2)
    head = Head(index, HeadSettings(future_ms=100))
    refs = index.refs(SERIES[:3])
    batch = SampleBatch("a", refs, np.array([10, 111, 10]), np.ones(3))
    assert head.append(batch, 1, now=10).refs.tolist() == [0]
    assert head.stats.refused == {Refusal.SERIES_LIMIT: 1, Refusal.FUTURE: 1}


def test_a_scrape_never_reopens_its_past() -> None:
    """A row as old as the last one is refused where the series has it, and else is taken."""
    index = MemorySeriesIndex()
    head = Head(index)
    refs = index.refs(SERIES)
    head.append(SampleBatch("a", refs[:2], np.array([10, 10]), np.ones(2), "t"), 1, FOREVER)
    again = head.append(SampleBatch("a", refs[1:3], np.array([10, 10]), np.ones(2), "t"), 2, 99)
    assert again.refs.tolist() == [2]
    assert head.stats.refused[Refusal.OUT_OF_ORDER] == 1
    assert len(points(head.select([Matcher("k", MatchOp.REGEX, ".*")], 0, 10))) == 3


def test_what_a_reader_holds_never_changes() -> None:
    """Rows, columns and growth after a selection leave its arrays as they were."""
    index = MemorySeriesIndex()
    head = Head(index)
    refs = index.refs(SERIES)
    head.append(SampleBatch("a", refs[:4], np.full(4, 10), np.ones(4), "t"), 1, FOREVER)
    (before, *_) = head.select(named("m0"), 0, 99)
    copy = [(b.ts.copy(), bits(np.ascontiguousarray(b.values)).copy()) for b in before.blocks]
    for k in range(100):
        ts = np.full(8, 20 + k)
        head.append(SampleBatch("a", refs, ts, np.full(8, 2.0), "t"), 2 + k, FOREVER)
    after = [(b.ts, bits(np.ascontiguousarray(b.values))) for b in before.blocks]
    for (old_ts, old), (new_ts, new) in zip(copy, after, strict=True):
        assert (old_ts == new_ts).all()
        assert (old == new).all()


def test_readers_in_other_threads_see_whole_batches_in_order() -> None:
    """While one thread appends and evicts, each selection is a gapless piece of what was sent."""
    index = MemorySeriesIndex()
    head = Head(index, HeadSettings(budget=40_000, grouping_cache=1 << 16))
    refs = index.refs(SERIES)
    done = threading.Event()
    faults: list[str] = []

    def read() -> None:
        while not done.is_set():
            for metric in ("m0", "m1"):
                for series, found in points(head.select(named(metric), 0, FOREVER)).items():
                    times = np.array(sorted(found))
                    if len(times) and (np.diff(times) != 10).any():
                        faults.append(f"{series}: {np.diff(times)}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for k in range(600):
        ts = np.full(4, 10 * k)
        head.append(SampleBatch("a", refs[:4], ts, np.full(4, 1.0), "t"), 2 * k, FOREVER)
        head.append(SampleBatch("a", refs[4:], ts, np.full(4, 1.0)), 2 * k + 1, FOREVER)
        if k % 50 == 49:
            head.evict(k)
    done.set()
    for reader in readers:
        reader.join()
    assert faults == []


def test_labels_of_series_that_were_active() -> None:
    """Series, label names and values are those with samples in the asked time."""
    index = MemorySeriesIndex()
    head = Head(index)
    old, new = labels("m0", k="old", gone="1"), labels("m0", k="new")
    refs = index.refs([old, new])
    head.append(SampleBatch("a", refs[:1], np.array([10]), np.ones(1)), 1, FOREVER)
    head.append(SampleBatch("a", refs[1:], np.array([500]), np.ones(1)), 2, FOREVER)
    assert list(head.series([], 100, 600).values()) == [new]
    assert list(head.series([named("m0"), named("m1")], 0, 50).values()) == [old]
    assert head.label_names([], 100, 600) == {"__name__", "k"}
    assert head.label_values("k", [], 0, 600) == {"old", "new"}
    assert head.label_values("__name__", [named("m0")], 0, 600) == {"m0"}
    assert head.label_values("gone", [], 100, 600) == set()
