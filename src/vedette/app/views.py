"""How the states of rooms become what the web room shows."""

from __future__ import annotations

from collections.abc import Iterator

from vedette.kit.clock import Clock
from vedette.model.alerts import AlertInstance, AlertState
from vedette.rules.rule import RuleKind
from vedette.rules.runner import RulesRunner
from vedette.rules.status import GroupStatus, RuleStatus
from vedette.scrape.loop import TargetStatus
from vedette.scrape.manager import ScrapeManager
from vedette.storage.interface import MetadataStore
from vedette.web.services import (
    DroppedTargets,
    GroupView,
    MetadataView,
    RuleView,
    TargetMetadata,
    TargetView,
)

RESOLVED_SHOWN_MS = 15 * 60_000
_SHOWN = (AlertState.PENDING, AlertState.FIRING)


def groups(runner: RulesRunner) -> list[GroupView]:
    """Return all rule groups with their pending and firing alerts."""
    return [_group(status) for status in runner.snapshot()]


def recently_resolved(runner: RulesRunner, clock: Clock) -> list[AlertInstance]:
    """Return alerts that ended within the last quarter of an hour, newest first."""
    since = clock.now_ms() - RESOLVED_SHOWN_MS
    found = [
        alert
        for group in runner.snapshot()
        for rule in group.rules
        for alert in rule.alerts
        if alert.state is AlertState.RESOLVED and alert.resolved_at >= since
    ]
    return sorted(found, key=lambda alert: -alert.resolved_at)


def _group(status: GroupStatus) -> GroupView:
    group = status.group
    return GroupView(
        name=group.name,
        file=group.file,
        interval_ms=group.interval_ms,
        limit=group.limit,
        evaluation_seconds=status.evaluation_seconds,
        last_evaluation=status.last_evaluation_ms,
        rules=[_rule(rule) for rule in status.rules],
        query_offset_ms=group.query_offset_ms or 0,
    )


def _rule(status: RuleStatus) -> RuleView:
    rule = status.rule
    return RuleView(
        name=rule.name,
        expr=rule.expr,
        alerting=rule.kind is RuleKind.ALERTING,
        for_ms=rule.hold_ms,
        keep_firing_ms=rule.keep_firing_ms,
        labels=status.labels.as_dict(),
        annotations=status.annotations.as_dict(),
        health=status.health.value,
        last_error=status.last_error,
        evaluation_seconds=status.evaluation_seconds,
        last_evaluation=status.last_evaluation_ms,
        alerts=[alert for alert in status.alerts if alert.state in _SHOWN],
    )


def targets(manager: ScrapeManager) -> list[TargetView]:
    """Return all scrape targets."""
    return [_target(status) for status in manager.targets()]


def target_metadata(manager: ScrapeManager) -> Iterator[TargetMetadata]:
    """Yield the labels of each target and what it says of its metrics."""
    for status, statements in manager.target_metadata():
        entries = {
            name: MetadataView(entry.type, entry.help, entry.unit)
            for name, entry in statements.items()
        }
        yield TargetMetadata(status.labels.as_dict(), entries)


def dropped_targets(manager: ScrapeManager) -> dict[str, DroppedTargets]:
    """Return by job what its rules drop; jobs without such are there too."""
    return {
        each.pool: DroppedTargets(each.count, [labels.as_dict() for labels in each.labels])
        for each in manager.dropped()
    }


def metadata(manager: ScrapeManager, stored: MetadataStore) -> dict[str, list[MetadataView]]:
    """Return what targets and senders say of metrics, by metric: targets first, each once."""
    found: dict[str, dict[MetadataView, None]] = {}
    for name, entries in manager.metadata().items():
        for entry in entries:
            view = MetadataView(entry.type, entry.help, entry.unit)
            found.setdefault(name, {})[view] = None
    for name, statements in stored.metadata().items():
        for one in statements:
            found.setdefault(name, {})[MetadataView(one.type, one.help, one.unit)] = None
    return {name: list(views) for name, views in found.items()}


def _target(status: TargetStatus) -> TargetView:
    return TargetView(
        job=status.pool,
        instance=status.instance,
        scrape_url=status.scrape_url,
        health=status.health.value,
        last_error=status.last_error,
        last_scrape=status.last_scrape,
        scrape_seconds=status.scrape_seconds,
        labels=status.labels.as_dict(),
        discovered=status.discovered.as_dict(),
        interval_ms=status.interval_ms,
        timeout_ms=status.timeout_ms,
    )
