"""What the rule loop asks of the rooms around it; ``app`` wires the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from vedette.model.alerts import Alert, AlertInstance
from vedette.model.results import QueryResult
from vedette.query.promql.ast import Expr

T = TypeVar("T")


class Session(Protocol):
    """Queries of one round, called from its thread; what they read twice is read once."""

    def instant(self, query: str | Expr, ts: int, first_occurrence: bool = False) -> QueryResult:
        """Return the result of ``query`` at ``ts`` (ms); whatever it raises fails the rule.

        ``first_occurrence`` lets the first sample of a new series count as an increase.
        """
        ...


class Evaluate(Protocol):
    """The query engine."""

    @property
    def sequence(self) -> int:
        """Ingest sequence of the newest batch that queries see."""
        ...

    async def together(self, work: Callable[[Session], T], /) -> T:
        """Run ``work`` off the event loop; its queries see what is stored when it begins."""
        ...


class AlertStates(Protocol):
    """Where the instances of rule groups survive a restart; blocking; raises ``StorageError``."""

    def groups(self) -> list[str]:
        """Return the keys of all groups that have instances."""
        ...

    def load(self, group: str) -> list[AlertInstance]:
        """Return the instances of ``group`` as they were replaced last."""
        ...

    def replace(self, group: str, instances: Sequence[AlertInstance], now_ms: int) -> None:
        """Replace the instances of ``group`` in one transaction."""
        ...


class Leases(Protocol):
    """Rights that one process at a time holds; blocking; raises ``StorageError``."""

    def acquire(self, name: str, holder: str, ttl_ms: int, now_ms: int) -> bool:
        """Take or renew the lease ``name``; say whether ``holder`` has it now."""
        ...

    def release(self, name: str, holder: str) -> None:
        """Give the lease up if ``holder`` has it."""
        ...


class AlertSink(Protocol):
    """Takes the alerts of every evaluation."""

    async def post(self, alerts: Sequence[Alert]) -> None:
        """Take firing and recently resolved alerts; the same alert comes again each time."""
        ...

    async def settled(self) -> None:
        """Learn that every alert that fired before the start has been posted."""
        ...


class Offload(Protocol):
    """Runs a blocking call off the event loop."""

    async def __call__(self, function: Callable[[], T], /) -> T:
        """Return what ``function`` returns."""
        ...
