"""Remote write 1.0: what decodes, what is refused, and that all ways through agree."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Sequence
from typing import Any

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.doubles import Index, label, part, sample, series, varint
from tests.unit.receive.messages import REQUEST_1
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import STALE, STALE_BITS, bits
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.remote_write import decode
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCache, SenderCaches
from vedette.receive.wire.snappy import Inflater, decompress

NOW = 1_767_225_600_000
LIMITS = WriteLimits()
Pairs = tuple[tuple[str, str], ...]


def run(data: bytes, cache: SenderCache | None = None, index: Index | None = None) -> WriteRequest:
    """Decode ``data`` with the usual limits."""
    return decode(data, cache or SenderCache(), index or Index(), LIMITS)


def rows(request: WriteRequest, index: Index) -> list[tuple[Pairs, int, bytes]]:
    """Return labels, timestamp and the value's bytes of every sample."""
    labels = [found.pairs for found in index.labels(request.refs.tolist())]
    values = [struct.pack("<d", value) for value in request.values]
    return list(zip(labels, request.ts.tolist(), values, strict=True))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
label_sets = st.dictionaries(texts, texts, max_size=4).map(
    lambda d: tuple(sorted({**d, "__name__": d.get("__name__", "metric")}.items()))
)
stamps = st.integers(1, 2**35) | st.integers(NOW, NOW + 10**6)
floats = st.floats() | st.sampled_from([0.0, -0.0, STALE, float("inf")])
many = st.lists(st.tuples(label_sets, st.lists(st.tuples(floats, stamps), max_size=3)), max_size=8)


@settings(deadline=None)
@given(many)
def test_protobuf_runtime_encoding_is_understood(content: list[Any]) -> None:
    """What protobuf's own runtime encodes comes out sample by sample, bit for bit."""
    message = REQUEST_1()
    wanted = []
    for labels, samples in content:
        added = message.timeseries.add()
        for name, value in labels:
            added.labels.add(name=name, value=value)
        for value, ts in samples:
            added.samples.add(value=value, timestamp=ts)
            wanted.append((Labels.of(labels).pairs, ts, struct.pack("<d", value)))
    index = Index()
    got = run(message.SerializeToString(), index=index)
    assert rows(got, index) == wanted
    assert got.rejected == {}


def round_of(values: Sequence[float], ts: int, names: Sequence[str]) -> list[bytes]:
    """Return one time series of one sample per name."""
    return [
        series((("__name__", name), ("job", "x" * (i % 140))), [(value, ts)])
        for i, (name, value) in enumerate(zip(names, values, strict=True))
    ]


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 12), st.integers(2, 25))
def test_every_way_through_gives_the_same(chance: random.Random, cut: int, count: int) -> None:
    """Requests that repeat, lose, gain or move series decode as by a fresh decoder."""
    names = [f"m{i}" for i in range(count)]
    cache, index = SenderCache(), Index()
    for turn in range(5):
        if chance.random() < 0.2:
            names.insert(chance.randrange(len(names)), f"new{turn}")
        if chance.random() < 0.3:
            first, last = sorted(chance.choices(range(len(names)), k=2))
            names = names[last:] + names[first:last] + names[:first]
        values = [chance.choice([0.0, 1.5, STALE, chance.random()]) for _ in names]
        records = round_of(values, NOW + turn * 15_000, names)
        for at in range(0, len(records), cut):
            body = b"".join(records[at : at + cut])
            fresh_index = Index()
            fresh = rows(run(body, index=fresh_index), fresh_index)
            assert rows(run(body, cache, index), index) == fresh


def test_a_repeated_round_is_recognised_without_looking_up_series() -> None:
    """The second round of a sender, cut elsewhere, is matched by the ring alone."""
    names = [f"m{i}" for i in range(10)]
    cache, index = SenderCache(), Index()
    first = round_of([1.0] * 10, NOW, names)
    run(b"".join(first[:4]), cache, index)
    run(b"".join(first[4:]), cache, index)
    cache.refs.clear()
    asked = index.asked
    second = round_of([2.0] * 4 + [0.0] + [3.0] * 5, NOW + 1, names)
    turned = [*second[5:], *second[:5]]
    request = run(b"".join(turned), cache, index)
    assert index.asked == asked
    assert request.values.tolist() == [3.0] * 5 + [2.0] * 4 + [0.0]


def test_missing_repeated_and_zero_series_need_no_look_up() -> None:
    """A target that is missing, a second round in one request, and zeros do not break the match."""
    names = [f"m{i}" for i in range(400)]
    cache, index = SenderCache(), Index()
    run(b"".join(round_of([float(i % 7) for i in range(400)], NOW, names)), cache, index)
    cache.refs.clear()
    asked = index.asked
    for turn in range(1, 30):
        values = [float((i + (turn if i % 50 == 0 else 0)) % 7) for i in range(400)]
        records = round_of(values, NOW + turn, names)
        kept = [*range(40 * (turn % 8)), *range(40 * (turn % 8) + 40, 400), *range(100)]
        request = run(b"".join(records[i] for i in kept), cache, index)
        assert request.values.tolist() == [values[i] for i in kept]
        assert index.labels(request.refs.tolist())[-1].metric == "m99"
        assert set(request.ts.tolist()) == {NOW + turn}
    assert index.asked == asked


def test_series_that_came_late_are_put_into_their_place() -> None:
    """Once a sender keeps to another order, the order that is compared with becomes the same."""
    names = [f"m{i}" for i in range(40)]
    cache, index = SenderCache(), Index()
    wanted = {name: k for k, name in enumerate(names)}
    for turn, missing in enumerate([{"m3", "m4", "m20"}, {"m9"}, set(), {"m4"}, set()]):
        left = [series([("__name__", n)], [(2.0, NOW + turn)]) for n in names if n not in missing]
        assert len(run(b"".join(left), cache, index).refs) == len(left)
    labels = index.labels(cache.ring.refs.tolist())
    assert [wanted[found.metric] for found in labels] == list(range(40))


def test_what_is_decoded_outlives_the_memory_of_the_body() -> None:
    """The next body is decompressed to the same place; nothing that was decoded changes by it."""
    inflater, cache, index = Inflater(), SenderCache(), Index()
    requests = []
    for turn in range(4):
        records = round_of([float(turn)] * 9, NOW + turn, [f"m{i}" for i in range(9)])
        body = bytes(cramjam.snappy.compress_raw(b"".join(records)))
        requests.append(decode(inflater.decompress(body, 10**6), cache, index, LIMITS))
    assert [set(r.values.tolist()) for r in requests] == [{0.0}, {1.0}, {2.0}, {3.0}]
    assert [set(r.ts.tolist()) for r in requests] == [{NOW + turn} for turn in range(4)]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_requests_never_crash(data: st.DataObject) -> None:
    """Whatever the bytes, the outcome is samples or a WireError with a message."""
    message = b"".join(round_of([1.0, 0.0, 2.0], NOW, ["a", "b", "c"]))
    message += part(0x1A, b"\x08\x01" + part(0x12, b"a"))
    raw = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        raw = raw or bytearray(b"\n")
    cache, index = SenderCache(), Index()
    run(message, cache, index)
    request = None
    with contextlib.suppress(WireError):
        request = run(bytes(raw), cache, index)
    if request is not None:
        fresh_index = Index()
        assert rows(request, index) == rows(run(bytes(raw), index=fresh_index), fresh_index)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_never_crashes(noise: bytes) -> None:
    """Arbitrary bytes end in samples or a WireError, compressed or not."""
    for step in (lambda: run(noise), lambda: decompress(noise, 1000)):
        with contextlib.suppress(WireError):
            step()


def test_fields_may_come_in_any_order_and_unknown_ones_are_skipped() -> None:
    """Samples before labels, split labels and fields of later versions change nothing."""
    body = sample(1.0, NOW) + label("job", "x") + b"\x48\x05" + label("__name__", "m")
    index = Index()
    got = run(part(0x0A, body) + part(0x7A, b"later") + b"\x21" + bytes(8), index=index)
    assert rows(got, index)[0][0] == (("__name__", "m"), ("job", "x"))


def test_an_odd_sample_before_a_usual_one_is_not_lost() -> None:
    """A series whose last sample looks usual may hold others that do not."""
    body = label("__name__", "m") + sample(1.0, 5) + sample(2.0, NOW)
    assert run(part(0x0A, body)).ts.tolist() == [5, NOW]


REFUSED = [
    ("no_name", label("job", "x")),
    ("duplicate_label", label("__name__", "m") + label("job", "a") + label("job", "b")),
    ("label_name", label("__name__", "m") + label("", "a")),
    ("encoding", label("__name__", "m") + label("job", b"\xff")),
    ("label_length", label("__name__", "m") + label("job", "x" * 9000)),
    ("label_limit", label("__name__", "m") + b"".join(label(f"l{i}", "x") for i in range(70))),
]


@pytest.mark.parametrize(("reason", "labels"), REFUSED)
@pytest.mark.parametrize("usual", [True, False])
def test_a_series_with_unusable_labels_costs_only_itself(
    reason: str, labels: bytes, usual: bool
) -> None:
    """Each rule of labels is counted under its reason; the neighbours are kept."""
    good = series([("__name__", "ok")], [(1.0, NOW)])
    body = good + part(0x0A, labels + sample(2.0, NOW)) + good
    if not usual:
        body += part(0x7A, b"")
    got = run(body)
    assert got.rejected == {reason: 1}
    assert got.values.tolist() == [1.0, 1.0]
    assert "at byte" in got.message


def test_impossible_timestamps_are_refused() -> None:
    """No timestamp, a negative one, and one beyond the year 9999 are counted as timestamp."""
    body = series([("__name__", "m")], [(1.0, 0), (2.0, -5), (3.0, 2**60), (4.0, NOW)])
    got = run(body)
    assert got.values.tolist() == [4.0]
    assert got.rejected == {"timestamp": 3}


def test_nan_patterns_survive() -> None:
    """A staleness marker arrives bit for bit; what bits mean inside is judged by storage."""
    body = series([("__name__", "m")], [(STALE, NOW)]) + series(
        [("__name__", "n")], [(float("nan"), NOW)]
    )
    for data in (body, body + part(0x7A, b"")):
        assert bits(run(data).values).tolist() == [STALE_BITS, 0x7FF8000000000000]


def test_series_limit_is_counted_and_asked_again() -> None:
    """A series beyond the limit is refused now, and taken once there is room."""
    cache, index = SenderCache(), Index(limit=1)
    body = b"".join(round_of([1.0, 2.0], NOW, ["a", "b"]))
    assert run(body, cache, index).rejected == {"series_limit": 1}
    index.limit = 2
    assert run(body, cache, index).rejected == {}


def test_metadata_is_read() -> None:
    """A request of metadata alone is understood, unknown types included."""
    metadata = b"\x08\x01" + part(0x12, b"m_total") + part(0x22, b"help") + part(0x2A, b"s")
    got = run(part(0x1A, metadata) + part(0x1A, b"\x08\x63" + part(0x12, b"n")))
    assert got.metadata == (
        MetricMetadata("m_total", "counter", "help", "s"),
        MetricMetadata("n", "unknown"),
    )


def test_a_truncated_request_is_refused_whole_with_its_place() -> None:
    """A body that ends too early names the byte and yields nothing."""
    body = b"".join(round_of([1.0, 2.0], NOW, ["a", "b"]))
    with pytest.raises(WireError, match=r"at byte \d+"):
        run(body[:-3])


def test_limits_of_a_request() -> None:
    """Too many series or samples are refused before they are numbered."""
    body = b"".join(round_of([1.0] * 3, NOW, ["a", "b", "c"]))
    for data in (body, body + part(0x7A, b"")):
        with pytest.raises(TooLargeError):
            decode(data, SenderCache(), Index(), WriteLimits(series=2))
    with pytest.raises(TooLargeError):
        decode(body + part(0x7A, b""), SenderCache(), Index(), WriteLimits(samples=2))


def test_declared_size_is_checked_before_decompressing() -> None:
    """A snappy block that claims to be large is refused by its claim alone."""
    with pytest.raises(TooLargeError):
        decompress(varint(10**9) + b"\x00", 1000)
    assert decompress(bytes(cramjam.snappy.compress_raw(b"x" * 1000)), 1000) == b"x" * 1000


def test_caches_are_bounded() -> None:
    """The caches of all senders stay below their bytes and number; the oldest go first."""
    caches = SenderCaches(max_bytes=30_000, max_senders=3)
    index = Index()
    for sender in "abcde":
        names = [f"{sender}{i}" for i in range(20)]
        run(b"".join(round_of([1.0] * 20, NOW, names)), caches.of(sender), index)
        caches.bound()
    assert len(caches) <= 3
    huge = [f"huge{i}" for i in range(500)]
    run(b"".join(round_of([1.0] * 500, NOW, huge)), caches.of("f"), index)
    caches.bound()
    assert len(caches) == 0


def test_a_sender_without_order_costs_no_memory() -> None:
    """Shuffled requests are decoded rightly and the ring does not grow with them."""
    chance = random.Random(3)
    names = [f"m{i}" for i in range(30)]
    cache, index = SenderCache(), Index()
    for turn in range(50):
        chance.shuffle(names)
        request = run(b"".join(round_of([1.0] * 30, NOW + turn, names)), cache, index)
        assert np.unique(request.refs).size == 30
    assert cache.ring.size < 100_000


def test_a_body_of_unknown_fields_is_refused_early() -> None:
    """Unknown fields are skipped, but not by the million: that would hold up everybody."""
    index, limits = Index(), WriteLimits(strays=10)
    few = b"\x50\x01" * 10
    assert len(decode(few, SenderCache(), index, limits).refs) == 0
    with pytest.raises(TooLargeError, match="unknown fields"):
        decode(few + b"\x50\x01", SenderCache(), index, limits)


HOSTILE = {
    "labels": part(0x0A, label("__name__", "m") + b"\x0a\x00" * 2_000_000),
    "samples": part(0x0A, b"\x12\x00" * 2_000_000),
    "exemplars": part(0x0A, b"\x1a\x00" * 2_000_000),
    "histograms": part(0x0A, b"\x22\x02\x20\x40" * 1_000_000),
    "spans": part(0x0A, part(0x22, b"\x5a\x00" * 2_000_000)),
    "deltas": part(0x0A, part(0x22, part(0x62, b"\x01" * 4_000_000))),
    "series": b"\x0a\x00" * 2_000_000,
    "unknown": b"\x50\x01" * 2_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_endless_small_fields_are_given_up_early(kind: str) -> None:
    """Of whatever there are millions, the request is refused after a bounded number of them."""
    with pytest.raises(TooLargeError, match="holds more than"):
        decode(HOSTILE[kind], SenderCache(), Index(), WriteLimits(fields=50_000))


def test_a_series_of_too_many_labels_costs_only_itself() -> None:
    """A hundred thousand labels are counted as one refused sample."""
    many = b"".join(label(f"l{k}", "x") for k in range(100_000))
    body = part(0x0A, label("__name__", "m") + many + sample(1.0, NOW))
    got = run(body + series([("__name__", "ok")], [(1.0, NOW)]))
    assert (got.rejected, len(got.refs)) == ({"label_limit": 1}, 1)
