"""Relabelling: what each action does, and that its details are those of Prometheus."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.kit.relabel import Action, RelabelRule, hashmod, read_relabel_rules, relabel
from vedette.kit.yamlpos import Fault, Section, compose

BASE = {"a": "foo", "b": "bar", "c": "baz"}


def one(labels: dict[str, str], **rule: Any) -> dict[str, str] | None:
    """Apply a single rule."""
    rule["source_labels"] = tuple(rule.pop("source", ()))
    return relabel([RelabelRule(**rule)], labels)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # replace: anchored, expands groups by number and name, "$$" is a dollar
        ({"source": "a", "regex": "f(.*)", "target_label": "d", "replacement": "ch${1}-ch${1}"},
         BASE | {"d": "choo-choo"}),
        ({"source": "ab", "regex": "f(.*);(?P<x>.*)r", "target_label": "a", "replacement": "b$x$1"},
         BASE | {"a": "bbaoo"}),
        ({"source": "a", "regex": "o+", "target_label": "d"}, BASE),
        ({"source": "a", "target_label": "d", "replacement": "$$1"}, BASE | {"d": "$1"}),
        ({"source": "a", "target_label": "d", "replacement": "x$1y"}, BASE | {"d": "x"}),
        ({"source": "a", "target_label": "d", "replacement": "x$9"}, BASE | {"d": "x"}),
        ({"source": "a", "target_label": "d", "replacement": "$-$"}, BASE | {"d": "$-$"}),
        ({"source": "a", "regex": "(f).*", "target_label": "${1}_x", "replacement": "1"},
         BASE | {"f_x": "1"}),
        ({"source": "a", "regex": "f(x)?.*", "target_label": "b"}, {"a": "foo", "c": "baz"}),
        ({"target_label": "b", "replacement": ""}, {"a": "foo", "c": "baz"}),
        ({"target_label": "d", "replacement": "e"}, BASE | {"d": "e"}),
        # keep and drop
        ({"source": "a", "regex": "f.*", "action": Action.KEEP}, BASE),
        ({"source": "a", "regex": "f", "action": Action.KEEP}, None),
        ({"source": "a", "regex": "f.*", "action": Action.DROP}, None),
        ({"source": "z", "regex": "", "action": Action.DROP}, None),
        ({"source": "a", "target_label": "b", "action": Action.KEEPEQUAL}, None),
        ({"source": "a", "target_label": "b", "action": Action.DROPEQUAL}, BASE),
        # names
        ({"regex": "(b).*", "replacement": "x_$1", "action": Action.LABELMAP},
         BASE | {"x_b": "bar"}),
        ({"regex": "b|c", "action": Action.LABELDROP}, {"a": "foo"}),
        ({"regex": "b|c", "action": Action.LABELKEEP}, {"b": "bar", "c": "baz"}),
        # values
        ({"source": "c", "target_label": "d", "modulus": 1000, "action": Action.HASHMOD},
         BASE | {"d": "976"}),
        ({"source": "a", "target_label": "a", "action": Action.UPPERCASE}, BASE | {"a": "FOO"}),
    ],
)  # fmt: skip
def test_what_each_action_does(rule: dict[str, Any], expected: dict[str, str] | None) -> None:
    """The result is what Prometheus' documentation says."""
    assert one(BASE, **rule) == expected


def test_rules_apply_in_order_and_a_drop_ends_them() -> None:
    """A rule sees what the ones before it made."""
    rules = [
        RelabelRule(source_labels=("a",), target_label="tmp", replacement="x$1"),
        RelabelRule(source_labels=("tmp",), regex="xfoo", target_label="d", replacement="yes"),
        RelabelRule(Action.LABELDROP, regex="tmp"),
    ]
    assert relabel(rules, BASE) == BASE | {"d": "yes"}
    assert relabel([RelabelRule(Action.DROP, ("a",)), *rules], BASE) is None


def test_a_dot_matches_newlines_and_names_may_be_any_text() -> None:
    """Both as in Prometheus 3."""
    labels = {"a b": "x\ny"}
    assert one(labels, source=["a b"], regex="x.y", target_label="é.1", replacement="1") == (
        labels | {"é.1": "1"}
    )


def test_case_changes_character_by_character() -> None:
    """No character becomes two, which Python's own upper() would do."""
    rule = {"source": "a", "target_label": "a"}
    assert one({"a": "straße"}, action=Action.UPPERCASE, **rule) == {"a": "STRAßE"}
    assert one({"a": "ÉΣ"}, action=Action.LOWERCASE, **rule) == {"a": "éσ"}


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5), st.text(), st.text())
def test_any_text_can_be_relabelled(labels: dict[str, str], value: str, template: str) -> None:
    """No label value and no template makes a rule raise, and no result is empty."""
    labels = {"l": value.encode(errors="ignore").decode()} | {
        name.encode(errors="replace").decode(): text.encode(errors="replace").decode()
        for name, text in labels.items()
    }
    result = one(labels, source="l", target_label="d", replacement=template)
    assert result is not None
    assert all(result.values())
    if "$" not in template:
        assert result.get("d", "") == template


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 2**64 - 1))
def test_hashmod_stays_below_its_modulus(value: str, modulus: int) -> None:
    """The shard is one of those that there are."""
    assert 0 <= hashmod(value, modulus) < modulus


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{action: hashmod, target_label: a}", "modulus of at least 1"),
        ("{action: replace}", "needs a target_label"),
        ("{action: replaze, target_label: a}", 'unknown action "replaze"'),
        ("{action: keep, regex: '(a'}", "not a regular expression"),
        ("{action: labeldrop, regex: a, source_labels: [b]}", "does not use source_labels"),
        ("{action: keepequal, target_label: a, regex: b}", "does not use regex"),
        ("{action: keep, regexp: a}", 'did you mean "regex"?'),
        ("{action: keep, source_labels: a}", "must be a list"),
    ],
)
def test_faults_have_a_place(text: str, expected: str) -> None:
    """A rule that cannot work is named with file, line and column."""
    faults: list[Fault] = []
    node = compose(f"rules:\n- {text}\n", "p.yml", faults)
    assert node is not None
    assert read_relabel_rules(Section(node, faults), "rules") == ()
    (fault,) = faults
    assert expected in str(fault)
    assert str(fault).startswith("p.yml:2:")


def test_a_rule_is_read_as_it_stands() -> None:
    """Every key of a rule is used; an empty separator stays empty."""
    faults: list[Fault] = []
    text = (
        "rules: [{action: Replace, source_labels: [a, b], separator: '', regex: 5, "
        "target_label: x, replacement: ''}, {action: hashmod, modulus: 8, target_label: y}]"
    )
    node = compose(text, "p.yml", faults)
    assert node is not None
    assert read_relabel_rules(Section(node, faults), "rules") == (
        RelabelRule(Action.REPLACE, ("a", "b"), "", "5", 0, "x", ""),
        RelabelRule(Action.HASHMOD, modulus=8, target_label="y"),
    )
    assert not faults
