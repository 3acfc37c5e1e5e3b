"""One server: builds the rooms, hands them to each other, starts and stops them in order.

start: state → storage (replay) → scrape → alerting → rules → ready
stop:  HTTP → rules → alerting → scrape → storage (flush) → state
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from importlib.metadata import version

from vedette.alerting.pipeline import Pipeline
from vedette.app import views
from vedette.app.engine import ChdbColumns
from vedette.app.facts import Facts, with_features
from vedette.app.forwarding import Forwarding
from vedette.app.intake import events_handler, write_handler
from vedette.app.listen import HttpServer
from vedette.app.metrics import SelfMetrics
from vedette.app.pushes import Pushes
from vedette.app.queries import PoolSettings, QueryPool
from vedette.app.querylog import QueryLog
from vedette.app.reload import Read, Reloader, rule_files
from vedette.app.rules import LabelledSink, RuleQueries
from vedette.app.scraping import Scraping
from vedette.app.snapshots import take_snapshot
from vedette.app.storage import StorageRooms
from vedette.config.loader import is_loopback, parse_listen
from vedette.config.settings import Settings
from vedette.dashboards.operational import operational
from vedette.kit.clock import Clock, SystemClock
from vedette.model.labels import Labels
from vedette.notify.registry import Surroundings as NotifySurroundings
from vedette.notify.registry import build_receivers
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.receive.stats import IntakeStats
from vedette.rules.evaluate import Outage
from vedette.rules.runner import RulesRunner, Surroundings
from vedette.web.api.queries import MAX_POINTS
from vedette.web.asgi import WebApp
from vedette.web.auth import AccessSettings, Guard
from vedette.web.services import HttpStats, Readiness, Services, SnapshotTaken

log = logging.getLogger(__name__)

VERSION = version("vedette")


class Server:
    """Everything that one process runs."""

    def __init__(
        self,
        settings: Settings,
        admin_token: str,
        columns: ChdbColumns,
        clock: Clock | None = None,
        read: Read | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._waiting_for = "starting"
        self._intake = IntakeStats()
        self._storage = StorageRooms(settings, columns, self._clock)
        self._http = HttpStats()
        query = settings.query
        query_log = QueryLog(query.log, query.log_slow_seconds) if query.log else None
        self._queries = self._query_pool("query", query.concurrency, query.queue, query_log)
        # Rules and the live page must not wait behind what people ask.
        self._watching = self._query_pool("watch", 2, 1_000)
        self._scraping = Scraping(self._storage, self._intake, self._clock, VERSION)
        self._scrape = self._scraping.manager
        self._notify = NotifySurroundings(self._clock, settings.server.data_dir)
        self._alerting = self._pipeline()
        self._rules = self._rules_runner()
        self._forwarding = Forwarding(
            settings.remote_write, self._storage, self._scrape, self._clock, VERSION
        )
        self._pushes = Pushes(settings, self._storage, self._intake, self._clock)
        self._guard = Guard(self._access(admin_token), self._clock)
        self._reloader = Reloader(read, self._scrape, self._rules, self._forwarding, self._clock)
        self._reloading: set[asyncio.Task[str]] = set()
        self._web = WebApp(self._services())
        self._fault: BaseException | None = None

    def reload_soon(self) -> None:
        """Read the configuration again, soon; what is wrong with it goes to the log."""
        task = asyncio.create_task(self._reload_ready(), name="reload")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _reload_ready(self) -> str:
        if self._waiting_for:
            return f"not reloaded, because the server is {self._waiting_for}"
        return await self._reloader()

    async def run(self, sock: socket.socket, stop: asyncio.Event) -> int:
        """Serve on ``sock`` until ``stop`` is set; return the exit code.

        The port answers from the first moment; ``/-/ready`` tells when the spool is replayed.
        """
        http = HttpServer(self._web)
        serving = asyncio.create_task(http.serve(sockets=[sock]), name="http")
        serving.add_done_callback(lambda _: stop.set())
        try:
            async with AsyncExitStack() as stack:
                try:
                    await self._start_unless_stopped(stack, stop)
                    await stop.wait()
                finally:
                    self._waiting_for = "stopping"
                    self._queries.close()
                    http.should_exit = True
                    await asyncio.wait([serving], timeout=4)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        if self._fault is not None:
            log.error("stopped by a fault: %s", self._fault)
            return 1
        return 0

    async def _start_unless_stopped(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        starting = asyncio.create_task(self._start(stack, stop), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        if not starting.cancelled():
            starting.result()

    async def _start(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        stack.push_async_callback(self._storage.stop)
        stack.callback(self._forwarding.close)
        stack.callback(self._watching.close)
        stack.callback(self._queries.close)
        self._waiting_for = "replaying the spool"
        await self._storage.start()
        stack.push_async_callback(self._scraping.aclose)
        self._waiting_for = "starting the scrapes"
        await self._scrape.apply(self._settings.scrape)
        stack.push_async_callback(self._scrape.stop)
        await self._pushes.start(stack, self._guard)
        for name, loop in (
            ("flush", self._storage.ingest.run()),
            ("housekeeping", self._storage.housekeeping()),
            ("alerting", self._alerting.run()),
            ("rules", self._rules.run()),
            ("live", self._web.live.run()),
            ("pushed groups", self._pushes.run()),
            ("remote write", self._forwarding.run()),
        ):
            stack.push_async_callback(self._spawn(name, loop, stop))
        # What was built for the whole life need not be looked at by every collection.
        gc.collect()
        gc.freeze()
        self._waiting_for = ""
        log.info("ready")

    def _spawn(
        self, name: str, loop: Coroutine[None, None, None], stop: asyncio.Event
    ) -> Callable[[], Awaitable[None]]:
        """Run ``loop``; return how to end it. A loop that fails ends the server, loudly."""
        task = asyncio.create_task(loop, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and done.exception() is not None:
                log.error("the loop %s failed", name, exc_info=done.exception())
                self._fault = done.exception()
                stop.set()

        task.add_done_callback(ended)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        return end

    def _query_pool(
        self, name: str, concurrency: int, queue: int, log: QueryLog | None = None
    ) -> QueryPool:
        query, options = self._settings.query, self._engine_options()
        samples = self._storage.samples
        settings = PoolSettings(query.timeout_seconds, concurrency, queue)
        return QueryPool(
            Engine(samples, options),
            samples,
            self._clock,
            settings,
            name=name,
            log=log,
            recent=self._storage.recent_series,
        )

    def _engine_options(self) -> EngineOptions:
        query = self._settings.query
        options = EngineOptions(
            lookback_ms=query.lookback_ms,
            window_2x=query.prometheus_2_windows,
            max_samples=query.max_samples,
            max_cells=query.max_cells,
            max_bytes=query.max_bytes,
            # The API counts the first step on top of its limit.
            max_steps=MAX_POINTS + 1,
        )
        return with_features(options, query.features)

    def _facts(self) -> Facts:
        storage = self._storage
        return Facts(
            self._settings,
            self._engine_options(),
            storage.index,
            storage.head_span,
            self._clock,
            self._reloader,
        )

    def _pipeline(self) -> Pipeline:
        settings = self._settings
        return Pipeline(
            settings.alerting,
            build_receivers(settings.receivers, self._notify),
            self._storage.notification_log,
            self._clock,
            external_url=settings.server.url,
        )

    def _rules_runner(self) -> RulesRunner:
        settings = self._settings
        rules, files = settings.rules, rule_files(settings)
        around = Surroundings(
            clock=self._clock,
            engine=RuleQueries(self._watching, self._storage.samples, self._engine_options()),
            states=self._storage.alert_states,
            sink=LabelledSink(self._alerting, rules.external_labels),
            index=self._storage.index,
            ingest=self._storage.ingest,
            external_url=settings.server.url,
            app=rules.app,
            external_labels=Labels.of(rules.external_labels),
            outage=Outage(rules.outage_tolerance_ms, rules.for_grace_period_ms),
            query_offset_ms=rules.query_offset_ms,
            concurrency=rules.concurrency,
        )
        holder = f"{socket.gethostname()}:{settings.server.port}"
        return RulesRunner(files.groups, around, self._storage.leases, holder)

    def _access(self, admin_token: str) -> AccessSettings:
        settings = self._settings
        hosts = [settings.server.host]
        if settings.otlp.grpc:
            hosts.append(parse_listen(settings.otlp.grpc)[0])
        return AccessSettings(
            admin_token,
            settings.server.hosts | {settings.server.host},
            settings.ingest_keys,
            all(map(is_loopback, hosts)),
            settings.server.url.startswith("https://"),
            settings.web.cors_origins,
        )

    def _services(self) -> Services:
        settings, dashboard = self._settings, self._settings.dashboard
        metrics = SelfMetrics(
            VERSION,
            self._intake,
            self._http,
            self._storage,
            self._queries,
            self._rules,
            self._alerting,
            self._notify.counters,
            self._forwarding,
            self._scraping,
            self._reloader,
        )
        return Services(
            clock=self._clock,
            guard=self._guard,
            queries=self._queries,
            panels=self._watching,
            samples=self._storage.samples,
            events=self._storage.events,
            remote_write=write_handler(self._storage, self._intake),
            event_intake=events_handler(self._storage, self._intake, self._clock),
            exemplars=self._storage.exemplars,
            server=self._facts(),
            targets=lambda: views.targets(self._scrape),
            target_metadata=lambda: views.target_metadata(self._scrape),
            dropped_targets=lambda: views.dropped_targets(self._scrape),
            groups=lambda: views.groups(self._rules),
            recently_resolved=lambda: views.recently_resolved(self._rules, self._clock),
            metadata=lambda: views.metadata(self._scrape, self._storage.metadata),
            metrics=metrics.render,
            readiness=self._readiness,
            dashboard=operational(
                dashboard.namespace, dashboard.app, dashboard.window, dashboard.refresh_seconds
            ),
            external_url=settings.server.url,
            version=VERSION,
            lookback_ms=settings.query.lookback_ms,
            external_labels=settings.rules.external_labels,
            administration=self._storage.ingest if settings.web.enable_admin_api else None,
            stats=self._http,
            intakes=self._pushes.handlers(),
            reload=self._reload_ready,
            snapshot=self._snapshot,
            pushes=self._pushes,
            imports=self._pushes,
        )

    async def _snapshot(self) -> SnapshotTaken:
        data_dir = self._settings.server.data_dir
        taken = await take_snapshot(self._storage, data_dir, self._clock)
        log.info("snapshot %s taken: %d parts", taken.name, sum(taken.tables.values()))
        return SnapshotTaken(taken.name, str(taken.path))

    def _readiness(self) -> Readiness:
        if self._waiting_for:
            return Readiness(False, self._waiting_for)
        fault = self._storage.ingest.health().spool_error
        return Readiness(not fault, fault)
