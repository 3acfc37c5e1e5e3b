"""What the server tells of itself under ``/api/v1/status`` and ``/api/v1/features``."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vedette.app.cardinality import cardinality
from vedette.app.shown import shown
from vedette.config.settings import Settings
from vedette.kit.clock import Clock, iso
from vedette.kit.duration import format_duration
from vedette.query.promql.features import FEATURES
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS
from vedette.query.promql.options import EngineOptions
from vedette.storage.series_index import MemorySeriesIndex
from vedette.web.services import CardinalityView

_OPERATORS = "!= !~ % * + - / < </ <= == =~ > >/ >= @ ^ and or unless atan2"
_CLAUSES = (
    "at_modifier bool by duration_expr group_left group_right ignoring negative_offset offset on "
    "per_query_lookback_delta subqueries without"
)


class Reloads(Protocol):
    """What became of reading the configuration again."""

    @property
    def successful(self) -> bool:
        """Whether the latest reload succeeded; true before the first."""
        ...

    @property
    def read_at(self) -> int:
        """When (ms) the running configuration was read."""
        ...

    @property
    def settings(self) -> Settings | None:
        """What the latest successful reload read, ``None`` before the first."""
        ...


class Facts:
    """Implements ``ServerFacts`` from settings and the index of series."""

    def __init__(
        self,
        settings: Settings,
        options: EngineOptions,
        index: MemorySeriesIndex,
        span: Callable[[], tuple[int, int]],
        clock: Clock,
        reloader: Reloads,
    ) -> None:
        """``span`` gives the oldest and newest time in ms that the head holds."""
        self._settings = settings
        self._options = options
        self._index = index
        self._span = span
        self._clock = clock
        self._reloader = reloader
        self._started = clock.now_ms()

    def config(self) -> str:
        """Return the settings in force as YAML, secrets left out."""
        return shown(self._reloader.settings or self._settings)

    def flags(self) -> Mapping[str, str]:
        """Return settings under the names of Prometheus' command line."""
        settings, query = self._settings, self._settings.query
        return {
            "config.file": settings.file,
            "enable-feature": ",".join(sorted(query.features)),
            "query.lookback-delta": format_duration(query.lookback_ms),
            "query.max-concurrency": str(query.concurrency),
            "query.max-samples": str(query.max_samples),
            "query.timeout": format_duration(round(query.timeout_seconds * 1000)),
            "storage.tsdb.path": str(settings.server.data_dir),
            "storage.tsdb.retention.time": self._retention(),
            "web.cors.origin": "|".join(sorted(settings.web.cors_origins)),
            "web.enable-admin-api": str(settings.web.enable_admin_api).lower(),
            "web.enable-remote-write-receiver": "true",
            "web.external-url": settings.server.url,
            "web.listen-address": f"{settings.server.host}:{settings.server.port}",
        }

    def runtime(self) -> Mapping[str, object]:
        """Return what the process is like."""
        return {
            "startTime": iso(self._started),
            "CWD": str(Path.cwd()),
            "hostname": socket.gethostname(),
            "reloadConfigSuccess": self._reloader.successful,
            "lastConfigTime": iso(self._reloader.read_at),
            "corruptionCount": 0,
            # The names are Go's; the figures are what comes nearest to them here.
            "goroutineCount": threading.active_count(),
            "GOMAXPROCS": os.cpu_count() or 1,
            "GOMEMLIMIT": 0,
            "GOGC": "",
            "GODEBUG": "",
            "pythonVersion": platform.python_version(),
            "storageRetention": self._retention(),
        }

    def features(self) -> Mapping[str, Mapping[str, bool]]:
        """Return what can be used, by area."""
        options = self._options
        experimental = options.experimental_functions
        return {
            "api": {
                "admin": self._settings.web.enable_admin_api,
                "exclude_alerts": True,
                "label_values_match": True,
                "query_stats": True,
                "query_warnings": True,
                "remote_write_receiver": True,
                "time_range_labels": True,
                "time_range_series": True,
            },
            "prometheus": {"agent_mode": False, "server_mode": True},
            "promql": {
                **dict.fromkeys(_CLAUSES.split(), True),
                "anchored": options.extended_selectors,
                "smoothed": options.extended_selectors,
                "fill": options.fill_modifiers,
                "fill_left": options.fill_modifiers,
                "fill_right": options.fill_modifiers,
                "delayed_name_removal": options.delayed_name_removal,
            },
            "promql_functions": {
                name: experimental or not signature.experimental
                for name, signature in sorted(FUNCTIONS.items())
            },
            "promql_operators": {
                **dict.fromkeys(_OPERATORS.split(), True),
                **{n: experimental or not s.experimental for n, s in AGGREGATIONS.items()},
            },
            "rules": {"keep_firing_for": True, "query_offset": True},
        }

    def replay(self) -> tuple[int, int, int]:
        """Return zeros: segments are replayed in one go before the server is ready."""
        return 0, 0, 0

    def cardinality(self, most: int) -> CardinalityView:
        """Return what fills the index."""
        return cardinality(self._index, most, *self._span())

    def _retention(self) -> str:
        storage = self._settings.storage
        limits = []
        if storage.retention_ms:
            limits.append(format_duration(storage.retention_ms))
        if storage.retention_bytes:
            limits.append(f"{storage.retention_bytes >> 20}MiB")
        return " or ".join(limits)


def with_features(options: EngineOptions, features: frozenset[str]) -> EngineOptions:
    """Return ``options`` with what ``features`` (Prometheus' names) switch on."""
    return replace(options, **{FEATURES[name]: True for name in features})
