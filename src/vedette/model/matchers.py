"""Label matchers: the question that selects series."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MatchOp(StrEnum):
    """How a label matcher compares."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One label matcher; an absent label has the value "".

    Regular expressions have RE2 syntax, are anchored at both ends, and their ``.`` matches
    newlines (Prometheus 3).
    """

    name: str
    op: MatchOp
    value: str
