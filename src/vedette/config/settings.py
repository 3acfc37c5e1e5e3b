"""All settings of a server: the nouns that vedette.yml is read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vedette.alerting.settings import AlertingSettings, Route
from vedette.forward.settings import Destination
from vedette.notify.settings import LogSettings, ReceiverSettings
from vedette.receive.settings import OtlpSettings, PushSettings
from vedette.rules.settings import RulesSettings
from vedette.scrape.settings import ScrapeSettings


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The section ``server``.

    Attributes:
        host, port: where to listen; loopback unless told otherwise.
        data_dir: folder of everything that is stored.
        hosts: further names under which browsers may address the server.
        external_url: address that notifications link to.
    """

    host: str = "127.0.0.1"
    port: int = 9797
    data_dir: Path = Path("data")
    hosts: frozenset[str] = frozenset()
    external_url: str = ""

    @property
    def url(self) -> str:
        """Address of the server for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.external_url or f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """The section ``storage``.

    Attributes:
        state: SQLAlchemy address of the transactional state; empty: SQLite in the data folder.
        head_bytes: memory for recent samples.
        segment_seconds: how often a spool segment is sealed and flushed into the column store; a
            row of it holds what a series got meanwhile, so that rare flushes cost much less.
        max_series: new series beyond this number are refused and counted, as are those of a metric,
            a scrape target or an application beyond the next three (0: no limit).
        retention_ms, retention_bytes: how long and how much is kept; 0: no limit.
    """

    state: str = field(default="", repr=False)
    head_bytes: int = 192 << 20
    segment_seconds: float = 300.0
    max_series: int = 1_000_000
    max_series_per_metric: int = 250_000
    max_series_per_target: int = 0
    max_series_per_app: int = 0
    retention_ms: int = 30 * 86_400_000
    retention_bytes: int = 0


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """The section ``query``; docs/http-api.md says what each limit is for.

    Attributes:
        lookback_ms: how far an instant selector looks back.
        timeout_seconds: longest time of a query or look-up, waiting included.
        max_samples: most samples that one query may touch.
        max_cells: most values (series × steps) of one intermediate result.
        max_bytes: most memory that one query may hold besides the samples in storage.
        concurrency: queries and look-ups that run at once.
        queue: those that may wait; further ones are refused.
        log: file of the query log; ``None``: none is written.
        log_slow_seconds: only queries that take so long are logged; 0 is all.
        prometheus_2_windows: windows include their left edge, as in Prometheus 2.
        features: names of what Prometheus keeps behind ``--enable-feature``.
    """

    lookback_ms: int = 300_000
    timeout_seconds: float = 120.0
    max_samples: int = 50_000_000
    max_cells: int = 20_000_000
    max_bytes: int = 512_000_000
    concurrency: int = 4
    queue: int = 256
    log: Path | None = None
    log_slow_seconds: float = 0.0
    prometheus_2_windows: bool = False
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The section ``web``.

    Attributes:
        enable_admin_api: whether the endpoints that delete series and take snapshots are there.
        cors_origins: origins (``https://grafana.example``) whose pages may read the API.
    """

    enable_admin_api: bool = False
    cors_origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """The section ``dashboard``: which application the operational page shows, and how."""

    namespace: str = "chatbot"
    app: str = ""
    window: str = "1m"
    refresh_seconds: float = 1.0


DEFAULT_RECEIVER = ReceiverSettings("log", (("log", LogSettings()),))
"""Without any receiver configured, alerts are at least written to the alert log (ENG-18)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a server is told."""

    server: ServerSettings = field(default_factory=ServerSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    query: QuerySettings = field(default_factory=QuerySettings)
    web: WebSettings = field(default_factory=WebSettings)
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)
    scrape: ScrapeSettings = field(default_factory=ScrapeSettings)
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    push: PushSettings = field(default_factory=PushSettings)
    rules: RulesSettings = field(default_factory=RulesSettings)
    alerting: AlertingSettings = field(
        default_factory=lambda: AlertingSettings(Route(DEFAULT_RECEIVER.name))
    )
    receivers: tuple[ReceiverSettings, ...] = (DEFAULT_RECEIVER,)
    remote_write: tuple[Destination, ...] = ()
    ingest_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    file: str = ""
    warnings: tuple[str, ...] = ()
