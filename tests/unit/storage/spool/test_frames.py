"""The format of segments, whole and damaged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.storage.rich import batch_samples, drawn, sample_batch
from vedette.model.events import Event
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.samples import STALE_BITS, Exemplar, SampleBatch, bits
from vedette.storage.spool.frames import (
    DeletionRecord,
    EventsRecord,
    Header,
    Record,
    SamplesRecord,
    SeriesRecord,
    decode_header,
    decode_segment,
    encode_deletion,
    encode_events,
    encode_header,
    encode_samples,
    encode_series,
)

_i64 = st.integers(-(2**63), 2**63 - 1)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
HEADER = Header(b"0123456789abcdef", 7, 3, -5)


@st.composite
def _batches(draw: st.DrawFn) -> SampleBatch:
    n = draw(st.integers(1, 6))
    near = st.integers(0, 1000)
    ts = draw(st.lists(draw(st.sampled_from([st.just(5), near, _i64])), min_size=n, max_size=n))
    patterns = draw(st.lists(st.integers(0, 2**64 - 1), min_size=n, max_size=n))
    start = draw(st.none() | st.lists(_i64, min_size=n, max_size=n))
    return SampleBatch(
        draw(_text),
        np.array(draw(st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n)), np.int32),
        np.array(ts, np.int64),
        np.array(patterns, np.uint64).view(np.float64),
        draw(_text),
        np.array(start, np.int64) if start is not None else None,
    )


_exemplars = st.lists(
    st.builds(
        Exemplar,
        st.integers(0, 2**31 - 1),
        _i64,
        st.floats(allow_nan=False),
        st.dictionaries(_text.map(lambda t: f"l{t}"), _text.map(lambda t: f"v{t}")).map(Labels.of),
    ),
    max_size=3,
).map(tuple)


@st.composite
def _rich_batches(draw: st.DrawFn) -> SampleBatch:
    """Batches with histograms and exemplars; without any sample too."""
    samples = draw(st.lists(drawn, max_size=5))
    batch = sample_batch(range(len(samples)), [7] * len(samples), samples, draw(_text))
    return replace(batch, exemplars=draw(_exemplars))


_event = st.builds(Event, _text, _text, _text, _i64, st.binary(max_size=20))
_encoded = st.one_of(
    st.tuples(st.integers(0, 2**60), _batches() | _rich_batches()),
    st.tuples(st.integers(0, 2**60), st.lists(_event, min_size=1, max_size=4).map(tuple)),
)


def _frame(sequence: int, body: SampleBatch | tuple[Event, ...]) -> bytes:
    if isinstance(body, SampleBatch):
        return encode_samples(sequence, body)
    return encode_events(sequence, body)


def _same(record: Record, sequence: int, body: SampleBatch | tuple[Event, ...]) -> bool:
    if isinstance(record, EventsRecord):
        return record == EventsRecord(sequence, body)
    if not isinstance(record, SamplesRecord) or not isinstance(body, SampleBatch):
        return False
    got = record.batch
    arrays = [(got.refs, body.refs), (got.ts, body.ts), (bits(got.values), bits(body.values))]
    if (got.start is None) != (body.start is None):
        return False
    if got.start is not None and body.start is not None:
        arrays.append((got.start, body.start))
    if (got.exemplars, batch_samples(got)) != (body.exemplars, batch_samples(body)):
        return False
    texts = (got.app, got.target, record.sequence) == (body.app, body.target, sequence)
    return texts and all(np.array_equal(a, b) for a, b in arrays)


@given(st.lists(_encoded, max_size=5))
def test_a_segment_reads_back(bodies: list[tuple[int, SampleBatch | tuple[Event, ...]]]) -> None:
    """Every field and every bit of a value comes back, in order."""
    series = encode_series(np.array([4, 9], np.int32), [b"", b"a\xffb\xff"])
    data = encode_header(HEADER) + series + b"".join(_frame(*body) for body in bodies)
    content = decode_segment(data)
    assert content.header == HEADER
    assert (content.end, content.size, content.damaged) == (len(data), len(data), 0)
    first, *rest = content.records
    assert isinstance(first, SeriesRecord)
    assert (first.refs.tolist(), first.canonical) == ([4, 9], (b"", b"a\xffb\xff"))
    assert len(rest) == len(bodies)
    assert all(_same(record, *body) for record, body in zip(rest, bodies, strict=True))


@given(st.lists(_encoded, min_size=1, max_size=4), st.data())
def test_damage_costs_only_the_frames_that_it_hits(
    bodies: list[tuple[int, SampleBatch | tuple[Event, ...]]], data: st.DataObject
) -> None:
    """A flipped byte loses one frame or the header, a cut the tail; the other frames stay."""
    frames = [_frame(*body) for body in bodies]
    whole = encode_header(HEADER) + b"".join(frames)
    at = data.draw(st.integers(0, len(whole) - 1))
    edges = np.cumsum([len(whole) - sum(map(len, frames)), *map(len, frames)])
    hit = int(np.searchsorted(edges, at, side="right")) - 1  # −1: the header
    flipped = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    content = decode_segment(flipped)
    left = [body for k, body in enumerate(bodies) if k != hit]
    assert len(content.records) == len(left)
    assert all(_same(r, *body) for r, body in zip(content.records, left, strict=True))
    assert content.damaged + content.size - content.end > 0 or hit == -1
    cut = decode_segment(whole[:at])
    assert len(cut.records) == max(0, hit)
    assert cut.end == (edges[max(0, hit)] if hit >= 0 else 0)


def test_a_deletion_reads_back() -> None:
    """Matchers of every kind and text come back with their range."""
    matchers = tuple(
        tuple(Matcher(name, op, 'é"\n\0') for op in MatchOp) for name in ("__name__", "ü")
    )
    record = DeletionRecord(9, (*matchers, ()), -5, 2**62)
    content = decode_segment(encode_header(HEADER) + encode_deletion(record))
    assert content.records == (record,)


def test_headers_of_other_versions_and_torn_ones_are_not_read() -> None:
    """A header is believed only in whole."""
    whole = encode_header(HEADER)
    assert decode_header(whole) == HEADER
    assert decode_header(whole[:-1]) is None
    assert decode_header(b"VDSPOOL2" + whole[8:]) is None
    assert STALE_BITS  # the pattern that frames must carry is among those drawn above
