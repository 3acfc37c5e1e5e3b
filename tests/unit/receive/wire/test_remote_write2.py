"""Remote write 2.0: what decodes, what is refused, and that all ways through agree."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.doubles import Index, part, varint
from tests.unit.receive.messages import REQUEST_2, histogram_of, histograms, same_bits
from vedette.model.histograms import histogram_value
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import STALE, Exemplar
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.remote_write2 import decode
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCache
from vedette.receive.wire.snappy import decompress

NOW = 1_767_225_600_000
DATA = Path(__file__).parents[3] / "data" / "remote_write"
RECORDED = sorted(DATA.glob("prometheus-3.14-v2-*.bin"))
Pairs = Sequence[tuple[str, str]]


class Table:
    """Gives texts their places in a request."""

    def __init__(self) -> None:
        self.texts = [""]

    def ref(self, text: str) -> int:
        """Return the place of ``text``."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)

    def refs(self, labels: Iterable[tuple[str, str]]) -> list[int]:
        """Return the places of names and values."""
        return [self.ref(text) for pair in labels for text in pair]


def run(
    data: bytes, cache: SenderCache | None = None, index: Index | None = None, **limits: int
) -> WriteRequest:
    """Decode ``data``."""
    return decode(data, cache or SenderCache(), index or Index(), WriteLimits(**limits))


def rows(request: WriteRequest, index: Index) -> list[tuple[object, ...]]:
    """Return labels, timestamp, the value's bytes and start timestamp of every sample."""
    labels = [found.pairs for found in index.labels(request.refs.tolist())]
    values = [struct.pack("<d", value) for value in request.values]
    start = request.start if request.start is not None else np.zeros(len(values), np.int64)
    return list(zip(labels, request.ts.tolist(), values, start.tolist(), strict=True))


def wanted_rows(message: Any) -> list[tuple[object, ...]]:
    """Return what :func:`rows` shall return for the floats of ``message``."""
    found: list[tuple[object, ...]] = []
    for series in message.timeseries:
        texts = [message.symbols[ref] for ref in series.labels_refs]
        labels = Labels.of(zip(texts[::2], texts[1::2], strict=True)).pairs
        for sample in series.samples:
            start = sample.start_timestamp or series.created_timestamp
            found.append((labels, sample.timestamp, struct.pack("<d", sample.value), start))
    return found


def usual(names: Sequence[str], values: Sequence[float], ts: int, table: Table) -> list[bytes]:
    """Return series as Prometheus writes them, some with start timestamps and metadata."""
    out = []
    for k, (name, value) in enumerate(zip(names, values, strict=True)):
        refs = table.refs([("__name__", name), ("job", f"j{k % 3}")])
        raw = b"\x09" + struct.pack("<d", value) if value or np.signbit(value) else b""
        stamp = b"\x10" + varint(ts) + (b"\x18" + varint(NOW - 1000) if k % 5 == 1 else b"")
        metadata = b"\x08\x01\x18" + varint(table.ref(f"help {name}")) if k % 2 else b""
        packed = b"".join(map(varint, refs))
        out.append(part(0x2A, part(0x0A, packed) + part(0x12, raw + stamp) + part(0x2A, metadata)))
    return out


def request(series: Iterable[bytes], table: Table) -> bytes:
    """Return a request of ``series``."""
    return b"".join([*(part(0x22, text.encode()) for text in table.texts), *series])


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
label_sets = st.dictionaries(texts, texts, max_size=4).map(
    lambda d: sorted({**d, "__name__": d.get("__name__", "metric")}.items())
)
stamps = st.integers(1, 2**35) | st.integers(NOW, NOW + 10**6)
floats = st.floats() | st.sampled_from([0.0, -0.0, STALE, float("inf")])
starts = st.sampled_from([0, 0, NOW - 5, 7])
samples = st.lists(st.tuples(floats, stamps, starts), max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(label_sets, samples), max_size=8))
def test_protobuf_runtime_encoding_is_understood(content: list[Any]) -> None:
    """What protobuf's own runtime encodes comes out sample by sample, bit for bit."""
    message, table = REQUEST_2(), Table()
    for labels, given_samples in content:
        added = message.timeseries.add(labels_refs=table.refs(labels))
        for value, ts, start in given_samples:
            added.samples.add(value=value, timestamp=ts, start_timestamp=start)
    message.symbols.extend(table.texts)
    index = Index()
    got = run(message.SerializeToString(), index=index)
    assert rows(got, index) == wanted_rows(message)
    assert got.rejected == {}


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 12), st.integers(2, 25))
def test_every_way_through_gives_the_same(chance: random.Random, cut: int, count: int) -> None:
    """Requests whose tables, cuts and series change decode as by a fresh decoder."""
    names = [f"m{i}" for i in range(count)]
    cache, index = SenderCache(), Index()
    for turn in range(6):
        if chance.random() < 0.2:
            names.insert(chance.randrange(len(names)), f"new{turn}")
        if chance.random() < 0.3:
            first, last = sorted(chance.choices(range(len(names)), k=2))
            names = names[last:] + names[first:last] + names[:first]
        for at in range(0, len(names), cut):
            table = Table()
            if chance.random() < 0.3:
                table.refs([(f"other{turn}", "text")])
            part_of = names[at : at + cut]
            values = [chance.choice([0.0, -0.0, 1.5, STALE, chance.random()]) for _ in part_of]
            series = usual(part_of, values, NOW + turn, table)
            if chance.random() < 0.3:  # a series of two samples
                two = part(0x12, b"\x10\x05") + part(0x12, b"\x10\x06")
                refs = b"".join(map(varint, table.refs([("__name__", "two")])))
                series.insert(chance.randrange(len(series) + 1), part(0x2A, part(0x0A, refs) + two))
            body = request(series, table)
            got = run(body, cache, index)
            assert rows(got, index) == wanted_rows(REQUEST_2.FromString(body))
            assert got.rejected == {}


def test_a_known_round_is_recognised_under_other_tables() -> None:
    """Once known, series need neither labels nor look-ups, though all references changed."""
    names, cache, index = [f"m{i}" for i in range(40)], SenderCache(), Index()
    for turn in range(5):
        table = Table()
        table.refs([(f"shift{n}", "x") for n in range(70 * turn)])
        body = request(usual(names, [1.5] * 40, NOW + turn, table), table)
        cache.refs.clear()  # what is left is the order
        got = run(body, cache, index)
        assert rows(got, index) == wanted_rows(REQUEST_2.FromString(body))
    assert index.asked == 40


def test_senders_may_leave_metadata_out() -> None:
    """Without the field of metadata the fast way is open as well."""
    table, cache, index = Table(), SenderCache(), Index()
    packed = b"".join(map(varint, table.refs([("__name__", "m")])))
    series = part(0x2A, part(0x0A, packed) + part(0x12, b"\x09" + bytes(8) + b"\x10" + varint(NOW)))
    for _ in range(2):
        got = run(request([series] * 3, table), cache, index, fields=0)
        assert got.ts.tolist() == [NOW] * 3


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_requests_of_prometheus_are_read_whole(path: Path) -> None:
    """Requests of Prometheus 3.14, start timestamps and custom buckets among them, lose nothing."""
    cache, index = SenderCache(), Index()
    for repeated in (*RECORDED, path, path):
        data = decompress(repeated.read_bytes(), 1 << 20)
        got = run(data, cache, index)
    message = REQUEST_2.FromString(data)
    floats_at = [k for k, row in enumerate(rows(got, index)) if got_is_float(got, k) and row]
    assert [rows(got, index)[k] for k in floats_at] == wanted_rows(message)
    sent = [(s, h) for s in message.timeseries for h in s.histograms]
    assert got.histogram_count == len(sent)
    for row, (_, histogram) in enumerate(sent):
        assert got.histograms is not None
        assert same_bits(histogram_value(got.histograms, row), histogram_of(histogram))
    at = np.flatnonzero([not got_is_float(got, k) for k in range(len(got.refs))])
    assert got.ts[at].tolist() == [h.timestamp for _, h in sent]
    if sent:
        assert got.start is not None
        assert got.start[at].tolist() == [h.start_timestamp for _, h in sent]
    assert len(got.exemplars) == sum(len(s.exemplars) for s in message.timeseries)
    assert got.rejected == {}


def got_is_float(got: WriteRequest, row: int) -> bool:
    """Return whether a sample is no histogram."""
    return got.histograms is None or got.histograms.index[row] < 0


@settings(max_examples=50, deadline=None)
@given(histograms())
def test_histograms_arrive_bit_for_bit(fields: dict[str, Any]) -> None:
    """A histogram and an exemplar in one series, among series of the usual shape."""
    table = Table()
    message = REQUEST_2()
    refs = table.refs([("__name__", "h")])
    added = message.timeseries.add(labels_refs=refs, created_timestamp=NOW - 9)
    added.histograms.add(timestamp=NOW, **fields)
    trace = table.refs([("trace_id", "t")])
    added.exemplars.add(labels_refs=trace, value=0.5, timestamp=NOW)
    odd = message.SerializeToString()
    around = usual(["a", "b"], [1.0, 0.0], NOW, table)
    index = Index()
    got = run(request([*around, odd, *around], table), index=index)
    assert got.histograms is not None
    assert got.histograms.index.tolist() == [-1, -1, 0, -1, -1]
    assert same_bits(histogram_value(got.histograms, 0), histogram_of(added.histograms[0]))
    assert got.start is not None
    assert got.start[2] == (fields["start_timestamp"] or NOW - 9)
    ref = index.series[Labels.of({"__name__": "h"})]
    assert got.exemplars == (Exemplar(ref, NOW, 0.5, Labels.of({"trace_id": "t"})),)


def test_metadata_names_families_and_is_read_again_once_in_a_while() -> None:
    """Type, help and unit come with a series; a change of a known one is noticed later."""
    cache, index = SenderCache(), Index()

    def send(help_text: str) -> tuple[MetricMetadata, ...]:
        message, table = REQUEST_2(), Table()
        for name, kind in (("lat_bucket", 3), ("lat_sum", 3), ("hits_total", 1)):
            added = message.timeseries.add(labels_refs=table.refs([("__name__", name)]))
            added.samples.add(value=1.0, timestamp=NOW)
            added.metadata.type = kind
            added.metadata.help_ref = table.ref(help_text)
            added.metadata.unit_ref = table.ref("seconds")
        message.symbols.extend(table.texts)
        return run(message.SerializeToString(), cache, index).metadata

    first = send("old")
    assert set(first) == {
        MetricMetadata("lat", "histogram", "old", "seconds"),
        MetricMetadata("hits_total", "counter", "old", "seconds"),
    }
    later = [statement for _ in range(70) for statement in send("new")]
    assert MetricMetadata("hits_total", "counter", "new", "seconds") in later
    assert len(later) < 10


def one(refs: Sequence[int], table: Table, odd: bool = False) -> bytes:
    """Return a request with one series of references."""
    packed = b"".join(map(varint, refs))
    more = part(0x12, b"\x10\x05") if odd else b""
    body = part(0x0A, packed) + more + part(0x12, b"\x10" + varint(NOW)) + part(0x2A, b"")
    return request([part(0x2A, body)], table)


REFUSED = [
    ("no_name", [("job", "x")], []),
    ("malformed", [("__name__", "m")], [0]),
    ("symbol", [("__name__", "m")], [99, 0]),
    ("label_name", [("__name__", "m"), ("", "x")], []),
    ("duplicate_label", [("__name__", "m"), ("a", "x"), ("a", "y")], []),
    ("label_length", [("__name__", "m"), ("a", "x" * 9000)], []),
    ("label_limit", [("__name__", "m"), *((f"l{k}", "x") for k in range(70))], []),
    ("label_limit", [("__name__", "m")], [0] * 1000),
]


@pytest.mark.parametrize(("reason", "labels", "more"), REFUSED)
@pytest.mark.parametrize("odd", [True, False])
def test_a_series_with_unusable_labels_costs_only_itself(
    reason: str, labels: Pairs, more: list[int], odd: bool
) -> None:
    """Each rule of labels is counted under its reason; the neighbours are kept."""
    table = Table()
    good = usual(["ok"], [1.0], NOW, table)
    bad = one([*table.refs(labels), *more], table, odd)
    got = run(request(good, table) + bad[len(request([], table)) :])
    assert got.rejected == {reason: 2 if odd else 1}
    assert got.values.tolist() == [1.0]


def test_a_text_that_is_not_utf8_spoils_only_the_series_that_use_it() -> None:
    """Texts are decoded once; the series that refer to a broken one are counted."""
    table = Table()
    good = usual(["ok"], [1.0], NOW, table)
    broken = part(0x22, b"\xff\xfe")
    refs = b"".join(map(varint, [*table.refs([("__name__", "m")]), 0, 0]))
    bad_ref = len(table.texts)
    refs = b"".join(map(varint, [*table.refs([("__name__", "ok")]), bad_ref, bad_ref]))
    series = part(0x2A, part(0x0A, refs) + part(0x12, b"\x10" + varint(NOW)) + part(0x2A, b""))
    got = run(request([], table) + broken + b"".join(good) + series)
    assert got.rejected == {"encoding": 1}
    assert got.ts.tolist() == [NOW]


def test_texts_may_stand_anywhere() -> None:
    """Fields in another order than any known sender's are read all the same."""
    table, index = Table(), Index()
    series = usual(["a", "b"], [1.0, 2.0], NOW, table)
    tables = [part(0x22, text.encode()) for text in table.texts]
    body = b"".join([*tables[:2], series[0], *tables[2:], series[1], part(0x7A, b"later")])
    got = run(body, index=index)
    assert rows(got, index) == wanted_rows(REQUEST_2.FromString(body))


def test_limits_of_a_request() -> None:
    """Too many texts, series or samples, and endless small fields, are refused early."""
    table = Table()
    body = request(usual(["a", "b", "c"], [1.0] * 3, NOW, table), table)
    for limits in ({"series": 2}, {"samples": 2}, {"symbols": 3}):
        for data in (body, body + part(0x2A, b"")):
            with pytest.raises(TooLargeError):
                run(data, **limits)
    with pytest.raises(TooLargeError, match="10 fields"):
        run(part(0x2A, b"\x0a\x00" * 20), fields=10)
    with pytest.raises(TooLargeError):
        run(b"\x2a\x00" * 200_000)
    with pytest.raises(TooLargeError):
        run(b"\x22\x00" * 300_000)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_requests_never_crash(data: st.DataObject) -> None:
    """Any damage to a request is an error of the wire, or decodes to something consistent."""
    table, cache, index = Table(), SenderCache(), Index()
    names = [f"m{i}" for i in range(data.draw(st.integers(1, 6)))]
    body = request(usual(names, [1.0] * len(names), NOW, table), table)
    if data.draw(st.booleans()):
        body = decompress(RECORDED[1].read_bytes(), 1 << 20)
    run(body, cache, index)
    hurt = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        hurt[data.draw(st.integers(0, len(hurt) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(hurt)))
    for damaged in (bytes(hurt), bytes(hurt[:cut])):
        try:
            got = run(damaged, cache, index)
        except WireError:
            continue
        assert len(got.refs) == len(got.ts) == len(got.values)
        assert not len(got.refs) or got.refs.min() >= 0
    assert rows(run(body, cache, index), index) == rows(run(body, None, index), index)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_never_crashes(noise: bytes) -> None:
    """Arbitrary bytes are an error of the wire, or hold nothing."""
    try:
        run(noise)
    except WireError:
        return


def test_texts_of_a_sender_are_bounded() -> None:
    """A sender whose texts never recur is forgotten before they fill the memory."""
    cache, index = SenderCache(), Index()
    largest = 0
    for turn in range(12):
        table = Table()
        table.texts += [f"{turn}/{k}" * 100 for k in range(4000)]
        run(request(usual(["m"], [1.0], NOW, table), table), cache, index)
        largest = max(largest, cache.size)
    assert largest < 60 << 20
    assert cache.size < largest
