"""Inhibition: a firing alert mutes others that it explains; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vedette.alerting.matchers import Test, compile_matchers
from vedette.alerting.settings import InhibitRule
from vedette.model.alerts import Alert
from vedette.model.labels import Labels


@dataclass(frozen=True, slots=True)
class _Compiled:
    rule: InhibitRule
    source: Test
    target: Test


class Inhibitor:
    """Inhibition rules applied to the alerts that fire at one moment.

    As in Alertmanager, an alert that matches both sides of a rule is not muted by another one
    that does so too; otherwise two alerts could mute each other and nobody would be told.
    """

    def __init__(self, rules: Sequence[InhibitRule]) -> None:
        self._rules = [
            _Compiled(rule, compile_matchers(rule.source), compile_matchers(rule.target))
            for rule in rules
        ]
        # Per rule: values of the equal labels → sources; each with "is a target as well".
        self._sources: list[dict[tuple[str, ...], list[tuple[Labels, bool]]]] = []
        self.update(())

    def update(self, alerts: Iterable[Alert]) -> None:
        """Take ``alerts`` as all that are known now; resolved ones mute nothing."""
        firing = [alert.labels for alert in alerts if not alert.resolved] if self._rules else []
        self._sources = []
        for one in self._rules:
            index: dict[tuple[str, ...], list[tuple[Labels, bool]]] = {}
            for labels in firing:
                if one.source(labels):
                    equal = tuple(labels.get(name) for name in one.rule.equal)
                    index.setdefault(equal, []).append((labels, one.target(labels)))
            self._sources.append(index)

    def muted_by(self, labels: Labels) -> Labels | None:
        """Return the labels of an alert that mutes ``labels``, or ``None``."""
        for one, index in zip(self._rules, self._sources, strict=True):
            if not index or not one.target(labels):
                continue
            both = one.source(labels)
            equal = tuple(labels.get(name) for name in one.rule.equal)
            for source, is_target in index.get(equal, ()):
                if source != labels and not (both and is_target):
                    return source
        return None
