"""``POST /api/events``: forms of the body, refusals by item, limits, ids and timestamps."""

from __future__ import annotations

import gzip
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.doubles import Store
from vedette.kit.clock import FakeClock
from vedette.receive.events import EventIds, EventsHandler, EventsOutcome
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import WireError
from vedette.receive.wire.events import EnvelopeError, EventLimits, read_envelope, split_items
from vedette.storage.interface import OverloadedError

GOOD = {"type": "stream_end", "data": {"state": "completed", "nested": {"a": [1]}}}
NOW = 1_767_225_600_000


class Bench:
    """A handler with its surroundings."""

    def __init__(self, limits: EventLimits | None = None) -> None:
        self.store, self.stats, self.clock = Store(), IntakeStats(), FakeClock(NOW)
        self.handler = EventsHandler(self.store, self.stats, self.clock, limits)

    async def send(self, body: object, **headers: str) -> tuple[EventsOutcome, Any]:
        """Send ``body`` (as JSON unless it is bytes); return the outcome and its JSON."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        outcome = await self.handler.handle(raw, named, "s", "shop")
        return outcome, orjson.loads(outcome.body)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (orjson.dumps([GOOD, GOOD]), {}),
        (orjson.dumps(GOOD) + b"\n" + orjson.dumps(GOOD), {}),
        (orjson.dumps(GOOD) + b"\r\n\n" + orjson.dumps(GOOD) + b"\n", {}),
        (
            orjson.dumps(GOOD) + b"\n" + orjson.dumps(GOOD),
            {"content_type": "application/x-ndjson"},
        ),
        (gzip.compress(orjson.dumps([GOOD, GOOD]), mtime=0), {"content_encoding": "gzip"}),
    ],
)
async def test_forms_of_the_body(body: bytes, headers: dict[str, str]) -> None:
    """An array, lines with or without a content type, and gzip hold the same events."""
    bench = Bench()
    outcome, answer = await bench.send(body, **headers)
    assert outcome.status == 202
    assert (answer["success"], answer["accepted"], answer["rejected"]) == (True, 2, 0)
    assert answer["timestamp"].endswith("Z")
    first, second = bench.store.events
    assert (first.app, first.type, first.ts) == ("shop", "stream_end", NOW)
    assert orjson.loads(first.data) == GOOD["data"]
    assert first.id < second.id


@pytest.mark.parametrize(
    ("item", "word"),
    [
        (7, "a number"),
        ({"type": "x"}, "lacks data"),
        ({"type": "x", "data": {}, "app": "y"}, "app"),
        ({"type": 5, "data": {}}, "a string"),
        ({"type": "a\nb", "data": {}}, "printable"),
        ({"type": "", "data": {}}, "printable"),
        ({"type": "x" * 200, "data": {}}, "128"),
        ({"type": "x", "data": []}, "an array"),
        ({"type": "x", "data": {"a": "y" * 70_000}}, "bytes"),
        ({"type": "x", "data": {"timestamp": 1_767_225_600}}, "seconds"),
        ({"type": "x", "data": {"timestamp": True}}, "boolean"),
        ({"type": "x", "data": {"timestamp": "yesterday"}}, "ISO"),
        ({"type": "x", "data": {"timestamp": 10**18}}, "milliseconds"),
        ({"type": "x", "data": {"a": json.loads("[" * 20 + "]" * 20)}}, "levels"),
    ],
)
async def test_a_bad_item_is_named_and_the_others_are_kept(item: object, word: str) -> None:
    """Each refusal has its index and says what is wrong; it is counted."""
    bench = Bench()
    outcome, answer = await bench.send([GOOD, item, GOOD])
    assert (outcome.status, answer["accepted"], answer["rejected"]) == (202, 2, 1)
    (error,) = answer["errors"]
    assert error["index"] == 1
    assert word in error["error"]
    assert sum(bench.stats.snapshot().rejected.values()) == 1


async def test_a_broken_line_costs_only_itself() -> None:
    """In NDJSON a line that is no JSON is refused by its index."""
    outcome, answer = await Bench().send(orjson.dumps(GOOD) + b"\n{oops\n" + orjson.dumps(GOOD))
    assert (outcome.status, outcome.accepted, answer["errors"][0]["index"]) == (202, 2, 1)


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"[1,", b"{\n", b"[{}]", b'{"type": 1}'])
async def test_nothing_readable_is_400(body: bytes) -> None:
    """Where no event could be taken, the answer is an error with a hint."""
    bench = Bench()
    outcome, answer = await bench.send(body)
    assert (outcome.status, answer["success"]) == (400, False)
    assert answer["error"]["message"]
    assert answer["error"]["hint"]
    assert bench.store.events == []


async def test_limits() -> None:
    """Size is checked after decompression; a gzip bomb is not unpacked beyond the limit."""
    limits = EventLimits(body_bytes=1000, items=3)
    bomb = gzip.compress(b" " * 10_000_000, mtime=0)
    assert (await Bench(limits).send(bomb, content_encoding="gzip"))[0].status == 413
    assert (await Bench(limits).send(b" " * 1001))[0].status == 413
    assert (await Bench(limits).send([GOOD] * 4))[0].status == 413
    assert (await Bench(limits).send(b"junk", content_encoding="gzip"))[0].status == 400
    assert (await Bench(limits).send(bomb[:-9], content_encoding="gzip"))[0].status == 413
    assert (await Bench(limits).send([GOOD], content_encoding="br"))[0].status == 415


async def test_overload_is_503_with_retry_after() -> None:
    """A full queue makes the sender come again; nothing counts as accepted."""
    bench = Bench()
    bench.store.error = OverloadedError("the queue is full", 3.0)
    outcome, answer = await bench.send(GOOD)
    assert (outcome.status, outcome.retry_after, answer["success"]) == (503, 3.0, False)
    assert bench.stats.snapshot().accepted == {}


@pytest.mark.parametrize(
    ("timestamp", "ms"),
    [
        (1_700_000_000_123, 1_700_000_000_123),
        (1_700_000_000_123.0, 1_700_000_000_123),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123", 1_700_000_000_123),
        ("2023-11-15T00:13:20.123+02:00", 1_700_000_000_123),
        (None, NOW),
    ],
)
async def test_timestamp_of_the_data_wins(timestamp: object, ms: int) -> None:
    """Milliseconds and ISO-8601 (UTC unless it says otherwise); else the time of receipt."""
    bench = Bench()
    await bench.send({"type": "x", "data": {"timestamp": timestamp}})
    assert bench.store.events[0].ts == ms


def test_ids_sort_by_receipt_also_when_the_clock_goes_back() -> None:
    """Ids ascend strictly and have 32 hexadecimal digits."""
    ids = EventIds()
    made = [ids.next(ms) for ms in (NOW, NOW, NOW - 5000, NOW + 1, NOW + 1)]
    assert made == sorted(set(made))
    assert {len(one) for one in made} == {32}


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(json_values | st.builds(lambda d: {"type": "x", "data": d}, json_values) | st.binary())
def test_any_body_is_read_or_refused(body: object) -> None:
    """Whatever arrives, decoding ends in envelopes or in errors of ours."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    limits = EventLimits()
    for ndjson in (True, False):
        try:
            items = split_items(raw, ndjson, limits)
        except WireError:
            continue
        for item in items:
            try:
                read_envelope(item, limits)
            except EnvelopeError:
                continue
