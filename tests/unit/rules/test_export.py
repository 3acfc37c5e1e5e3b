"""Exported rules: what the API tells of rules can be read again, by Vedette and by promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.needs import peer
from vedette.app import views
from vedette.rules.export import ExportError, read_answer, rule_file
from vedette.rules.files import read_rules
from vedette.rules.rule import RuleGroup
from vedette.rules.status import GroupStatus, RuleStatus
from vedette.web.api.rules import _group

RULES = """
groups:
  - name: chat
    interval: 30s
    limit: 10
    labels: {team: web}
    rules:
      - record: job:errors:rate5m
        expr: sum by (job) (rate(errors_total{path=~"/a.*", q='"x"'}[5m]))
      - alert: ErrorsHigh
        expr: |
          job:errors:rate5m
            > 0.05
        for: 1h30m
        keep_firing_for: 10m
        labels: {severity: "{{ if gt $value 1.0 }}page{{ else }}info{{ end }}", yes: "no"}
        annotations:
          summary: "{{ $value | humanizePercentage }} of {{ $labels.job }}: é"
          long: |
            two
            lines
  - {name: empty, interval: 1m}
"""


def told(text: str, file: str = "r.yml") -> dict[str, object]:
    """Return what the API tells of the rules in ``text``."""
    found = read_rules(text, file)
    assert found.faults == ()
    groups = [
        views._group(GroupStatus(group, tuple(map(RuleStatus.of, group.rules))))
        for group in found.groups
    ]
    return {"data": {"groups": [_group(group, with_alerts=True) for group in groups]}}


def essence(groups: tuple[RuleGroup, ...]) -> list[object]:
    """Return what an export must keep."""
    return [
        (
            group.name,
            group.interval_ms,
            group.limit,
            group.query_offset_ms or 0,
            [
                (
                    *(rule.kind, rule.name, rule.expr, rule.hold_ms, rule.keep_firing_ms),
                    [(name, template.text) for name, template in rule.labels],
                    [(name, template.text) for name, template in rule.annotations],
                )
                for rule in group.rules
            ],
        )
        for group in groups
    ]


def test_an_export_reads_back() -> None:
    """Everything that a rule says is in the export."""
    text = RULES.replace("limit: 10", "limit: 10\n    query_offset: 1m")
    exported = rule_file(read_answer(told(text)))
    assert essence(read_rules(exported, "r.yml").groups) == essence(
        read_rules(text, "r.yml").groups
    )


@example("\x85", "\u2028 a")
@given(st.text(min_size=1, max_size=30), st.text(max_size=60).filter(lambda t: "{{" not in t))
def test_any_text_survives(name: str, text: str) -> None:
    """Whatever stands in names and texts of a rule is the same after an export."""
    rule = {"type": "alerting", "name": name, "query": "up", "annotations": {"a": text}}
    answer = {"data": {"groups": [{"name": name, "interval": 60, "rules": [rule]}]}}
    found = read_rules(rule_file(read_answer(answer)), "r.yml")
    if found.faults:
        # YAML has no way to write some control characters in names of one line.
        assert not name.isprintable() or not text.isprintable() or not name.strip()
        return
    assert found.groups[0].rules[0].name == name
    assert dict(found.groups[0].rules[0].annotations)["a"].text == text


def test_groups_with_one_name() -> None:
    """A name that two files use is made two."""
    answer = {"data": {"groups": [{"name": "g", "file": "a"}, {"name": "g", "file": "b"}]}}
    assert [g.name for g in read_rules(rule_file(read_answer(answer)), "r").groups] == [
        "g",
        "g (b)",
    ]


@pytest.mark.parametrize("answer", [None, [], {"data": {}}, {"data": {"groups": 1}}, "x"])
def test_another_answer_is_refused(answer: object) -> None:
    """What is no list of groups is said to be none."""
    with pytest.raises(ExportError):
        read_answer(answer)


def test_promtool_takes_an_export(tmp_path: Path) -> None:
    """Debian's promtool checks an exported file without a fault."""
    (tmp_path / "rules.yml").write_text(rule_file(read_answer(told(RULES))))
    done = subprocess.run(
        [peer("promtool"), "check", "rules", tmp_path / "rules.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "SUCCESS: 2 rules found" in done.stdout
