"""Drawing without luck: a shuffled deck deals every card before any comes again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Deck(Generic[T]):
    """An endless sequence in which every card comes once per round.

    Chance alone would leave a rare fault out of one short run in a few hundred.
    """

    def __init__(self, cards: Sequence[T], rng: random.Random) -> None:
        if not cards:
            raise ValueError("a deck needs at least one card")
        self._cards = tuple(cards)
        self._rng = rng
        self._left: list[T] = []

    def draw(self) -> T:
        """Return the next card."""
        if not self._left:
            self._left = list(self._cards)
            self._rng.shuffle(self._left)
        return self._left.pop()


def generator(*parts: object) -> random.Random:
    """Return a random generator whose numbers follow from ``parts`` alone."""
    return random.Random(":".join(map(str, parts)))  # noqa: S311 - repeatable, nothing secret
