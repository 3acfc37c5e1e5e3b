"""What a step verified, and how it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table.

    Attributes:
        step: what was verified.
        acknowledged: samples that were acknowledged and that nothing made unreadable.
        found: samples that queries return.
        faults: promises that were not kept, besides the counts.
        note: what else is worth telling.
    """

    step: str
    acknowledged: int
    found: int
    faults: tuple[str, ...] = ()
    note: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing is lost, doubled or unkept."""
        return self.acknowledged == self.found and not self.faults


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the rows as text."""
    rows = [
        f"{'step':34} {'acknowledged':>13} {'found':>13} {'lost':>8} {'doubled':>8}  verdict",
    ]
    for each in outcomes:
        lost = max(0, each.acknowledged - each.found)
        doubled = max(0, each.found - each.acknowledged)
        verdict = "; ".join(("ok" if each.good else "FAILED", *each.faults))
        rows.append(
            f"{each.step:34} {each.acknowledged:13,} {each.found:13,} {lost:8,} {doubled:8,}"
            f"  {verdict}{f' ({each.note})' if each.note else ''}"
        )
    return "\n".join(rows)
