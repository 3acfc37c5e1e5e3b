"""Query results as JSON."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.web.support import vector
from vedette.model.arrays import F64
from vedette.model.blocks import LabelTable
from vedette.model.histograms import HistogramValue, histograms_of
from vedette.model.labels import Labels
from vedette.model.results import Annotation, ScalarResult, StringResult, VectorResult
from vedette.model.samples import ABSENT, HISTOGRAM
from vedette.web.render import answer, matrix, number, seconds

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def _read(text: str) -> float:
    return float(text.replace("Inf", "inf"))


@given(FLOATS)
def test_numbers_keep_their_value(value: float) -> None:
    """Every float reads back as itself, bit for bit but for NaN's payload."""
    back = _read(number(value))
    assert (math.isnan(back) and math.isnan(value)) or np.float64(back).tobytes() == np.float64(
        value
    ).tobytes()


@given(st.lists(FLOATS, min_size=1, max_size=30))
def test_a_matrix_keeps_every_point(values: list[float]) -> None:
    """Each value stands beside its timestamp, whatever mix of finite and other values a row has."""
    ts = np.arange(len(values), dtype=np.int64) * 15_500
    rows = json.loads(matrix([b'{"a":"b"}'], ts, np.array([values], np.float64)))
    points = rows[0]["values"]
    assert [point[0] for point in points] == [t / 1000 for t in ts.tolist()]
    for (_, text), value in zip(points, values, strict=True):
        assert _read(text) == value or (math.isnan(value) and text == "NaN")


def test_absent_points_and_empty_series_are_left_out() -> None:
    """A hole is no point, and a series of holes is no series."""
    values: F64 = np.array([[1.0, ABSENT, 3.0], [ABSENT, ABSENT, ABSENT]])
    rows = json.loads(matrix([b"{}", b"{}"], np.array([0, 1000, 2000]), values))
    assert rows == [{"metric": {}, "values": [[0, "1"], [2, "3"]]}]


def test_whole_numbers_have_no_fraction() -> None:
    """Prometheus writes 1, not 1.0, also at the end of a row and among others."""
    rows = json.loads(matrix([b"{}"], np.arange(3), np.array([[1.0, 2.5, 10.0]])))
    assert [text for _, text in rows[0]["values"]] == ["1", "2.5", "10"]


def test_timestamps() -> None:
    """Milliseconds show only where there are any."""
    times = (0, 1000, 1500, 1_700_000_000_123, 1_700_000_000_120)
    texts = [seconds(ms) for ms in times]
    assert texts == ["0", "1", "1.5", "1700000000.123", "1700000000.12"]


@given(st.integers(-(10**15), 10**15))
def test_every_timestamp_reads_back(ms: int) -> None:
    """Seconds as text are the same instant, before 1970 too."""
    assert round(float(seconds(ms)) * 1000) == ms


def test_instant_vector() -> None:
    """A vector carries one value per series, escaped labels, and annotations by kind."""
    base = vector({Labels.of({"__name__": "x", "l": 'q"\n'}): [math.inf]}, [1500])
    notes = (Annotation("careful"), Annotation("by the way", info=True, start=3, end=4))
    result = VectorResult(base.labels, base.ts, base.values, notes)
    assert json.loads(answer(result, "x\n  y", range_query=False)) == {
        "status": "success",
        "data": {
            "resultType": "vector",
            "result": [{"metric": {"__name__": "x", "l": 'q"\n'}, "value": [1.5, "+Inf"]}],
        },
        "warnings": ["careful (1:1)"],
        "infos": ["by the way (2:2)"],
    }


def test_scalars_and_strings() -> None:
    """A scalar is a point, over a range a matrix without labels; a string is a string."""
    scalar = ScalarResult(np.array([1000]), np.array([2.0]))
    assert json.loads(answer(scalar, range_query=False))["data"]["result"] == [1, "2"]
    data = json.loads(answer(scalar, range_query=True))["data"]
    assert data == {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"]]}]}
    text = json.loads(answer(StringResult(0, "a\u2028é"), range_query=False))["data"]
    assert text["result"] == [0, "a\u2028é"]


def test_native_histograms_have_members_of_their_own() -> None:
    """Histograms are rendered with bounds and their inclusion, beside the floats of a series."""
    native = HistogramValue(0, 7.0, 5.5, 0.001, 1.0, 0, ((1, 2.0), (2, 0.0)), ((0, 3.0),))
    custom = HistogramValue(-53, 3.0, 9.0, positive=((0, 1.0), (2, 2.0)), custom_bounds=(5.0, 10.0))
    index = np.array([[-1, 0], [1, -1]], np.int32)
    values = np.array([[1.5, HISTOGRAM], [HISTOGRAM, ABSENT]])
    labels = LabelTable.of([Labels.of({"s": "a"}), Labels.of({"s": "b"})])
    ts = np.array([0, 1500], np.int64)
    result = VectorResult(labels, ts, values, (), histograms_of((native, custom), index))
    rows = json.loads(answer(result, range_query=True))["data"]["result"]
    assert rows[0]["values"] == [[0, "1.5"]]
    buckets = [[1, "-1", "-0.5", "3"], [3, "-0.001", "0.001", "1"], [0, "1", "2", "2"]]
    assert rows[0]["histograms"] == [[1.5, {"count": "7", "sum": "5.5", "buckets": buckets}]]
    buckets = [[3, "-Inf", "5", "1"], [0, "10", "+Inf", "2"]]
    assert rows[1] == {
        "metric": {"s": "b"},
        "histograms": [[0, {"count": "3", "sum": "9", "buckets": buckets}]],
    }
    assert result.histograms is not None
    first = VectorResult(
        labels, ts[:1], values[:, :1], (), result.histograms.at(np.ascontiguousarray(index[:, :1]))
    )
    rows = json.loads(answer(first, range_query=False))["data"]["result"]
    assert rows[0]["value"] == [0, "1.5"]
    assert rows[1]["histogram"][1]["count"] == "3"
