"""The format of a segment file, version 1; little-endian throughout.

Header, 56 bytes: magic ``VDSPOOL1``, the spool's 16-byte id, segment number u64, first sequence
u64, floor i64, CRC-32 of the foregoing u32, 4 bytes 0.

Frame: marker ``FRM\\x1e``, payload length u32, CRC-32 of type and payload u32, type u32,
payload. The marker lets a reader find the next frame behind a damaged one.

Types: 1 series (count u32, refs i32[n], lengths u32[n], canonical labels one after another),
2 samples, 3 events, 4 samples with histograms or exemplars, 5 a deletion; see the encoders. A
segment defines every series that it uses. A Vedette that does not know a type leaves its frames as
damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from vedette.model.arrays import I32, I64
from vedette.model.events import Event
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import SampleBatch
from vedette.storage.spool.reader import Reader
from vedette.storage.spool.rich import decode_rich, encode_rich

MAGIC = b"VDSPOOL1"
_HEADER = struct.Struct("<8s16sQQqI4x")
_MARKER = b"FRM\x1e"
_FRAME = struct.Struct("<4sIII")
_SAMPLES = struct.Struct("<QIHHBBxx")
_EVENTS = struct.Struct("<QI")
_DELETION = struct.Struct("<Qqq")
HEADER_SIZE = _HEADER.size

_SERIES_TYPE, _SAMPLES_TYPE, _EVENTS_TYPE, _RICH_TYPE, _DELETION_TYPE = 1, 2, 3, 4, 5
_SEARCHED = 1 << 16
_TS_ONE, _TS_DELTA, _TS_PLAIN = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself.

    Attributes:
        spool: 16 bytes, random, given when the spool was created.
        number: of the segment, rising.
        first_sequence: of the first batch that belongs here; all later ones belong here or to
            later segments.
        floor: newest timestamp (ms) of all segments that were, or may have been, deleted.
    """

    spool: bytes
    number: int
    first_sequence: int
    floor: int


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """Series that a segment uses: int32[n] refs and the canonical bytes of their labels."""

    refs: I32
    canonical: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SamplesRecord:
    """A batch of samples with its ingest sequence; refs are those of the segment."""

    sequence: int
    batch: SampleBatch


@dataclass(frozen=True, slots=True)
class EventsRecord:
    """Events with their ingest sequence."""

    sequence: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class DeletionRecord:
    """Delete what any of ``matchers`` selects in ``start <= ts <= end`` (ms).

    It holds for what was written before it, and is the last record of its segment.
    """

    sequence: int
    matchers: tuple[tuple[Matcher, ...], ...]
    start: int
    end: int


Numbered = SamplesRecord | EventsRecord | DeletionRecord
"""Records with a sequence."""

Record = SeriesRecord | Numbered


def encode_header(header: Header) -> bytes:
    """Return the first bytes of a segment."""
    fields = header.spool, header.number, header.first_sequence, header.floor
    head = _HEADER.pack(MAGIC, *fields, 0)
    return _HEADER.pack(MAGIC, *fields, zlib.crc32(head[:-8]))


def decode_header(data: bytes) -> Header | None:
    """Return the header of a segment, ``None`` when it is damaged, short or of another version."""
    if len(data) < HEADER_SIZE:
        return None
    magic, spool, number, first, floor, crc = _HEADER.unpack_from(data)
    if magic != MAGIC or crc != zlib.crc32(data[: HEADER_SIZE - 8]):
        return None
    return Header(spool, number, first, floor)


def _frame(kind: int, payload: bytes) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(bytes([kind])))
    return _FRAME.pack(_MARKER, len(payload), crc, kind) + payload


def encode_series(refs: I32, canonical: Sequence[bytes]) -> bytes:
    """Return the frame that defines series."""
    lengths = np.fromiter(map(len, canonical), np.uint32, len(canonical))
    head = struct.pack("<I", len(refs))
    return _frame(_SERIES_TYPE, b"".join([head, refs.tobytes(), lengths.tobytes(), *canonical]))


def encode_samples(sequence: int, batch: SampleBatch) -> bytes:
    """Return the frame of a batch.

    Payload: sequence u64, count u32, lengths of application and target u16, form of the
    timestamps u8 (0: one i64 for all, 1: i64 and u32 offsets, 2: i64[n]), whether start
    timestamps follow u8, 2 bytes 0, application, target, refs i32[n], values f64[n], timestamps,
    start i64[n]. In a frame of type 4 the histograms and exemplars follow, see ``rich``.
    """
    app, target = batch.app.encode(), batch.target.encode()
    low, high = (int(batch.ts.min()), int(batch.ts.max())) if len(batch) else (0, 0)
    if low == high:
        form, times = _TS_ONE, struct.pack("<q", low)
    elif high - low < 2**32:
        offsets = (batch.ts - low).astype(np.uint32)
        form, times = _TS_DELTA, struct.pack("<q", low) + offsets.tobytes()
    else:
        form, times = _TS_PLAIN, batch.ts.astype(np.int64).tobytes()
    head = _SAMPLES.pack(sequence, len(batch), len(app), len(target), form, batch.start is not None)
    start = batch.start.tobytes() if batch.start is not None else b""
    parts = [head, app, target, batch.refs.tobytes(), batch.values.tobytes(), times, start]
    if batch.histograms is None and not batch.exemplars:
        return _frame(_SAMPLES_TYPE, b"".join(parts))
    return _frame(_RICH_TYPE, b"".join([*parts, *encode_rich(batch)]))


def encode_events(sequence: int, events: Sequence[Event]) -> bytes:
    """Return the frame of events.

    Payload: sequence u64, count u32, timestamps i64[n], lengths u32[n, 4] of id, application,
    type and data, then these texts event by event.
    """
    texts = [(e.id.encode(), e.app.encode(), e.type.encode(), e.data) for e in events]
    ts = np.array([e.ts for e in events], np.int64)
    lengths = np.array([[len(t) for t in row] for row in texts], np.uint32)
    head = _EVENTS.pack(sequence, len(events))
    body = b"".join(text for row in texts for text in row)
    return _frame(_EVENTS_TYPE, b"".join([head, ts.tobytes(), lengths.tobytes(), body]))


def encode_deletion(deletion: DeletionRecord) -> bytes:
    """Return the frame of a deletion.

    Payload: sequence u64, first and last timestamp i64, and the matchers as JSON: a list of lists
    of [name, operator, value].
    """
    matchers = [[[m.name, m.op.value, m.value] for m in one] for one in deletion.matchers]
    head = _DELETION.pack(deletion.sequence, deletion.start, deletion.end)
    return _frame(_DELETION_TYPE, head + orjson.dumps(matchers))


def _decode_deletion(payload: memoryview) -> DeletionRecord:
    sequence, start, end = _DELETION.unpack_from(payload)
    matchers = tuple(
        tuple(Matcher(name, MatchOp(op), value) for name, op, value in one)
        for one in orjson.loads(bytes(payload[_DELETION.size :]))
    )
    return DeletionRecord(sequence, matchers, start, end)


def _decode_series(payload: memoryview) -> SeriesRecord:
    (count,) = struct.unpack_from("<I", payload)
    reader = Reader(payload, 4)
    refs = reader.array("<i4", count).astype(np.int32)
    lengths = reader.array("<u4", count).tolist()
    return SeriesRecord(refs, tuple(reader.bytes(n) for n in lengths))


def _decode_samples(payload: memoryview) -> SamplesRecord:
    return _samples(payload)[0]


def _decode_rich(payload: memoryview) -> SamplesRecord:
    record, reader = _samples(payload)
    return SamplesRecord(record.sequence, decode_rich(reader, record.batch))


def _samples(payload: memoryview) -> tuple[SamplesRecord, Reader]:
    sequence, count, apps, targets, form, has_start = _SAMPLES.unpack_from(payload)
    reader = Reader(payload, _SAMPLES.size)
    app, target = reader.bytes(apps).decode(), reader.bytes(targets).decode()
    # Views of the file's content: a segment is large, and is read once.
    refs = reader.array("<i4", count).astype(np.int32, copy=False)
    values = reader.array("<f8", count).astype(np.float64, copy=False)
    ts: I64
    if form == _TS_PLAIN:
        ts = reader.array("<i8", count).astype(np.int64)
    else:
        (base,) = reader.array("<i8", 1).tolist()
        ts = np.full(count, base, np.int64)
        if form == _TS_DELTA:
            ts += reader.array("<u4", count).astype(np.int64)
    start = reader.array("<i8", count).astype(np.int64) if has_start else None
    return SamplesRecord(sequence, SampleBatch(app, refs, ts, values, target, start)), reader


def _decode_events(payload: memoryview) -> EventsRecord:
    sequence, count = _EVENTS.unpack_from(payload)
    reader = Reader(payload, _EVENTS.size)
    ts = reader.array("<i8", count).tolist()
    lengths = reader.array("<u4", 4 * count).tolist()
    events = []
    for k in range(count):
        id_, app, kind, data = (reader.bytes(n) for n in lengths[4 * k : 4 * k + 4])
        events.append(Event(id_.decode(), app.decode(), kind.decode(), ts[k], data))
    return EventsRecord(sequence, tuple(events))


_DECODERS: dict[int, Callable[[memoryview], Record]] = {
    _SERIES_TYPE: _decode_series,
    _SAMPLES_TYPE: _decode_samples,
    _EVENTS_TYPE: _decode_events,
    _RICH_TYPE: _decode_rich,
    _DELETION_TYPE: _decode_deletion,
}


@dataclass(frozen=True, slots=True)
class Content:
    """What a segment file holds.

    Attributes:
        header: ``None`` when it cannot be read.
        records: of every whole frame, in order.
        end: where the last whole frame ends.
        size: of the file; what follows ``end`` is a frame that was cut off, or damage.
        holes: begin and end of bytes before ``end`` that belong to no whole frame.
    """

    header: Header | None
    records: tuple[Record, ...]
    end: int
    size: int
    holes: tuple[tuple[int, int], ...] = ()

    @property
    def damaged(self) -> int:
        """Number of bytes in ``holes``; the header's are among them."""
        return sum(end - begin for begin, end in self.holes)


def decode_segment(data: bytes | memoryview) -> Content:
    """Return what can be read of a segment, whatever state it is in."""
    header = decode_header(bytes(data[:HEADER_SIZE]))
    records: list[Record] = []
    end = HEADER_SIZE if header else 0
    holes = []
    for record, begin, following in decode_records(data, end):
        records.append(record)
        if begin > end:
            holes.append((end, begin))
        end = following
    return Content(header, tuple(records), end, len(data), tuple(holes))


def decode_records(
    data: bytes | memoryview, at: int = HEADER_SIZE
) -> Iterator[tuple[Record, int, int]]:
    """Yield the record, begin and end of every whole frame from ``at`` on."""
    view = memoryview(data)
    while at < len(view):
        found = _record_at(view, at)
        if found is None:
            at = _next_marker(view, at + 1)
            continue
        record, following = found
        yield record, at, following
        at = following


def _next_marker(view: memoryview, at: int) -> int:
    """Return where the next frame may begin, the end where none does."""
    while at < len(view):
        found = bytes(view[at : at + _SEARCHED]).find(_MARKER)
        if found >= 0:
            return at + found
        at += _SEARCHED - len(_MARKER) + 1
    return len(view)


def _record_at(view: memoryview, at: int) -> tuple[Record, int] | None:
    if at + _FRAME.size > len(view):
        return None
    marker, length, crc, kind = _FRAME.unpack_from(view, at)
    begin = at + _FRAME.size
    decoder = _DECODERS.get(kind)
    if marker != _MARKER or decoder is None or begin + length > len(view):
        return None
    payload = view[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(bytes([kind]))) != crc:
        return None
    return decoder(payload), begin + length
