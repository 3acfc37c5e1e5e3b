"""Reading the configuration again while the server runs: scrapes, rules and remote
write take the new one.

Everything that can fail is read and checked first. With a fault the running configuration goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.metrics_core import Metric

from vedette.app.families import counter, gauge
from vedette.app.forwarding import Forwarding
from vedette.config.errors import ConfigError
from vedette.config.settings import Settings
from vedette.kit.clock import Clock
from vedette.rules.files import RuleFiles, load_rule_files
from vedette.rules.runner import RulesRunner
from vedette.scrape.manager import ScrapeManager
from vedette.storage.interface import StorageError

Read = Callable[[], Settings]
"""Reads the settings again; raises ``ConfigError``."""

log = logging.getLogger(__name__)


def rule_files(settings: Settings) -> RuleFiles:
    """Read the rule files that ``settings`` name."""
    base = Path(settings.file).parent if settings.file else Path()
    rules = settings.rules
    return load_rule_files(
        rules.files, base, rules.evaluation_interval_ms, first_occurrence=rules.first_occurrence
    )


class Reloader:
    """Reloads on request, one at a time, and counts."""

    def __init__(
        self,
        read: Read | None,
        scrape: ScrapeManager,
        rules: RulesRunner,
        forwarding: Forwarding,
        clock: Clock,
    ) -> None:
        self._read = read
        self._scrape = scrape
        self._rules = rules
        self._forwarding = forwarding
        self._clock = clock
        self._one = asyncio.Lock()
        self._counts = {"success": 0, "failure": 0}
        self._good = True
        self._good_ms = clock.now_ms()
        self._settings: Settings | None = None

    async def __call__(self) -> str:
        """Reload; return why that failed, or "" ."""
        async with self._one:
            problem = await self._reload()
        self._good = not problem
        self._counts["failure" if problem else "success"] += 1
        if problem:
            log.error("the configuration was not reloaded: %s", problem)
        else:
            self._good_ms = self._clock.now_ms()
            log.info("the configuration was reloaded")
        return problem

    @property
    def successful(self) -> bool:
        """Whether the latest reload succeeded; true before the first."""
        return self._good

    @property
    def read_at(self) -> int:
        """When (ms) the running configuration was read."""
        return self._good_ms

    @property
    def settings(self) -> Settings | None:
        """What the latest successful reload read, ``None`` before the first."""
        return self._settings

    async def _reload(self) -> str:
        if self._read is None:
            return "the server was started without a configuration file"
        try:
            settings = await asyncio.to_thread(self._read)
            files = await asyncio.to_thread(rule_files, settings)
        except ConfigError as error:
            return "; ".join(map(str, error.faults))
        except OSError as error:
            return str(error)
        if files.faults:
            return "; ".join(map(str, files.faults))
        for warning in settings.warnings:
            log.warning("%s", warning)
        try:
            await self._scrape.apply(settings.scrape)
            await self._rules.reload(files.groups)
            self._forwarding.apply(settings.remote_write)
            self._settings = settings
        except (ValueError, StorageError) as error:
            return str(error)
        return ""

    def families(self) -> Iterator[Metric]:
        """Yield what the server's own metrics say of reloads."""
        yield counter(
            "vedette_config_reloads",
            "Reloads of the configuration, by result.",
            ("result",),
            {(result,): n for result, n in self._counts.items()},
        )
        yield gauge(
            "vedette_config_last_reload_successful",
            "Whether the latest reload succeeded; 1 before the first.",
            (),
            {(): float(self._good)},
        )
        yield gauge(
            "vedette_config_last_reload_success_timestamp_seconds",
            "When the running configuration was read.",
            (),
            {(): self._good_ms / 1000},
        )
