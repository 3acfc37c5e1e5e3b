"""Matchers applied to label tables: each distinct value is judged once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import re2

from vedette.model.arrays import Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.storage.interface import StorageError


class InvalidRegexError(StorageError):
    """A matcher's regular expression is not RE2."""


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> Callable[[str], object]:
    options = re2.Options()
    options.dot_nl = True
    options.never_capture = True
    options.log_errors = False
    try:
        return re2.compile(pattern, options).fullmatch  # type: ignore[no-any-return] # untyped library
    except re2.error as error:
        detail = error.args[0] if error.args else b""
        text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise InvalidRegexError(f'invalid regular expression "{pattern}": {text}') from None


_LITERAL = re.compile(r"(?:[^\\.+*?()|\[\]{}^$]|\\[^a-zA-Z0-9])*")


@lru_cache(maxsize=1024)
def alternatives(pattern: str) -> frozenset[str] | None:
    """Return the texts that ``pattern`` matches if it only names them (``a|b``), else ``None``."""
    parts: list[str] = []
    at = 0
    while True:
        match = _LITERAL.match(pattern, at)
        end = at if match is None else match.end()
        parts.append(re.sub(r"\\(.)", r"\1", pattern[at:end], flags=re.DOTALL))
        if end == len(pattern):
            return frozenset(parts)
        if pattern[end] != "|":
            return None
        at = end + 1


def predicate(matcher: Matcher) -> Callable[[str], bool]:
    """Return the test that a label's value ("" when absent) has to pass.

    Raises:
        InvalidRegexError: the pattern is not RE2.
    """
    wanted = matcher.value
    if matcher.op is MatchOp.EQUAL:
        return lambda value: value == wanted
    if matcher.op is MatchOp.NOT_EQUAL:
        return lambda value: value != wanted
    names = alternatives(wanted)
    if names is not None:
        # Asking a set is many times cheaper than an automaton.
        if matcher.op is MatchOp.REGEX:
            return names.__contains__
        return lambda value: value not in names
    search = _regex(wanted)
    if matcher.op is MatchOp.REGEX:
        return lambda value: search(value) is not None
    return lambda value: search(value) is None


def matches(matchers: Sequence[Matcher], labels: Labels) -> bool:
    """Return whether one label set passes every matcher."""
    return all(predicate(m)(labels.get(m.name)) for m in matchers)


def matches_mapping(matchers: Sequence[Matcher], labels: Mapping[str, str]) -> bool:
    """Return whether labels that are no series' own, such as a rule's, pass every matcher."""
    return all(predicate(m)(labels.get(m.name, "")) for m in matchers)


def matching_metrics(matchers: Sequence[Matcher], metrics: Sequence[str]) -> list[str]:
    """Return those of ``metrics`` that pass all matchers on the metric name, in order."""
    tests = [predicate(m) for m in matchers if m.name == METRIC_NAME]
    return [metric for metric in metrics if all(test(metric) for test in tests)]


def matching_rows(matchers: Sequence[Matcher], table: LabelTable) -> Mask | None:
    """Return bool[S], the rows of ``table`` that pass; ``None`` when every row does.

    Matchers on the metric name are left to :func:`matching_metrics`.
    """
    mask: Mask | None = None
    for matcher in matchers:
        if matcher.name == METRIC_NAME:
            continue
        found = table.column(matcher.name)
        codes, values = found or (np.zeros(len(table), np.int32), ("",))
        verdict = _verdict(matcher, values)
        if not verdict.all():
            rows = verdict[codes]
            mask = rows if mask is None else mask & rows
    return mask


def _verdict(matcher: Matcher, values: tuple[str, ...]) -> Mask:
    if matcher.op in (MatchOp.EQUAL, MatchOp.NOT_EQUAL):
        negated = matcher.op is MatchOp.NOT_EQUAL
        verdict = np.full(len(values), negated)
        if matcher.value in values:
            verdict[values.index(matcher.value)] = not negated
        return verdict
    return np.fromiter(map(predicate(matcher), values), bool, len(values))
