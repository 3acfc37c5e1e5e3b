"""OpenMetrics: end marker, exemplars, start timestamps, an oracle; conversion of histograms."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, Summary
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.unit.scrape.doubles import Index
from vedette.model.histograms import HistogramValue, histogram_value
from vedette.model.labels import Labels
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.formats import Format, FormatOptions
from vedette.scrape.grammar import Metadata
from vedette.scrape.parsed import Exposition, ExpositionError


def parser(index: Index, format: Format = Format.OPENMETRICS, **options: bool) -> ExpositionParser:
    """Return a parser that keeps labels as they are."""
    return ExpositionParser(
        index, lambda labels, _: Labels.of(labels), format=format, options=FormatOptions(**options)
    )


def shown(found: Exposition, index: Index) -> list[tuple[str, float, int, int]]:
    """Return series, value, timestamp and start of each sample."""
    names = [str(labels) for labels in index.series]
    n = len(found.refs)
    ts = [-1] * n if found.ts is None else found.ts.tolist()
    start = [0] * n if found.start is None else found.start.tolist()
    series = [names[ref] for ref in found.refs]
    return list(zip(series, found.values.tolist(), ts, start, strict=True))


def histograms(found: Exposition, index: Index) -> dict[str, HistogramValue]:
    """Return the native histograms by series."""
    names = [str(labels) for labels in index.series]
    held = found.histograms
    assert held is not None
    rows = zip(found.refs.tolist(), held.index.tolist(), strict=True)
    return {names[ref]: histogram_value(held, row) for ref, row in rows if row >= 0}


BODY = """# TYPE a counter
# UNIT a seconds
# HELP a Says \\"x\\".
a_total{x="1"} 5 # {trace_id="t1"} 0.5 1600000000.25
a_created{x="1"} 1600000000.123
a_total{x="2"} 6 1700000000.5
# TYPE h histogram
h_bucket{le="1"} 1 # {trace_id="t2"} 0.7
h_bucket{le="+Inf"} 3
h_sum 4.5
h_count 3
h_created 1.6e9
# TYPE q summary
q{quantile="0.5"} 1
q_count 1
q_created 1500000000
# TYPE i info
i_info{v="1"} 1
# EOF
"""


def test_a_body_of_all_kinds() -> None:
    """Samples, seconds as timestamps, starts of counter, histogram and summary, exemplars."""
    index = Index()
    reader = parser(index)
    for body in (BODY, BODY, "# c\n" + BODY):
        found = reader.parse(body.encode())
        assert not found.rejected
        assert shown(found, index) == [
            ('a_total{x="1"}', 5.0, -1, 1600000000123),
            ('a_created{x="1"}', 1600000000.123, -1, 0),
            ('a_total{x="2"}', 6.0, 1700000000500, 0),
            ('h_bucket{le="1"}', 1.0, -1, 1600000000000),
            ('h_bucket{le="+Inf"}', 3.0, -1, 1600000000000),
            ("h_sum", 4.5, -1, 1600000000000),
            ("h_count", 3.0, -1, 1600000000000),
            ("h_created", 1.6e9, -1, 0),
            ('q{quantile="0.5"}', 1.0, -1, 1500000000000),
            ("q_count", 1.0, -1, 1500000000000),
            ("q_created", 1.5e9, -1, 0),
            ('i_info{v="1"}', 1.0, -1, 0),
        ]
    assert reader.metadata["a"] == Metadata("counter", 'Says "x".', "seconds")


def test_exemplars_are_told_once() -> None:
    """One that has not changed since the last scrape is not told again, a new one is."""
    index = Index()
    reader = parser(index)
    line = 'a_total 1 # {{t="{}"}} 2.5 {}\n# EOF\n'
    head = "# TYPE a counter\n"
    first = reader.parse((head + line.format("x", 3)).encode()).exemplars
    assert [(e.series, e.ts, e.value, str(e.labels)) for e in first] == [(0, 3000, 2.5, '{t="x"}')]
    assert reader.parse((head + line.format("x", 3)).encode()).exemplars == ()
    moved = (head + line.format("x", 3)).replace("total 1", "total 2")
    assert reader.parse(moved.encode()).exemplars == ()
    again = reader.parse((head + line.format("y", "4.5")).encode()).exemplars
    assert [(e.ts, str(e.labels)) for e in again] == [(4500, '{t="y"}')]


@pytest.mark.parametrize(
    "tail",
    ["# {a=} 1", "# {", '# {a="x"}', "# {} one", '# {a="x"} 1 -3', f'# {{a="{"x" * 128}"}} 1'],
)
def test_a_malformed_exemplar_costs_only_itself(tail: str) -> None:
    """It is counted, and the sample is kept, at every scrape."""
    index = Index()
    reader = parser(index)
    for value in (1, 2):
        found = reader.parse(f"a_total {value} {tail}\n# EOF\n".encode())
        assert found.values.tolist() == [value]
        assert dict(found.rejected) == {"exemplar": 1}
        assert found.exemplars == ()


@pytest.mark.parametrize("body", ["", "a 1\n", "a 1\n# EOF\nb 2\n# EOF\n", "a 1\n#EOF", "x# EOF"])
def test_a_body_that_is_cut_off_is_refused(body: str) -> None:
    """Without the end marker nobody knows what is missing; nothing may follow it."""
    with pytest.raises(ExpositionError) as caught:
        parser(Index()).parse(body.encode())
    assert caught.value.reason == "incomplete"


def test_created_series_can_be_left_out() -> None:
    """Then they are start timestamps only."""
    index = Index()
    found = parser(index, created_series=False).parse(BODY.encode())
    assert not any("_created" in name for name, *_ in shown(found, index))
    assert shown(found, index)[0] == ('a_total{x="1"}', 5.0, -1, 1600000000123)


def test_a_new_type_is_learnt() -> None:
    """When a family changes its type, what is known of its series is read anew."""
    index = Index()
    reader = parser(index)
    body = "# TYPE a {}\na_total 1\na_created 5\n# EOF\n"
    assert reader.parse(body.format("gauge").encode()).start is None
    found = reader.parse(body.format("counter").encode())
    assert found.start is not None
    assert found.start.tolist() == [5000, 0]


CLASSIC = """# TYPE h histogram
h_bucket{a="x",le="1"} 2 # {t="e"} 0.5
h_bucket{a="x",le="2"} 2
h_bucket{a="x",le="4"} 5
h_bucket{a="x",le="+Inf"} 6
h_sum{a="x"} 11.5
h_count{a="x"} 6
h_created{a="x"} 9
h_count{a="y"} 3
# EOF
"""


@pytest.mark.parametrize("classic", [False, True])
def test_classic_histograms_become_native(classic: bool) -> None:
    """Bounds, counts between them, sum, start and exemplars; the classic ones stay if wanted."""
    index = Index()
    reader = parser(index, convert_classic=True, classic_histograms=classic, created_series=False)
    for turn in range(3):
        found = reader.parse(CLASSIC.replace("11.5", f"{turn}").encode())
        rows = histograms(found, index)
        assert rows == {
            'h{a="x"}': HistogramValue(
                -53, 6.0, turn, positive=((0, 2.0), (2, 3.0), (3, 1.0)), custom_bounds=(1, 2, 4)
            ),
            'h{a="y"}': HistogramValue(-53, 3.0, 0.0, positive=((0, 3.0),)),
        }
        starts = {name: start for name, _, _, start in shown(found, index)}
        assert starts['h{a="x"}'] == 9000
        assert ('h_count{a="x"}' in starts) is classic
        # Lines that became part of a histogram count as that one sample.
        assert found.scraped == (9 if classic else 2)
        if turn == 0:
            series = list(index.series)[found.exemplars[0].series]
            assert str(series) == 'h{a="x"}'


@pytest.mark.parametrize(
    "lines",
    [
        'h_bucket{le="1"} 3\nh_bucket{le="+Inf"} 2\n',
        'h_bucket{le="+Inf"} 2\nh_count 3\n',
        'h_bucket{le="x"} 1\nh_bucket{le="+Inf"} 2\n',
        'h_bucket{le="1"} NaN\n',
    ],
)
def test_an_inconsistent_histogram_is_not_converted(lines: str) -> None:
    """It is counted as such; another one beside it is."""
    index = Index()
    body = f'# TYPE h histogram\n{lines}# TYPE g histogram\ng_bucket{{le="+Inf"}} 1\n'
    found = parser(index, Format.TEXT, convert_classic=True).parse(body.encode())
    assert list(histograms(found, index)) == ["g"]
    assert dict(found.rejected) == {"histogram": 1}


def test_without_infinite_bucket_the_count_closes_the_histogram() -> None:
    """What the count has above the last bucket lies beyond its bound."""
    index = Index()
    body = '# TYPE h histogram\nh_bucket{le="2"} 3\nh_count 5\n'
    found = parser(index, Format.TEXT, convert_classic=True).parse(body.encode())
    wanted = HistogramValue(-53, 5.0, 0.0, positive=((0, 3.0), (1, 2.0)), custom_bounds=(2.0,))
    assert histograms(found, index) == {"h": wanted}


def test_a_bound_that_is_written_in_two_ways_counts_once() -> None:
    """As in Prometheus, the first of them does."""
    index = Index()
    body = '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="1.0"} 1\nh_bucket{le="+Inf"} 6\n'
    found = parser(index, Format.TEXT, convert_classic=True).parse(body.encode())
    wanted = HistogramValue(-53, 6.0, 0.0, positive=((0, 1.0), (1, 5.0)), custom_bounds=(1.0,))
    assert histograms(found, index) == {"h": wanted}


def test_the_cache_survives_churn() -> None:
    """Series come and go; groups, starts and histograms stay with theirs."""
    index = Index()
    reader = parser(index, convert_classic=True)
    for turn in range(60):
        fresh = "".join(
            f'c_total{{i="{turn}-{k}"}} 1\nc_created{{i="{turn}-{k}"}} {turn + 1}\n'
            for k in range(50)
        )
        found = reader.parse(("# TYPE c counter\n" + fresh + CLASSIC).encode())
        assert set(histograms(found, index)) == {'h{a="x"}', 'h{a="y"}'}
        starts = {start for name, _, _, start in shown(found, index) if name[:7] == "c_total"}
        assert starts == {(turn + 1) * 1000}
        assert not found.rejected
    assert len(reader._cache) < 1500


names = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"), max_size=8)
label_sets = st.dictionaries(names, texts, max_size=3)
floats = st.floats(allow_nan=False, min_value=0, max_value=1e12)


@settings(deadline=None)
@given(st.data())
def test_the_clients_own_parser_agrees(data: Any) -> None:
    """What prometheus_client writes is read as its own parser reads it, exemplars included."""
    registry = CollectorRegistry()
    for name in data.draw(st.lists(names, max_size=4, unique=True)):
        labels = data.draw(label_sets)
        kind = data.draw(st.sampled_from([Counter, Histogram, Summary]))
        metric = kind(name + "x", 'Help\n"\\', sorted(labels), registry=registry)
        child = metric.labels(**labels) if labels else metric
        exemplar = data.draw(st.none() | st.just({"trace_id": "é # {x"}))
        value = data.draw(floats)
        if kind is Counter:
            child.inc(value, exemplar)
        elif kind is Histogram:
            child.observe(value, exemplar)
        else:
            child.observe(value)
    text = generate_latest(registry).decode()
    wanted, examples = [], []
    for family in text_string_to_metric_families(text):
        for s in family.samples:
            series = str(Labels.of({"__name__": s.name, **s.labels}))
            wanted.append((series, s.value))
            if s.exemplar:
                labels = str(Labels.of(s.exemplar.labels))
                stamp = s.exemplar.timestamp
                ts = -1 if stamp is None else round(float(stamp) * 1000)
                examples.append((series, labels, s.exemplar.value, ts))
    index = Index()
    reader = parser(index)
    found = reader.parse(text.encode())
    assert not found.rejected
    assert sorted((a, b) for a, b, *_ in shown(found, index)) == sorted(wanted)
    series_of = [str(labels) for labels in index.series]
    got = [(series_of[e.series], str(e.labels), e.value, e.ts) for e in found.exemplars]
    assert sorted(got) == sorted(examples)
    again = reader.parse(text.encode())
    assert shown(again, index) == shown(found, index)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=4), st.booleans())
def test_noise_never_crashes(bodies: list[bytes], convert: bool) -> None:
    """Any bytes before the end marker end in samples and counted refusals."""
    reader = parser(Index(), convert_classic=convert)
    for body in bodies:
        found = reader.parse(body.replace(b"# EOF", b"") + b"\n# EOF\n")
        assert len(found.values) == len(found.refs)


pieces = st.sampled_from(
    [
        "# TYPE h histogram\n", "# TYPE h counter\n", 'h_bucket{le="1"} 1\n', "h_sum 1\n",
        'h_bucket{le="1"} 1 # {a="b"} 1\n', "h_count 2\n", "h_created 3\n", "h_total 1 5\n",
        'h_bucket{le="x"}  2\n', "h_created NaN\n", "h_created -1\n", " h_sum  2 \n",
    ]
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(pieces, max_size=8), min_size=1, max_size=5), st.booleans())
def test_a_warm_cache_reads_as_a_cold_one(bodies: list[list[str]], convert: bool) -> None:
    """Whatever came before, a body is read as a fresh parser would read it."""
    index = Index()
    warm = parser(index, convert_classic=convert)
    for body in bodies:
        text = ("".join(body) + "# EOF\n").encode()
        got, wanted = warm.parse(text), parser(index, convert_classic=convert).parse(text)
        assert repr(sorted(shown(got, index), key=repr)) == repr(
            sorted(shown(wanted, index), key=repr)
        )
        assert got.rejected == wanted.rejected


def test_numbers_of_seconds() -> None:
    """Milliseconds are rounded, not cut; infinity and names are no timestamps."""
    index = Index()
    found = parser(index).parse(b"a 1 1520879607.789\nb 1 inf\nc 1 nan\nd 1 1_0\n# EOF\n")
    assert found.ts is not None
    assert found.ts.tolist() == [1520879607789]
    assert dict(found.rejected) == {"timestamp": 3}
    assert math.isfinite(found.values[0])
