"""The text format: grammar, refusals with their line, the cache, and an oracle."""

from __future__ import annotations

import math
import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.scrape.doubles import Index
from vedette.model.labels import Labels
from vedette.model.samples import NAN_BITS, bits
from vedette.scrape import grammar
from vedette.scrape.exposition import ExpositionParser
from vedette.scrape.grammar import Metadata, split_lines
from vedette.scrape.parsed import Exposition


def parser(index: Index) -> ExpositionParser:
    """Return a parser that keeps labels as they are."""
    return ExpositionParser(index, lambda labels, _: Labels.of(labels))


def rows(found: Exposition, index: Index) -> list[tuple[Labels, float, int]]:
    """Return labels, value and timestamp of each sample."""
    known = list(index.series)
    stamps = [-1] * len(found.refs) if found.ts is None else found.ts.tolist()
    labels = [known[ref] for ref in found.refs]
    return list(zip(labels, found.values.tolist(), stamps, strict=True))


def parse(text: str) -> list[tuple[dict[str, str], float, int]]:
    """Parse ``text`` twice, the second time by the cache, and return the samples."""
    index = Index()
    reader = parser(index)
    first = rows(reader.parse(text.encode()), index)
    asked = index.asked
    assert repr(rows(reader.parse(text.encode()), index)) == repr(first)
    assert repr(rows(reader.parse(b"\n" + text.encode()), index)) == repr(first)
    assert index.asked <= 2 * asked
    return [(labels.as_dict(), value, ts) for labels, value, ts in first]


@pytest.mark.parametrize(
    ("line", "labels", "value", "ts"),
    [
        ("m 1", {}, 1.0, -1),
        ("m{} 1", {}, 1.0, -1),
        (' m\t{ a = "x" , b="y",} \t-1.5e3 \t1700000000000 ', {"a": "x", "b": "y"}, -1500.0, 17e11),
        ("m 1 0", {}, 1.0, 0),
        ('m{a="x y"} 2 1700000000000', {"a": "x y"}, 2.0, 17e11),
        ('m{a="x} 1"}3', {"a": "x} 1"}, 3.0, -1),
        (r'm{a="q\"b\\s\nn\x"} 1', {"a": 'q"b\\s\nn\\x'}, 1.0, -1),
        ('m{a="",b="y"} 1', {"b": "y"}, 1.0, -1),
        ('{"m",a="x"} 1', {"a": "x"}, 1.0, -1),
        ('{"m", "a.b"="x"} 1', {"a.b": "x"}, 1.0, -1),
        ('m{a="ünï"} +Inf', {"a": "ünï"}, math.inf, -1),
        ("m -Inf", {}, -math.inf, -1),
        ("m 1\r", {}, 1.0, -1),
        ("m 5e-324", {}, 5e-324, -1),
    ],
)
def test_lines(line: str, labels: dict[str, str], value: float, ts: int) -> None:
    """Each form of a sample line is read, at first and again from the cache."""
    assert parse(f"{line}\n") == [({"__name__": "m", **labels}, value, ts)]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("m", "syntax"),
        ("m ", "syntax"),
        ("9m 1", "syntax"),
        ("m{a=x} 1", "syntax"),
        ('m{a="x" b="y"} 1', "syntax"),
        ('m{a="x} 1', "syntax"),
        ('{a="x"} 1', "syntax"),
        ("m 1 2 3", "syntax"),
        ("m 1 2.5", "syntax"),
        ("m one", "value"),
        ("m 1_000", "value"),
        ("m 0x10", "value"),
        ("m 1 -5", "timestamp"),
        ("m 1 99999999999999999999", "timestamp"),
        ('m{a="x",a="y"} 1', "duplicate_label"),
        ('m{a="\udcff"} 1', "encoding"),
        ("# TYPE m wrong", "metadata"),
    ],
)
def test_a_malformed_line_costs_only_itself(line: str, reason: str) -> None:
    """It is counted, told with its number at every scrape, and its neighbours are kept."""
    index = Index()
    reader = parser(index)
    body = f"# HELP a x\na 1\n{line}\nb 2\n".encode(errors="surrogateescape")
    for _ in range(3):
        found = reader.parse(body)
        assert found.values.tolist() == [1.0, 2.0]
        assert dict(found.rejected) == {reason: 1}
        assert [(error.line, error.reason) for error in found.errors] == [(3, reason)]


def test_a_known_series_may_turn_bad_and_good_again() -> None:
    """The cache never yields an old value for a line that cannot be read."""
    index = Index()
    reader = parser(index)
    seen = [reader.parse(f"a {text}\nb 2\n".encode()) for text in ("1", "x", "3", "4 5", "6")]
    assert [found.values.tolist() for found in seen] == [[1, 2], [2], [3, 2], [4, 2], [6, 2]]
    assert seen[3].ts is not None
    assert seen[3].ts.tolist() == [5, -1]
    assert seen[4].ts is None


def test_nan_is_the_ordinary_one() -> None:
    """No text can bring the bits of a staleness marker."""
    found = parser(Index()).parse(b"a NaN\nb nan\n")
    assert bits(found.values).tolist() == [NAN_BITS] * 2


def test_metadata_is_kept_and_follows_the_target() -> None:
    """HELP, TYPE and UNIT by family, escapes undone; a later scrape replaces them."""
    reader = parser(Index())
    reader.parse(b"# HELP a one\\ntwo \\\\\n# TYPE a counter\n# UNIT a seconds\na 1\n# remark\n")
    assert reader.metadata == {"a": Metadata("counter", "one\ntwo \\", "seconds")}
    reader.parse(b"# HELP a new\n# TYPE a untyped\n# UNIT a seconds\na 1\n# remark\n")
    assert reader.metadata == {"a": Metadata("unknown", "new", "seconds")}


def test_the_limit_of_series_is_asked_again_at_every_scrape() -> None:
    """A refused series is counted each time and taken as soon as there is room."""
    index = Index(limit=1)
    reader = parser(index)
    for _ in range(2):
        found = reader.parse(b"a 1\nb 2\n")
        assert (found.values.tolist(), found.rejected) == ([1.0], {"series_limit": 1})
    index.limit = 2
    assert reader.parse(b"a 1\nb 2\n").values.tolist() == [1.0, 2.0]


def test_the_cache_is_bounded_under_churn() -> None:
    """Series that come and go do not stay in memory for ever."""
    reader = parser(Index())
    for turn in range(40):
        body = "".join(f'm{{id="{turn}-{i}"}} 1\n' for i in range(100))
        reader.parse(body.encode())
    assert len(reader._cache) <= 1300


def test_an_unchanged_scrape_asks_for_no_series() -> None:
    """A repeated scrape numbers nothing anew, whether its values change or not."""
    index = Index()
    reader = parser(index)
    for value in (1, 1, 2):
        reader.parse("".join(f'm{{i="{i}"}} {value}\n' for i in range(50)).encode())
    assert index.asked == 50


names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True)
values = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n"))
# The oracle reserves label names that begin with two underscores.
label_names = names.filter(lambda name: not name.startswith("__"))
metrics = st.tuples(
    names.filter(lambda name: not name.endswith(("_total", "_created"))),
    st.dictionaries(label_names, values, max_size=3),
    st.floats(),
    st.none() | st.integers(1, 2**43),
)


def written(name: str, labels: dict[str, str], value: float, ts: int | None) -> str:
    """Return the line of a sample."""
    table = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
    inner = ",".join(f'{key}="{text.translate(table)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value!r}" + (f" {ts}" if ts is not None else "")


@settings(deadline=None)
@given(st.lists(metrics, max_size=6))
def test_the_clients_own_parser_agrees(content: list[Any]) -> None:
    """Lines are read as prometheus_client reads them, values to the last bit."""
    text = "".join(f"{written(*line)}\n" for line in content)
    wanted = [
        ({"__name__": s.name, **{k: v for k, v in s.labels.items() if v}}, s.value, s.timestamp)
        for family in text_string_to_metric_families(text)
        for s in family.samples
    ]
    got = parse(text)
    assert len(got) == len(content)
    key = repr
    stamped = [(labels, value, ts / 1000 if ts >= 0 else None) for labels, value, ts in got]
    normal = sorted(key((sorted(a.items()), b, c)) for a, b, c in stamped)
    assert normal == sorted(key((sorted(a.items()), b, c)) for a, b, c in wanted)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=120), min_size=1, max_size=4))
def test_noise_never_crashes(bodies: list[bytes]) -> None:
    """Whatever the bodies, samples and refusals add up to the lines that are no comments."""
    reader = parser(Index())
    for body in bodies:
        found = reader.parse(b'm{a="x"} 1\n' + body)
        refused = sum(n for reason, n in found.rejected.items() if reason != "metadata")
        comments = sum(error.reason == "encoding" for error in found.errors)
        assert found.scraped - comments <= len(found.refs) + refused <= found.scraped + comments


def test_no_pattern_can_match_in_two_ways() -> None:
    """Every quantifier is possessive: matching takes steps linear in the line, and no stack."""
    patterns = [p.pattern for p in vars(grammar).values() if isinstance(p, re.Pattern)]
    assert len(patterns) >= 5
    for pattern in patterns:
        bare = re.sub(r"\\.|\[(?:\\.|[^\]\\])*\]", "x", pattern)
        assert not re.search(r"[*+]", re.sub(r"[*+?]\+", "", bare)), pattern


fragments = st.sampled_from(
    ["m", '"', "{", "}", 'a="', 'a="x",', "\\", '\\"', " ", "\t", "1", "-", ",", "=", "#", "e9"]
)
starts = st.sampled_from(
    ["", "m", "m ", "m{", 'm{a="', '{"', "m 1", "m 1 ", "# HELP a b", "# TYPE "]
)


@settings(deadline=None, max_examples=60)
@given(starts, st.lists(st.tuples(fragments, st.integers(1, 10_000)), max_size=4), fragments)
def test_hostile_lines_take_memory_by_their_length_alone(
    start: str, runs: list[tuple[str, int]], end: str
) -> None:
    """Whatever is repeated thousands of times, a line takes a small multiple of its size."""
    line = start + "".join(text * times for text, times in runs) + end
    body = f"ok 1\n{line}\nok2 2\n".encode()
    reader = parser(Index())
    tracemalloc.start()
    try:
        found = reader.parse(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {1.0, 2.0} <= set(found.values.tolist())
    assert peak < 60 * len(body) + 200_000


@pytest.mark.parametrize("size", [65_537, 3_000_000])
@pytest.mark.parametrize("end", ["\n", "\nb 2\n", "", "\n" + f"# {'y' * 60_000}\n" * 40])
def test_a_line_beyond_the_limit_costs_only_itself(size: int, end: str) -> None:
    """It is counted at every scrape, in time and memory of its neighbours alone."""
    reader = parser(Index())
    for turn in range(3):
        found = reader.parse(f'a {turn}\nm{{x="'.encode() + b"x" * (size - 5) + end.encode())
        assert found.values[0] == turn
        assert dict(found.rejected) == {"line_length": 1}
        assert [(error.line, error.reason) for error in found.errors] == [(2, "line_length")]
    reader.parse(b"# HELP a " + b"x" * size + b"\na 1\n")
    assert reader.metadata == {}


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 40), st.integers(8, 30))
def test_lines_are_the_same_in_pieces(sizes: list[int], longest: int, piece: int) -> None:
    """Splitting piece by piece finds the lines that splitting at once finds, marks at the same."""
    body = b"\n".join(b"x" * size for size in sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grammar, "_PIECE", piece)
        got = split_lines(body, longest)
        assert grammar.count(body, b"\n") == body.count(b"\n")
    wanted = [line if len(line) <= longest else None for line in body.split(b"\n")]
    assert [line if b"\xff" not in line else None for line in got] == wanted


def test_metadata_is_bounded() -> None:
    """Too long a text or name, and families beyond the limit, are refused and counted."""
    reader = parser(Index())
    comments = "".join(f"# TYPE m{i} gauge\n" for i in range(10_002))
    found = reader.parse(f"# HELP a {'x' * 5000}\n# TYPE {'n' * 600} gauge\n{comments}".encode())
    assert len(reader.metadata) == 10_000
    assert dict(found.rejected) == {"metadata": 2, "metadata_limit": 2}
    assert len(found.errors) == 4
