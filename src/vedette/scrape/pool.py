"""The targets of one job, as they come and go. A pure memory: no clock, no tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vedette.model.labels import Labels
from vedette.scrape.discovery.groups import TargetGroup
from vedette.scrape.settings import ScrapeJob, ScrapeSettings
from vedette.scrape.targets import Target, TargetMaker, named_targets

MAX_DROPPED = 10_000


@dataclass(frozen=True, slots=True)
class _Made:
    group: TargetGroup
    kept: Sequence[Target]
    dropped: Sequence[Labels]
    faults: Sequence[str]


@dataclass(frozen=True, slots=True)
class PoolState:
    """What a pool holds now.

    Attributes:
        targets: by their keys; two that came out equal are one.
        dropped: labels of targets that rules dropped, as far as they are kept.
        dropped_count: how many there are.
        faults: targets that cannot be scraped.
        excess: why none is scraped, or "".
    """

    targets: dict[str, Target]
    dropped: tuple[Labels, ...]
    dropped_count: int
    faults: tuple[str, ...]
    excess: str = ""


class TargetPool:
    """Targets of one job by the discovery (a number) and the source that they came from."""

    def __init__(self, job: ScrapeJob, settings: ScrapeSettings) -> None:
        self.configure(job, settings)
        self._made: dict[tuple[int, str], _Made] = {}

    def configure(self, job: ScrapeJob, settings: ScrapeSettings) -> None:
        """Take new settings of the job; call :meth:`renew` after it."""
        self.job = job
        self._named = named_targets(job, settings)
        self._maker = TargetMaker(job, settings.normalise_buckets)

    def renew(self, discoveries: int) -> None:
        """Make all targets again, of the first ``discoveries`` discoveries only."""
        old, self._made = self._made, {}
        for (number, source), made in old.items():
            if number < discoveries:
                self._made[number, source] = self._make(made.group)

    def forget(self, discovery: int) -> None:
        """Forget what ``discovery`` has published."""
        self._made = {key: made for key, made in self._made.items() if key[0] != discovery}

    def update(self, discovery: int, groups: Iterable[TargetGroup]) -> None:
        """Take groups that ``discovery`` publishes."""
        for group in groups:
            key = (discovery, group.source)
            if group.targets:
                self._made[key] = self._make(group)
            else:
                self._made.pop(key, None)

    def state(self) -> PoolState:
        """Return what there is to scrape, and what is not scraped."""
        targets = {target.key: target for target in self._named}
        dropped: list[Labels] = []
        faults: list[str] = []
        most = min(self.job.keep_dropped or MAX_DROPPED, MAX_DROPPED)
        count = 0
        for made in self._made.values():
            for target in made.kept:
                targets.setdefault(target.key, target)
            count += len(made.dropped)
            dropped += made.dropped[: most - len(dropped)]
            faults += made.faults
        excess = ""
        limit = self.job.target_limit
        if limit and len(targets) > limit:
            excess = f"target_limit exceeded (number of targets: {len(targets)}, limit: {limit})"
        return PoolState(targets, tuple(dropped), count, tuple(faults), excess)

    def _make(self, group: TargetGroup) -> _Made:
        return _Made(group, *self._maker.make(group))
