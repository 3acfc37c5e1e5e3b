"""Matchers: patterns that only name texts are asked as a set, and mean the same."""

from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.matching import alternatives, predicate


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a|b", {"a", "b"}),
        ("", {""}),
        ("a|", {"a", ""}),
        (r"1\.5|a\|b", {"1.5", "a|b"}),
        ("a.b", None),
        ("a|(b)", None),
        (r"\d", None),
        ("a|b*", None),
        ("a\\", None),
    ],
)
def test_alternatives(pattern: str, names: set[str] | None) -> None:
    """Only patterns without any sign that means more than itself are taken for names."""
    assert alternatives(pattern) == names


@given(st.text("ab|.\\*[](){}^$+?-1d \n", max_size=12), st.text("ab|.\\1d \n", max_size=4))
def test_the_same_as_the_automaton(pattern: str, value: str) -> None:
    """Where a pattern is taken for names, RE2 itself finds the same."""
    if alternatives(pattern) is None:
        return
    found = re2.fullmatch(f"(?s:{pattern})", value) is not None
    assert predicate(Matcher("a", MatchOp.REGEX, pattern))(value) is found
    assert predicate(Matcher("a", MatchOp.NOT_REGEX, pattern))(value) is not found
