"""Families and waves: asked together, each rule gets what it would get alone, in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rules.support import START
from vedette.model.labels import Labels
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import MemorySamples
from vedette.rules.alignment import Part, align
from vedette.rules.families import MAX_MEMBERS, Shares, families
from vedette.rules.plan import names_read, parsed, waves
from vedette.rules.round import Judged, Round, judge
from vedette.rules.rule import Rule, RuleGroup, RuleKind


def rule(number: int, expr: str, kind: RuleKind = RuleKind.RECORDING, name: str = "") -> Rule:
    """Make a rule; recording ones show their whole result."""
    return Rule(kind, name or f"r{number}", expr, key=f"k{number}")


def samples() -> MemorySamples:
    """Three metrics with labels a, b and c, counters that grow at different speeds."""
    source = MemorySamples()
    ts = START + np.arange(-20, 1) * 15_000
    for metric in ("m", "n", "up"):
        for k in range(18):
            labels = Labels.of(
                {
                    "__name__": metric,
                    "a": "xyz"[k % 3],
                    "b": ("1", "2.5", "a|b")[k // 3 % 3],
                    "c": str(k // 9),
                }
            )
            values = np.arange(21.0) * (k + 1 + len(metric)) % (70.0 + k)
            source.add(labels, ts, values)
    return source


SOURCE = samples()


def parts_of(rules: list[Rule]) -> list[Part]:
    """Return ``rules`` in parts, one a family."""
    return [
        Part(Shares(family), tuple(member.rule for member in family.members))
        for family in families(rules)
    ]


def answers(rules: list[Rule], together: bool) -> dict[str, tuple[str, list[tuple[str, object]]]]:
    """Return error and samples of each rule, evaluated together or each alone."""
    engine = Engine(SOURCE, EngineOptions())

    class Asked:
        def instant(self, query, ts: int, first_occurrence: bool = False):
            return engine.instant(query, ts)

    around = Round(Asked(), START, START, {}, 0, 0, Labels(), "", lambda: 0.0)
    parts = [rules] if together else [[one] for one in rules]
    judged: list[Judged] = [one for part in parts for one in judge(parts_of(part), around)]
    return {
        one.rule.key: (
            one.error,
            sorted((str(sample.labels), sample.value) for sample in one.done.samples),
        )
        for one in judged
    }


SELECTORS = st.builds(
    "{}{{{}}}".format,
    st.sampled_from(["m", "n"]),
    st.sampled_from(['a="A"', 'a="A",b="B"', 'b="B",a="A"', 'a="A",c=~"0|1"', 'b="B",c!="1"', ""]),
)
VECTORS = st.recursive(
    SELECTORS,
    lambda inner: st.one_of(
        st.builds("abs({})".format, inner),
        st.builds("({} * 2 - 1)".format, inner),
        st.builds("(-{})".format, inner),
        st.builds("(3 < {})".format, inner),
        st.builds(
            "{} {} ({})".format,
            st.sampled_from(["sum", "max", "avg", "count", "topk(1,", "stddev"]).map(
                lambda op: op if "(" not in op else "sum"
            ),
            st.sampled_from(["", "by (a)", "by (c)", "by (a, c)", "without (a)", "without (b, c)"]),
            inner,
        ),
        st.builds(
            "({0} {1} {0})".format, inner, st.sampled_from(["+", "/", "and", "or", "unless"])
        ),
        st.builds("({} / on (c) group_left () {})".format, inner, inner),
        st.builds("max_over_time({}[1m:15s])".format, inner),
        st.builds("absent({})".format, inner),
        st.builds("topk(1, {})".format, inner),
        st.builds('label_replace({}, "a", "q", "", "")'.format, inner),
    ),
    max_leaves=4,
) | SELECTORS.map(lambda selector: f"rate({selector}[2m])")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(VECTORS, min_size=1, max_size=3),
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from("xyzw"),
            st.sampled_from(["1", "2.5", "a|b", "none"]),
            st.sampled_from(["", " > 5", " <= 20", " == 7", " != 1", " > bool 3"]),
        ),
        min_size=2,
        max_size=10,
    ),
)
def test_together_as_alone(shapes: list[str], fills: list[tuple[int, str, str, str]]) -> None:
    """Whatever the expressions are, rules asked together get the result that each gets alone."""
    rules = []
    for number, (shape, a, b, compared) in enumerate(fills):
        text = shapes[shape % len(shapes)].replace('"A"', f'"{a}"').replace('"B"', f'"{b}"')
        rules.append(rule(number, f"{text}{compared}"))
    together, alone = answers(rules, together=True), answers(rules, together=False)
    assert together.keys() == alone.keys()
    for key, (error, rows) in alone.items():
        assert together[key][0] == error
        assert [labels for labels, _ in together[key][1]] == [labels for labels, _ in rows]
        assert [value for _, value in together[key][1]] == pytest.approx(
            [value for _, value in rows], nan_ok=True
        )


@pytest.mark.parametrize(
    ("exprs", "sizes"),
    [
        (['rate(m{a="x"}[5m]) > 1', 'rate(m{a="y"}[5m]) > 2', 'rate(m{a="y"}[5m]) < 1'], [3]),
        (["m > 1", "m > 2", "m", "n > 1"], [3, 1]),
        (['m{a="x",b="1"}', 'm{b="2.5",a="y"}', 'm{a="x"}'], [2, 1]),
        (['sum(m{a="x"}) > 1', 'sum(m{a="y"}) > 1'], [2]),
        # What is not seen to be sound stands alone.
        (['topk(1, m{a="x"})', 'topk(1, m{a="y"})'], [1, 1]),
        (['absent(m{a="x"})', 'absent(m{a="y"})'], [1, 1]),
        (
            ['m{a="x"} / on (c) group_left n{a="x"}', 'm{a="y"} / on (c) group_left n{a="y"}'],
            [1, 1],
        ),
        (['m{a="x"} + n{a="y"}', 'm{a="y"} + n{a="x"}'], [1, 1]),
        (['m{a=""}', 'm{a="x"}'], [1, 1]),
        (["vector(1) > 0", "vector(1) > 0"], [1, 1]),
        (['m{a="x"} > bool 1', 'm{a="y"} > bool 1'], [2]),
        ([f'm{{a="{k}"}}' for k in range(MAX_MEMBERS + 1)], [MAX_MEMBERS, 1]),
    ],
)
def test_what_makes_a_family(exprs: list[str], sizes: list[int]) -> None:
    """Rules that differ in matched values and in the last comparison stand together."""
    found = families([rule(number, expr) for number, expr in enumerate(exprs)])
    assert [len(family.members) for family in found] == sizes


def test_one_bad_rule_of_a_family_fails_alone() -> None:
    """Where asking together fails, each is asked alone, and only what is at fault fails."""
    rules = [
        rule(0, 'm{a="x"} + ignoring (b, c) n{a="x"}'),
        rule(1, 'sum by (c) (m{a="y"}) / sum by (c) (n{a="y"})'),
    ]
    found = answers(rules, together=True)
    assert "matching" in found["k0"][0]
    assert found["k1"][0] == ""
    assert len(found["k1"][1]) == 2


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([("a", "x"), ("b", "a"), ("c", "y"), ("d", "b + c")], [["a", "c"], ["b"], ["d"]]),
        # A selector without a name may read anything, and what follows may be what it reads.
        ([("a", "x"), ("b", '{job="x"}'), ("c", "y")], [["a"], ["b", "c"]]),
        # A rule that writes what one before it reads does not come first.
        ([("a", "b"), ("c", "a"), ("b", "x")], [["a", "b"], ["c"]]),
        ([("a", "x"), ("a", "y")], [["a", "a"]]),
        ([("a", '{__name__="x"}'), ("x", "1"), ("b", '{__name__="x"}')], [["a", "x"], ["b"]]),
        ([("A!", "x"), ("b", "ALERTS"), ("C!", "b")], [["A!"], ["b"], ["C!"]]),
    ],
)
def test_waves(rules: list[tuple[str, str]], expected: list[list[str]]) -> None:
    """A rule waits for those before it whose series it reads, and for nothing else."""
    made = [
        rule(
            number,
            expr,
            RuleKind.ALERTING if name.endswith("!") else RuleKind.RECORDING,
            name,
        )
        for number, (name, expr) in enumerate(rules)
    ]
    assert [[one.name for one in wave] for wave in waves(made)] == expected


def test_names_read() -> None:
    """Names are found wherever selectors stand; an open name is said."""
    assert names_read(parsed("sum(rate(a[5m])) / b offset 1m + max_over_time(c[1h:1m])")) == {
        "a",
        "b",
        "c",
    }
    assert names_read(parsed('a + {__name__=~"b.*"}')) is None


def group(name: str, exprs: list[str], interval: int = 60_000) -> RuleGroup:
    """Make a group of recording rules r0, r1, …"""
    rules = tuple(
        Rule(RuleKind.RECORDING, f"r{k}", expr, key=f"{name}{k}") for k, expr in enumerate(exprs)
    )
    return RuleGroup(name, "f", interval, rules)


def test_groups_that_ask_the_same_are_aligned() -> None:
    """They share offset and answer; what reads the group's own series shares with nobody."""
    groups = [
        group("b", ['m{a="x"} > 1', "r0"]),
        group("a", ['m{a="y"} > 2', "r0"]),
        group("c", ["n"]),
        group("d", ['m{a="y"} > 2'], 30_000),
    ]
    found = align(groups)
    assert {key: one.offset_key for key, one in found.items()} == {
        "f;b": "f;a",
        "f;a": "f;a",
        "f;c": "f;c",
        "f;d": "f;d",
    }
    first, second = found["f;a"].waves[0][0], found["f;b"].waves[0][0]
    assert first.shares is second.shares
    assert ([one.key for one in first.rules], [one.key for one in second.rules]) == (["a0"], ["b0"])
    assert found["f;a"].waves[1][0].shares is not found["f;b"].waves[1][0].shares


def test_groups_of_one_time_ask_once() -> None:
    """The second group takes the answer of the first at the same time, and none of another."""
    asked = []
    engine = Engine(SOURCE, EngineOptions())

    class Asked:
        def instant(self, query, ts: int, first_occurrence: bool = False):
            asked.append(ts)
            return engine.instant(query, ts)

    aligned = align([group("a", ['m{a="x"} > 1']), group("b", ['m{a="y"} > 1'])])

    def evaluate(key: str, ts: int) -> int:
        around = Round(Asked(), ts, ts, {}, 0, 0, Labels(), "", lambda: 0.0)
        (judged,) = judge(aligned[key].waves[0], around)
        return len(judged.done.samples)

    assert evaluate("f;a", START) > 0
    assert evaluate("f;b", START) > 0
    assert asked == [START]
    evaluate("f;b", START + 1000)
    assert asked == [START, START + 1000]
