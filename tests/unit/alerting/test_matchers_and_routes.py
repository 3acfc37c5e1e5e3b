"""Matchers and the routing tree: texts, positions of faults, and where alerts go."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.alerting.support import good, settings_of
from vedette.alerting.matchers import (
    MatcherError,
    compile_matchers,
    format_matchers,
    parse_matchers,
)
from vedette.alerting.route import Router
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp

TREE = """
route:
  receiver: ops
  group_by: [alertname]
  group_wait: 1s
  routes:
    - matchers: ['team="web"', severity=~"warning|critical"]
      receiver: web
      continue: true
      group_by: ["..."]
    - match: {team: web}
      group_interval: 1m
      routes:
        - matchers: ['{env!="prod"}']
          receiver: db
    - match_re: {service: "db-.*"}
      receiver: db
      group_by: []
"""


def routes(text: str, **labels: str) -> list[tuple[str, str]]:
    """Return receiver and group key of each destination."""
    found = Router(good(text).route).destinations(Labels.of(labels))
    return [(one.route.receiver, one.key) for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a="b"', '{a="b"}'),
        ("a = b", '{a="b"}'),
        ('{b!~"x.*", a!="c"}', '{a!="c",b!~"x.*"}'),
        ('"my label"="q\\"\\n"', '{my label="q\\"\\n"}'),
        ("{}", "{}"),
        ("a=", '{a=""}'),
    ],
)
def test_matchers_are_read(text: str, expected: str) -> None:
    """Classic and quoted forms are read, and print as Alertmanager prints them."""
    assert format_matchers(parse_matchers(text)) == expected


@pytest.mark.parametrize(
    "text", ["a", '="x"', '{a="b"', "{", 'a="b" c="d"', 'a=~"("', 'a=~"x)(y"', 'a="b', 'a="b",,']
)
def test_bad_matchers(text: str) -> None:
    """What is no matcher is refused with a MatcherError."""
    with pytest.raises(MatcherError):
        parse_matchers(text)


@given(st.text(alphabet=st.sampled_from('ab="~!{}, \\(n\n'), max_size=30))
def test_only_matcher_errors(text: str) -> None:
    """Any text is read or refused with a MatcherError."""
    with contextlib.suppress(MatcherError):
        parse_matchers(text)


@given(
    st.lists(
        st.builds(
            Matcher,
            st.from_regex(r"[a-z_]{1,5}", fullmatch=True),
            st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]),
            st.text(max_size=8),
        ),
        max_size=4,
    )
)
def test_print_and_parse_agree(matchers: list[Matcher]) -> None:
    """What is printed reads back as the same matchers."""
    assert sorted(parse_matchers(format_matchers(matchers)), key=str) == sorted(matchers, key=str)


@pytest.mark.parametrize(
    ("matcher", "value", "expected"),
    [
        ('a=~"b|c"', "c", True),
        ('a=~"b|c"', "cc", False),
        ('a=~"b.c"', "b\nc", True),
        ('a!~"b"', "", True),
        ('a=""', "", True),
        ('a!=""', "", False),
    ],
)
def test_matching(matcher: str, value: str, expected: bool) -> None:
    """Expressions are anchored, a dot matches newlines, an absent label is empty."""
    assert compile_matchers(parse_matchers(matcher))(Labels.of({"a": value})) is expected


def test_where_alerts_go() -> None:
    """First child that matches, later ones after continue, the deepest node takes; keys say how."""
    assert routes(TREE, alertname="A") == [("ops", '{}:{alertname="A"}')]
    assert routes(TREE, alertname="A", team="web", severity="critical", env="prod") == [
        (
            "web",
            '{}/{severity=~"warning|critical",team="web"}:'
            '{alertname="A", env="prod", severity="critical", team="web"}',
        ),
        ("ops", '{}/{team="web"}:{alertname="A"}'),
    ]
    assert routes(TREE, alertname="A", team="web", env="test") == [
        ("db", '{}/{team="web"}/{env!="prod"}:{alertname="A"}')
    ]
    assert routes(TREE, alertname="A", service="db-1") == [("db", '{}/{service=~"db-.*"}:{}')]


def test_inheritance() -> None:
    """A route has its parent's times and grouping unless it names its own."""
    first, second, third = good(TREE).route.routes
    assert (first.group_wait_ms, first.group_by_all, first.onward) == (1000, True, True)
    assert (second.group_interval_ms, second.group_by) == (60_000, ("alertname",))
    assert (second.routes[0].group_interval_ms, third.group_by) == (60_000, ())


@given(
    st.dictionaries(
        st.sampled_from(["team", "severity", "env", "service", "alertname"]),
        st.sampled_from(["web", "critical", "prod", "db-1", ""]),
    )
)
def test_every_alert_has_a_destination(labels: dict[str, str]) -> None:
    """No alert falls through the tree, and the answer is the same from the memory."""
    router = Router(good(TREE).route)
    first = router.destinations(Labels.of(labels))
    assert first
    assert router.destinations(Labels.of(labels)) == first


def test_faults_of_settings() -> None:
    """Unknown receivers, intervals, keys, bad matchers and times are named with their place."""
    _, faults = settings_of(
        """
route:
  receiver: nobody
  matchers: [a="b"]
  group_by: ["...", a]
  routes:
    - matchers: ['a=~"("']
      mute_time_intervals: [night]
      group_wait: 5
      colour: red
inhibit_rules:
  - source_matchers: [a="b"]
time_intervals:
  - name: day
    time_intervals:
      - times: [{start_time: "25:00", end_time: "26:00"}]
      - weekdays: [funday]
      - location: Nowhere/City
"""
    )
    text = "\n".join(map(str, sorted(faults)))
    for part in [
        ':3:13: there is no receiver "nobody"; receivers: db, ops, web',
        ':4:13: the first route takes every alert and has no "matchers"',
        ':5:13: "..." means every label',
        ":7:18: bad matcher: not a regular expression",
        ':8:29: there is no time interval "night"',
        ':9:19: "group_wait" is not a duration: "5"; give the unit',
        ':10:7: unknown key "colour"',
        ':12:5: an inhibit rule lacks "target_matchers"',
        ":16:16: not a time of day",
        ":17:19: not one of the weekdays",
        ':18:19: there is no time zone "Nowhere/City"',
    ]:
        assert part in text, (part, text)
    assert settings_of("retention: 1h\n")[0] is None
