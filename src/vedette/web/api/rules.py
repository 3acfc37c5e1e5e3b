"""Rule groups and alerts, with the filters and pages of Prometheus 3."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from hashlib import sha256

from vedette.model.alerts import AlertInstance, AlertState
from vedette.storage.matching import matches_mapping
from vedette.web import render
from vedette.web.api.params import BadParameterError, Call, Params, flag, selectors, text, whole
from vedette.web.api.targets import moment_text
from vedette.web.http import Response
from vedette.web.services import GroupView, RuleView, Services


class RulesApi:
    """Answers from snapshots of the rule engine."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self) -> dict[str, Callable[[Call], Awaitable[Response]]]:
        """Return handlers by path."""
        return {
            "/api/v1/rules": self.rules,
            "/api/v1/alerts": self.alerts,
            "/api/v1/alertmanagers": self.alertmanagers,
        }

    async def rules(self, call: Call) -> Response:
        """Return rule groups.

        ``type``, ``rule_name[]``, ``rule_group[]``, ``file[]`` and ``match[]`` narrow them,
        ``exclude_alerts`` leaves the alerts out, ``group_limit`` and ``group_next_token`` page.
        """
        wanted = _Filter(call.params)
        groups = [group for group in map(wanted.apply, self._services.groups()) if group]
        page, token = _page(groups, call.params)
        data: dict[str, object] = {
            "groups": [_group(group, with_alerts=not wanted.exclude_alerts) for group in page]
        }
        if token:
            data["groupNextToken"] = token
        return Response(200, render.success(data))

    async def alerts(self, _call: Call) -> Response:
        """Return all pending and firing alerts."""
        found = [
            _alert(alert)
            for group in self._services.groups()
            for rule in group.rules
            for alert in rule.alerts
        ]
        return Response(200, render.success({"alerts": found}))

    async def alertmanagers(self, _call: Call) -> Response:
        """Return no Alertmanager: Vedette tells receivers itself."""
        data: dict[str, list[str]] = {"activeAlertmanagers": [], "droppedAlertmanagers": []}
        return Response(200, render.success(data))


class _Filter:
    """Which rules a request asks for; an empty list of names asks for all."""

    def __init__(self, params: Params) -> None:
        kind = text(params, "type").lower()
        if kind not in ("", "alert", "record"):
            raise BadParameterError(f'invalid parameter "type": not supported value "{kind}"')
        self._kind = kind
        self._names = frozenset(params.get("rule_name[]", ()))
        self._groups = frozenset(params.get("rule_group[]", ()))
        self._files = frozenset(params.get("file[]", ()))
        self._matchers = selectors(params)
        self.exclude_alerts = flag(params, "exclude_alerts")
        self._narrow = bool(kind or self._names or self._matchers)

    def apply(self, group: GroupView) -> GroupView | None:
        """Return the group with the wanted rules, ``None`` when it is not wanted itself."""
        if self._groups and group.name not in self._groups:
            return None
        if self._files and group.file not in self._files:
            return None
        if not self._narrow:
            return group
        rules = [rule for rule in group.rules if self._wants(rule)]
        return replace(group, rules=rules) if rules else None

    def _wants(self, rule: RuleView) -> bool:
        if self._kind and rule.alerting != (self._kind == "alert"):
            return False
        if self._names and rule.name not in self._names:
            return False
        # Labels as the rule file has them: templates are not expanded, as in Prometheus.
        matching = (matches_mapping(matchers, rule.labels) for matchers in self._matchers)
        return not self._matchers or any(matching)


def _page(groups: Sequence[GroupView], params: Params) -> tuple[Sequence[GroupView], str]:
    most = whole(params, "group_limit")
    token = text(params, "group_next_token")
    if text(params, "group_limit") and not most:
        raise BadParameterError('invalid parameter "group_limit": it must be greater than 0')
    if token and not most:
        raise BadParameterError(
            'invalid parameter "group_next_token": group_limit needs to be present in order to '
            "paginate over the groups"
        )
    if not most:
        return groups, ""
    ordered = sorted(groups, key=lambda group: (group.file, group.name))
    first = 0
    if token:
        found = [k for k, group in enumerate(ordered) if _token(group) == token]
        if not found:
            raise BadParameterError(
                f"invalid parameter \"group_next_token\": invalid group_next_token '{token}'. "
                "were rule groups changed?"
            )
        first = found[0]
    rest = ordered[first + most :]
    return ordered[first : first + most], _token(rest[0]) if rest else ""


def _token(group: GroupView) -> str:
    return sha256(f"{group.file};{group.name}".encode()).hexdigest()


def _group(group: GroupView, *, with_alerts: bool) -> dict[str, object]:
    # Not a member of Prometheus' answer; without it an export would lose the offset.
    offset = {"queryOffset": group.query_offset_ms / 1000} if group.query_offset_ms else {}
    return {
        "name": group.name,
        "file": group.file,
        "rules": [_rule(rule, with_alerts=with_alerts) for rule in group.rules],
        "interval": group.interval_ms / 1000,
        "limit": group.limit,
        "evaluationTime": group.evaluation_seconds,
        "lastEvaluation": moment_text(group.last_evaluation),
        **offset,
    }


def _rule(rule: RuleView, *, with_alerts: bool) -> dict[str, object]:
    common: dict[str, object] = {
        "name": rule.name,
        "query": rule.expr,
        "labels": dict(rule.labels),
        "health": rule.health,
        "evaluationTime": rule.evaluation_seconds,
        "lastEvaluation": moment_text(rule.last_evaluation),
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
        "alerts": [_alert(alert) for alert in rule.alerts] if with_alerts else None,
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
        "activeAt": moment_text(alert.active_at),
        "value": render.scientific(alert.value),
    }
