"""Rule files: what Prometheus reads is read; each fault has its place and its fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import peer_data
from vedette.rules.files import load_rule_files, read_rules
from vedette.rules.rule import RuleKind

GOOD = """
groups:
  - name: chat
    interval: 30s
    limit: 10
    query_offset: 1m
    labels: {team: web, severity: info}
    rules:
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors_total[5m]))
      - alert: ErrorsHigh
        expr: |
          job:errors:rate5m
            > 0.05
        for: 5m
        keep_firing_for: 10m
        labels: {severity: critical}
        annotations:
          summary: "{{ $value | humanizePercentage }} of {{ $labels.job }}"
  - name: empty
"""

BAD = """
groups:
  - name: g
    intervall: 30s
    rules:
      - alert: A
        expr: |
          sum(
            x >> 1
          )
        for: 5
        labels: {alertname: B, "good-name": x, k: "{{ rang }}"}
      - record: "a{b}"
        expr: x
        for: 1m
        annotations: {a: b}
      - expr: x
      - alert: B
        record: c
        expr: y
      - alert: C
  - name: g
    rules: [{alert: D, expr: x}, {alert: D, expr: y}]
"""


def test_a_good_file() -> None:
    """Every field arrives; labels of the group stand under those of the rule."""
    found = read_rules(GOOD, "r.yml", 15_000)
    assert found.faults == ()
    chat, empty = found.groups
    assert (chat.interval_ms, chat.limit, chat.query_offset_ms) == (30_000, 10, 60_000)
    assert (empty.interval_ms, empty.rules) == (15_000, ())
    record, alert = chat.rules
    assert (record.kind, record.name) == (RuleKind.RECORDING, "job:errors:rate5m")
    assert (alert.hold_ms, alert.keep_firing_ms, alert.line) == (300_000, 600_000, 11)
    assert [(name, text.text) for name, text in alert.labels] == [
        ("severity", "critical"),
        ("team", "web"),
    ]
    assert alert.key.startswith("r.yml;chat;ErrorsHigh;")


def test_every_fault_with_its_place() -> None:
    """One pass finds all faults, with line and column within expressions and templates too."""
    found = read_rules(BAD, "r.yml")
    assert found.groups == ()
    places = [(fault.line, fault.column, fault.message) for fault in found.faults]
    for line, column, part in [
        (4, 5, 'unknown key "intervall"'),
        (9, 16, "bad expression"),
        (11, 14, '"for" is not a duration: "5"'),
        (12, 55, "bad template"),
        (13, 17, 'braces in the metric name "a{b}"'),
        (15, 14, 'a recording rule has no "for"'),
        (16, 22, "a recording rule has no annotations"),
        (17, 9, "lacks its name"),
        (18, 9, "both alert and record"),
        (21, 9, 'lacks "expr"'),
        (22, 11, "used twice"),
    ]:
        assert any(
            (at_line, at_column) == (line, column) and part in message
            for at_line, at_column, message in places
        ), (line, column, part, places)
    assert all(fault.file == "r.yml" for fault in found.faults)


def test_the_key_of_a_rule() -> None:
    """An edit of "for" or annotations keeps the key; one of expression or labels does not."""

    def key(**change: str) -> str:
        fields = {"for": "1m", "expr": "x", "labels": "{a: b}", "annotations": "{s: t}"} | change
        lines = "".join(f"    {name}: {value}\n" for name, value in fields.items())
        text = f"groups:\n- name: g\n  rules:\n  - alert: A\n{lines}"
        return read_rules(text, "r.yml").groups[0].rules[0].key

    assert key() == key(**{"for": "2m", "annotations": "{s: u}"})
    assert len({key(), key(expr="y"), key(labels="{a: c}")}) == 3
    # Persisted states hang on the key: this text changes only with the version in rule.py.
    assert key() == "r.yml;g;A;a33a35a6bd29604b"


def test_patterns(tmp_path: Path) -> None:
    """Patterns find files once each, sorted; a named file that is not there is a fault."""
    for name in ("b.yml", "a.yml"):
        (tmp_path / name).write_text(f"groups: [{{name: {name[0]}}}]")
    (tmp_path / "raw.txt").write_bytes(b"\xff")
    found = load_rule_files(["*.yml", "a.yml", "none.yml", "no*.yml", "raw.txt"], tmp_path, 1000)
    assert [group.key for group in found.groups] == ["a.yml;a", "b.yml;b"]
    assert [fault.file for fault in found.faults] == ["none.yml", "raw.txt"]


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    """No content of a rule file raises, whether whole or as an expression."""
    read_rules(text, "r.yml")
    read_rules(f"groups: [{{name: g, rules: [{{alert: A, expr: {text!r}}}]}}]", "r.yml")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("rules.yml", True),
        ("at-modifier.yml", True),
        ("bad-rules-syntax.yml", False),
        ("rules-bad.yml", False),
        ("rules_extrafields.yml", False),
        ("rules_duplicates.yml", True),
    ],
)
def test_files_of_promtool(name: str, good: bool) -> None:
    """The rule files that promtool is tested with are taken, or refused for what its lints find."""
    path = peer_data("promtool", name)
    found = load_rule_files([name], path.parent, 60_000)
    assert (not found.faults) is good
