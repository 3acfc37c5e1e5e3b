"""What is encoded is what our own decoder, and so every receiver of the protocol, reads."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.forward.received import received
from vedette.forward.encode import Outgoing, encode_labels, encode_request
from vedette.model.labels import Labels
from vedette.model.samples import bits
from vedette.storage.series_index import MemorySeriesIndex

_TIMES = st.one_of(st.integers(1_700_000_000_000, 1_800_000_000_000), st.integers(1, 2**40))
_VALUES = st.floats(allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 4), _TIMES, _VALUES), min_size=1, max_size=30))
def test_floats_survive(samples: list[tuple[int, int, float]]) -> None:
    """Series, timestamps and values of any request come out as they went in."""
    samples.sort(key=lambda each: each[:2])
    labels = [Labels.of({"__name__": "m", "k": str(k), "é": "ü"}) for k in range(5)]
    index = MemorySeriesIndex()
    refs = index.refs(labels)
    body = encode_request(
        Outgoing(
            [encode_labels(each) for each in labels],
            np.array([row for row, _, _ in samples], np.int32),
            np.array([ts for _, ts, _ in samples], np.int64),
            np.array([value for _, _, value in samples]),
        )
    )
    found = received(body, index)
    assert not found.rejected
    assert found.refs.tolist() == [refs[row] for row, _, _ in samples]
    assert found.ts.tolist() == [ts for _, ts, _ in samples]
    assert bits(found.values).tolist() == bits(np.array([v for _, _, v in samples])).tolist()
