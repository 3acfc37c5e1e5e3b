"""YAML with positions: every fault names its place, and no text breaks the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.kit.yamlpos import Fault, Kind, Node, Section, compose


def read(text: str) -> tuple[Node | None, list[Fault]]:
    """Compose with the faults beside."""
    faults: list[Fault] = []
    return compose(text, "f.yml", faults), faults


def section(text: str) -> Section:
    """Compose a mapping and return its reader."""
    faults: list[Fault] = []
    root = compose(text, "f.yml", faults)
    assert root is not None
    return Section(root, faults, "the file")


@given(st.text(alphabet=st.sampled_from("a:-[]{}&*!|>'\"#%@` \n\t?,~<=0é\ud800\x00"), max_size=60))
def test_no_text_raises(text: str) -> None:
    """Whatever the text: a tree, or faults with a place, never an exception."""
    node, faults = read(text)
    assert node is None or isinstance(node, Node)
    assert all(fault.line >= 1 and fault.column >= 1 for fault in faults)


def test_every_fault_is_found_in_one_pass() -> None:
    """Wrong types, missing units, double and unknown keys are all named, each at its place."""
    root, faults = read("name: [x]\ninterval: 15\nnaem: 1\ncount: many\ncount: 2\nlist: x\n")
    assert root is not None
    s = Section(root, faults, "the file")
    s.text("name")
    assert s.duration("interval", 7) == 7
    assert s.integer("count", 3) == 3
    assert s.items("list") == ()
    s.require("expr")
    s.done()
    assert [(fault.line, fault.column) for fault in sorted(faults)] == [
        (1, 1),
        (1, 7),
        (2, 11),
        (3, 1),
        (4, 8),
        (5, 1),
        (6, 7),
    ]
    text = "\n".join(map(str, sorted(faults)))
    assert 'f.yml:2:11: "interval" is not a duration: "15"; give the unit: "15s"' in text
    assert 'unknown key "naem"; did you mean "name"?' in text
    assert 'f.yml:5:1: "count" stands here a second time; see line 4' in text


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("expr: |\n    sum(\n      x\n", 2, 3, (3, 7)),
        ("expr: |\n\n    x\n", 2, 1, (3, 5)),
        ("expr: rate(x)", 1, 6, (1, 12)),
        ("expr: 'rate(x)'", 1, 6, (1, 13)),
        ("expr: >\n  a\n  b\n", 1, 3, (1, 7)),
        ("expr: a\n  b", 1, 3, (1, 7)),
    ],
)
def test_positions_inside_a_text(
    text: str, line: int, column: int, expected: tuple[int, int]
) -> None:
    """A position within a scalar is told as a position of the file; folded texts as their start."""
    node = section(text).value("expr")
    assert node is not None
    fault = node.fault_inside(line, column, "x")
    assert (fault.line, fault.column) == expected


def test_anchors_and_merges() -> None:
    """Anchors and merge keys work; a key that is given stands over a merged one."""
    s = section("base: &b {a: 1, b: 2}\nx:\n  <<: *b\n  b: 3\n")
    x = s.section("x")
    assert x is not None
    assert (x.integer("a", 0), x.integer("b", 0)) == (1, 3)


def test_aliases_cannot_explode() -> None:
    """Nine lines of aliases of aliases are refused instead of becoming a billion values."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    root, faults = read("\n".join(lines))
    assert root is None
    assert "too many values" in str(faults[0])
    assert read("[" * 200 + "]" * 200)[0] is None


def test_values_are_read_as_written() -> None:
    """Words that YAML 1.1 takes for booleans, numbers or null stay text where text is asked."""
    s = section("a: yes\nb: 010\nc: ~\nd: {on: off}\ne: [1, two]\nf: 1.5\n")
    assert (s.text("a"), s.text("b"), s.text("c", "none")) == ("yes", "010", "none")
    assert [(k.text, v.text) for k, v in s.pairs("d")] == [("on", "off")]
    assert s.texts("e") == ("1", "two")
    assert s.boolean("a", False) is True
    assert s.number("f", 0) == 1.5
    assert s.node.kind is Kind.MAPPING
    assert s.faults == []
