"""Imports: bodies in pieces of any cut, both formats, faults, memory."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.doubles import Index, Store
from tests.unit.web.support import client, fake_services
from vedette.app.import_reader import import_readers
from vedette.kit.clock import FakeClock
from vedette.receive import imports
from vedette.receive.imports import OPENMETRICS, ImportHandler, ImportOutcome
from vedette.receive.stats import IntakeStats
from vedette.storage.interface import OverloadedError
from vedette.web.http import JSON
from vedette.web.services import IntakeAnswer

NOW = 1_767_225_600_000
OM = {"content-type": f"{OPENMETRICS}; version=1.0.0"}
BODY = """# TYPE a counter
a_total{x="1"} 1 1700000000.5
a_total{x="1"} 2 1700000015
a_total{x="2"} 3 1700000000
# EOF
"""


class Bench:
    """A handler with doubles of storage behind it."""

    def __init__(self) -> None:
        self.index, self.store, self.stats = Index(), Store(), IntakeStats()
        readers = import_readers(self.index, FakeClock(NOW))
        self.handler = ImportHandler(self.store, self.stats, readers)

    async def take(self, chunks: Sequence[bytes], **headers: str) -> ImportOutcome:
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.handler.take(_each(chunks), told, {}, NOW, "default")

    def rows(self) -> list[tuple[str, int, float]]:
        """Return series, time and value of all samples in the order of their arrival."""
        return [
            (str(labels), ts, value)
            for batch in self.store.batches
            for labels, ts, value in zip(
                self.index.labels(batch.refs.tolist()),
                batch.ts.tolist(),
                batch.values.tolist(),
                strict=True,
            )
        ]


async def _each(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


WANTED = [
    ('a_total{x="1"}', 1_700_000_000_500, 1.0),
    ('a_total{x="1"}', 1_700_000_015_000, 2.0),
    ('a_total{x="2"}', 1_700_000_000_000, 3.0),
]


async def test_openmetrics_with_timestamps() -> None:
    """Seconds become milliseconds; several samples of a series stand in one body."""
    bench = Bench()
    outcome = await bench.take([BODY.encode()], content_type=OPENMETRICS)
    assert (outcome.status, outcome.samples, outcome.message) == (200, 3, "")
    assert bench.rows() == WANTED


async def test_text_with_and_without_timestamps() -> None:
    """Milliseconds; a line without one is of now."""
    bench = Bench()
    await bench.take([b"a 1 1700000000500\nb 2\nc 3 5"])
    assert bench.rows() == [("a", 1_700_000_000_500, 1.0), ("b", NOW, 2.0), ("c", 5, 3.0)]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, len(BODY)), max_size=5), st.integers(1, 40))
def test_cuts_change_nothing(cuts: list[int], piece: int) -> None:
    """However the body comes, the samples are those of the whole."""
    import asyncio

    places = sorted({0, *cuts, len(BODY)})
    chunks = [BODY[a:b].encode() for a, b in pairwise(places)]
    bench = Bench()
    before = imports._PIECE
    imports._PIECE = piece
    try:
        outcome = asyncio.run(bench.take(chunks, content_type=OPENMETRICS))
    finally:
        imports._PIECE = before
    assert (outcome.status, outcome.samples) == (200, 3)
    assert bench.rows() == WANTED


async def test_compressed_bodies() -> None:
    """gzip is undone piece by piece; a bomb takes no more memory than its pieces."""
    bench = Bench()
    data = gzip.compress(BODY.encode()[:40]) + gzip.compress(BODY.encode()[40:])
    chunks = [data[i : i + 7] for i in range(0, len(data), 7)]
    outcome = await bench.take(chunks, content_encoding="gzip", content_type=OPENMETRICS)
    assert (outcome.status, bench.rows()) == (200, WANTED)
    bomb = gzip.compress(b"x" * (64 << 20), mtime=0)
    outcome = await bench.take([bomb], content_encoding="gzip")
    assert (outcome.status, dict(outcome.rejected)) == (400, {"line_length": 1})


@pytest.mark.parametrize(
    ("chunks", "headers", "status", "reason"),
    [
        ([b"a 1\n{\nb 2\n"], {}, 200, "syntax"),
        ([b"{\n"], {}, 400, "syntax"),
        ([b"a 1 5\n"], {"content_type": OPENMETRICS}, 400, "incomplete"),
        ([b"a 1 99999999999999\n"], {}, 400, "timestamp"),
        ([b"no gzip"], {"content_encoding": "gzip"}, 400, "gzip"),
        ([gzip.compress(b"a 1\n", mtime=0)[:-3]], {"content_encoding": "gzip"}, 400, "gzip"),
        ([b"a 1\n"], {"content_encoding": "br"}, 400, "encoding"),
    ],
)
async def test_faults(
    chunks: list[bytes], headers: dict[str, str], status: int, reason: str
) -> None:
    """Each has its status, its reason in the counter, and says where it is."""
    bench = Bench()
    outcome = await bench.take(chunks, **headers)
    assert (outcome.status, dict(outcome.rejected)) == (status, {reason: 1})
    assert "line" in outcome.message
    assert bench.stats.snapshot().rejected == {("import", reason): 1}


async def test_the_line_of_a_fault_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever piece it is in."""
    monkeypatch.setattr(imports, "_PIECE", 8)
    outcome = await Bench().take([b"a 1 1\na 2 2\n", b"a 3 3\n", b"a x 4\n"])
    assert outcome.message.startswith("line 4: ")
    assert outcome.samples == 3


async def test_a_full_queue_is_told() -> None:
    """With how far it went, and when to come again."""
    bench = Bench()
    bench.store.error = OverloadedError("full", 2.0)
    outcome = await bench.take([b"a 1\n"])
    assert (outcome.status, outcome.retry_after) == (503, 2.0)


class _Imports:
    def __init__(self) -> None:
        self.told: list[Any] = []

    async def take(
        self, chunks: AsyncIterator[bytes], headers: Any, labels: Any, timestamp: int, app: str
    ) -> IntakeAnswer:
        body = b"".join([chunk async for chunk in chunks])
        self.told.append((body, labels, timestamp, app))
        return IntakeAnswer(200, b"{}", JSON)


async def test_the_endpoint() -> None:
    """The query string gives labels and a timestamp; malformed ones are refused."""
    taken = _Imports()
    path = "/api/v1/import/prometheus"
    async with client(fake_services(imports=taken)) as http:
        params = "?extra_label=job=a=b&timestamp=5"
        assert (await http.post(path + params, content=b"a 1\n")).status_code == 200
        assert (await http.post(f"{path}?extra_label=x", content=b"")).status_code == 400
        assert (await http.post(f"{path}?timestamp=x", content=b"")).status_code == 400
    assert taken.told == [(b"a 1\n", {"job": "a=b"}, 5, "default")]
