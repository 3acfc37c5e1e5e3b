"""Reading parameters: whatever comes is understood or refused by name, and nothing else."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.query.promql.test_printer import queries
from vedette.query.promql.parser import parse
from vedette.web.api.params import (
    BadParameterError,
    flag,
    moment,
    selectors,
    span,
    unescape_label,
    whole,
)
from vedette.web.api.syntax_tree import syntax_tree

TEXTS = st.text(max_size=40) | st.from_regex(r"[-+0-9eE.:TZ_ mhdsy]{0,30}", fullmatch=True)


@given(TEXTS)
@example("9999-12-31T23:59:59+00:00")
@example("0001-01-01T00:00:00+23:59")
@example("1" * 5_000)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes a reader fail in another way than by naming the parameter."""
    params = {"p": [text]}
    for read in (moment, span, whole, flag, selectors):
        with contextlib.suppress(BadParameterError):
            read(params, "p")


@given(st.integers(-62_135_596_800_000, 253_402_300_799_000))
def test_times_as_numbers_and_as_text_are_the_same(ms: int) -> None:
    """Seconds with a fraction and RFC 3339 name the same millisecond."""
    text = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()
    seconds = moment({"t": [f"{ms / 1000:.3f}"]}, "t")
    assert seconds == ms
    assert moment({"t": [text]}, "t") == ms


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_escaped_label_names_read_back(name: str) -> None:
    """Prometheus' escaping of any label name is undone."""
    escaped = "".join(
        "__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name
    )
    assert unescape_label(f"U__{escaped}") == name


@given(queries)
def test_every_expression_has_a_tree(query: str) -> None:
    """The tree of any expression is JSON whose nodes all have a type."""
    tree = json.loads(json.dumps(syntax_tree(parse(query))))
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        assert isinstance(node["type"], str)
        waiting += [
            node[k] for k in ("expr", "lhs", "rhs", "param") if isinstance(node.get(k), dict)
        ]
        waiting += node.get("args", [])
