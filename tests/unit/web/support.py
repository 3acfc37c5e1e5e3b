"""A web room with doubles behind it, and a client that speaks ASGI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import httpx
import numpy as np

from vedette.dashboards.operational import operational
from vedette.kit.clock import FakeClock
from vedette.model.blocks import LabelTable, Selection
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.results import QueryResult, VectorResult
from vedette.model.samples import Exemplar
from vedette.query.usage import Usage
from vedette.storage.interface import NO_LIMITS, Check, SelectLimits, never_stop
from vedette.web.asgi import WebApp
from vedette.web.auth import AccessSettings, Guard
from vedette.web.services import CardinalityView, IntakeAnswer, Named, Readiness, Services

TOKEN = "a-token-for-tests-only"
T = TypeVar("T")


def vector(rows: Mapping[Labels, Sequence[float]], ts: Sequence[int]) -> VectorResult:
    """Return a vector result of ``rows`` at ``ts``."""
    table = LabelTable.of(list(rows))
    values = np.array([list(v) for v in rows.values()], np.float64).reshape(len(rows), len(ts))
    return VectorResult(table, np.array(ts, np.int64), values)


@dataclass
class FakeQueries:
    """Answers every query with ``result``; remembers what was asked."""

    result: QueryResult = field(default_factory=lambda: vector({Labels.of({"a": "b"}): [1.5]}, [0]))
    error: Exception | None = None
    asked: list[tuple[object, ...]] = field(default_factory=list)

    async def instant(
        self,
        query: str,
        ts: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        self.asked.append((query, ts, timeout, lookback))
        return await self._answer(usage)

    async def range(
        self,
        query: str,
        start: int,
        end: int,
        step: int,
        *,
        timeout: float = 0,
        lookback: int = 0,
        usage: Usage | None = None,
        who: str = "",
        first_occurrence: bool = False,
    ) -> QueryResult:
        self.asked.append((query, start, end, step))
        return await self._answer(usage)

    async def _answer(self, usage: Usage | None) -> QueryResult:
        if self.error:
            raise self.error
        if usage is not None:
            usage.samples = 3
        return self.result

    async def blocking(self, call: Callable[[], T], *, timeout: float = 0) -> T:
        return call()

    async def lookup(self, call: Callable[[Check], T], *, timeout: float = 0) -> T:
        return call(never_stop)

    async def aside(self, call: Callable[[], T]) -> T:
        return call()


class FakeStore:
    """Samples and events with fixed content."""

    sequence = 7

    def __init__(self) -> None:
        self.events: list[Event] = []

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        return ()

    def series(
        self, matchers: Any, start: int, end: int, limit: int, check: Check = never_stop
    ) -> list[Labels]:
        found = [Labels.of({"__name__": "up", "job": "a"}), Labels.of({"__name__": "up"})]
        return found[: limit or None]

    def label_names(
        self, matchers: Any, start: int, end: int, check: Check = never_stop
    ) -> list[str]:
        return ["__name__", "job"]

    def label_values(
        self, name: str, matchers: Any, start: int, end: int, check: Check = never_stop
    ) -> list[str]:
        return [f"{name}-1", f"{name}-2"]

    def exemplars(
        self, matchers: Any, start: int, end: int
    ) -> list[tuple[Labels, tuple[Exemplar, ...]]]:
        example = Exemplar(0, 1_500, 0.25, Labels.of({"trace_id": "abc"}))
        return [(Labels.of({"__name__": "up"}), (example,))]

    def find(
        self, *, app: str, type: str, since: int, until: int, limit: int, cursor: str
    ) -> tuple[list[Event], str]:
        return self.events[:limit], "more" if len(self.events) > limit else ""

    def count(self, *, app: str, type: str, since: int, until: int, by: str) -> dict[str, int]:
        return {"completed": 3, "error": 1} if by else {"": 4}


class FakeServer:
    """Facts of a server that does not exist."""

    def config(self) -> str:
        return "server: {}\n"

    def flags(self) -> Mapping[str, str]:
        return {"query.timeout": "2m"}

    def runtime(self) -> Mapping[str, object]:
        return {"CWD": "/"}

    def features(self) -> Mapping[str, Mapping[str, bool]]:
        return {"promql": {"bool": True}}

    def replay(self) -> tuple[int, int, int]:
        return 0, 3, 1

    def cardinality(self, most: int) -> CardinalityView:
        worst = [Named("up", 2), Named("down", 1)][:most]
        return CardinalityView(3, 4, 3, 1_000, 2_000, worst, worst, worst, worst)


async def accept(body: bytes, headers: Mapping[str, str], sender: str, app: str) -> IntakeAnswer:
    """Take anything; answer with the application that it was taken for."""
    return IntakeAnswer(202, app.encode(), b"text/plain")


def fake_services(queries: FakeQueries | None = None, **changes: Any) -> Services:
    """Return services made of doubles; ``changes`` replace members."""
    clock = FakeClock()
    store = FakeStore()
    services = Services(
        clock=clock,
        guard=Guard(AccessSettings(TOKEN), clock),
        queries=queries or FakeQueries(),
        panels=queries or FakeQueries(),
        samples=store,
        events=store,
        remote_write=accept,
        event_intake=accept,
        exemplars=store,
        server=FakeServer(),
        targets=list,
        target_metadata=list,
        dropped_targets=dict,
        groups=list,
        recently_resolved=list,
        metadata=dict,
        metrics=lambda: b"vedette_up 1\n",
        readiness=lambda: Readiness(True),
        dashboard=operational(),
        external_url="http://127.0.0.1:9797",
        version="0.0.test",
    )
    return replace(services, **changes)


def client(services: Services | None = None, host: str = "127.0.0.1:9797") -> httpx.AsyncClient:
    """Return an HTTP client wired to the application without a socket."""
    transport = httpx.ASGITransport(app=WebApp(services or fake_services()))  # type: ignore[arg-type]  # httpx types ASGI with its own aliases
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")
