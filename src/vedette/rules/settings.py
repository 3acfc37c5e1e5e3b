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
        outage_tolerance_ms: a pending alert that was last evaluated longer ago than this begins
            anew after a restart, because nobody knows whether its condition held meanwhile.
    """

    files: tuple[str, ...] = ()
    evaluation_interval_ms: int = 60_000
    outage_tolerance_ms: int = 3_600_000


def read_rules_settings(section: Section) -> RulesSettings:
    """Return the settings in ``section``; faults are noted there, unknown keys included."""
    settings = RulesSettings(
        files=section.texts("files"),
        evaluation_interval_ms=section.duration("evaluation_interval", 60_000, minimum=100),
        outage_tolerance_ms=section.duration("outage_tolerance", 3_600_000),
    )
    section.done()
    return settings
