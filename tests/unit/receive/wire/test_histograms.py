"""Native histograms and exemplars in remote write: what decodes, and what is refused and why."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.receive.doubles import Index, label, part, sample, series, varint
from tests.unit.receive.messages import REQUEST_1, histogram_of, histograms, same_bits
from vedette.model.histograms import histogram_value
from vedette.model.labels import Labels
from vedette.model.samples import STALE, STALE_BITS, Exemplar, bits, is_histogram
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.remote_write import decode
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCache
from vedette.receive.wire.snappy import decompress

NOW = 1_767_225_600_000
DATA = Path(__file__).parents[3] / "data" / "remote_write"


def run(data: bytes, cache: SenderCache | None = None, **limits: int) -> WriteRequest:
    """Decode ``data``."""
    return decode(data, cache or SenderCache(), Index(), WriteLimits(**limits))


def request_of(fields: dict[str, Any], usual: int = 2) -> bytes:
    """Return a request with one histogram between ``usual`` usual series on both sides."""
    message = REQUEST_1()
    around = [series([("__name__", f"m{k}")], [(1.5, NOW)]) for k in range(usual)]
    added = message.timeseries.add()
    added.labels.add(name="__name__", value="h")
    added.histograms.add(timestamp=NOW, **fields)
    return b"".join([*around, message.SerializeToString(), *around])


@settings(deadline=None)
@given(histograms())
def test_histograms_arrive_bit_for_bit_among_usual_series(fields: dict[str, Any]) -> None:
    """Whatever Prometheus may send as a histogram is decoded, in its place in the request."""
    message = REQUEST_1.FromString(request_of(fields))
    got = run(request_of(fields))
    assert got.rejected == {}
    assert is_histogram(got.values).tolist() == [False, False, True, False, False]
    assert got.histograms is not None
    assert got.histograms.index.tolist() == [-1, -1, 0, -1, -1]
    wanted = histogram_of(message.timeseries[2].histograms[0])
    assert same_bits(histogram_value(got.histograms, 0), wanted)
    start = fields["start_timestamp"]
    assert (got.start is None) if not start else (got.start is not None and got.start[2] == start)


def test_a_recorded_request_of_prometheus_is_read_whole() -> None:
    """A request of Prometheus 3.14 with floats, histograms and an exemplar loses nothing."""
    data = decompress((DATA / "prometheus-3.14-v1.bin").read_bytes(), 1 << 20)
    message, index, cache = REQUEST_1.FromString(data), Index(), SenderCache()
    for _ in range(3):  # by look-up, and then by order
        got = decode(data, cache, index, WriteLimits())
        sent = [s for s in message.timeseries if s.samples or s.histograms]
        assert got.ts.tolist() == [(*s.samples, *s.histograms)[0].timestamp for s in sent]
        names = [dict(labels.pairs) for labels in index.labels(got.refs.tolist())]
        assert names == [{pair.name: pair.value for pair in s.labels} for s in sent]
        values = [s.samples[0].value for s in sent if s.samples]
        assert got.values[~is_histogram(got.values)].tobytes() == np.array(values).tobytes()
        wanted = [histogram_of(s.histograms[0]) for s in sent if s.histograms]
        assert got.histograms is not None
        assert got.histogram_count == len(wanted) == 16
        for row, value in enumerate(wanted):
            assert same_bits(histogram_value(got.histograms, row), value)
        assert len(got.exemplars) == sum(len(s.exemplars) for s in message.timeseries) == 1
        assert got.exemplars[0].labels == Labels.of({"trace_id": "abc123"})


GOOD = {"count_int": 3, "sum": 1.0, "positive_spans": [{"offset": 0, "length": 2}]}
CUSTOM = {"schema": -53, "custom_values": [1.0, 2.0], "count_int": 0}
BAD: list[tuple[str, dict[str, Any]]] = [
    ("2 buckets and 1 counts", {**GOOD, "positive_deltas": [3]}),
    ("negative count", {**GOOD, "positive_deltas": [3, -4]}),
    ("buckets hold 2", {**GOOD, "positive_deltas": [1, 0]}),
    ("schema 9", {**GOOD, "schema": 9, "positive_deltas": [1, 1]}),
    ("more than 10000 buckets", {"positive_spans": [{"offset": 0, "length": 2**32 - 1}]}),
    (
        "out of order",
        {
            "count_int": 2,
            "positive_spans": [{"offset": 5, "length": 1}, {"offset": -1, "length": 1}],
            "positive_deltas": [1, 0],
        },
    ),
    (
        "every possible bucket",
        {
            "count_int": 1,
            "positive_spans": [{"offset": 2**31 - 1, "length": 1}],
            "positive_deltas": [1],
        },
    ),
    ("do not rise", {**CUSTOM, "custom_values": [2.0, 2.0]}),
    ("NaN", {**CUSTOM, "custom_values": [float("nan")]}),
    ("+Inf", {**CUSTOM, "custom_values": [1.0, float("inf")]}),
    (
        "beyond its custom bounds",
        {
            **CUSTOM,
            "count_int": 1,
            "positive_spans": [{"offset": 3, "length": 1}],
            "positive_deltas": [1],
        },
    ),
    ("zero bucket", {**CUSTOM, "zero_threshold": 1.0}),
    ("custom bounds, and a schema", {**CUSTOM, "schema": 0}),
    ("negative width", {"zero_threshold": -1.0}),
    ("negative count", {"count_float": -1.0}),
]


@pytest.mark.parametrize(("why", "fields"), BAD)
def test_a_contradictory_histogram_costs_only_itself(why: str, fields: dict[str, Any]) -> None:
    """Each rule is named and counted under ``histogram``; the samples around it are kept."""
    got = run(request_of(fields))
    assert got.rejected == {"histogram": 1}
    assert why in got.message
    assert got.histograms is None
    assert len(got.refs) == 4


def test_a_stale_histogram_is_a_staleness_marker() -> None:
    """The sum's bit pattern ends the series, whatever the other fields say."""
    got = run(request_of({"sum": STALE, "schema": 99}))
    assert bits(got.values)[2] == STALE_BITS
    assert got.histograms is None


def test_observations_of_nan_may_stand_in_no_bucket() -> None:
    """A sum of NaN allows a count above that of the buckets, as Prometheus counts them."""
    fields = {**GOOD, "sum": float("nan"), "count_int": 5, "positive_deltas": [1, 0]}
    assert run(request_of(fields)).rejected == {}


def exemplar(labels: bytes, value: float, ts: int) -> bytes:
    """Return one exemplar field."""
    raw = struct.pack("<d", value)
    stamp = b"\x18" + varint(ts) if ts else b""
    return part(0x1A, labels + b"\x11" + raw + stamp)


def test_exemplars_come_with_their_series_or_without_samples() -> None:
    """A series may bring a sample and exemplars, or exemplars alone; bad ones are counted."""
    trace = part(0x0A, part(0x0A, b"trace_id") + part(0x12, b"t1"))
    long = part(0x0A, part(0x0A, b"x") + part(0x12, b"y" * 128))
    broken = part(0x0A, part(0x0A, b"x") + part(0x12, b"\xff"))
    name = label("__name__", "m")
    body = part(0x0A, name + exemplar(trace, 0.5, NOW)) + part(
        0x0A,
        label("__name__", "n")
        + sample(1.0, NOW)
        + exemplar(trace, 2.0, NOW + 1)
        + exemplar(long, 1.0, NOW)
        + exemplar(broken, 1.0, NOW)
        + exemplar(trace, 1.0, 0),
    )
    got = run(body + part(0x0A, label("job", "nameless") + exemplar(trace, 1.0, NOW)))
    labels = Labels.of({"trace_id": "t1"})
    assert got.exemplars == (Exemplar(0, NOW, 0.5, labels), Exemplar(1, NOW + 1, 2.0, labels))
    assert got.bad_exemplars == 4
    assert got.ts.tolist() == [NOW]


def test_numbers_of_histograms_and_exemplars_are_limited() -> None:
    """Both are read one by one, so a request may hold fewer of them than of floats."""
    message = REQUEST_1.FromString(request_of({}))
    message.timeseries[2].histograms.add(timestamp=NOW + 1)
    message.timeseries[2].exemplars.add(timestamp=NOW)
    message.timeseries[2].exemplars.add(timestamp=NOW)
    body = message.SerializeToString()
    assert run(body, histograms=2, exemplars=2).histogram_count == 2
    with pytest.raises(TooLargeError, match="1 histograms"):
        run(body, histograms=1)
    with pytest.raises(TooLargeError, match="1 exemplars"):
        run(body, exemplars=1)


@settings(max_examples=200, deadline=None)
@given(histograms(), st.data())
def test_mutated_histograms_never_crash(fields: dict[str, Any], data: st.DataObject) -> None:
    """Any damage to a request with a histogram is an error of the wire, or decodes to something."""
    body = bytearray(request_of(fields, usual=1))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = run(bytes(body))
    except WireError:
        return
    assert len(got.refs) == len(got.ts) == len(got.values)
    assert int(is_histogram(got.values).sum()) <= got.histogram_count + len(got.values)
