"""Rule files in Prometheus' format, read with a fault for everything that does not fit.

The format is described in the documentation of Prometheus, "Recording rules" and "Alerting rules".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vedette.kit.yamlpos import Fault, Node, Section, compose
from vedette.query.promql.parser import PromQLSyntaxError, parse
from vedette.rules.rule import Rule, RuleGroup, RuleKind, rule_key
from vedette.rules.templates import Template, TemplateError, compile_template

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED = {
    RuleKind.ALERTING: ("alertname", "alertstate", "__name__"),
    RuleKind.RECORDING: ("__name__",),
}

Templates = tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """What was read: the groups that are sound, and every fault."""

    groups: tuple[RuleGroup, ...]
    faults: tuple[Fault, ...]


def load_rule_files(patterns: Iterable[str], base: Path, default_interval_ms: int) -> RuleFiles:
    """Read all files that ``patterns`` (relative to ``base``) name.

    A pattern without a file is a fault unless it has a wildcard. Files appear by their path as
    the pattern gives it, so that moving the whole folder keeps the states of the alerts.
    """
    groups: list[RuleGroup] = []
    faults: list[Fault] = []
    seen: set[Path] = set()
    for pattern in patterns:
        for path in _expand(pattern, base, faults):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            name = str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                faults.append(Fault(name, 1, 1, f"cannot be read: {error}"))
                continue
            found = read_rules(text, name, default_interval_ms)
            groups += found.groups
            faults += found.faults
    return RuleFiles(tuple(groups), tuple(faults))


def _expand(pattern: str, base: Path, faults: list[Fault]) -> list[Path]:
    path = base / pattern
    if not any(sign in pattern for sign in "*?["):
        if not path.is_file():
            faults.append(Fault(pattern, 1, 1, "there is no such rule file", f"looked at {path}"))
            return []
        return [path]
    anchor = Path(path.anchor)
    return sorted(p for p in anchor.glob(str(path.relative_to(anchor))) if p.is_file())


def read_rules(text: str, file: str, default_interval_ms: int = 60_000) -> RuleFiles:
    """Return the groups in ``text``, the content of ``file``, and all faults in it."""
    faults: list[Fault] = []
    root = compose(text, file, faults)
    if root is None:
        return RuleFiles((), tuple(faults))
    top = Section(root, faults, "the rule file")
    groups: list[RuleGroup] = []
    names: dict[str, int] = {}
    for section in top.sections("groups", "a group"):
        group = _Group(section, default_interval_ms).read()
        if group.name in names:
            section.fault("name", f'the group name "{group.name}" is used twice in this file')
        names[group.name] = section.node.line
        groups.append(group)
    top.done()
    return RuleFiles(tuple(groups) if not faults else (), tuple(sorted(faults)))


class _Group:
    def __init__(self, section: Section, default_interval_ms: int) -> None:
        self._section = section
        self._default_interval_ms = default_interval_ms
        self._file = section.node.file

    def read(self) -> RuleGroup:
        section = self._section
        section.require("name")
        name = section.text("name")
        interval = section.duration("interval", self._default_interval_ms)
        # Prometheus takes 0 for "not given".
        interval = interval or self._default_interval_ms
        labels = read_templates(section, "labels", ("__name__",), section.faults)
        rules: list[Rule] = []
        seen: dict[tuple[object, ...], int] = {}
        for inner in section.sections("rules", "a rule"):
            rule = self._rule(inner, name, labels)
            if rule is None:
                continue
            identity = (rule.kind, rule.name, tuple((n, t.text) for n, t in rule.labels))
            if identity in seen:
                inner.faults.append(
                    inner.node.fault(
                        f'the rule "{rule.name}" stands here twice with the same labels',
                        f"see line {seen[identity]}; give one of them another name or label",
                    )
                )
            seen.setdefault(identity, inner.node.line)
            rules.append(rule)
        group = RuleGroup(
            name=name,
            file=self._file,
            interval_ms=interval,
            rules=tuple(rules),
            limit=section.integer("limit", 0),
            query_offset_ms=section.duration("query_offset", 0),
        )
        section.done()
        return group

    def _rule(self, section: Section, group: str, group_labels: Templates) -> Rule | None:
        alert, record = section.has("alert"), section.has("record")
        if alert == record:
            message = "a rule has both alert and record" if alert else "a rule lacks its name"
            section.faults.append(
                section.node.fault(message, 'write either "alert: NAME" or "record: METRIC"')
            )
        kind = RuleKind.RECORDING if record else RuleKind.ALERTING
        name = section.text("record" if record else "alert")
        self._check_name(section, kind, name)
        section.require("expr")
        self._check_expr(section)
        own = read_templates(section, "labels", _RESERVED[kind], section.faults)
        labels = tuple(sorted({**dict(group_labels), **dict(own)}.items()))
        rule = Rule(
            kind=kind,
            name=name,
            expr=section.text("expr").strip(),
            labels=labels,
            annotations=self._annotations(section, kind),
            hold_ms=self._duration(section, "for", kind),
            keep_firing_ms=self._duration(section, "keep_firing_for", kind),
            file=self._file,
            line=section.node.line,
            key=rule_key(self._file, group, name, section.text("expr").strip(), labels),
        )
        section.done()
        return rule if name else None

    def _check_name(self, section: Section, kind: RuleKind, name: str) -> None:
        if kind is RuleKind.RECORDING and not _METRIC.fullmatch(name):
            section.fault(
                "record",
                f'not a metric name: "{name}"',
                "use letters, digits, _ and :, such as job:errors:rate5m",
            )

    def _check_expr(self, section: Section) -> None:
        node = section.scalar("expr")
        if node is None:
            return
        try:
            parse(node.text)
        except PromQLSyntaxError as error:
            section.faults.append(
                node.fault_inside(error.line, error.column, f"bad expression: {error.message}")
            )

    def _annotations(self, section: Section, kind: RuleKind) -> Templates:
        if kind is RuleKind.RECORDING and section.has("annotations"):
            section.fault("annotations", "a recording rule has no annotations", "remove them")
        return read_templates(section, "annotations", (), section.faults)

    def _duration(self, section: Section, key: str, kind: RuleKind) -> int:
        if kind is RuleKind.RECORDING and section.has(key):
            section.fault(key, f'a recording rule has no "{key}"', "remove it")
        return section.duration(key, 0)


def read_templates(
    section: Section, key: str, reserved: tuple[str, ...], faults: list[Fault]
) -> Templates:
    """Return the labels or annotations at ``key`` with their templates, sorted by name."""
    found: list[tuple[str, Template]] = []
    for name, value in section.pairs(key):
        if not _LABEL.fullmatch(name.text):
            faults.append(
                name.fault(f'not a label name: "{name.text}"', "use letters, digits and _")
            )
        elif name.text in reserved:
            faults.append(name.fault(f'"{name.text}" is set by Vedette itself', "rename it"))
        else:
            template = _template(value, faults)
            if template is not None:
                found.append((name.text, template))
    return tuple(sorted(found, key=lambda pair: pair[0]))


def _template(node: Node, faults: list[Fault]) -> Template | None:
    text = "" if node.is_null else node.text
    try:
        return compile_template(text)
    except TemplateError as error:
        before = text[: error.offset]
        line = before.count("\n") + 1
        column = error.offset - (before.rfind("\n") + 1) + 1
        faults.append(node.fault_inside(line, column, f"bad template: {error.message}", error.fix))
        return None
