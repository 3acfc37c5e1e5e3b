"""Silences: a person has asked not to be told of certain alerts for a time; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from vedette.alerting.matchers import Test, compile_matchers
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence; times are milliseconds, ``starts_at`` inclusive and ``ends_at`` exclusive."""

    id: str
    matchers: tuple[Matcher, ...]
    starts_at: int
    ends_at: int
    created_by: str = ""
    comment: str = ""


class Silences(Protocol):
    """Where silences are kept."""

    def active(self, now_ms: int) -> Sequence[Silence]:
        """Return the silences that hold at ``now_ms``, from memory."""
        ...


class NoSilences:
    """Silences of a server where nobody has made one; the double of the Protocol, too."""

    def __init__(self, silences: Sequence[Silence] = ()) -> None:
        self._silences = tuple(silences)

    def active(self, now_ms: int) -> Sequence[Silence]:
        """Return the silences that hold at ``now_ms``."""
        return [one for one in self._silences if one.starts_at <= now_ms < one.ends_at]


@lru_cache(maxsize=4096)
def _test(matchers: tuple[Matcher, ...]) -> Test:
    return compile_matchers(matchers)


def silenced_by(silences: Sequence[Silence], labels: Labels) -> str | None:
    """Return the id of a silence among ``silences`` that covers ``labels``, or ``None``.

    A silence without matchers covers nothing: it would mute everything by mistake.
    """
    for silence in silences:
        if silence.matchers and _test(silence.matchers)(labels):
            return silence.id
    return None
