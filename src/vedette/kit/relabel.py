"""Relabelling as Prometheus 3 does it: rules that change, keep or drop sets of labels.

Documentation: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config

It stands in the kit because targets, scraped series, remote write and alerts are all relabelled,
and those rooms do not know each other. Everything here is pure; regular expressions are RE2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import re2

from vedette.kit.yamlpos import Section

DEFAULT_REGEX = "(.*)"
DEFAULT_REPLACEMENT = "$1"
DEFAULT_SEPARATOR = ";"

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


class Action(StrEnum):
    """What a rule does."""

    REPLACE = "replace"
    KEEP = "keep"
    DROP = "drop"
    KEEPEQUAL = "keepequal"
    DROPEQUAL = "dropequal"
    HASHMOD = "hashmod"
    LABELMAP = "labelmap"
    LABELDROP = "labeldrop"
    LABELKEEP = "labelkeep"
    LOWERCASE = "lowercase"
    UPPERCASE = "uppercase"


_WITH_TARGET = (
    Action.REPLACE,
    Action.HASHMOD,
    Action.LOWERCASE,
    Action.UPPERCASE,
    Action.KEEPEQUAL,
    Action.DROPEQUAL,
)


@dataclass(frozen=True, slots=True)
class RelabelRule:
    """One rule, named and defaulted as in Prometheus' documentation.

    ``regex`` is anchored at both ends, and its ``.`` matches newlines too. :func:`rule_faults` says
    what does not fit together.
    """

    action: Action = Action.REPLACE
    source_labels: tuple[str, ...] = ()
    separator: str = DEFAULT_SEPARATOR
    regex: str = DEFAULT_REGEX
    modulus: int = 0
    target_label: str = ""
    replacement: str = DEFAULT_REPLACEMENT


def rule_faults(rule: RelabelRule) -> Iterable[tuple[str, str]]:
    """Yield a key and what is wrong with it, for everything that is wrong with ``rule``."""
    try:
        _compiled(rule.regex)
    except re2.error as error:
        yield "regex", f"not a regular expression of RE2: {_reason(error)}"
    if rule.action is Action.HASHMOD and not rule.modulus:
        yield "modulus", "hashmod needs a modulus of at least 1"
    if rule.action in _WITH_TARGET and not rule.target_label:
        yield "target_label", f"{rule.action} needs a target_label"
    if rule.action in (Action.KEEPEQUAL, Action.DROPEQUAL):
        yield from _unused(rule, ("regex", "separator", "modulus", "replacement"))
    if rule.action in (Action.LABELDROP, Action.LABELKEEP):
        unused = ("source_labels", "target_label", "modulus", "separator", "replacement")
        yield from _unused(rule, unused)
    if rule.action is Action.LABELMAP and not rule.replacement:
        yield "replacement", "labelmap needs a replacement that names labels"


def _unused(rule: RelabelRule, keys: Iterable[str]) -> Iterable[tuple[str, str]]:
    default = RelabelRule()
    for key in keys:
        if getattr(rule, key) != getattr(default, key):
            yield key, f"{rule.action} does not use {key}; remove it"


def _reason(error: re2.error) -> str:
    said = error.args[0] if error.args else error
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


@lru_cache(maxsize=4096)
def _compiled(regex: str) -> re2._Regexp:
    return re2.compile(f"^(?s:{regex})$", _OPTIONS)


Step = Callable[[dict[str, str]], bool]


class Relabeller:
    """Applies rules in their order; made once, used for many label sets, from any thread.

    Raises:
        ValueError: :func:`rule_faults` finds something.
    """

    def __init__(self, rules: Sequence[RelabelRule]) -> None:
        for rule in rules:
            for key, message in rule_faults(rule):
                raise ValueError(f"{key}: {message}")
        self._steps: tuple[Step, ...] = tuple(_step(rule) for rule in rules)

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __call__(self, labels: Mapping[str, str]) -> dict[str, str] | None:
        """Return the labels that the rules make of ``labels``, or ``None`` if they drop it.

        An empty value means that there is no such label; none is returned.
        """
        result = {name: labels[name] for name in sorted(labels) if labels[name]}
        for step in self._steps:
            if not step(result):
                return None
        return result


def relabel(rules: Sequence[RelabelRule], labels: Mapping[str, str]) -> dict[str, str] | None:
    """Apply ``rules`` once; see :class:`Relabeller`."""
    return Relabeller(rules)(labels)


def _step(rule: RelabelRule) -> Step:
    pattern = _compiled(rule.regex)
    match rule.action:
        case Action.KEEP | Action.DROP:
            wanted = rule.action is Action.KEEP
            return lambda labels: (pattern.search(_value(rule, labels)) is not None) is wanted
        case Action.KEEPEQUAL | Action.DROPEQUAL:
            equal = rule.action is Action.KEEPEQUAL
            target = rule.target_label
            return lambda labels: (labels.get(target, "") == _value(rule, labels)) is equal
        case Action.LABELDROP | Action.LABELKEEP:
            return _name_filter(pattern, rule.action is Action.LABELKEEP)
        case Action.LABELMAP:
            return _label_map(pattern, rule.replacement)
        case Action.REPLACE:
            return _replace(rule, pattern)
        case _:
            return _computed(rule)


def _value(rule: RelabelRule, labels: Mapping[str, str]) -> str:
    return rule.separator.join([labels.get(name, "") for name in rule.source_labels])


def _set(labels: dict[str, str], name: str, value: str) -> None:
    if value:
        labels[name] = value
    else:
        labels.pop(name, None)


def _name_filter(pattern: re2._Regexp, keep: bool) -> Step:
    def step(labels: dict[str, str]) -> bool:
        for name in list(labels):
            if (pattern.search(name) is not None) is not keep:
                del labels[name]
        return True

    return step


def _label_map(pattern: re2._Regexp, replacement: str) -> Step:
    def step(labels: dict[str, str]) -> bool:
        for name, value in list(labels.items()):
            match = pattern.search(name)
            if match is not None and (new := expand(replacement, match)):
                labels[new] = value
        return True

    return step


def _replace(rule: RelabelRule, pattern: re2._Regexp) -> Step:
    # Without a reference the texts stay what they are.
    fixed_target = "$" not in rule.target_label
    fixed_replacement = "$" not in rule.replacement

    def step(labels: dict[str, str]) -> bool:
        match = pattern.search(_value(rule, labels))
        if match is None:
            return True
        target = rule.target_label if fixed_target else expand(rule.target_label, match)
        if target:
            new = rule.replacement if fixed_replacement else expand(rule.replacement, match)
            _set(labels, target, new)
        return True

    return step


def _computed(rule: RelabelRule) -> Step:
    make: dict[Action, Callable[[str], str]] = {
        Action.HASHMOD: lambda value: str(hashmod(value, rule.modulus)),
        Action.LOWERCASE: lower,
        Action.UPPERCASE: upper,
    }
    function = make[rule.action]

    def step(labels: dict[str, str]) -> bool:
        _set(labels, rule.target_label, function(_value(rule, labels)))
        return True

    return step


def hashmod(value: str, modulus: int) -> int:
    """Return the last eight bytes of the MD5 of ``value``, big-endian, modulo ``modulus``."""
    # No security hangs on it: it only spreads targets, and must spread them as Prometheus does.
    digest = hashlib.md5(value.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "big") % modulus


def lower(text: str) -> str:
    """Return ``text`` in lower case, character by character as Go does."""
    if text.isascii():
        return text.lower()
    return "".join("i" if c == "\u0130" else c if len(c.lower()) != 1 else c.lower() for c in text)


def upper(text: str) -> str:
    """Return ``text`` in upper case, character by character as Go does."""
    if text.isascii():
        return text.upper()
    return "".join(c if len(c.upper()) != 1 else c.upper() for c in text)


def expand(template: str, match: re2._Match) -> str:
    """Return ``template`` with ``$1``, ``${1}``, ``$name`` and ``$$`` replaced, as Go expands them.

    A group that is not there is empty; a ``$`` that begins no reference stands for itself.
    """

    def reference(found: re.Match[str]) -> str:
        name: str | None = found.group(1) or found.group(2)
        if name is None:
            return "$"
        return _group(match, name)

    return _REFERENCE.sub(reference, template)


def _group(match: re2._Match, name: str) -> str:
    if re.fullmatch(r"0|[1-9][0-9]{0,7}", name):
        number = int(name)
        return (match.group(number) or "") if number <= match.re.groups else ""
    return (match.group(name) or "") if name in match.re.groupindex else ""


def read_relabel_rules(section: Section, key: str) -> tuple[RelabelRule, ...]:
    """Return the rules in the list at ``key``; faults are noted in the section."""
    rules = []
    for inner in section.sections(key, "a relabelling rule"):
        before = len(inner.faults)
        rule = _read_rule(inner)
        inner.done()
        if inner.text("action", Action.REPLACE).lower() in tuple(Action):
            for name, message in rule_faults(rule):
                inner.fault(name, message)
        if len(inner.faults) == before:
            rules.append(rule)
    return tuple(rules)


def _read_rule(section: Section) -> RelabelRule:
    word = section.text("action", Action.REPLACE).lower()
    try:
        action = Action(word)
    except ValueError:
        section.fault("action", f'unknown action "{word}"', f"one of {', '.join(Action)}")
        action = Action.REPLACE
    rule = RelabelRule(
        action=action,
        source_labels=section.texts("source_labels"),
        separator=section.text("separator", DEFAULT_SEPARATOR),
        regex=section.text("regex", DEFAULT_REGEX),
        modulus=section.integer("modulus", 0, 0, 2**64 - 1),
        target_label=section.text("target_label"),
        replacement=section.text("replacement", DEFAULT_REPLACEMENT),
    )
    for name in rule.source_labels:
        if not name:
            section.fault("source_labels", "a label name is empty")
    return rule
