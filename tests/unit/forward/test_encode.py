"""What is encoded is what our own decoder, and so every receiver of the protocol, reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.forward.received import received
from vedette.forward.describe import Described
from vedette.forward.encode import Outgoing, encode_labels, encode_metadata, encode_request
from vedette.forward.encode_v2 import encode_request_v2
from vedette.model.histograms import HistogramValue, histogram_value, histograms_of
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import HISTOGRAM, Exemplar, bits, is_histogram
from vedette.receive.wire.request import WriteRequest
from vedette.storage.series_index import MemorySeriesIndex

_TIMES = st.one_of(st.integers(1_700_000_000_000, 1_800_000_000_000), st.integers(1, 2**40))
_FLOATS = st.floats(allow_nan=False)
_COUNTS = st.integers(0, 2**40).map(float)
_BUCKETS = st.dictionaries(st.integers(-300, 300), _COUNTS, max_size=5).map(
    lambda found: tuple(sorted(found.items()))
)


@st.composite
def _native(draw: st.DrawFn) -> HistogramValue:
    if draw(st.booleans()):
        bounds = draw(st.lists(st.floats(-1e9, 1e9), max_size=4, unique=True).map(sorted))
        numbers = st.dictionaries(st.integers(0, len(bounds)), _COUNTS, max_size=3)
        pairs = tuple(sorted(draw(numbers).items()))
        total = draw(_COUNTS)
        return HistogramValue(-53, total, 1.5, positive=pairs, custom_bounds=tuple(bounds))
    return HistogramValue(
        draw(st.integers(-4, 8)),
        draw(_COUNTS),
        draw(_FLOATS),
        draw(st.floats(0, 1)),
        draw(_COUNTS),
        draw(st.integers(0, 3)),
        draw(_BUCKETS),
        draw(_BUCKETS),
    )


Sample = tuple[int, int, float | HistogramValue, int]
"""Row, time, value, start."""

_SAMPLES = st.lists(
    st.tuples(
        st.integers(0, 4),
        _TIMES,
        st.one_of(_FLOATS, _native()),
        st.one_of(st.sampled_from([0, -5]), _TIMES),
    ),
    max_size=30,
)
_EXEMPLARS = st.lists(
    st.builds(
        Exemplar,
        st.integers(0, 6),
        _TIMES,
        _FLOATS,
        st.dictionaries(st.text("abc", min_size=1), st.text(max_size=3), max_size=2).map(Labels.of),
    ),
    max_size=5,
)


def labels_of(row: int) -> Labels:
    """Return the labels of a row."""
    return Labels.of({"__name__": "m", "k": str(row), "\u00e9": "\u00fc"})


def outgoing(samples: list[Sample], exemplars: list[Exemplar], version: int) -> Outgoing:
    """Return a request of ``samples``, in any order."""
    samples = sorted(samples, key=lambda each: each[:2])
    natives = [v for _, _, v, _ in samples if isinstance(v, HistogramValue)]
    values = np.array([HISTOGRAM if isinstance(v, HistogramValue) else v for _, _, v, _ in samples])
    places = is_histogram(values)
    index = np.where(places, np.cumsum(places) - 1, -1).astype(np.int32)
    labels = [labels_of(row) for row in range(7)]
    return Outgoing(
        [each.canonical() if version == 2 else encode_labels(each) for each in labels],
        np.array([row for row, _, _, _ in samples], np.int32),
        np.array([ts for _, ts, _, _ in samples], np.int64),
        values,
        histograms_of(natives, index) if natives else None,
        tuple(exemplars),
        np.array([start for _, _, _, start in samples], np.int64),
    )


def values_of(found: WriteRequest, refs: Mapping[int, int]) -> list[Sample]:
    """Return the samples that were received; ``refs`` gives the row of each ref."""
    starts = [0] * len(found.ts) if found.start is None else found.start.tolist()
    out: list[Sample] = []
    stamps = zip(found.refs.tolist(), found.ts.tolist(), found.values, starts, strict=True)
    for k, (ref, ts, value, start) in enumerate(stamps):
        own: float | HistogramValue = float(value)
        if found.histograms is not None and found.histograms.index[k] >= 0:
            own = histogram_value(found.histograms, int(found.histograms.index[k]))
        out.append((refs[ref], ts, own, start))
    return out


def _sorted(samples: list[Sample]) -> list[str]:
    return sorted(map(repr, samples))


@pytest.mark.parametrize("version", [1, 2])
@given(_SAMPLES, _EXEMPLARS)
def test_everything_survives(
    version: int, samples: list[Sample], exemplars: list[Exemplar]
) -> None:
    """Floats, histograms, exemplars and start timestamps come out as they went in.

    Version 1.0 has no start timestamps; synthetic ones are not sent.
    """
    index = MemorySeriesIndex()
    refs = {
        ref: row for row, ref in enumerate(index.refs([labels_of(r) for r in range(7)]).tolist())
    }
    given_out = outgoing(samples, exemplars, version)
    if version == 2:
        body = encode_request_v2(given_out, Described({}))
    else:
        body = encode_request(given_out)
    found = received(body, index, version)
    assert (found.rejected, found.bad_exemplars) == ({}, 0)
    wanted = [
        (row, ts, value, max(start, 0) if version == 2 else 0) for row, ts, value, start in samples
    ]
    assert _sorted(values_of(found, refs)) == _sorted(wanted)
    got = [(refs[e.series], e.ts, e.value, e.labels) for e in found.exemplars]
    assert sorted(map(repr, got)) == sorted(
        repr((e.series, e.ts, e.value, e.labels)) for e in exemplars
    )


@given(st.lists(st.tuples(st.integers(0, 4), _TIMES, _FLOATS), min_size=1, max_size=30))
def test_floats_keep_their_order_and_bits(samples: list[tuple[int, int, float]]) -> None:
    """Series, timestamps and values come in order, signs of zeros included, in both versions."""
    samples.sort(key=lambda each: each[:2])
    index = MemorySeriesIndex()
    refs = index.refs([labels_of(row) for row in range(7)])
    for version in (1, 2):
        given_out = outgoing([(*each, 0) for each in samples], [], version)
        encoded = (
            encode_request_v2(given_out, Described({}))
            if version == 2
            else encode_request(given_out)
        )
        found = received(encoded, index, version)
        assert found.refs.tolist() == [refs[row] for row, _, _ in samples]
        assert found.ts.tolist() == [ts for _, ts, _ in samples]
        assert bits(found.values).tolist() == bits(np.array([v for *_, v in samples])).tolist()


def test_metadata_goes_with_series() -> None:
    """In version 2.0 each series says type, help and unit of its family."""
    known = MetricMetadata("m", "counter", "Help \u00fc.", "seconds")
    body = encode_request_v2(
        outgoing([(0, 1_700_000_000_000, 1.0, 0)], [], 2), Described({"m": known})
    )
    found = received(body, MemorySeriesIndex(), 2)
    assert set(found.metadata) == {known}


def test_metadata_find_the_name_anywhere() -> None:
    """Labels that come before the name, and series without a name, do not confuse it."""
    known = MetricMetadata("m", "gauge", "Help.")
    labels = [Labels.of({"A": "__name__", "__name__": "m"}), Labels.of({"a": "m"})]
    ts = np.full(2, 1_700_000_000_000, np.int64)
    request = Outgoing(
        [each.canonical() for each in labels], np.arange(2, dtype=np.int32), ts, np.ones(2)
    )
    asked: list[str] = []

    def describe(name: str) -> MetricMetadata | None:
        asked.append(name)
        return known if name == "m" else None

    index = MemorySeriesIndex()
    found = received(encode_request_v2(request, describe), index, 2)
    assert asked == ["m", ""]
    assert found.metadata == (known,)


def test_metadata_goes_by_itself() -> None:
    """In version 1.0 metadata are a request of their own."""
    known = (MetricMetadata("m", "histogram", "Help.", "bytes"), MetricMetadata("n"))
    found = received(encode_metadata(known), MemorySeriesIndex())
    assert (found.metadata, len(found.refs)) == (known, 0)


def test_suffixes_belong_to_their_family() -> None:
    """A series finds the statement on its family, and its own name first."""
    family, own = MetricMetadata("a", "histogram"), MetricMetadata("a_count", "gauge")
    described = Described({"a": family, "a_count": own})
    assert described("a_bucket") is family
    assert described("a_count") is own
    assert described("b_total") is None
