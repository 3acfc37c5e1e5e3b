"""The protobuf exposition: every kind of metric, native histograms, the cache, bad bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scrape.doubles import Index
from tests.unit.scrape.protobufs import (
    double,
    exemplar,
    family,
    labels,
    metric,
    part,
    spans,
    stamp,
    varint,
    whole,
    zigzag,
)
from tests.unit.scrape.test_openmetrics import histograms, shown
from vedette.model.histograms import HistogramValue
from vedette.model.labels import Labels
from vedette.model.samples import NAN_BITS, STALE, bits
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.formats import FormatOptions
from vedette.scrape.grammar import Metadata
from vedette.scrape.parsed import ExpositionError
from vedette.scrape.protobuf import ProtobufParser

COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = range(6)


def parser(index: Index, samples: int = 1000, **options: bool) -> ProtobufParser:
    """Return a parser that keeps labels as they are."""
    return ProtobufParser(
        index, lambda labels, _: Labels.of(labels), FormatOptions(**options), samples
    )


def bucket(bound: float, count: int, more: bytes = b"") -> bytes:
    """Return a classic bucket."""
    return part(3, whole(1, count) + double(2, bound) + more)


def test_all_simple_kinds() -> None:
    """Counter with start and exemplar, gauge, untyped, summary; metadata; timestamps."""
    index = Index()
    reader = parser(index)
    body = (
        family(
            "a_total",
            COUNTER,
            metric({"x": "1"}, 3, double(1, 5) + stamp(3, 1_600_000_000_123)),
            metric({"x": "2"}, 3, double(1, 6) + exemplar(2, {"t": "y"}, 0.5, 1_700_000_000_000)),
            help="What a is.",
            unit="seconds",
        )
        + family("g", GAUGE, metric({}, 2, double(1, -1.5)), metric({"ü": "é"}, 2, double(1, 0.0)))
        + family("u", UNTYPED, metric({"l": "1" * 200}, 5, double(1, 7), ts=1_700_000_000_500))
        + family(
            "s",
            SUMMARY,
            metric(
                {"p": "q"},
                4,
                whole(1, 3) + double(2, 4.5) + part(3, double(1, 0.5) + double(2, 1.25))
                + stamp(4, 9000),
            ),
        )
    )  # fmt: skip
    for turn in range(3):
        found = reader.parse(body)
        assert shown(found, index) == [
            ('a_total{x="1"}', 5.0, -1, 1_600_000_000_123),
            ('a_total{x="2"}', 6.0, -1, 0),
            ("g", -1.5, -1, 0),
            ('g{ü="é"}', 0.0, -1, 0),
            ('u{l="' + "1" * 200 + '"}', 7.0, 1_700_000_000_500, 0),
            ('s_count{p="q"}', 3.0, -1, 9000),
            ('s_sum{p="q"}', 4.5, -1, 9000),
            ('s{p="q", quantile="0.5"}', 1.25, -1, 9000),
        ]
        assert [(e.series, e.ts, e.value) for e in found.exemplars] == (
            [(1, 1_700_000_000_000, 0.5)] if not turn else []
        )
    assert reader.metadata["a_total"] == Metadata("counter", "What a is.", "seconds")
    assert reader.metadata["u"].type == "unknown"


CLASSIC = (
    whole(1, 6) + double(2, 11.5) + bucket(1, 2, exemplar(3, {"t": "e"}, 0.5, 5000)) + bucket(4, 5)
)
NATIVE = (
    zigzag(5, 3) + double(6, 0.001) + whole(7, 1)
    + spans(12, [(-2, 2), (3, 1)]) + zigzag(13, 1) + zigzag(13, 1) + zigzag(13, -1)
    + spans(9, [(0, 1)]) + zigzag(10, 1)
)  # fmt: skip
NATIVE_VALUE = HistogramValue(
    3, 6.0, 11.5, 0.001, 1.0, 0, ((-2, 1.0), (-1, 2.0), (3, 1.0)), ((0, 1.0),)
)


def one(content: bytes, kind: int = HISTOGRAM) -> bytes:
    """Return a body of one histogram."""
    return family("h", kind, metric({"a": "x"}, 7, content + stamp(15, 7000)))


def test_a_classic_histogram() -> None:
    """Count, sum, buckets with normalised bounds, the one of +Inf added, exemplars, starts."""
    index = Index()
    reader = parser(index)
    found = reader.parse(one(CLASSIC + NATIVE))
    assert shown(found, index) == [
        ('h_count{a="x"}', 6.0, -1, 7000),
        ('h_sum{a="x"}', 11.5, -1, 7000),
        ('h_bucket{a="x", le="1.0"}', 2.0, -1, 7000),
        ('h_bucket{a="x", le="4.0"}', 5.0, -1, 7000),
        ('h_bucket{a="x", le="+Inf"}', 6.0, -1, 7000),
    ]
    assert found.histograms is None
    assert [(e.series, e.ts) for e in found.exemplars] == [(2, 5000)]


@pytest.mark.parametrize("classic", [False, True])
def test_a_native_histogram(classic: bool) -> None:
    """Spans and deltas become numbered buckets; the classic ones stay only if wanted."""
    index = Index()
    reader = parser(index, native_histograms=True, classic_histograms=classic)
    for _ in range(2):
        found = reader.parse(one(CLASSIC + NATIVE))
        assert histograms(found, index) == {'h{a="x"}': NATIVE_VALUE}
        assert len(found.refs) == (6 if classic else 1)
        assert found.start is not None
        assert set(found.start.tolist()) == {7000}
    names = [str(each) for each in index.series]
    first = parser(index, native_histograms=True).parse(one(CLASSIC + NATIVE)).exemplars
    assert [names[e.series] for e in first] == ['h{a="x"}']


def test_float_and_gauge_histograms() -> None:
    """Counts may be floats; a gauge histogram says so in its hint; exemplars need a time."""
    content = (
        double(4, 2.5) + double(2, 3) + double(8, 0.5) + spans(12, [(1, 1)]) + double(14, 2.0)
        + exemplar(16, {"a": "b"}, 1.0) + exemplar(16, {"a": "c"}, 1.0, 3000)
    )  # fmt: skip
    index = Index()
    found = parser(index, native_histograms=True).parse(one(content, GAUGE_HISTOGRAM))
    assert histograms(found, index) == {
        'h{a="x"}': HistogramValue(0, 2.5, 3.0, 0.0, 0.5, 3, ((1, 2.0),))
    }
    assert [str(e.labels) for e in found.exemplars] == ['{a="c"}']


def test_one_that_is_only_native_has_no_classic_series() -> None:
    """Also where classic ones are wanted: it has no buckets to make them of."""
    index = Index()
    reader = parser(index, native_histograms=True, classic_histograms=True)
    found = reader.parse(one(whole(1, 6) + double(2, 11.5) + NATIVE))
    assert histograms(found, index) == {'h{a="x"}': NATIVE_VALUE}
    assert (len(found.refs), found.scraped) == (1, 1)


def test_a_native_histogram_without_observations() -> None:
    """An empty span marks a histogram as native, so that its kind does not change later."""
    index = Index()
    found = parser(index, native_histograms=True).parse(one(spans(12, [(0, 0)])))
    assert histograms(found, index) == {'h{a="x"}': HistogramValue(0, 0.0, 0.0)}


def test_classic_ones_are_converted() -> None:
    """One that is native stays so; one that is classic gets custom buckets."""
    index = Index()
    reader = parser(index, native_histograms=True, convert_classic=True)
    body = one(CLASSIC) + family("n", HISTOGRAM, metric({}, 7, CLASSIC + NATIVE))
    found = reader.parse(body)
    assert histograms(found, index) == {
        'h{a="x"}': HistogramValue(
            -53, 6.0, 11.5, positive=((0, 2.0), (1, 3.0), (2, 1.0)), custom_bounds=(1.0, 4.0)
        ),
        "n": NATIVE_VALUE,
    }
    assert len(found.refs) == 2


@pytest.mark.parametrize(
    "content",
    [
        whole(1, 1) + zigzag(5, 9) + spans(12, [(0, 1)]) + zigzag(13, 1),
        whole(1, 1) + spans(12, [(0, 2)]) + zigzag(13, 1),
        whole(1, 1) + spans(12, [(0, 4_000_000_000)]),
        whole(1, 1) + spans(12, [(0, 1)]) + zigzag(13, 2),
        whole(1, 3) + spans(12, [(0, 1)]) + zigzag(13, 2),
        whole(1, 1) + spans(12, [(0, 2)]) + zigzag(13, 2) + zigzag(13, -3),
        whole(1, 2) + spans(12, [(0, 1), (-1, 1)]) + zigzag(13, 1) + zigzag(13, 0),
        double(4, 1) + double(6, -1) + spans(12, [(0, 1)]) + double(14, 1),
    ],
)
def test_native_histograms_that_contradict_themselves(content: bytes) -> None:
    """Each is refused by itself and counted; its neighbour is kept."""
    index = Index()
    found = parser(index, native_histograms=True).parse(
        one(content) + family("g", GAUGE, metric({}, 2, double(1, 1)))
    )
    assert dict(found.rejected) == {"histogram": 1}
    assert found.values.tolist() == [1.0]
    assert found.scraped == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (family("g", GAUGE, metric({}, 2, double(1, 1)))[:-1], "incomplete"),
        (b"\x80", "incomplete"),
        (b"\xff" * 12, "incomplete"),
        (varint(17 << 20) + b"x" * (17 << 20), "message_size"),
    ],
)
def test_a_body_that_is_cut_off_is_refused(body: bytes, reason: str) -> None:
    """Nothing of it is taken."""
    with pytest.raises(ExpositionError) as caught:
        parser(Index()).parse(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (varint(3) + b"\x0a\x05x", "malformed"),
        (family("g", GAUGE, part(4, b"\x0a\x09x")), "malformed"),
        (family("g", GAUGE, part(4, part(1, part(1, b"\xff")) + part(2, b""))), "encoding"),
        (family("g", GAUGE, part(4, labels({"a": "b"}) + b"\x07")), "malformed"),
        (family("g", GAUGE, part(4, labels({"a": "b"}) * 2)), "duplicate_label"),
        (family("g", GAUGE, metric({"a": "b" * (1 << 20)}, 2, double(1, 1))), "metric_size"),
        (
            family("c", COUNTER, metric({}, 3, double(1, 1) + exemplar(2, {"a": "b" * 128}, 1))),
            "exemplar",
        ),
    ],
)
def test_what_is_malformed_costs_only_itself(bad: bytes, reason: str) -> None:
    """It is counted with its reason at every scrape; its neighbours are kept."""
    index = Index()
    reader = parser(index)
    for _ in range(2):
        good = family("z", GAUGE, metric({}, 2, double(1, 3)))
        found = reader.parse(good + bad + family("y", GAUGE, metric({}, 2, double(1, 4))))
        assert dict(found.rejected) == {reason: 1}
        assert {3.0, 4.0} <= set(found.values.tolist())


def test_the_limit_of_samples() -> None:
    """One histogram has many; the scrape fails as a whole."""
    with pytest.raises(ExpositionError) as caught:
        parser(Index(), samples=4).parse(one(CLASSIC))
    assert caught.value.reason == "sample_limit"


def test_the_limit_of_series_is_asked_again() -> None:
    """A refused series is counted at every scrape, and taken as soon as there is room."""
    index = Index(limit=1)
    reader = parser(index)
    body = family("g", GAUGE, *(metric({"i": str(i)}, 2, double(1, i)) for i in range(2)))
    for _ in range(2):
        found = reader.parse(body)
        assert (found.values.tolist(), found.rejected) == ([0.0], {"series_limit": 1})
    index.limit = 2
    assert reader.parse(body).values.tolist() == [0.0, 1.0]


def test_no_nan_passes_for_a_staleness_marker() -> None:
    """Whatever its bits, it becomes the ordinary one."""
    found = parser(Index()).parse(family("g", GAUGE, metric({}, 2, double(1, STALE))))
    assert bits(found.values).tolist() == [NAN_BITS]


def test_the_cache_is_bounded_and_quick() -> None:
    """Under churn it forgets; unchanged series are asked for once."""
    index = Index()
    reader = parser(index, samples=10_000)
    for turn in range(30):
        body = family(
            "g", GAUGE, *(metric({"i": f"{turn}-{i}"}, 2, double(1, i)) for i in range(100))
        )
        assert len(reader.parse(body).refs) == 100
    assert len(reader._cache) < 1400
    assert len(reader._remembered) < 1400
    asked = index.asked
    reader.parse(body)
    assert index.asked - asked in (0, 100)


values = st.floats(allow_nan=False) | st.just(0.0)
label_sets = st.dictionaries(st.sampled_from("abc"), st.text('xy\n"\\é', max_size=3), max_size=3)
simple = st.tuples(
    st.sampled_from(["m", "n"]),
    st.sampled_from([(COUNTER, 3), (GAUGE, 2), (UNTYPED, 5)]),
    label_sets,
    values,
    st.sampled_from([0, 0, 1000, 1_700_000_000_123]),
)


@settings(deadline=None)
@given(st.lists(st.lists(simple, max_size=6), min_size=1, max_size=4))
def test_a_warm_cache_reads_as_a_cold_one(bodies: list[list[Any]]) -> None:
    """Whatever came before, values, starts and series are those that a fresh parser reads."""
    index = Index()
    warm = parser(index)
    for content in bodies:
        body = b"".join(
            family(
                f"{name}{kind}",
                kind,
                metric(pairs, field, double(1, value) + (stamp(3, made) if made else b"")),
            )
            for name, (kind, field), pairs, value, made in content
        )
        got, wanted = warm.parse(body), parser(index).parse(body)
        assert shown(got, index) == shown(wanted, index)
        text = "".join(f"{name}{kind} {value!r}\n" for name, (kind, _), _, value, _ in content)
        plain = ExpositionParser(index, lambda found, _: Labels.of(found)).parse(text.encode())
        assert got.values.tolist() == plain.values.tolist()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=4), st.randoms(use_true_random=False))
def test_noise_never_crashes(noise: list[bytes], random: Any) -> None:
    """Damaged bodies end in an error with a reason, or in counted refusals."""
    reader = parser(Index(), native_histograms=True)
    good = one(CLASSIC + NATIVE)
    for piece in noise:
        damaged = bytearray(good)
        damaged[random.randrange(len(good))] = random.randrange(256)
        for body in (varint(len(piece)) + piece, piece, bytes(damaged)):
            reason = ""
            try:
                found = reader.parse(body)
            except ExpositionError as error:
                reason = error.reason
            assert reason in ("", "incomplete", "message_size")
            assert reason or len(found.values) == len(found.refs)
