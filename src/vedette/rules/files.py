"""Rule files in Prometheus' format, read with a fault for everything that does not fit.

The format is described in the documentation of Prometheus, "Recording rules" and "Alerting rules".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vedette.kit.yamlpos import Fault, Node, Section, compose
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.parser import PromQLSyntaxError, parse
from vedette.rules.rule import Rule, RuleGroup, RuleKind, rule_key
from vedette.rules.templates import Template, TemplateError, compile_template, literal

_SET_BY_VEDETTE = ("alertname", "alertstate")

Templates = tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """What was read: the groups that are sound, every fault, and what is sound but odd."""

    groups: tuple[RuleGroup, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()


def load_rule_files(
    patterns: Iterable[str],
    base: Path,
    default_interval_ms: int,
    *,
    first_occurrence: bool = True,
) -> RuleFiles:
    """Read all files that ``patterns`` (relative to ``base``) name.

    A pattern without a file is a fault unless it has a wildcard. Files appear by their path as
    the pattern gives it, so that moving the whole folder keeps the states of the alerts.
    """
    groups: list[RuleGroup] = []
    faults: list[Fault] = []
    warnings: list[Fault] = []
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
            found = read_rules(text, name, default_interval_ms, first_occurrence=first_occurrence)
            groups += found.groups
            faults += found.faults
            warnings += found.warnings
    return RuleFiles(tuple(groups), tuple(faults), tuple(warnings))


def _expand(pattern: str, base: Path, faults: list[Fault]) -> list[Path]:
    path = base / pattern
    if not any(sign in pattern for sign in "*?["):
        if not path.is_file():
            faults.append(Fault(pattern, 1, 1, "there is no such rule file", f"looked at {path}"))
            return []
        return [path]
    anchor = Path(path.anchor)
    return sorted(p for p in anchor.glob(str(path.relative_to(anchor))) if p.is_file())


def read_rules(
    text: str,
    file: str,
    default_interval_ms: int = 60_000,
    *,
    ignore_unknown: bool = False,
    first_occurrence: bool = True,
) -> RuleFiles:
    """Return the groups in ``text``, the content of ``file``, and all faults in it.

    ``ignore_unknown`` takes keys that nobody knows for remarks of other programs;
    ``first_occurrence`` holds for groups and rules that do not say.
    """
    faults: list[Fault] = []
    root = compose(text, file, faults)
    if root is None:
        return RuleFiles((), tuple(faults))
    reader = _File(root, faults, default_interval_ms, ignore_unknown, first_occurrence)
    groups = reader.read()
    warnings = tuple(sorted(reader.warnings))
    return RuleFiles(groups if not faults else (), tuple(sorted(faults)), warnings)


class _File:
    """Reads one file; what several groups have in common is known here."""

    def __init__(
        self,
        root: Node,
        faults: list[Fault],
        default_interval_ms: int,
        ignore_unknown: bool,
        first_occurrence: bool,
    ) -> None:
        self.file = root.file
        self.default_interval_ms = default_interval_ms
        self.first_occurrence = first_occurrence
        self.warnings: list[Fault] = []
        self._top = Section(root, faults, "the rule file")
        self._ignore_unknown = ignore_unknown
        self._alike: dict[tuple[object, ...], int] = {}
        self._keys: set[str] = set()

    def read(self) -> tuple[RuleGroup, ...]:
        groups: list[RuleGroup] = []
        names: set[str] = set()
        for section in self._top.sections("groups", "a group"):
            group = _Group(section, self).read()
            if group.name in names:
                section.fault("name", f'the group name "{group.name}" is used twice in this file')
            names.add(group.name)
            groups.append(group)
        self.done(self._top)
        return tuple(groups)

    def done(self, section: Section) -> None:
        """Name the keys of ``section`` that nobody asked for."""
        if not self._ignore_unknown:
            section.done()

    def key(self, wanted: str) -> str:
        """Return ``wanted``, or a form of it that no rule of the file has yet."""
        key, count = wanted, 1
        while key in self._keys:
            count += 1
            key = f"{wanted};{count}"
        self._keys.add(key)
        return key

    def compare(self, node: Node, kind: RuleKind, name: str, labels: Templates) -> None:
        """Warn of a rule that writes the same series as one before it."""
        identity = (kind, name, tuple((label, template.text) for label, template in labels))
        first = self._alike.setdefault(identity, node.line)
        if first != node.line:
            self.warnings.append(
                node.fault(
                    f'the {kind} rule "{name}" stands here a second time with the same labels',
                    f"see line {first}; both write the same series, so give one another label",
                )
            )


@dataclass(frozen=True, slots=True)
class _Common:
    """What a group says for all its rules."""

    name: str
    labels: Templates
    first_occurrence: bool
    app: str


def _app_of(labels: Templates) -> str:
    """Return the application that the label ``app`` names, "" where it hangs on the series."""
    template = dict(labels).get("app")
    return template.text if template is not None and template.plain else ""


class _Group:
    def __init__(self, section: Section, around: _File) -> None:
        self._section = section
        self._around = around
        self._file = section.node.file

    def read(self) -> RuleGroup:
        section, default = self._section, self._around.default_interval_ms
        section.require("name")
        name = section.text("name")
        labels = read_templates(section, "labels", section.faults, plain=True)
        common = _Common(
            name,
            labels,
            section.boolean("first_occurrence", self._around.first_occurrence),
            section.text("app"),
        )
        rules: list[Rule] = []
        for inner in section.sections("rules", "a rule"):
            rule = self._rule(inner, common)
            if rule is not None:
                rules.append(rule)
        offset = section.duration("query_offset", 0) if section.has("query_offset") else None
        group = RuleGroup(
            name=name,
            file=self._file,
            # Prometheus takes 0 for "not given".
            interval_ms=section.duration("interval", default) or default,
            rules=tuple(rules),
            limit=section.integer("limit", 0),
            query_offset_ms=offset,
        )
        self._around.done(section)
        return group

    def _rule(self, section: Section, group: _Common) -> Rule | None:
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
        recording = kind is RuleKind.RECORDING
        # The labels of a recording rule are texts, as in Prometheus: "{{" means nothing there.
        own = read_templates(section, "labels", section.faults, plain=recording)
        self._warn_of_labels(section, kind)
        labels = tuple(sorted({**dict(group.labels), **dict(own)}.items()))
        expr = section.text("expr").strip()
        rule = Rule(
            kind=kind,
            name=name,
            expr=expr,
            labels=labels,
            annotations=self._annotations(section, kind),
            hold_ms=self._duration(section, "for", kind),
            keep_firing_ms=self._duration(section, "keep_firing_for", kind),
            file=self._file,
            line=section.node.line,
            key=self._around.key(rule_key(self._file, group.name, name, expr, labels)),
            first_occurrence=section.boolean("first_occurrence", group.first_occurrence),
            app=section.text("app", group.app) or _app_of(labels),
        )
        self._around.done(section)
        if not name:
            return None
        self._around.compare(section.node, kind, name, labels)
        return rule

    def _warn_of_labels(self, section: Section, kind: RuleKind) -> None:
        if kind is RuleKind.RECORDING or not section.has("labels"):
            return
        for label, _ in section.pairs("labels"):
            if label.text in _SET_BY_VEDETTE:
                message = f'the label "{label.text}" has no effect: it is set for every alert'
                self._around.warnings.append(label.fault(message, "rename or remove it"))

    def _check_name(self, section: Section, kind: RuleKind, name: str) -> None:
        if kind is not RuleKind.RECORDING:
            return
        fix = "use letters, digits, _ and :, such as job:errors:rate5m"
        if "{" in name or "}" in name:
            fix = "conditions on labels belong into expr, fixed labels into labels"
            section.fault("record", f'braces in the metric name "{name}"', fix)
        elif not name.strip():
            section.fault("record", f'not a metric name: "{name}"', fix)

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
        return read_templates(section, "annotations", section.faults)

    def _duration(self, section: Section, key: str, kind: RuleKind) -> int:
        if kind is RuleKind.RECORDING and section.has(key):
            section.fault(key, f'a recording rule has no "{key}"', "remove it")
        return section.duration(key, 0)


def read_templates(
    section: Section, key: str, faults: list[Fault], *, plain: bool = False
) -> Templates:
    """Return the labels or annotations at ``key``, sorted by name.

    ``plain`` takes their values as they are written; else they are templates. Names are any
    UTF-8 text, as in Prometheus 3.
    """
    found: list[tuple[str, Template]] = []
    for name, value in section.pairs(key):
        if not name.text:
            faults.append(name.fault("a label name is empty", "write `name: value`"))
        elif name.text == METRIC_NAME and key == "labels":
            faults.append(
                name.fault('a label cannot be "__name__"', "the name is set by record or alert")
            )
        else:
            template = literal(_text(value)) if plain else _template(value, faults)
            if template is not None:
                found.append((name.text, template))
    return tuple(sorted(found, key=lambda pair: pair[0]))


def _text(node: Node) -> str:
    return "" if node.is_null else node.text


def _template(node: Node, faults: list[Fault]) -> Template | None:
    text = _text(node)
    try:
        return compile_template(text)
    except TemplateError as error:
        before = text[: error.offset]
        line = before.count("\n") + 1
        column = error.offset - (before.rfind("\n") + 1) + 1
        faults.append(node.fault_inside(line, column, f"bad template: {error.message}", error.fix))
        return None
