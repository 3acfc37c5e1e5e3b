"""Scrape targets, their pools, and what they say of their metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from vedette.kit.clock import iso
from vedette.kit.duration import format_duration
from vedette.storage.matching import matches_mapping
from vedette.web import render
from vedette.web.api.params import Call, count, selector, text
from vedette.web.http import Response
from vedette.web.services import MetadataView, Services, TargetMetadata, TargetView

NEVER = "0001-01-01T00:00:00Z"


class TargetsApi:
    """Answers from snapshots; nothing here waits for storage."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path."""
        return {
            "/api/v1/targets": self.targets,
            "/api/v1/targets/metadata": self.target_metadata,
            "/api/v1/scrape_pools": self.pools,
            "/api/v1/metadata": self.metadata,
        }

    async def targets(self, call: Call) -> Response:
        """Return targets; ``state`` is active, dropped or any; ``scrapePool`` narrows them."""
        state, pool = text(call.params, "state").lower(), text(call.params, "scrapePool")
        active: list[object] = []
        dropped: list[object] = []
        if state != "dropped":
            active = [_active(t) for t in self._services.targets() if pool in ("", t.job)]
        gone = self._services.dropped_targets()
        if state != "active":
            dropped = [
                {"discoveredLabels": dict(discovered), "scrapePool": job}
                for job, one in sorted(gone.items())
                for discovered in one.shown
                if pool in ("", job)
            ]
        counts = dict.fromkeys(self._pools(), 0) | {job: one.count for job, one in gone.items()}
        data = {"activeTargets": active, "droppedTargets": dropped, "droppedTargetCounts": counts}
        return Response(200, render.success(data))

    async def pools(self, _call: Call) -> Response:
        """Return the names of all scrape jobs."""
        return Response(200, render.success({"scrapePools": self._pools()}))

    def _pools(self) -> list[str]:
        jobs = {target.job for target in self._services.targets()}
        return sorted(jobs | set(self._services.dropped_targets()))

    async def metadata(self, call: Call) -> Response:
        """Return type, help and unit by metric; ``metric``, ``limit`` and ``limit_per_metric``."""
        metric = text(call.params, "metric")
        most = count(call.params, "limit")
        per_metric = count(call.params, "limit_per_metric")
        known = self._services.metadata()
        names = [metric] if metric else sorted(known)
        rows = {
            name: [_metadata(entry) for entry in known[name][: per_metric or None]]
            for name in names[: most or None]
            if name in known
        }
        return Response(200, render.success(rows))

    async def target_metadata(self, call: Call) -> Response:
        """Return what targets say of their metrics.

        ``match_target`` selects targets by their labels, ``metric`` one metric; ``limit`` is of
        targets, as in Prometheus.
        """
        wanted = text(call.params, "match_target")
        matchers = selector(wanted, "match_target") if wanted else ()
        metric = text(call.params, "metric")
        most = count(call.params, "limit")
        found: list[object] = []
        known = self._services.target_metadata()
        matching = (target for target in known if matches_mapping(matchers, target.labels))
        for number, target in enumerate(matching):
            if most and number >= most:
                break
            found += _statements(target, metric)
        return Response(200, render.success(found))


def _statements(target: TargetMetadata, metric: str) -> Iterator[dict[str, object]]:
    labels = dict(target.labels)
    if metric:
        entry = target.entries.get(metric)
        if entry is not None:
            yield {"target": labels, **_metadata(entry)}
        return
    for name, entry in target.entries.items():
        yield {"target": labels, "metric": name, **_metadata(entry)}


def _metadata(entry: MetadataView) -> dict[str, str]:
    return {"type": entry.type, "help": entry.help, "unit": entry.unit}


def moment_text(ms: int) -> str:
    """Return a time as the API writes it; year 1 stands for never."""
    return iso(ms) if ms else NEVER


def _active(target: TargetView) -> dict[str, object]:
    return {
        "discoveredLabels": dict(target.discovered),
        "labels": dict(target.labels),
        "scrapePool": target.job,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.scrape_url,
        "lastError": target.last_error,
        "lastScrape": moment_text(target.last_scrape),
        "lastScrapeDuration": target.scrape_seconds,
        "health": target.health,
        "scrapeInterval": format_duration(target.interval_ms),
        "scrapeTimeout": format_duration(target.timeout_ms),
    }
