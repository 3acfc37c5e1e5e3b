"""What the endpoints ask of the rooms below, as ``app`` hands it to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from vedette.dashboards.panels import Dashboard
from vedette.kit.clock import Clock
from vedette.model.alerts import AlertInstance
from vedette.model.matchers import Matcher
from vedette.model.results import QueryResult
from vedette.query.usage import Usage
from vedette.storage.interface import Check, Events, Exemplars, Samples, StorageError
from vedette.web.auth import Guard

T = TypeVar("T")


class QueryService(Protocol):
    """Runs PromQL in the query pool.

    A query ends when its task is cancelled, which is how the end of a client reaches it.
    """

    async def instant(
        self,
        query: str,
        ts: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        """Evaluate ``query`` at ``ts`` ms; zero ``timeout`` or ``lookback`` mean the default.

        What it used is entered in ``usage``; ``who`` asks, for the query log.
        ``first_occurrence``: a series seen for the first time began at zero before.
        """
        ...

    async def range(
        self,
        query: str,
        start: int,
        end: int,
        step: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        """Evaluate ``query`` every ``step`` ms from ``start`` to ``end``."""
        ...

    async def blocking(self, call: Callable[[], T], *, timeout: float = 0) -> T:
        """Run a blocking look-up in the query pool, as one query among others."""
        ...

    async def lookup(self, call: Callable[[Check], T], *, timeout: float = 0) -> T:
        """Run a look-up that asks the check it is given whether to go on."""
        ...

    async def aside(self, call: Callable[[], T]) -> T:
        """Run a short piece of work off the event loop, such as writing a long answer."""
        ...


@dataclass(frozen=True, slots=True)
class IntakeAnswer:
    """What an intake handler says of one request; ``body`` is empty for 204."""

    status: int
    body: bytes
    content_type: bytes
    retry_after: float = 0.0
    headers: tuple[tuple[bytes, bytes], ...] = ()


class IntakeHandler(Protocol):
    """Takes the body of one pushed request."""

    async def __call__(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> IntakeAnswer:
        """Store what is well-formed and say what was not."""
        ...


class PushIntake(Protocol):
    """Keeps pushed groups, as Pushgateway does."""

    async def push(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        sender: str,
        app: str,
    ) -> IntakeAnswer:
        """Answer PUT, POST or DELETE of the group in the percent-encoded ``path``."""
        ...

    def groups(self) -> bytes:
        """Return all groups as JSON."""
        ...

    async def wipe(self) -> None:
        """Delete all groups."""
        ...


class ImportIntake(Protocol):
    """Imports expositions of any length."""

    async def take(
        self,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        labels: Mapping[str, str],
        timestamp: int,
        app: str,
    ) -> IntakeAnswer:
        """Store the body; every series gets ``labels``; ``timestamp`` (ms, 0: now) is of lines
        without one.
        """
        ...


@dataclass(frozen=True, slots=True)
class MetadataView:
    """Type, help text and unit of a metric, as a target declared them."""

    type: str
    help: str
    unit: str


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
class TargetMetadata:
    """The labels of a target, and what it says of its metrics by name."""

    labels: Mapping[str, str]
    entries: Mapping[str, MetadataView]


@dataclass(frozen=True, slots=True)
class DroppedTargets:
    """Targets of one job that relabelling dropped: how many, and labels of some of them."""

    count: int
    shown: Sequence[Mapping[str, str]]


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
    query_offset_ms: int = 0


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
class Named:
    """One line of a list of the worst: a label, metric or pair, and its count or size."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class CardinalityView:
    """What fills the memory for recent samples; each list is the worst first.

    Attributes:
        series, label_pairs, chunks: totals.
        first_ts, last_ts: oldest and newest sample time in ms.
        series_by_metric: series of each metric.
        values_by_label: distinct values of each label.
        bytes_by_label: bytes of a label's name and values over all series.
        series_by_pair: series with each ``name=value``.
    """

    series: int
    label_pairs: int
    chunks: int
    first_ts: int
    last_ts: int
    series_by_metric: Sequence[Named]
    values_by_label: Sequence[Named]
    bytes_by_label: Sequence[Named]
    series_by_pair: Sequence[Named]


class ServerFacts(Protocol):
    """What the server tells of itself; cheap but for ``cardinality``, which may block."""

    def config(self) -> str:
        """Return the configuration as YAML, secrets left out."""
        ...

    def flags(self) -> Mapping[str, str]:
        """Return settings under the names of Prometheus' command line, where it has one."""
        ...

    def runtime(self) -> Mapping[str, object]:
        """Return members of ``status/runtimeinfo`` besides the server's time."""
        ...

    def features(self) -> Mapping[str, Mapping[str, bool]]:
        """Return what is switched on, by area, under the names that Prometheus 3 uses."""
        ...

    def replay(self) -> tuple[int, int, int]:
        """Return first, last and current segment while the spool is replayed; zeros afterwards."""
        ...

    def cardinality(self, most: int) -> CardinalityView:
        """Return totals and the ``most`` worst of each list; blocking."""
        ...


async def _no_reload() -> str:
    return "there is nothing to reload"


class Administration(Protocol):
    """What an administrator may do to the samples that are stored."""

    async def delete_series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> None:
        """Delete what any of ``matchers`` selects in ``start <= ts <= end`` (ms)."""
        ...

    async def clean_tombstones(self) -> None:
        """Return when everything that was deleted takes no room any more."""
        ...


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """A snapshot of everything stored: its name, and the folder on the server's disk."""

    name: str
    path: str


async def _no_snapshot() -> SnapshotTaken:
    raise StorageError("snapshots are not wired")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the web room needs; the callables are cheap snapshots.

    ``panels`` answers for the live page, apart from ``queries``, so that nobody's slow query makes
    it wait. ``external_labels`` are added to series that are federated. ``intakes`` are further
    endpoints that take POSTed bodies, by path.
    ``reload`` reads the configuration again and returns what is wrong with it, or "".
    """

    clock: Clock
    guard: Guard
    queries: QueryService
    panels: QueryService
    samples: Samples
    events: Events
    remote_write: IntakeHandler
    event_intake: IntakeHandler
    exemplars: Exemplars
    server: ServerFacts
    targets: Callable[[], Sequence[TargetView]]
    target_metadata: Callable[[], Iterable[TargetMetadata]]
    dropped_targets: Callable[[], Mapping[str, DroppedTargets]]
    groups: Callable[[], Sequence[GroupView]]
    recently_resolved: Callable[[], Sequence[AlertInstance]]
    metadata: Callable[[], Mapping[str, Sequence[MetadataView]]]
    metrics: Callable[[], bytes]
    readiness: Callable[[], Readiness]
    dashboard: Dashboard
    external_url: str
    version: str
    lookback_ms: int = 300_000
    external_labels: tuple[tuple[str, str], ...] = ()
    administration: Administration | None = None
    stats: HttpStats = field(default_factory=HttpStats)
    intakes: Mapping[str, IntakeHandler] = field(default_factory=dict)
    reload: Callable[[], Awaitable[str]] = _no_reload
    snapshot: Callable[[], Awaitable[SnapshotTaken]] = _no_snapshot
    pushes: PushIntake | None = None
    imports: ImportIntake | None = None
