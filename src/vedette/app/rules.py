"""What rules ask: the query engine, with what one round reads twice read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from vedette.app.queries import QueryPool
from vedette.model.alerts import Alert
from vedette.model.blocks import Selection
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.results import QueryResult
from vedette.query.promql.ast import Expr
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import SampleSource
from vedette.rules.ports import AlertSink, Session
from vedette.storage.interface import NO_LIMITS, Samples, SelectLimits

T = TypeVar("T")

_MOST_KEPT = 256
"""Selections that a round keeps; beyond it the oldest go."""


class LabelledSink:
    """Implements ``AlertSink``: gives alerts the external labels that they do not have."""

    def __init__(self, sink: AlertSink, external: tuple[tuple[str, str], ...]) -> None:
        self._sink = sink
        self._external = dict(external)

    async def post(self, alerts: Sequence[Alert]) -> None:
        """Pass the alerts on."""
        if self._external:
            alerts = [
                replace(each, labels=Labels.of(self._external | each.labels.as_dict()))
                for each in alerts
            ]
        await self._sink.post(alerts)

    async def settled(self) -> None:
        """Pass it on."""
        await self._sink.settled()


class RuleQueries:
    """Implements ``vedette.rules.ports.Evaluate`` with a slot of a query pool for each round."""

    def __init__(self, pool: QueryPool, samples: Samples, options: EngineOptions) -> None:
        self._pool = pool
        self._samples = samples
        self._options = options

    @property
    def sequence(self) -> int:
        """Ingest sequence of the newest batch that queries see."""
        return self._samples.sequence

    async def together(self, work: Callable[[Session], T], /) -> T:
        """Run ``work`` in a slot; all its queries together have the time of one."""
        return await self._pool.lookup(
            lambda check: work(RoundQueries(self._samples, self._options, check))
        )


class RoundQueries:
    """Answers the queries of one round, in its thread."""

    def __init__(
        self, samples: SampleSource, options: EngineOptions, check: Callable[[], None]
    ) -> None:
        source = RoundSamples(samples)
        self._check = check
        self._plain = Engine(source, options)
        self._first = Engine(source, replace(options, first_occurrence=True))

    def instant(self, query: str | Expr, ts: int, first_occurrence: bool = False) -> QueryResult:
        """Return the result of ``query`` at ``ts`` (ms); raises as the engine does."""
        engine = self._first if first_occurrence else self._plain
        return engine.instant(query, ts, self._check)


class RoundSamples:
    """A source that remembers its selections: rules of one round often read the same."""

    def __init__(self, samples: SampleSource) -> None:
        self._samples = samples
        self._kept: dict[tuple[tuple[Matcher, ...], int, int], tuple[Selection, ...]] = {}

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        """Return one selection per metric, with all samples of ``start <= ts <= end`` (ms)."""
        key = (tuple(matchers), start, end)
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            found = self._kept[key] = self._samples.select(matchers, start, end, limits)
        return found
