"""Rules of a running server, as its API tells them, written as a rule file again.

Labels of groups stand in their rules, for that is how the API tells them; remarks and templates of
files are as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from vedette.kit.duration import format_duration


class ExportError(ValueError):
    """An answer is not one of a rules API."""


@dataclass(frozen=True, slots=True)
class ListedRule:
    """A rule as the API tells it; times in seconds."""

    name: str
    expr: str
    alerting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    hold: float
    keep_firing: float
    state: str
    health: str
    last_error: str
    seconds: float
    last_evaluation: str


@dataclass(frozen=True, slots=True)
class ListedGroup:
    """A group as the API tells it; times in seconds."""

    name: str
    file: str
    interval: float
    limit: int
    query_offset: float
    rules: tuple[ListedRule, ...]


def read_answer(answer: object) -> tuple[ListedGroup, ...]:
    """Return the groups in the answer of ``/api/v1/rules``.

    Raises:
        ExportError: it is another answer.
    """
    groups = _mapping(_mapping(answer).get("data")).get("groups")
    if not isinstance(groups, list):
        raise ExportError("the answer holds no rule groups; is this the address of Vedette?")
    return tuple(_group(_mapping(group)) for group in groups)


def _group(group: Mapping[str, object]) -> ListedGroup:
    rules = group.get("rules")
    return ListedGroup(
        str(group.get("name", "")),
        str(group.get("file", "")),
        _number(group.get("interval")),
        int(_number(group.get("limit"))),
        _number(group.get("queryOffset")),
        tuple(_rule(_mapping(rule)) for rule in (rules if isinstance(rules, list) else ())),
    )


def _rule(rule: Mapping[str, object]) -> ListedRule:
    return ListedRule(
        name=str(rule.get("name", "")),
        expr=str(rule.get("query", "")),
        alerting=rule.get("type") == "alerting",
        labels=_texts(rule.get("labels")),
        annotations=_texts(rule.get("annotations")),
        hold=_number(rule.get("duration")),
        keep_firing=_number(rule.get("keepFiringFor")),
        state=str(rule.get("state", "")),
        health=str(rule.get("health", "")),
        last_error=str(rule.get("lastError", "")),
        seconds=_number(rule.get("evaluationTime")),
        last_evaluation=str(rule.get("lastEvaluation", "")),
    )


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> dict[str, str]:
    return {str(name): str(text) for name, text in _mapping(value).items()}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def rule_file(groups: Iterable[ListedGroup]) -> str:
    """Return ``groups`` as one rule file.

    Groups of several files may have one name; the later ones get their file's name added.
    """
    names: set[str] = set()
    written: list[dict[str, object]] = []
    for group in groups:
        name = group.name if group.name not in names else f"{group.name} ({group.file})"
        names.add(name)
        written.append(_written_group(group, name))
    text = _dumped(written, escaped=False)
    # YAML takes these signs for the end of a line, and would read a space.
    return _dumped(written, escaped=True) if set(text) & set("\x85\u2028\u2029") else text


def _dumped(groups: list[dict[str, object]], *, escaped: bool) -> str:
    document = {"groups": groups}
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=not escaped, width=100))


def _written_group(group: ListedGroup, name: str) -> dict[str, object]:
    fields: dict[str, object] = {"name": name}
    if group.interval:
        fields["interval"] = _duration(group.interval)
    if group.limit:
        fields["limit"] = group.limit
    if group.query_offset:
        fields["query_offset"] = _duration(group.query_offset)
    fields["rules"] = [_written_rule(rule) for rule in group.rules]
    return fields


def _written_rule(rule: ListedRule) -> dict[str, object]:
    fields: dict[str, object] = {"alert" if rule.alerting else "record": rule.name}
    fields["expr"] = rule.expr
    if rule.hold:
        fields["for"] = _duration(rule.hold)
    if rule.keep_firing:
        fields["keep_firing_for"] = _duration(rule.keep_firing)
    if rule.labels:
        fields["labels"] = dict(rule.labels)
    if rule.annotations and rule.alerting:
        fields["annotations"] = dict(rule.annotations)
    return fields


def _duration(seconds: float) -> str:
    return format_duration(round(seconds * 1000))
