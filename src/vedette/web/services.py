"""What the endpoints ask of the rooms below, as ``app`` hands it to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from vedette.dashboards.panels import Dashboard
from vedette.kit.clock import Clock
from vedette.model.alerts import AlertInstance
from vedette.model.results import QueryResult
from vedette.storage.interface import Events, Samples
from vedette.web.auth import Guard

T = TypeVar("T")


class QueryService(Protocol):
    """Runs PromQL in the query pool."""

    async def instant(
        self, query: str, ts: int, *, timeout: float = 0, lookback: int = 0
    ) -> QueryResult:
        """Evaluate ``query`` at ``ts`` ms; zero ``timeout`` or ``lookback`` mean the default."""
        ...

    async def range(
        self, query: str, start: int, end: int, step: int, *, timeout: float = 0, lookback: int = 0
    ) -> QueryResult:
        """Evaluate ``query`` every ``step`` ms from ``start`` to ``end``."""
        ...

    async def blocking(self, call: Callable[[], T]) -> T:
        """Run a blocking look-up in the query pool."""
        ...


@dataclass(frozen=True, slots=True)
class IntakeAnswer:
    """What an intake handler says of one request; ``body`` is empty for 204."""

    status: int
    body: bytes
    content_type: bytes
    retry_after: float = 0.0


class IntakeHandler(Protocol):
    """Takes the body of one pushed request."""

    async def __call__(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> IntakeAnswer:
        """Store what is well-formed and say what was not."""
        ...


@dataclass(frozen=True, slots=True)
class TargetView:
    """One scrape target as the API shows it; times in ms, 0 for never."""

    job: str
    instance: str
    scrape_url: str
    health: str
    last_error: str
    last_scrape: int
    scrape_seconds: float
    labels: Mapping[str, str]
    discovered: Mapping[str, str]
    interval_ms: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class RuleView:
    """One rule as the API shows it; ``alerts`` of an alerting rule are pending and firing ones."""

    name: str
    expr: str
    alerting: bool
    for_ms: int
    keep_firing_ms: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    health: str
    last_error: str
    evaluation_seconds: float
    last_evaluation: int
    alerts: Sequence[AlertInstance]


@dataclass(frozen=True, slots=True)
class GroupView:
    """One rule group as the API shows it."""

    name: str
    file: str
    interval_ms: int
    limit: int
    evaluation_seconds: float
    last_evaluation: int
    rules: Sequence[RuleView]


@dataclass(frozen=True, slots=True)
class MetadataView:
    """Type, help text and unit of a metric, as a target declared them."""

    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the server can do its work; ``detail`` says what it waits for or lacks."""

    ready: bool
    detail: str = ""


@dataclass(slots=True)
class HttpStats:
    """Requests that were refused before a room saw them, by reason; and answers that failed."""

    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the web room needs; the callables are cheap snapshots.

    ``panels`` answers for the live page, apart from ``queries``, so that nobody's slow query makes
    it wait.
    """

    clock: Clock
    guard: Guard
    queries: QueryService
    panels: QueryService
    samples: Samples
    events: Events
    remote_write: IntakeHandler
    event_intake: IntakeHandler
    targets: Callable[[], Sequence[TargetView]]
    groups: Callable[[], Sequence[GroupView]]
    recently_resolved: Callable[[], Sequence[AlertInstance]]
    metadata: Callable[[], Mapping[str, Sequence[MetadataView]]]
    metrics: Callable[[], bytes]
    readiness: Callable[[], Readiness]
    dashboard: Dashboard
    external_url: str
    version: str
    stats: HttpStats = field(default_factory=HttpStats)
