"""Numbers of series, and matchers on their label tables."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.model.labels import Labels, parse_canonical
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.matching import InvalidRegexError, matches
from vedette.storage.series_index import MemorySeriesIndex

_name = st.sampled_from(["__name__", "job", "a", "été"])
_value = st.sampled_from(["", "x", "y", "xy", "x\ny", "ü", "10"])
_labels = st.dictionaries(_name, _value, max_size=4).map(Labels.of)
_pattern = st.sampled_from(["x", "x.*", ".+", "", "x|y", ".y", "x.y", "[0-9]+"])
_matcher = st.one_of(
    st.builds(Matcher, _name, st.sampled_from([MatchOp.EQUAL, MatchOp.NOT_EQUAL]), _value),
    st.builds(Matcher, _name, st.sampled_from([MatchOp.REGEX, MatchOp.NOT_REGEX]), _pattern),
)


def _passes(matcher: Matcher, labels: Labels) -> bool:
    value = labels.get(matcher.name)
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        return (value == matcher.value) == (matcher.op is MatchOp.EQUAL)
    found = re.fullmatch(matcher.value, value, re.DOTALL) is not None
    return found == (matcher.op is MatchOp.REGEX)


@given(st.lists(_labels, max_size=12), st.lists(_matcher, max_size=3))
def test_matchers_select_what_each_label_set_passes(
    series: list[Labels], matchers: list[Matcher]
) -> None:
    """Judging distinct values once gives what judging every series by itself gives."""
    index = MemorySeriesIndex()
    refs = index.refs(series)
    expected = dict(zip(refs.tolist(), series, strict=True))
    expected = {r: s for r, s in expected.items() if all(_passes(m, s) for m in matchers)}
    found = {
        int(ref): row
        for one in index.select(matchers)
        for ref, row in zip(one.refs, one.table.with_name(one.metric).rows(), strict=True)
    }
    # A metric without a name has the empty one, which with_name writes as a label of no value.
    assert {r: Labels.of(s) for r, s in found.items()} == expected
    assert all(matches(matchers, labels) for labels in expected.values())


@given(_labels)
def test_canonical_bytes_read_back(labels: Labels) -> None:
    """The canonical form loses nothing."""
    assert parse_canonical(labels.canonical()) == labels


def test_refs_are_dense_stable_and_limited() -> None:
    """A series keeps its number; beyond the limit there is −1, counted each time."""
    index = MemorySeriesIndex(limit=2)
    a, b, c = (Labels.of({"__name__": "m", "k": k}) for k in "abc")
    assert index.refs([a, b, a]).tolist() == [0, 1, 0]
    assert index.refs([c, b, c]).tolist() == [-1, 1, -1]
    assert (len(index), index.refused) == (2, 2)
    assert index.canonical(np.array([1])) == [b.canonical()]
    assert (index.lookup(b.canonical()), index.lookup(c.canonical())) == (1, -1)


def test_a_label_that_comes_late_is_absent_before() -> None:
    """Series from before a label existed have the empty value for it."""
    index = MemorySeriesIndex()
    index.refs([Labels.of({"__name__": "m", "a": "1"})])
    index.refs([Labels.of({"__name__": "m", "b": "2"})])
    (found,) = index.select([Matcher("b", MatchOp.EQUAL, "")])
    assert found.refs.tolist() == [0]


def test_an_invalid_regex_is_named() -> None:
    """The error carries the pattern and what is wrong with it."""
    index = MemorySeriesIndex()
    index.refs([Labels.of({"__name__": "m"})])
    with pytest.raises(InvalidRegexError, match=r'"\(": missing \)'):
        index.select([Matcher("a", MatchOp.REGEX, "(")])
