"""Settings of alerting: the section ``alerting`` of vedette.yml, but its receivers' channels.

The keys are Alertmanager's ("Configuration" in its documentation), and so are the defaults.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from vedette.alerting.matchers import MatcherError, format_matchers, parse_matchers
from vedette.alerting.times import MuteTimes, TimeError, TimeSpan, parse_span
from vedette.kit.yamlpos import Section
from vedette.model.labels import quote
from vedette.model.matchers import Matcher, MatchOp

DEFAULT_GROUP_WAIT_MS = 30_000
DEFAULT_GROUP_INTERVAL_MS = 5 * 60_000
DEFAULT_REPEAT_INTERVAL_MS = 4 * 3_600_000


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the routing tree, with everything that it inherits filled in.

    Attributes:
        key: Alertmanager's text for the place in the tree: ``{}/{severity="critical"}``.
        group_by: label names; ``group_by_all`` is ``...``: every label set is a group of its own.
        onward: ``continue``: later siblings are asked too.
        mute, active: names of time intervals in which it is silent, or outside which it is.
    """

    receiver: str
    key: str = "{}"
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ()
    group_by_all: bool = False
    group_wait_ms: int = DEFAULT_GROUP_WAIT_MS
    group_interval_ms: int = DEFAULT_GROUP_INTERVAL_MS
    repeat_interval_ms: int = DEFAULT_REPEAT_INTERVAL_MS
    onward: bool = False
    mute: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class InhibitRule:
    """Firing alerts that match ``source`` mute those that match ``target`` with equal labels."""

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()
    name: str = ""


@dataclass(frozen=True, slots=True)
class AlertingSettings:
    """What the section ``alerting`` says, but its receivers.

    Attributes:
        settle_timeout_ms: notifications wait at most this long after a start for the rules to
            bring back what fired before.
        retention_ms: how long the notification log remembers what was told.
    """

    route: Route
    inhibit_rules: tuple[InhibitRule, ...] = ()
    times: MuteTimes = field(default_factory=MuteTimes)
    settle_timeout_ms: int = 60_000
    retention_ms: int = 120 * 3_600_000


def read_alerting_settings(section: Section, receivers: Collection[str]) -> AlertingSettings | None:
    """Return the settings in ``section``, or ``None`` where there is no route.

    ``receivers`` are the names that routes may use; the key ``receivers`` itself is left to the
    room of the channels. Faults are noted in the section, unknown keys included.
    """
    section.has("receivers")
    times = _times(section)
    inhibit = tuple(_inhibit(one) for one in section.sections("inhibit_rules", "an inhibit rule"))
    section.require("route", 'add "route: {receiver: NAME}"')
    top = section.section("route", "the route")
    settle = section.duration("settle_timeout", 60_000)
    retention = section.duration("retention", 120 * 3_600_000, minimum=60_000)
    section.done()
    if top is None:
        return None
    top.require("receiver", "the first route must name a receiver, for what no other route takes")
    for key in ("match", "match_re", "matchers", "mute_time_intervals", "active_time_intervals"):
        if top.has(key):
            top.fault(key, f'the first route takes every alert and has no "{key}"', "remove it")
    route = _Routes(receivers, times).read(top, Route(""), top=True)
    return AlertingSettings(route, inhibit, times, settle, retention)


class _Routes:
    def __init__(self, receivers: Collection[str], times: MuteTimes) -> None:
        self._receivers = receivers
        self._times = times

    def read(self, section: Section, parent: Route, top: bool = False) -> Route:
        receiver = section.text("receiver", parent.receiver)
        if section.has("receiver") and receiver not in self._receivers:
            known = ", ".join(sorted(self._receivers)) or "none"
            section.fault("receiver", f'there is no receiver "{receiver}"', f"receivers: {known}")
        matchers = read_matchers(section, "matchers", "match", "match_re")
        group_by, by_all = parent.group_by, parent.group_by_all
        if section.has("group_by"):
            names = section.texts("group_by")
            group_by, by_all = (
                tuple(dict.fromkeys(name for name in names if name != "...")),
                ("..." in names),
            )
            if by_all and group_by:
                section.fault("group_by", '"..." means every label', "let it stand alone")
        route = Route(
            receiver=receiver,
            key="{}" if top else f"{parent.key}/{format_matchers(matchers)}",
            matchers=matchers,
            group_by=tuple(sorted(group_by)),
            group_by_all=by_all,
            group_wait_ms=section.duration("group_wait", parent.group_wait_ms),
            group_interval_ms=section.duration(
                "group_interval", parent.group_interval_ms, minimum=100
            ),
            repeat_interval_ms=section.duration(
                "repeat_interval", parent.repeat_interval_ms, minimum=100
            ),
            onward=section.boolean("continue", False),
            mute=self._names(section, "mute_time_intervals"),
            active=self._names(section, "active_time_intervals"),
        )
        children = tuple(self.read(one, route) for one in section.sections("routes", "a route"))
        section.done()
        return replace(route, routes=children)

    def _names(self, section: Section, key: str) -> tuple[str, ...]:
        nodes = section.scalars(key)
        for node in nodes:
            if node.text not in self._times.spans:
                section.faults.append(
                    node.fault(
                        f'there is no time interval "{node.text}"',
                        "define it under time_intervals",
                    )
                )
        return tuple(node.text for node in nodes)


def read_matchers(section: Section, new: str, old: str, old_re: str) -> tuple[Matcher, ...]:
    """Return the matchers at the list ``new`` and at the older mappings ``old`` and ``old_re``."""
    found: list[Matcher] = []
    for node in section.scalars(new):
        try:
            found += parse_matchers(node.text)
        except MatcherError as error:
            section.faults.append(node.fault(f"bad matcher: {error}"))
    for key, op in ((old, MatchOp.EQUAL), (old_re, MatchOp.REGEX)):
        for name, value in section.pairs(key):
            text = f"{name.text}{op}{quote(value.text)}"
            try:
                found += parse_matchers(text)
            except MatcherError as error:
                section.faults.append(name.fault(f"bad matcher: {error}"))
    return tuple(sorted(found, key=lambda one: (one.name, one.value, one.op)))


def _inhibit(section: Section) -> InhibitRule:
    rule = InhibitRule(
        source=read_matchers(section, "source_matchers", "source_match", "source_match_re"),
        target=read_matchers(section, "target_matchers", "target_match", "target_match_re"),
        equal=section.texts("equal"),
        name=section.text("name"),
    )
    for key, matchers in (("source_matchers", rule.source), ("target_matchers", rule.target)):
        if not matchers:
            section.require(key, f'add "{key}: [severity=\\"critical\\"]"')
    section.done()
    return rule


def _times(section: Section) -> MuteTimes:
    spans: dict[str, tuple[TimeSpan, ...]] = {}
    for one in section.sections("time_intervals", "a time interval"):
        one.require("name")
        name = one.text("name")
        if name in spans:
            one.fault("name", f'the time interval "{name}" is defined twice')
        spans[name] = tuple(_span(each) for each in one.sections("time_intervals", name))
        one.done()
    return MuteTimes(spans)


def _span(section: Section) -> TimeSpan:
    times = []
    for one in section.sections("times", "a time"):
        times.append((one.text("start_time"), one.text("end_time")))
        one.done()
    zone = section.text("location", "UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        section.fault("location", f'there is no time zone "{zone}"', "such as Europe/Paris")
        zone = "UTC"
    span = TimeSpan(zone=zone)
    try:
        span = parse_span(
            times=times,
            weekdays=section.texts("weekdays"),
            days_of_month=section.texts("days_of_month"),
            months=section.texts("months"),
            years=section.texts("years"),
            zone=zone,
        )
    except TimeError as error:
        section.fault(error.key, str(error))
    section.done()
    return span
