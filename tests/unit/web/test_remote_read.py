"""Remote read: what is asked, what is answered, and that chunks hold what they were given."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import cramjam
import httpx
import numpy as np
import pytest
from google.protobuf import message_factory
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.messages import REQUEST_1, VERSION_1, histogram_of, message_class, same_bits
from tests.unit.web.support import FakeStore, client, fake_services
from vedette.forward.encode import encode_series
from vedette.model.blocks import Block, LabelTable, RaggedBlock, Selection
from vedette.model.histograms import HistogramValue, histograms_of
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import ABSENT, HISTOGRAM, STALE
from vedette.query.errors import QueryError
from vedette.receive.wire.errors import WireError
from vedette.storage.interface import NO_LIMITS, SelectionTooLargeError, SelectLimits
from vedette.web.remote_read.chunks import crc32c, xor_chunks
from vedette.web.remote_read.messages import ReadQuery, decode_request, gathered

READ = message_class(
    "r",
    {
        **VERSION_1,
        "LabelMatcher": "type 1 uint32, name 2 string, value 3 string",
        "Query": "start_timestamp_ms 1 int64, end_timestamp_ms 2 int64, matchers 3 LabelMatcher*",
        "QueryResult": "timeseries 1 TimeSeries*",
        "ReadResponse": "results 1 QueryResult*",
        "Chunk": "min_time_ms 1 int64, max_time_ms 2 int64, type 3 uint32, data 4 bytes",
        "ChunkedSeries": "labels 1 Label*, chunks 2 Chunk*",
        "ChunkedReadResponse": "chunked_series 1 ChunkedSeries*, query_index 2 int64",
        "ReadRequest": "queries 1 Query*, accepted_response_types 2 uint32*",
    },
    "ReadRequest",
)


def sibling(name: str) -> Any:
    """Return the class of another message of remote read."""
    return message_factory.GetMessageClass(READ.DESCRIPTOR.file.message_types_by_name[name])


class BitReader:
    """Takes bits off a chunk."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, width: int) -> int:
        """Return the next ``width`` bits."""
        self._left -= width
        assert self._left >= 0, "the chunk ends too early"
        return self._number >> self._left & (1 << width) - 1

    def uvarint(self) -> int:
        """Return a number of variable length."""
        result = shift = 0
        while True:
            byte = self.take(8)
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    def signed(self, width: int) -> int:
        """Return a number whose range is ``-(2**(width-1) - 1)`` to ``2**(width-1)``."""
        number = self.take(width)
        return number - (1 << width) if number > 1 << (width - 1) else number


def read_chunk(data: bytes) -> list[tuple[int, bytes]]:
    """Return timestamps and the values' bytes: the format, read straight from its description."""
    bits = BitReader(data)
    count = bits.take(16)
    zigzag = bits.uvarint()
    ts, value = (zigzag >> 1) ^ -(zigzag & 1), bits.take(64)
    out = [(ts, value)]
    delta = leading = width = 0
    for k in range(1, count):
        if k == 1:
            delta = bits.uvarint()
        else:
            prefix = 0
            while prefix < 4 and bits.take(1):
                prefix += 1
            if prefix == 4:
                change = bits.take(64)
                delta += change - (1 << 64) if change >> 63 else change
            elif prefix:
                delta += bits.signed((14, 17, 20)[prefix - 1])
        ts += delta
        if bits.take(1):
            if bits.take(1):
                leading, width = bits.take(5), bits.take(6) or 64
            value ^= bits.take(width) << (64 - leading - width)
        out.append((ts, value))
    return [(at, struct.pack("<Q", number)) for at, number in out]


gaps = st.integers(1, 5) | st.sampled_from([15_000, 15_001, 8_193, 70_000, 600_000, 2**40])
floats = st.floats() | st.sampled_from([0.0, -0.0, STALE, 1.0, 2.0])


@settings(deadline=None)
@given(st.lists(st.tuples(gaps, floats), min_size=1, max_size=300), st.integers(-(2**40), 2**45))
def test_chunks_hold_what_they_were_given(samples: list[tuple[int, float]], first: int) -> None:
    """Any ascending timestamps and any bits of floats come back from chunks of 120 samples."""
    ts = first + np.cumsum([gap for gap, _ in samples])
    values = np.array([value for _, value in samples])
    found = []
    for low, high, data in xor_chunks(ts, values):
        part = read_chunk(data)
        assert (low, high) == (part[0][0], part[-1][0])
        assert len(part) <= 120
        found += part
    assert [at for at, _ in found] == ts.tolist()
    assert b"".join(raw for _, raw in found) == values.tobytes()


def test_the_checksum_is_castagnolis() -> None:
    """The check value of the catalogue of CRCs, and nothing for nothing."""
    assert (crc32c(b"123456789"), crc32c(b"")) == (0xE306_9283, 0)


def request(*accepted: int, name: str = "m", start: int = 0, end: int = 100) -> bytes:
    """Return a compressed request with one query."""
    message = READ(accepted_response_types=accepted)
    query = message.queries.add(start_timestamp_ms=start, end_timestamp_ms=end)
    for op, value in enumerate([name, "a", "b.*", "c.*"]):
        query.matchers.add(type=op, name="__name__" if not op else "job", value=value)
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def test_requests_are_read() -> None:
    """Ranges, all four matchers and the response types, in the order of the request."""
    got = decode_request(bytes(cramjam.snappy.decompress_raw(request(1, 0, start=-5))))
    assert got.accepted == (1, 0)
    assert got.queries == (
        ReadQuery(
            -5,
            100,
            (
                Matcher("__name__", MatchOp.EQUAL, "m"),
                Matcher("job", MatchOp.NOT_EQUAL, "a"),
                Matcher("job", MatchOp.REGEX, "b.*"),
                Matcher("job", MatchOp.NOT_REGEX, "c.*"),
            ),
        ),
    )


@given(st.binary(max_size=100))
def test_noise_is_an_error_or_a_request(noise: bytes) -> None:
    """Arbitrary bytes never crash the decoder."""
    try:
        decode_request(noise)
    except WireError:
        return


def test_too_many_queries_and_unknown_matchers_are_refused() -> None:
    """Both are told by name."""
    many = READ()
    for _ in range(1001):
        many.queries.add()
    with pytest.raises(WireError, match="1000 queries"):
        decode_request(many.SerializeToString())
    odd = READ()
    odd.queries.add().matchers.add(type=4)
    with pytest.raises(WireError, match="matcher type 4"):
        decode_request(odd.SerializeToString())


NATIVE = HistogramValue(1, 3.0, 2.5, 0.0, 1.0, 0, ((-1, 1.0), (3, 1.0)))


def selections() -> tuple[Selection, ...]:
    """Return two metrics in dense and ragged blocks, histograms among them."""
    values = np.array([[1.0, ABSENT], [STALE, HISTOGRAM], [3.0, 4.0]])
    index = np.array([[-1, -1], [-1, 0], [-1, -1]], np.int32)
    dense = Block(
        np.array([1, 0], np.int32),
        np.array([10, 20, 200], np.int64),
        values,
        histograms=histograms_of([NATIVE], index),
    )
    ragged = RaggedBlock(
        np.array([0], np.int32),
        np.array([0, 3], np.int64),
        np.array([5, 15, 25], np.int64),
        np.array([1.0, HISTOGRAM, 2.0]),
        histograms=histograms_of([NATIVE, NATIVE], np.array([-1, 1, -1], np.int32)),
    )
    table = LabelTable.of([Labels.of({"job": "z"}), Labels.of({"job": "a"})])
    return (
        Selection("n", LabelTable.of([Labels()]), (ragged,)),
        Selection("m", table, (dense,)),
    )


def test_series_come_sorted_with_the_samples_of_the_range() -> None:
    """Of every block what lies in the range, absent samples left out, histograms in place."""
    labels, outgoing = gathered(selections(), ReadQuery(10, 100, ()))
    assert [str(each) for each in labels] == ['m{job="a"}', 'm{job="z"}', "n"]
    assert outgoing.rows.tolist() == [0, 0, 1, 2, 2]
    assert outgoing.ts.tolist() == [10, 20, 20, 15, 25]
    assert outgoing.histograms is not None
    assert outgoing.histograms.index.tolist() == [-1, -1, 2, 1, -1]


class Store(FakeStore):
    """Holds the selections above; the name that is asked for chooses what goes wrong."""

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        if matchers[0].value == "slow":
            raise QueryError("timeout", "too slow")
        if matchers[0].value == "large":
            raise SelectionTooLargeError("too much")
        if matchers[0].value == "floats":
            block = Block(np.zeros(1, np.int32), np.array([10, 20]), np.array([[1.0], [0.0]]))
            return (Selection("f", LabelTable.of([Labels.of({"a": "b"})]), (block,)),)
        return selections()


async def ask(body: bytes) -> httpx.Response:
    """Send a request to the endpoint."""
    async with client(fake_services(samples=Store())) as http:
        return await http.post("/api/v1/read", content=body)


async def test_samples_are_answered_as_one_message() -> None:
    """Without a word on types, or with SAMPLES first, the answer is one compressed message."""
    for body in (request(), request(0, 1), request(1, 0)):  # chunks cannot hold the histograms
        answer = await ask(body)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-protobuf"
        assert answer.headers["content-encoding"] == "snappy"
        message = sibling("ReadResponse").FromString(
            bytes(cramjam.snappy.decompress_raw(answer.content))
        )
        (result,) = message.results
        names = [[(pair.name, pair.value) for pair in s.labels] for s in result.timeseries]
        assert names[0] == [("__name__", "m"), ("job", "a")]
        assert [s.timestamp for s in result.timeseries[0].samples] == [10, 20]
        assert same_bits(histogram_of(result.timeseries[1].histograms[0]), NATIVE)


async def test_chunks_are_streamed_where_they_are_asked_for() -> None:
    """A frame a series: its size, its checksum, and a message with chunks."""
    answer = await ask(request(1, name="floats"))
    assert answer.headers["content-type"].startswith("application/x-streamed-protobuf")
    size, crc, message = answer.content[0], answer.content[1:5], answer.content[5:]
    assert size == len(message)
    assert int.from_bytes(crc, "big") == crc32c(message)
    (series,) = sibling("ChunkedReadResponse").FromString(message).chunked_series
    (chunk,) = series.chunks
    assert (chunk.min_time_ms, chunk.max_time_ms, chunk.type) == (10, 20, 1)
    assert [at for at, _ in read_chunk(chunk.data)] == [10, 20]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"\xff\xff", 400, "snappy"),
        (request(1), 400, "SAMPLES only"),
        (request(7), 400, "none of the response types"),
        (request(name="large"), 400, "too much"),
        (request(name="slow"), 503, "too slow"),
    ],
)
async def test_refusals_say_why(body: bytes, status: int, text: str) -> None:
    """A sender learns in plain text what was wrong."""
    answer = await ask(body)
    assert (answer.status_code, text in answer.text) == (status, True)


def test_what_is_written_reads_as_a_write_request_too() -> None:
    """A query's result and a write request have their series under the same number."""
    _, outgoing = gathered(selections(), ReadQuery(0, 1000, ()))
    assert len(REQUEST_1.FromString(encode_series(outgoing)).timeseries) == 3
