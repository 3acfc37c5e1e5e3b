"""``/federate``: newest samples in the text format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.web.support import FakeStore, client, fake_services
from vedette.model.blocks import Block, LabelTable, RaggedBlock, Selection
from vedette.model.labels import Labels
from vedette.model.matchers import Matcher
from vedette.model.samples import ABSENT, HISTOGRAM, STALE
from vedette.query.errors import QueryError
from vedette.storage.interface import NO_LIMITS, SelectLimits
from vedette.web.api.federate import federated, newest


def selection(metric: str, rows: Sequence[Labels], *blocks: Block | RaggedBlock) -> Selection:
    """Return a selection of ``blocks``."""
    return Selection(metric, LabelTable.of(list(rows)), blocks)


def block(values: list[list[float]], ts: Sequence[int] = ()) -> Block:
    """Return a block with ``values[n][S]`` at ``ts`` (1, 2, 3 … by default)."""
    array = np.array(values, np.float64)
    times = np.array(ts or range(1, len(values) + 1), np.int64)
    return Block(np.arange(array.shape[1], dtype=np.int32), times, array)


def test_newest_of_shared_timestamps() -> None:
    """Holes are passed over; series that ended or hold a histogram are left out."""
    found = newest(
        block([[1, 2, 3, ABSENT, 5], [4, ABSENT, STALE, ABSENT, HISTOGRAM]], [1_000, 2_000])
    )
    assert [column.tolist() for column in found] == [[0, 1], [2_000, 1_000], [4, 2]]


def test_newest_of_own_timestamps() -> None:
    """Each series' last sample counts; an empty one has none."""
    ragged = RaggedBlock(
        np.array([2, 0, 1], np.int32),
        np.array([0, 2, 2, 3], np.int64),
        np.array([1, 5, 7], np.int64),
        np.array([1.0, 2.0, STALE]),
    )
    assert [column.tolist() for column in newest(ragged)] == [[2], [5], [2.0]]


def test_families_are_sorted_and_each_series_stands_once() -> None:
    """Metrics and series come in order; a series that two selectors give is written once."""
    rows = [Labels.of({"b": "2"}), Labels.of({"a": 'q"\\\n'})]
    up = selection("up", rows, block([[1, 0.5]]))
    text = federated([up, selection("a:b", [Labels()], block([[float("inf")]])), up], quoted=False)
    assert text.decode() == (
        "# TYPE a:b untyped\na:b +Inf 1\n"
        '# TYPE up untyped\nup{a="q\\"\\\\\\n"} 0.5 1\nup{b="2"} 1 1\n'
    )


def test_names_of_any_characters() -> None:
    """Names beyond the classic ones are quoted for clients that read it, else underscored."""
    one = [selection("my.metric", [Labels.of({"a.b": "x"})], block([[1]]))]
    assert b'{"my.metric","a.b"="x"} 1 1\n' in federated(one, quoted=True)
    assert b'my_metric{a_b="x"} 1 1\n' in federated(one, quoted=False)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9),
        max_size=3,
    ),
    st.floats(allow_nan=False),
)
def test_prometheus_client_reads_it_back(labels: dict[str, str], value: float) -> None:
    """The reference parser gives the labels, value and time that were written."""
    rows = [selection("m", [Labels.of(labels)], block([[value]], [1_500]))]
    (family,) = text_string_to_metric_families(federated(rows, quoted=False).decode())
    (sample,) = family.samples
    # It reads whole numbers as integers.
    assert (sample.labels, float(sample.value), sample.timestamp) == (labels, value, 1.5)


class Store(FakeStore):
    """Holds one series, and remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int]] = []

    def select(
        self,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        limits: SelectLimits = NO_LIMITS,
    ) -> tuple[Selection, ...]:
        self.asked.append((start, end))
        if matchers[0].value == "slow":
            raise QueryError("timeout", "too slow")
        return (selection("up", [Labels.of({"job": "a"})], block([[1]])),)


async def test_the_endpoint() -> None:
    """Selectors give samples of the lookback, with external labels; bad ones are 400."""
    store = Store()
    external = (("job", "not this"), ("site", "north"))
    services = fake_services(samples=store, lookback_ms=60_000, external_labels=external)
    async with client(services) as http:
        found = await http.get("/federate", params={"match[]": "up"})
        nothing = await http.get("/federate")
        bad = await http.get("/federate", params={"match[]": "up{"})
        slow = await http.get("/federate", params={"match[]": "slow"})
    assert found.text == '# TYPE up untyped\nup{job="a",instance="",site="north"} 1 1\n'
    assert found.headers["content-type"].startswith("text/plain; version=0.0.4")
    now = services.clock.now_ms()
    assert store.asked[0] == (now - 59_999, now)
    assert (nothing.status_code, nothing.text) == (200, "")
    assert bad.status_code == 400
    assert "parse error" in bad.text
    assert slow.status_code == 503


@pytest.mark.parametrize("accept", ["", "text/plain;version=1.0.0;escaping=allow-utf-8"])
async def test_content_type_follows_accept(accept: str) -> None:
    """Who asks for UTF-8 names gets the format that has them."""
    async with client(fake_services(samples=Store())) as http:
        answer = await http.get("/federate?match[]=up", headers={"accept": accept})
    assert ("1.0.0" in answer.headers["content-type"]) == bool(accept)
