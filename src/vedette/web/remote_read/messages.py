"""The messages of Prometheus' remote read.

Source: ``prompb/remote.proto`` and ``prompb/types.proto`` of Prometheus:

    ReadRequest {Query queries = 1 (repeated); ResponseType accepted_response_types = 2 (repeated)}
    Query {int64 start_timestamp_ms = 1; int64 end_timestamp_ms = 2; LabelMatcher matchers = 3
           (repeated); ReadHints hints = 4}
    LabelMatcher {Type type = 1; string name = 2; string value = 3}
    ReadResponse {QueryResult results = 1 (repeated)}; QueryResult {TimeSeries timeseries = 1}
    ChunkedReadResponse {ChunkedSeries chunked_series = 1 (repeated); int64 query_index = 2}
    ChunkedSeries {Label labels = 1; Chunk chunks = 2} (both repeated)
    Chunk {int64 min_time_ms = 1; int64 max_time_ms = 2; Encoding type = 3; bytes data = 4}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

import cramjam
import numpy as np
from numpy.typing import NDArray

from vedette.forward.encode import Outgoing, encode_labels, encode_series
from vedette.kit.varint import varint as encode
from vedette.model.arrays import F64, I32, I64
from vedette.model.blocks import AnyBlock, Block, Selection
from vedette.model.histograms import joined
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import HISTOGRAM, bits, is_absent, is_histogram
from vedette.receive.wire.errors import WireError
from vedette.receive.wire.protobuf import BYTES, VARINT, Reader, signed, varint
from vedette.web.remote_read.chunks import crc32c, xor_chunks

MOST_QUERIES = 1_000
_MOST_FIELDS = 100_000
_OPS = (MatchOp.EQUAL, MatchOp.NOT_EQUAL, MatchOp.REGEX, MatchOp.NOT_REGEX)
_XOR = 1


class ResponseType(IntEnum):
    """How the answer is written."""

    SAMPLES = 0
    STREAMED_XOR_CHUNKS = 1


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """One question: the samples of ``start <= ts <= end`` (ms) of what ``matchers`` select."""

    start: int
    end: int
    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """All questions of a request, and the response types that its sender takes, best first."""

    queries: tuple[ReadQuery, ...]
    accepted: tuple[int, ...]


def decode_request(data: bytes) -> ReadRequest:
    """Return what a decompressed request asks.

    Raises:
        WireError: it is no ReadRequest, or asks more than a request may.
    """
    reader = Reader(data, _MOST_FIELDS)
    queries: list[ReadQuery] = []
    accepted: list[int] = []
    for number, kind, start, content, stop in reader.fields(0, len(data)):
        if number == 1 and kind == BYTES:
            queries.append(_query(reader, content, stop))
        elif number == 2:
            accepted += reader.packed(content, stop)
        if len(queries) > MOST_QUERIES:
            message = f"the request asks more than {MOST_QUERIES} queries"
            raise WireError("too_many_queries", message, start)
    return ReadRequest(tuple(queries), tuple(accepted))


def _query(reader: Reader, begin: int, end: int) -> ReadQuery:
    times = {1: 0, 2: 0}
    matchers: list[Matcher] = []
    for number, kind, _, content, stop in reader.fields(begin, end):
        if number in times and kind == VARINT:
            times[number] = signed(varint(reader.data, content, stop)[0])
        elif number == 3 and kind == BYTES:
            matchers.append(_matcher(reader, content, stop))
    return ReadQuery(times[1], times[2], tuple(matchers))


def _matcher(reader: Reader, begin: int, end: int) -> Matcher:
    op, texts = 0, {2: "", 3: ""}
    for number, kind, start, content, stop in reader.fields(begin, end):
        if number == 1 and kind == VARINT:
            op = varint(reader.data, content, stop)[0]
        elif number in texts and kind == BYTES:
            try:
                texts[number] = reader.data[content:stop].decode()
            except UnicodeDecodeError:
                raise WireError("encoding", "a matcher is not UTF-8", start) from None
    if op >= len(_OPS):
        raise WireError("malformed", f"matcher type {op} does not exist", begin)
    return Matcher(texts[2], _OPS[op], texts[3])


def gathered(selections: Iterable[Selection], query: ReadQuery) -> tuple[list[Labels], Outgoing]:
    """Return the series of ``selections``, sorted, and their samples inside the asked range."""
    labels: list[Labels] = []
    parts: list[_Part] = []
    for selection in selections:
        table = selection.labels.with_name(selection.metric)
        for block in selection.blocks:
            parts.append(_part(block, len(labels), query))
            labels += table.take(block.columns).rows()
    order = sorted(range(len(labels)), key=lambda k: labels[k].pairs)
    rank = np.empty(len(labels), np.int32)
    rank[order] = np.arange(len(labels), dtype=np.int32)
    return [labels[k] for k in order], _outgoing(parts, rank, [labels[k] for k in order])


@dataclass(frozen=True, slots=True)
class _Part:
    """Samples of a block: int32[n] rows, int64[n] ts, float64[n] values, int32[n] histograms."""

    rows: I32
    ts: I64
    values: F64
    index: I32
    block: AnyBlock


def _part(block: AnyBlock, first: int, query: ReadQuery) -> _Part:
    """Return the samples of ``block`` in the range, its series numbered from ``first`` on."""
    if isinstance(block, Block):
        inside = (block.ts >= query.start) & (block.ts <= query.end)
        values = np.ascontiguousarray(block.values[inside].T)
        present = ~is_absent(values)
        rows, at = np.nonzero(present)
        ts, found = block.ts[inside][at], values[present]
    else:
        every = np.repeat(np.arange(len(block.columns)), np.diff(block.offsets))
        inside = (block.ts >= query.start) & (block.ts <= query.end)
        rows, ts, found = every[inside], block.ts[inside], block.values[inside]
    index = np.full(len(ts), -1, np.int32)
    if block.histograms is not None:
        if isinstance(block, Block):
            index = np.ascontiguousarray(block.histograms.index[inside].T)[present]
        else:
            index = block.histograms.index[inside]
    return _Part((rows + first).astype(np.int32), ts, found, index, block)


def _outgoing(parts: list[_Part], rank: I32, labels: list[Labels]) -> Outgoing:
    encoded = [encode_labels(each) for each in labels]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Outgoing(encoded, nothing.astype(np.int32), nothing, nothing.astype(np.float64))
    rows = rank[np.concatenate([part.rows for part in parts])]
    order = np.argsort(rows, kind="stable")
    held = [part.block.histograms for part in parts]
    histograms = None
    if any(each is not None for each in held):
        index: list[NDArray[np.int32]] = []
        base = 0
        for part in parts:
            index.append(np.where(part.index >= 0, part.index + base, -1).astype(np.int32))
            base += part.block.histograms.rows if part.block.histograms is not None else 0
        known = [each for each in held if each is not None]
        histograms = joined(known, np.concatenate(index)[order])
    return Outgoing(
        encoded,
        rows[order],
        np.concatenate([part.ts for part in parts])[order],
        np.concatenate([part.values for part in parts])[order],
        histograms,
    )


def encode_samples(results: Iterable[Outgoing]) -> bytes:
    """Return a ReadResponse, compressed with Snappy's block format."""
    body = b"".join(field(0x0A, encode_series(result)) for result in results)
    return bytes(cramjam.snappy.compress_raw(body))


def holds_histograms(result: Outgoing) -> bool:
    """Return whether any sample is a histogram."""
    return bool(is_histogram(result.values).any())


def encode_chunks(results: Iterable[Outgoing]) -> Iterator[bytes]:
    """Yield the frames of a stream of ChunkedReadResponses; samples are floats.

    Each holds one series, as Prometheus' own client reads no more of it. A frame is the size of
    its message as a varint, the CRC-32C of the message in four bytes, most significant first, and
    the message.
    """
    for number, result in enumerate(results):
        if (bits(result.values) == bits(np.array([HISTOGRAM]))[0]).any():
            raise ValueError("chunks of histograms are not written")
        ends = np.searchsorted(result.rows, np.arange(len(result.labels)), "right").tolist()
        begin = 0
        for labels, end in zip(result.labels, ends, strict=True):
            if begin == end:
                continue
            series = [labels]
            span = slice(begin, end)
            for low, high, data in xor_chunks(result.ts[span], result.values[span]):
                head = b"\x08" + encode(low) + b"\x10" + encode(high) + bytes((0x18, _XOR))
                series.append(field(0x12, head + field(0x22, data)))
            yield _frame(field(0x0A, b"".join(series)), number)
            begin = end


def _frame(series: bytes, number: int) -> bytes:
    message = series + (b"\x10" + encode(number) if number else b"")
    return encode(len(message)) + crc32c(message).to_bytes(4, "big") + message


def field(tag: int, body: bytes) -> bytes:
    """Return a length-delimited field."""
    return bytes([tag]) + encode(len(body)) + body
