"""Matchers on the labels of alerts: read from their text, and compiled to a test.

The text is Alertmanager's: ``severity="critical"``, ``team=~"a|b"``, several joined by commas,
with or without braces; names in quotes may hold any character. Regular expressions have RE2
syntax and are anchored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import re2

from vedette.model.labels import Labels, quote
from vedette.model.matchers import Matcher, MatchOp

_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_MATCHER = re.compile(
    r"""\s*(?:(?P<name>[a-zA-Z_:][a-zA-Z0-9_:.-]*)|(?P<quoted>"(?:[^"\\]|\\.)*"))
    \s*(?P<op>=~|!~|!=|=)
    \s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<bare>[^"{},\s]*))\s*""",
    re.VERBOSE | re.DOTALL,
)


class MatcherError(ValueError):
    """A matcher cannot be read; the message says why and how to write it."""


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Return the matchers in ``text``.

    Raises:
        MatcherError: it is not a list of matchers, or an expression is not RE2.
    """
    body = text.strip()
    if body.startswith("{") != body.endswith("}") or body == "{":
        raise MatcherError(f"a brace is not closed: {text}")
    body = body[1:-1].strip() if body.startswith("{") else body
    found: list[Matcher] = []
    at = 0
    while at < len(body):
        match = _MATCHER.match(body, at)
        if match is None:
            raise MatcherError(f'not a matcher: {body[at:]}; write it like severity="critical"')
        found.append(_matcher(match))
        at = match.end()
        if at < len(body):
            if body[at] != ",":
                raise MatcherError(f"a comma is missing before: {body[at:]}")
            at += 1
    return tuple(found)


def _matcher(match: re.Match[str]) -> Matcher:
    name = match["name"] or _unquote(match["quoted"])
    value = match["bare"] if match["text"] is None else _unquote(match["text"])
    if not name:
        raise MatcherError("a matcher needs a label name")
    matcher = Matcher(name, MatchOp(match["op"]), value)
    compile_matchers((matcher,))
    return matcher


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[0]), text[1:-1], flags=re.DOTALL)


def format_matchers(matchers: Iterable[Matcher]) -> str:
    """Return ``matchers`` as Alertmanager prints them: ``{a="b",c=~"d"}``, sorted."""
    ordered = sorted(matchers, key=lambda one: (one.name, one.value, one.op))
    return "{" + ",".join(f"{one.name}{one.op}{quote(one.value)}" for one in ordered) + "}"


@lru_cache(maxsize=4096)
def _regex(value: str) -> Callable[[str], object]:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    try:
        regex = re2.compile(value, options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise MatcherError(f'not a regular expression (RE2): "{value}": {why}') from None
    fullmatch: Callable[[str], object] = regex.fullmatch
    return fullmatch


@dataclass(frozen=True, slots=True)
class Test:
    """A compiled list of matchers; all of them must match."""

    __test__ = False  # not a test class of pytest

    checks: tuple[tuple[str, Callable[[str], object]], ...]

    def __call__(self, labels: Labels) -> bool:
        """Whether ``labels`` match; an absent label has the value ""."""
        return all(check(labels.get(name)) for name, check in self.checks)


def compile_matchers(matchers: Iterable[Matcher]) -> Test:
    """Return the test that ``matchers`` stand for; no matcher matches everything.

    Raises:
        MatcherError: an expression is not RE2.
    """
    return Test(tuple((one.name, _check(one)) for one in matchers))


def _check(matcher: Matcher) -> Callable[[str], object]:
    wanted = matcher.value
    match matcher.op:
        case MatchOp.EQUAL:
            return wanted.__eq__
        case MatchOp.NOT_EQUAL:
            return wanted.__ne__
        case MatchOp.REGEX:
            return _regex(wanted)
        case MatchOp.NOT_REGEX:
            regex = _regex(wanted)
            return lambda value: not regex(value)
