"""Events that are durable in the spool but not yet in the column store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vedette.model.events import Event


class UnflushedEvents:
    """Acknowledged events, in order of receipt, until the store has them."""

    def __init__(self) -> None:
        self._batches: list[tuple[int, tuple[Event, ...]]] = []
        self.flushing = threading.Lock()
        """Held while events move to the store, so that no reader sees them in both or neither."""
        self.uncertain = False
        """Whether the store may hold some of them already: after a failed insert or a restart."""

    def add(self, sequence: int, events: Sequence[Event]) -> None:
        """Take events that were acknowledged with ``sequence``."""
        self._batches = [*self._batches, (sequence, tuple(events))]

    def drop(self, sequence: int) -> None:
        """Forget what was acknowledged up to ``sequence``: the store has it."""
        self._batches = [batch for batch in self._batches if batch[0] > sequence]
        self.uncertain = self.uncertain and bool(self._batches)

    def find(self, *, app: str, type: str, since: int, until: int) -> list[Event]:
        """Return matching events, by (ts, id) from the newest; arguments as in ``Events``."""
        found = [
            event
            for _, batch in self._batches
            for event in batch
            if since <= event.ts < until
            and (not app or event.app == app)
            and (not type or event.type == type)
        ]
        return sorted(found, key=lambda e: (e.ts, e.id), reverse=True)

    def __len__(self) -> int:
        return sum(len(batch) for _, batch in self._batches)
