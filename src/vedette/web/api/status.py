"""Targets, rules, alerts, metadata and build information in the shapes of Prometheus' API."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

from vedette.kit.clock import iso
from vedette.kit.duration import format_duration
from vedette.model.alerts import AlertInstance, AlertState
from vedette.web import render
from vedette.web.errors import ApiError
from vedette.web.services import GroupView, RuleView, Services, TargetView

Params = Mapping[str, Sequence[str]]
_NEVER = "0001-01-01T00:00:00Z"


class StatusApi:
    """Answers from snapshots; nothing here waits for storage."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def targets(self, params: Params) -> bytes:
        """Return active targets (``state=dropped`` or ``any`` are understood)."""
        state = params.get("state", ["any"])[0]
        active = [] if state == "dropped" else [_target(t) for t in self._services.targets()]
        return render.success(
            {"activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {}}
        )

    async def metadata(self, params: Params) -> bytes:
        """Return type, help and unit by metric; ``metric``, ``limit`` and ``limit_per_metric``."""
        metric = params.get("metric", [""])[0]
        most = _count(params, "limit")
        per_metric = _count(params, "limit_per_metric")
        known = self._services.metadata()
        names = [metric] if metric else sorted(known)
        rows = {
            name: [
                {"type": entry.type, "help": entry.help, "unit": entry.unit}
                for entry in known[name][: per_metric or None]
            ]
            for name in names[: most or None]
            if name in known
        }
        return render.success(rows)

    async def rules(self, params: Params) -> bytes:
        """Return rule groups; ``type=alert`` or ``record`` narrows them."""
        kind = params.get("type", [""])[0]
        if kind not in ("", "alert", "record"):
            raise ApiError(400, "bad_data", 'invalid parameter "type": neither alert nor record')
        groups = [_group(group, kind) for group in self._services.groups()]
        return render.success({"groups": groups})

    async def alerts(self, _params: Params) -> bytes:
        """Return all pending and firing alerts."""
        found = [
            _alert(alert)
            for group in self._services.groups()
            for rule in group.rules
            for alert in rule.alerts
        ]
        return render.success({"alerts": found})

    async def buildinfo(self, _params: Params) -> bytes:
        """Return what runs; clients choose their features by ``version``."""
        return render.success(
            {
                # Grafana reads the version of the Prometheus API that it may expect.
                "version": "3.0.0",
                "revision": f"vedette-{self._services.version}",
                "branch": "",
                "buildUser": "",
                "buildDate": "",
                "goVersion": f"python{platform.python_version()}",
            }
        )


def _count(params: Params, name: str) -> int:
    text = params.get(name, ["0"])[0]
    if not text.isdecimal():
        raise ApiError(400, "bad_data", f'invalid parameter "{name}": not a whole number')
    return int(text)


def _time(ms: int) -> str:
    return iso(ms) if ms else _NEVER


def _target(target: TargetView) -> dict[str, object]:
    return {
        "discoveredLabels": dict(target.discovered),
        "labels": dict(target.labels),
        "scrapePool": target.job,
        "scrapeUrl": target.scrape_url,
        "globalUrl": target.scrape_url,
        "lastError": target.last_error,
        "lastScrape": _time(target.last_scrape),
        "lastScrapeDuration": target.scrape_seconds,
        "health": target.health,
        "scrapeInterval": format_duration(target.interval_ms),
        "scrapeTimeout": format_duration(target.timeout_ms),
    }


def _group(group: GroupView, kind: str) -> dict[str, object]:
    wanted = [rule for rule in group.rules if not kind or rule.alerting == (kind == "alert")]
    return {
        "name": group.name,
        "file": group.file,
        "rules": [_rule(rule) for rule in wanted],
        "interval": group.interval_ms / 1000,
        "limit": group.limit,
        "evaluationTime": group.evaluation_seconds,
        "lastEvaluation": _time(group.last_evaluation),
    }


def _rule(rule: RuleView) -> dict[str, object]:
    common: dict[str, object] = {
        "name": rule.name,
        "query": rule.expr,
        "labels": dict(rule.labels),
        "health": rule.health,
        "evaluationTime": rule.evaluation_seconds,
        "lastEvaluation": _time(rule.last_evaluation),
    }
    if rule.last_error:
        common["lastError"] = rule.last_error
    if not rule.alerting:
        return common | {"type": "recording"}
    return common | {
        "type": "alerting",
        "state": _worst(rule.alerts),
        "duration": rule.for_ms / 1000,
        "keepFiringFor": rule.keep_firing_ms / 1000,
        "annotations": dict(rule.annotations),
        "alerts": [_alert(alert) for alert in rule.alerts],
    }


def _worst(alerts: Sequence[AlertInstance]) -> str:
    states = {alert.state for alert in alerts}
    for state in (AlertState.FIRING, AlertState.PENDING):
        if state in states:
            return state.value
    return "inactive"


def _alert(alert: AlertInstance) -> dict[str, object]:
    return {
        "labels": alert.labels.as_dict(),
        "annotations": alert.annotations.as_dict(),
        "state": alert.state.value,
        "activeAt": _time(alert.active_at),
        "value": render.number(alert.value),
    }
