"""Events that are durable in the spool but not yet in the column store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vedette.model.events import Event


class UnflushedEvents:
    """Acknowledged events, in order of receipt, until the store has them."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, tuple[Event, ...]]] = []
        self._dropped = 0
        self.flushing = threading.Lock()
        """Held while events move to the store, so that no reader sees them in both or neither."""
        self.uncertain_until = 0
        """Events up to this sequence may be in the store already: an insert failed, or a restart
        has forgotten how it ended."""

    def add(self, sequence: int, events: Sequence[Event]) -> None:
        """Take events that were acknowledged with ``sequence``."""
        if sequence > self._dropped:
            self._batches = [*self._batches, (sequence, tuple(events))]

    def drop(self, sequence: int) -> None:
        """Forget what was acknowledged up to ``sequence``: the store has it."""
        self._dropped = max(self._dropped, sequence)
        self._batches = [batch for batch in self._batches if batch[0] > sequence]

    def find(
        self, *, app: str, type: str, since: int, until: int
    ) -> tuple[list[Event], list[Event]]:
        """Return matching events, those surely not in the store and the uncertain ones."""
        certain: list[Event] = []
        uncertain: list[Event] = []
        for sequence, batch in self._batches:
            (certain if sequence > self.uncertain_until else uncertain).extend(
                event
                for event in batch
                if since <= event.ts < until
                and (not app or event.app == app)
                and (not type or event.type == type)
            )
        return certain, uncertain

    def __len__(self) -> int:
        return sum(len(batch) for _, batch in self._batches)
