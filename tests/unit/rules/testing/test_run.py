"""Unit tests of rules: what passes, what fails, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import peer_data
from vedette.query.promql.engine import EngineOptions
from vedette.rules.testing.cases import load_test_file, read_tests
from vedette.rules.testing.report import FileOutcome, as_json, lines
from vedette.rules.testing.run import run_tests

RULES = """
groups:
  - name: second
    rules:
      - alert: Down
        expr: instance:up == 0
        for: 5m
        keep_firing_for: 2m
        labels: {severity: page, site: "{{ $externalLabels.site }}"}
        annotations:
          summary: >-
            {{ $labels.instance }} of
            {{ with query "count(up)" }}{{ . | first | value }}{{ end }}
          link: "{{ $externalURL }}"
  - name: first
    rules:
      - {record: instance:up, expr: max by (instance) (up), labels: {raw: "{{ x }}"}}
"""

TESTS = """
rule_files: [rules.yml]
evaluation_interval: 1m
group_eval_order: [first, second]
tests:
  - name: down
    interval: 1m
    external_labels: {site: paris}
    external_url: https://monitor.example
    input_series:
      - {series: 'up{instance="a"}', values: "0x10 1x10"}
      - {series: 'up{instance="b"}', values: "1x3 _x3 stale 1x5"}
    alert_rule_test:
      - {eval_time: 4m, alertname: Down, exp_alerts: []}
      - eval_time: 5m30s
        alertname: Down
        exp_alerts: &alerts
          - exp_labels: {severity: page, instance: a, site: paris, raw: "{{ x }}"}
            exp_annotations: {summary: a of 2, link: "https://monitor.example"}
      - {eval_time: 13m, alertname: Down, exp_alerts: []}
    promql_expr_test:
      - expr: ALERTS
        eval_time: 4m
        exp_samples:
          - labels: >-
              ALERTS{alertname="Down", alertstate="pending", instance="a", raw="{{ x }}",
              severity="page", site="paris"}
            value: 1
      - expr: count(ALERTS)
        eval_time: 14m
      - {expr: "count_over_time(instance:up[20m:])", eval_time: 2m, exp_samples: []}
"""


def outcome(folder: Path, tests: str, rules: str = RULES) -> FileOutcome:
    """Run ``tests`` beside ``rules``."""
    (folder / "rules.yml").write_text(rules)
    (folder / "tests.yml").write_text(tests)
    file = load_test_file(folder / "tests.yml")
    options = EngineOptions(default_step_ms=file.interval_ms)
    groups = [] if file.faults else run_tests(file, options)
    return FileOutcome("tests.yml", file.faults, file.warnings, tuple(groups))


def test_rules_run_as_time_goes_on(tmp_path: Path) -> None:
    """Groups run in the given order, alerts wait and linger, templates see everything."""
    found = outcome(tmp_path, TESTS)
    failures = [failure for group in found.groups for failure in group.failures]
    # The last query expects nothing, and gets the recorded series: it must be the only failure.
    assert [failure.what for failure in failures] == ["count_over_time(instance:up[20m:])"]
    assert [line for _, line in lines(found)] == [
        'tests.yml:6: test "down" FAILED',
        "  line 31: query count_over_time(instance:up[20m:]) at 2m",
        "    expected   nothing",
        '    got      + {instance="a", raw="{{ x }}"} 3',
        '    got      + {instance="b", raw="{{ x }}"} 3',
        "tests.yml: FAILED, 1 of 1 tests",
    ]
    assert as_json(found)["passed"] is False


@pytest.mark.parametrize(
    ("changed", "to"),
    [
        ("severity: page, instance: a", "severity: page, instance: b"),
        ("summary: a of 2", "summary: a of 3"),
        ("eval_time: 5m30s", "eval_time: 3m"),
        (
            "alertname: Down\n        exp_alerts: &alerts",
            "alertname: Up\n        exp_alerts: &alerts",
        ),
        ("value: 1\n", "value: 2\n"),
        ('alertstate="pending"', 'alertstate="firing"'),
        ("group_eval_order: [first, second]", "group_eval_order: [second, first]"),
        ("eval_time: 14m", "eval_time: 12m"),
        ("0x10 1x10", "0x3 1x20"),
    ],
)
def test_a_changed_expectation_fails(tmp_path: Path, changed: str, to: str) -> None:
    """Each thing that a test says matters: another value fails it."""
    good = TESTS[: TESTS.index('      - {expr: "count_over')]
    assert outcome(tmp_path, good).passed
    assert changed in good
    assert not outcome(tmp_path, good.replace(changed, to)).passed


def test_faults_of_a_file(tmp_path: Path) -> None:
    """Unknown keys, wrong types and bad rule files are faults with their place."""
    text = (
        "rule_files: [rules.yml, none.yml]\ngroup_eval_order: [a, a]\ntets: []\n"
        "tests:\n- {intervall: 1m, start_timestamp: yesterday}\n"
        "- {alert_rule_test: [{eval_time: 1}], promql_expr_test: [{exp_samples: [{value: x}]}]}\n"
    )
    found = outcome(tmp_path, text, "groups: [{name: g, rules: [{record: a, expr: 'x +'}]}]")
    said = "\n".join(line for _, line in lines(found))
    for part in (
        "2:19: the group",
        '3:1: unknown key "tets"',
        '5:4: unknown key "intervall"',
        ": not a time",
        ': an alert test lacks "alertname"',
        ': "eval_time" is not a duration',
        '"value" must be a number',
        "rules.yml:1:50: bad expression",
        'no file matches "none.yml"',
    ):
        assert part in said, (part, said)
    assert not found.passed


def test_errors_of_a_run(tmp_path: Path) -> None:
    """A rule that fails ends its test; a bad series fails only the test that holds it."""
    rules = "groups: [{name: g, limit: 1, rules: [{record: a, expr: x}]}]"
    text = (
        "rule_files: [rules.yml]\ntests:\n- {name: many, input_series: "
        "[{series: 'x{a=\"1\"}', values: 1}, {series: 'x{a=\"2\"}', values: 1}]}\n"
        "- {name: bad, input_series: [{series: 'x{', values: 1}]}\n"
        "- {name: fails, promql_expr_test: [{expr: 'x +'}]}\n- {name: good}\n"
    )
    found = outcome(tmp_path, text, rules)
    messages = [[f.message or f.what for f in group.failures] for group in found.groups]
    assert "limit of 1" in messages[0][0]
    assert "not a series" in messages[1][0]
    assert "end of input" in messages[2][0]
    assert messages[3] == []


def test_the_start_of_a_test(tmp_path: Path) -> None:
    """``start_timestamp`` moves samples, evaluations and queries."""
    text = (
        "tests:\n- start_timestamp: 2024-01-01T00:00:00Z\n"
        "  input_series: [{series: x, values: 1 2}]\n"
        "  promql_expr_test:\n"
        "  - {expr: timestamp(x), eval_time: 1m, exp_samples: [{value: 1704067260}]}\n"
    )
    assert outcome(tmp_path, text).passed
    assert outcome(tmp_path, text.replace("2024-01-01T00:00:00Z", "1704067200")).passed
    assert not outcome(tmp_path, text.replace("2024-01-01T00:00:00Z", "0")).passed


def test_native_histograms(tmp_path: Path) -> None:
    """Histograms are read, recorded, and compared with the reset hints of the store."""
    text = (
        "rule_files: [rules.yml]\ntests:\n- input_series:\n"
        "  - {series: h, values: '{{count:2 sum:3 buckets:[2]}}+{{count:1 sum:1 buckets:[1]}}x1 "
        "{{count:1 sum:1 buckets:[1]}}'}\n"
        "  promql_expr_test:\n"
        "  - {expr: h, eval_time: 1m, exp_samples: [{labels: h, "
        "histogram: '{{count:3 sum:4 counter_reset_hint:not_reset buckets:[3]}}'}]}\n"
        "  - {expr: h, eval_time: 2m, exp_samples: [{labels: h, "
        "histogram: '{{count:1 sum:1 counter_reset_hint:reset buckets:[1]}}'}]}\n"
        "  - {expr: histogram_count(r), eval_time: 2m, exp_samples: [{value: 2}]}\n"
    )
    rules = "groups: [{name: g, rules: [{record: r, expr: h * 2}, {alert: A, expr: h, "
    rules += "annotations: {a: '{{ $value }} {{ $value.Count }}'}}]}]"
    assert outcome(tmp_path, text, rules).passed
    failed = outcome(tmp_path, text.replace("buckets:[3]", "buckets:[2 1]"), rules)
    assert [line.strip() for _, line in lines(failed)][1:-1] == [
        "line 6: query h at 1m",
        "expected - h {{count:3 sum:4 counter_reset_hint:not_reset buckets:[2 1]}}",
        "got      + h {{count:3 sum:4 counter_reset_hint:not_reset buckets:[3]}}",
    ]


def test_neighbouring_numbers(tmp_path: Path) -> None:
    """``fuzzy_compare`` takes a neighbouring float for the same, and no other."""
    text = (
        "fuzzy_compare: true\ntests:\n- promql_expr_test:\n"
        "  - {expr: vector(0.1 + 0.2), exp_samples: [{value: 0.3}]}\n"
    )
    assert outcome(tmp_path, text).passed
    assert not outcome(tmp_path, text.replace("true", "false")).passed
    assert not outcome(tmp_path, text.replace("value: 0.3", "value: 0.3000001")).passed


@given(st.text(alphabet=st.sampled_from("{}[]:,'\"x1+_ \n-a=s"), max_size=80))
def test_any_file_is_read_or_refused(text: str) -> None:
    """No text of a test file, of a series or of its values raises anything."""
    for content in (
        text,
        f"tests: [{{input_series: [{{series: {text!r}, values: {text!r}}}]}}]",
        f"tests: [{{promql_expr_test: [{{expr: x, exp_samples: [{{labels: {text!r}}}]}}]}}]",
    ):
        read_tests(content, "t.yml", Path())


@pytest.mark.parametrize(
    ("name", "pattern", "passes"),
    [
        ("unittest.yml", "", True),
        ("at-modifier-test.yml", "", True),
        ("bad-promql.yml", "", False),
        ("bad-rules-syntax-test.yml", "", False),
        ("rules_run.yml", "", False),
        ("rules_run.yml", "correct", True),
    ],
)
def test_files_of_promtool(name: str, pattern: str, passes: bool) -> None:
    """The test files that promtool is tested with pass or fail as they do there."""
    file = load_test_file(peer_data("promtool", name))
    options = EngineOptions(default_step_ms=file.interval_ms)
    groups = (
        [] if file.faults else run_tests(file, options, lambda group: group.startswith(pattern))
    )
    assert FileOutcome(name, file.faults, file.warnings, tuple(groups)).passed is passes
