"""The streaming profile's rules, as they are and as the demo shortens them."""

from __future__ import annotations

import re

import pytest
import yaml

from vedette.demo.rules import profile_rules, shorten
from vedette.model.labels import Labels
from vedette.rules.files import read_rules
from vedette.rules.templates import TemplateData


@pytest.mark.parametrize("text", [profile_rules(), shorten(profile_rules())])
def test_rules_are_sound(text: str) -> None:
    """Every rule is read without fault, and its texts expand to something readable."""
    found = read_rules(text, "rules.yml", 15_000)
    assert not found.faults
    rules = [rule for group in found.groups for rule in group.rules]
    assert len(rules) == 14
    data = TemplateData(Labels.of({"job": "shop"}), 0.25)
    for rule in rules:
        notes = {name: template.expand(data) for name, template in rule.annotations}
        assert {"summary", "description", "runbook"} <= set(notes)
        assert "{{" not in "".join(notes.values())


def test_each_threshold_has_its_severity() -> None:
    """Every alert exists as a warning and as critical, each with the KPI's threshold."""
    expected = {
        "SlowFirstToken": ("> 1", "> 2"),
        "SlowFirstAudio": ("> 2", "> 3"),
        "SlowCompleteAnswer": ("> 5", "> 8"),
        "HighStreamErrorRate": ("> 0.02", "> 0.05"),
        "ManyActiveStreams": ("> 200", "> 500"),
        "LowKnowledgeCacheHitRate": ("< 0.4", "< 0.2"),
        "LowSpeechCacheHitRate": ("< 0.3", "< 0.1"),
    }
    found: dict[tuple[str, str], str] = {}
    for group in yaml.safe_load(profile_rules())["groups"]:
        for rule in group["rules"]:
            [limit] = re.findall(r"[<>] [\d.]+", rule["expr"])
            found[rule["alert"], rule["labels"]["severity"]] = limit
    assert found == {
        (name, severity): limit
        for name, limits in expected.items()
        for severity, limit in zip(("warning", "critical"), limits, strict=True)
    }


def test_shortening_changes_durations_only() -> None:
    """Windows and ``for`` shrink together; thresholds and least samples stay."""
    short = shorten(profile_rules())
    assert "[5m]" not in short
    assert "[15s]" in short
    assert "window: 15s" in short
    assert "for: 3s" in short
    assert short.count(">= 20") == profile_rules().count(">= 20")
    assert shorten(short, 1) == short


def test_nothing_gets_shorter_than_a_second() -> None:
    """A large divisor ends at one second."""
    assert "[1s]" in shorten(profile_rules(), 100_000)
