"""Which rules of a group must wait for which: pure, decided once when the group is loaded.

A rule that reads a series waits until every rule before it that writes the series has written. A
rule whose selector leaves the metric name open may read anything, so it waits for all before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache

from vedette.model.labels import METRIC_NAME
from vedette.model.matchers import MatchOp
from vedette.query.promql.ast import Expr, VectorSelector
from vedette.query.promql.parser import parse
from vedette.rules.rule import Rule, RuleKind

ALERT_SERIES = ("ALERTS", "ALERTS_FOR_STATE")


@lru_cache(maxsize=8192)
def parsed(text: str) -> Expr:
    """Return the tree of an expression that was checked when its file was read."""
    return parse(text)


def selectors(expr: Expr) -> Iterator[VectorSelector]:
    """Yield every selector within ``expr``."""
    waiting: list[object] = [expr]
    while waiting:
        node = waiting.pop()
        if isinstance(node, VectorSelector):
            yield node
        elif isinstance(node, tuple):
            waiting.extend(node)
        elif is_dataclass(node) and not isinstance(node, type):
            waiting.extend(getattr(node, each.name) for each in fields(node))


def names_read(expr: Expr) -> frozenset[str] | None:
    """Return the metric names that ``expr`` selects, or ``None`` where a name is left open."""
    names: set[str] = set()
    for selector in selectors(expr):
        if selector.name is not None:
            names.add(selector.name)
            continue
        exact = [
            matcher.value
            for matcher in selector.matchers
            if matcher.name == METRIC_NAME and matcher.op is MatchOp.EQUAL
        ]
        if not exact:
            return None
        names.update(exact)
    return frozenset(names)


def names_written(rule: Rule) -> tuple[str, ...]:
    """Return the metric names that ``rule`` writes."""
    return (rule.name,) if rule.kind is RuleKind.RECORDING else ALERT_SERIES


def waves(rules: Sequence[Rule]) -> tuple[tuple[Rule, ...], ...]:
    """Return ``rules`` in waves: those of one wave may be evaluated in any order, side by side.

    All rules of a wave read before any of them writes, and a rule never stands in an earlier wave
    than one before it whose series it writes: what the rules see is what they would see one after
    the other.
    """
    found: list[list[Rule]] = []
    writers: dict[str, int] = {}
    readers: dict[str, int] = {}
    # The latest wave of a rule that reads we do not know what.
    open_reader = 0
    for rule in rules:
        reads, writes = names_read(parsed(rule.expr)), names_written(rule)
        after = list(writers.values()) if reads is None else _of(writers, reads)
        wave = max(
            [open_reader, *(one + 1 for one in after), *_of(readers, writes), *_of(writers, writes)]
        )
        while len(found) <= wave:
            found.append([])
        found[wave].append(rule)
        for name in writes:
            writers[name] = max(wave, writers.get(name, 0))
        for name in reads or ():
            readers[name] = max(wave, readers.get(name, 0))
        if reads is None:
            open_reader = wave
    return tuple(tuple(wave) for wave in found)


def _of(places: dict[str, int], names: Sequence[str] | frozenset[str]) -> list[int]:
    return [places[name] for name in names if name in places]
