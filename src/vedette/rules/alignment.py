"""Groups that ask the same are evaluated at the same time, and asked once: pure, at load.

Groups are spread over their interval by a hash of their key, so that they do not all begin at once.
Those whose rules are of common families gain more from sharing one answer than from being spread:
they take the offset of the first of them. Only rules that wait for no other rule of their group
share, for an answer that another group fetched does not hold what this group has just written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vedette.rules.families import Shares, families
from vedette.rules.plan import waves
from vedette.rules.rule import Rule, RuleGroup


@dataclass(frozen=True, slots=True)
class Part:
    """Rules of one group that one answer is dealt out to."""

    shares: Shares
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Aligned:
    """How one group is evaluated: what its offset hangs on, and its waves in parts."""

    offset_key: str
    waves: tuple[tuple[Part, ...], ...]


def align(groups: Sequence[RuleGroup], default_offset_ms: int = 0) -> dict[str, Aligned]:
    """Return how each of ``groups`` is evaluated, by its key."""
    together: dict[tuple[int, int], list[RuleGroup]] = {}
    for group in groups:
        back = default_offset_ms if group.query_offset_ms is None else group.query_offset_ms
        together.setdefault((group.interval_ms, back), []).append(group)
    found: dict[str, Aligned] = {}
    for alike in together.values():
        found |= _aligned(alike)
    return found


def _aligned(groups: Sequence[RuleGroup]) -> dict[str, Aligned]:
    planned = {group.key: waves(group.rules) for group in groups}
    owner = {rule.key: key for key, plan in planned.items() if plan for rule in plan[0]}
    first = [rule for plan in planned.values() if plan for rule in plan[0]]
    leader = {key: key for key in planned}
    parts: dict[str, list[Part]] = {key: [] for key in planned}
    for family in families(first):
        shares = Shares(family)
        own: dict[str, list[Rule]] = {}
        for member in family.members:
            own.setdefault(owner[member.rule.key], []).append(member.rule)
        for key, rules in own.items():
            parts[key].append(Part(shares, tuple(rules)))
        _join(leader, list(own))
    return {
        key: Aligned(
            _leader(leader, key),
            (tuple(parts[key]), *(_alone(wave) for wave in plan[1:])) if plan else (),
        )
        for key, plan in planned.items()
    }


def _alone(wave: Sequence[Rule]) -> tuple[Part, ...]:
    return tuple(
        Part(Shares(family), tuple(member.rule for member in family.members))
        for family in families(wave)
    )


def _leader(leader: Mapping[str, str], key: str) -> str:
    while leader[key] != key:
        key = leader[key]
    return key


def _join(leader: dict[str, str], keys: Sequence[str]) -> None:
    """Give all groups of ``keys``, and those joined with them, one leader: the smallest key."""
    leaders = {_leader(leader, key) for key in keys}
    least = min(leaders)
    for key in leaders:
        leader[key] = least
