"""Which metric family a sample belongs to, and what it is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vedette.scrape.grammar import Metadata
from vedette.scrape.series_cache import Role

_SUFFIXES: Mapping[str, tuple[tuple[str, Role], ...]] = {
    "counter": (("_total", Role.PLAIN), ("_created", Role.CREATED)),
    "histogram": (
        ("_bucket", Role.BUCKET),
        ("_sum", Role.SUM),
        ("_count", Role.COUNT),
        ("_created", Role.CREATED),
    ),
    "gaugehistogram": (
        ("_bucket", Role.PLAIN),
        ("_gsum", Role.PLAIN),
        ("_gcount", Role.PLAIN),
    ),
    "summary": (("_sum", Role.PLAIN), ("_count", Role.PLAIN), ("_created", Role.CREATED)),
    "info": (("_info", Role.PLAIN),),
}
_STARTED = frozenset(("counter", "histogram", "summary"))
SUFFIXES = sorted({suffix for rules in _SUFFIXES.values() for suffix, _ in rules})


@dataclass(frozen=True, slots=True)
class Member:
    """What a sample is: the name and type of its family, and its role in it."""

    family: str
    type: str
    role: Role

    @property
    def started(self) -> bool:
        """Whether series of this kind have a start timestamp."""
        return self.type in _STARTED


def member_of(name: str, metadata: Mapping[str, Metadata]) -> Member:
    """Return what the series ``name`` is, by what the target said of its families."""
    for suffix in SUFFIXES:
        if not name.endswith(suffix):
            continue
        family = name.removesuffix(suffix)
        known = metadata.get(family)
        role = dict(_SUFFIXES.get(known.type, ())).get(suffix) if known else None
        if known and role is not None:
            return Member(family, known.type, role)
    known = metadata.get(name)
    return Member(name, known.type if known else "unknown", Role.PLAIN)
