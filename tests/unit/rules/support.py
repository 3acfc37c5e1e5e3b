"""Doubles and builders of the rule tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vedette.kit.clock import FakeClock
from vedette.model.alerts import Alert, AlertInstance
from vedette.model.arrays import I32
from vedette.model.blocks import LabelTable
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.results import QueryResult, VectorResult
from vedette.model.samples import SampleBatch, is_stale
from vedette.query.promql.ast import Expr
from vedette.rules.files import read_rules
from vedette.rules.ports import Session, T
from vedette.rules.rule import Rule, RuleGroup
from vedette.rules.runner import Surroundings
from vedette.storage.interface import StorageError

START = 1_767_225_600_000


def vector(*rows: tuple[Mapping[str, str], float], ts: int = START) -> VectorResult:
    """Build an instant vector."""
    return VectorResult(
        LabelTable.of([Labels.of(labels) for labels, _ in rows]),
        np.array([ts], np.int64),
        np.array([[value] for _, value in rows], np.float64).reshape(len(rows), 1),
    )


def group_of(text: str) -> RuleGroup:
    """Read the one group of a rule file."""
    found = read_rules(text, "rules.yml")
    assert found.faults == ()
    return found.groups[0]


def rule_of(text: str) -> Rule:
    """Read one rule from its indented lines."""
    lines = "\n".join("      " + line for line in text.strip().splitlines())
    return group_of(f"groups:\n  - name: g\n    rules:\n    - {lines.strip()}\n").rules[0]


class SteppedClock(FakeClock):
    """A clock whose wall time the test sets, while monotonic time and sleeps go on."""

    skew_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.skew_ms


async def inline(function: Callable[[], T], /) -> T:
    """Run a blocking call at once, in place of a thread."""
    return function()


class Engine:
    """Answers each expression with what the test has set, or raises it."""

    def __init__(self) -> None:
        self.sequence = 1
        self.answers: dict[str, QueryResult | Exception] = {}
        self.asked: list[tuple[str, int]] = []
        self.first_occurrence: dict[str, bool] = {}

    async def together(self, work: Callable[[Session], T], /) -> T:
        return work(self)

    def instant(self, query: str | Expr, ts: int, first_occurrence: bool = False) -> QueryResult:
        assert isinstance(query, str)
        self.first_occurrence[query] = first_occurrence
        self.asked.append((query, ts))
        answer = self.answers.get(query, vector())
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class States:
    """Alert states in memory."""

    kept: dict[str, list[AlertInstance]] = field(default_factory=dict)
    broken: bool = False
    writes: int = 0

    def groups(self) -> list[str]:
        if self.broken:
            raise StorageError("the database is away")
        return sorted(key for key, instances in self.kept.items() if instances)

    def load(self, group: str) -> list[AlertInstance]:
        if self.broken:
            raise StorageError("the database is away")
        return list(self.kept.get(group, []))

    def replace(self, group: str, instances: Sequence[AlertInstance], now_ms: int) -> None:
        if self.broken:
            raise StorageError("the database is away")
        self.writes += 1
        self.kept[group] = list(instances)


@dataclass
class Sink:
    """Remembers every post."""

    posts: list[list[Alert]] = field(default_factory=list)
    settled_after: int | None = None

    async def post(self, alerts: Sequence[Alert]) -> None:
        self.posts.append(list(alerts))

    async def settled(self) -> None:
        self.settled_after = len(self.posts)


class Store:
    """Series index and ingest: keeps every written sample as text."""

    def __init__(self) -> None:
        self.series: list[Labels] = []
        self.written: list[tuple[int, str, float | None]] = []
        self.refused: Exception | None = None

    def refs(self, series: Sequence[Labels]) -> I32:
        first = len(self.series)
        self.series += series
        return np.arange(first, first + len(series), dtype=np.int32)

    async def append_samples(self, batch: SampleBatch) -> int:
        if self.refused is not None:
            raise self.refused
        for ref, ts, value, stale in zip(
            batch.refs, batch.ts, batch.values, is_stale(batch.values), strict=True
        ):
            text = str(self.series[int(ref)])
            self.written.append((int(ts), text, None if stale else float(value)))
        return 1

    async def append_events(self, events: Sequence[Event]) -> int:
        raise AssertionError("rules write no events")


class Lease:
    """One lease that the test gives and takes."""

    def __init__(self) -> None:
        self.free = True
        self.holder = ""

    def acquire(self, name: str, holder: str, ttl_ms: int, now_ms: int) -> bool:
        self.holder = holder if self.free else ""
        return self.free

    def release(self, name: str, holder: str) -> None:
        self.holder = ""


@dataclass
class World:
    """All doubles together."""

    clock: SteppedClock = field(default_factory=lambda: SteppedClock(START))
    engine: Engine = field(default_factory=Engine)
    states: States = field(default_factory=States)
    sink: Sink = field(default_factory=Sink)
    store: Store = field(default_factory=Store)

    def around(self) -> Surroundings:
        return Surroundings(
            clock=self.clock,
            engine=self.engine,
            states=self.states,
            sink=self.sink,
            index=self.store,
            ingest=self.store,
            offload=inline,
            external_url="http://vedette",
        )
