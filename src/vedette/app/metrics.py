"""Vedette's own metrics, in the text format of Prometheus.

Rooms count in plain objects; this collector reads them when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vedette.alerting.pipeline import Pipeline
from vedette.app.families import counter, gauge
from vedette.app.forwarding import Forwarding
from vedette.app.queries import QueryPool
from vedette.app.reload import Reloader
from vedette.app.scraping import Scraping
from vedette.app.storage import StorageRooms
from vedette.notify.retry import NotifyCounters
from vedette.receive.stats import IntakeStats
from vedette.rules.runner import RulesRunner
from vedette.rules.status import GroupStatus
from vedette.web.services import HttpStats


class SelfMetrics(Collector):
    """Everything that Vedette tells of itself; each family is documented by its help text."""

    def __init__(
        self,
        version: str,
        intake: IntakeStats,
        http: HttpStats,
        storage: StorageRooms,
        queries: QueryPool,
        rules: RulesRunner,
        alerting: Pipeline,
        notify: NotifyCounters,
        forwarding: Forwarding,
        scraping: Scraping,
        reloader: Reloader,
    ) -> None:
        self._version = version
        self._intake = intake
        self._http = http
        self._storage = storage
        self._queries = queries
        self._rules = rules
        self._alerting = alerting
        self._notify = notify
        self._forwarding = forwarding
        self._scraping = scraping
        self._reloader = reloader
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """Return the exposition."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are known only when they are read."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield gauge(
            "vedette_build_info", "Version of the server.", ("version",), {(self._version,): 1}
        )
        yield from self._intake_families()
        yield from self._query_families()
        yield from self._rule_families()
        yield from self._alerting_families()
        yield from self._storage.families()
        yield from self._forwarding.families()
        yield from self._scraping.families()
        yield from self._reloader.families()

    def _intake_families(self) -> Iterator[Metric]:
        snapshot = self._intake.snapshot()
        yield counter(
            "vedette_ingest_accepted",
            "Samples and events that were stored.",
            ("way",),
            {(way,): n for way, n in snapshot.accepted.items()},
        )
        yield counter(
            "vedette_ingest_rejected",
            "Samples, events and requests that were refused; the sender was told.",
            ("way", "reason"),
            snapshot.rejected,
        )
        yield counter(
            "vedette_ingest_dropped",
            "What was left out without an error, such as exemplars.",
            ("way", "reason"),
            snapshot.dropped,
        )

    def _query_families(self) -> Iterator[Metric]:
        stats = self._queries.stats
        yield counter(
            "vedette_queries",
            "Queries, by kind.",
            ("kind",),
            {
                ("instant",): stats.instant,
                ("range",): stats.range,
                ("lookup",): stats.lookups,
            },
        )
        yield counter(
            "vedette_queries_failed",
            "Queries that failed, by error type.",
            ("reason",),
            {(kind,): n for kind, n in stats.failed.items()},
        )
        yield counter(
            "vedette_http_rejected",
            "Requests that were refused before a room saw them.",
            ("reason",),
            {(reason,): n for reason, n in self._http.rejected.items()},
        )
        yield counter(
            "vedette_http_defects", "Answers that failed by a defect.", (), {(): self._http.failed}
        )
        yield counter(
            "vedette_query_seconds",
            "Time that queries took, waiting included.",
            (),
            {(): stats.seconds},
        )
        yield counter(
            "vedette_query_queue_seconds",
            "Time that queries waited for a slot and a thread.",
            (),
            {(): stats.queue_seconds},
        )
        yield counter(
            "vedette_query_samples", "Samples that queries read.", (), {(): stats.samples}
        )
        yield counter(
            "vedette_query_log_dropped",
            "Lines of the query log that could not be written.",
            (),
            {(): self._queries.log_dropped},
        )
        yield counter(
            "vedette_queries_light",
            "Instant queries that were answered on the event loop, without a slot.",
            (),
            {(): stats.light},
        )
        yield gauge("vedette_queries_running", "Queries under way.", (), {(): stats.running})
        yield gauge("vedette_queries_waiting", "Queries in the queue.", (), {(): stats.waiting})

    def _rule_families(self) -> Iterator[Metric]:
        counters = self._rules.counters
        yield counter(
            "vedette_rule_evaluations", "Evaluations of rules.", (), {(): counters.evaluations}
        )
        yield counter(
            "vedette_rule_evaluation_failures",
            "Evaluations of rules that failed.",
            (),
            {(): counters.failures},
        )
        yield counter(
            "vedette_rule_group_missed",
            "Evaluations of groups that were left out because the one before took too long.",
            (),
            {(): counters.missed},
        )
        yield counter(
            "vedette_rule_samples",
            "Samples that rules wrote, staleness markers included, and those that were refused.",
            ("outcome",),
            {("written",): counters.samples, ("refused",): counters.samples_refused},
        )
        yield counter(
            "vedette_rule_state_failures",
            "Times that alert states or the lease could not be read or written.",
            (),
            {(): counters.state_failures},
        )
        yield from self._rule_group_families()
        yield counter(
            "vedette_alert_changes",
            "Changes of alert states.",
            ("change",),
            {(change.value,): n for change, n in counters.changes.items()},
        )

    def _rule_group_families(self) -> Iterator[Metric]:
        # Each has the meaning of Prometheus' metric of the same ending.
        groups = self._rules.snapshot()
        label = ("rule_group",)

        def each(value: Callable[[GroupStatus], float]) -> dict[tuple[str], float]:
            return {(status.group.key,): value(status) for status in groups}

        yield counter(
            "vedette_rule_group_iterations",
            "Evaluations of the group, those that were missed included.",
            label,
            each(lambda one: one.iterations + one.missed),
        )
        yield counter(
            "vedette_rule_group_iterations_missed",
            "Evaluations of the group that were left out because one before took too long.",
            label,
            each(lambda one: one.missed),
        )
        yield gauge(
            "vedette_rule_group_last_duration_seconds",
            "How long the latest evaluation of the group took.",
            label,
            each(lambda one: one.evaluation_seconds),
        )
        yield gauge(
            "vedette_rule_group_last_evaluation_timestamp_seconds",
            "When the group was evaluated last; 0 before the first time.",
            label,
            each(lambda one: one.last_evaluation_ms / 1000),
        )
        yield gauge(
            "vedette_rule_group_interval_seconds",
            "Time between two evaluations of the group.",
            label,
            each(lambda one: one.group.interval_ms / 1000),
        )
        yield gauge(
            "vedette_rule_group_rules",
            "Rules of the group.",
            label,
            each(lambda one: len(one.rules)),
        )

    def _alerting_families(self) -> Iterator[Metric]:
        counters = self._alerting.counters
        yield counter(
            "vedette_notification_decisions",
            "Decisions whether to tell a group, by their reason.",
            ("integration", "reason"),
            counters.decisions,
        )
        yield counter(
            "vedette_notifications",
            "Ends of deliveries.",
            ("integration", "outcome", "reason"),
            counters.deliveries,
        )
        yield counter(
            "vedette_notification_log_failures",
            "Times that the notification log could not be read or written.",
            (),
            {(): counters.log_failures},
        )
