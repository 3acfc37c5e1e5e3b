"""Settings of the rule engine: the section ``rules`` of vedette.yml."""

from __future__ import annotations

from dataclasses import dataclass

from vedette.kit.yamlpos import Section


@dataclass(frozen=True, slots=True)
class RulesSettings:
    """What the section ``rules`` says.

    Attributes:
        files: paths of rule files; ``*`` and ``?`` stand for any part of a file name.
        evaluation_interval_ms: for groups that name no interval of their own.
        query_offset_ms: for groups that name none: how far in the past rules are evaluated.
        outage_tolerance_ms: a pending alert that was last evaluated longer ago than this begins
            anew after a restart, because nobody knows whether its condition held meanwhile.
        for_grace_period_ms: after an outage, an alert whose ``for`` is at least this long waits so
            long at least before it fires.
        concurrency: parts of one group that are evaluated side by side.
        first_occurrence: whether the first sample of a new series counts as an increase, for
            groups and rules that do not say.
        app: the application that the series of rules belong to where rule and group name none.
        external_labels: what templates see as ``$externalLabels``, sorted; alerts that are sent and
            federated series get them too.
    """

    files: tuple[str, ...] = ()
    evaluation_interval_ms: int = 60_000
    query_offset_ms: int = 0
    outage_tolerance_ms: int = 3_600_000
    for_grace_period_ms: int = 600_000
    concurrency: int = 2
    first_occurrence: bool = True
    app: str = "default"
    external_labels: tuple[tuple[str, str], ...] = ()


def read_rules_settings(section: Section) -> RulesSettings:
    """Return the settings in ``section``; faults are noted there, unknown keys included."""
    pairs = section.pairs("external_labels")
    settings = RulesSettings(
        files=section.texts("files"),
        evaluation_interval_ms=section.duration("evaluation_interval", 60_000, minimum=100),
        query_offset_ms=section.duration("query_offset", 0),
        outage_tolerance_ms=section.duration("outage_tolerance", 3_600_000),
        for_grace_period_ms=section.duration("for_grace_period", 600_000),
        concurrency=section.integer("concurrency", 2, 1, 64),
        first_occurrence=section.boolean("first_occurrence", True),
        app=section.text("app", "default"),
        external_labels=tuple(sorted((name.text, value.text) for name, value in pairs)),
    )
    if not settings.app:
        section.fault("app", "app is empty", 'leave it out for the application "default"')
    section.done()
    return settings
