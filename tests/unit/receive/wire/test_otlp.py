"""OTLP translated: every kind of point, resources, deltas, refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from tests.unit.receive.doubles import Index
from vedette.model.histograms import HistogramValue, histogram_value
from vedette.model.samples import STALE_BITS, bits
from vedette.receive.wire.otlp import OtlpOptions, OtlpRequest, translate
from vedette.receive.wire.otlp_delta import DeltaSums
from vedette.receive.wire.otlp_points import json_number

T = 1_700_000_000_000
CUMULATIVE = "aggregation_temporality: AGGREGATION_TEMPORALITY_CUMULATIVE"
DELTA = "aggregation_temporality: AGGREGATION_TEMPORALITY_DELTA"


def at(ts: int = T, start: int = T - 60_000) -> str:
    """Return the times of a point in ms."""
    return f"time_unix_nano: {ts}000000 start_time_unix_nano: {start}000000"


def attribute(key: str, value: str) -> str:
    """Return a text attribute."""
    return f'attributes {{ key: "{key}" value {{ string_value: "{value}" }} }}'


class Bench:
    """An index, the sums of deltas, and options."""

    def __init__(self, **options: Any) -> None:
        self.index, self.sums, self.options = Index(), DeltaSums(), OtlpOptions(**options)

    def take(self, metrics: str, resource: str = "", commit: bool = True) -> OtlpRequest:
        text = (
            f"resource_metrics {{ resource {{ {resource} }} scope_metrics {{ "
            f'scope {{ name: "lib" version: "1" }} {metrics} }} }}'
        )
        request = text_format.Parse(text, ExportMetricsServiceRequest())
        changes = self.sums.begin()
        found = translate(request, changes, self.options).numbered(self.index)
        if commit:
            changes.commit()
        return found

    def shown(self, found: OtlpRequest) -> dict[str, Any]:
        """Return value, or histogram, by series; a staleness marker is "stale"."""
        out: dict[str, Any] = {}
        for i, labels in enumerate(self.index.labels(found.refs.tolist())):
            row = -1 if found.histograms is None else int(found.histograms.index[i])
            if row >= 0:
                assert found.histograms is not None
                out[str(labels)] = histogram_value(found.histograms, row)
            elif bits(found.values)[i] == STALE_BITS:
                out[str(labels)] = "stale"
            else:
                out[str(labels)] = float(found.values[i])
        return out


def test_a_gauge_and_sums() -> None:
    """Gauges have no start; a monotonic sum has; one that is not monotonic is a gauge."""
    bench = Bench()
    found = bench.take(
        f'metrics {{ name: "g" unit: "1" gauge {{ data_points {{ {at()} as_double: 0.5 }} }} }}'
        f'metrics {{ name: "c" description: "What." unit: "By" sum {{ is_monotonic: true '
        f"{CUMULATIVE} data_points {{ {at()} as_int: 3 {attribute('x.y', 'z')} }} }} }}"
        f'metrics {{ name: "u" sum {{ {CUMULATIVE} data_points {{ {at()} as_int: -3 }} }} }}'
    )
    assert bench.shown(found) == {"g_ratio": 0.5, 'c_bytes_total{x_y="z"}': 3.0, "u": -3.0}
    assert found.start.tolist() == [0, T - 60_000, 0]
    assert found.ts.tolist() == [T] * 3
    assert [(m.metric, m.type, m.help, m.unit) for m in found.metadata] == [
        ("g_ratio", "gauge", "", ""),
        ("c_bytes_total", "counter", "What.", "bytes"),
        ("u", "gauge", "", ""),
    ]
    assert (found.points, found.rejected) == (3, {})


RESOURCE = "".join(
    attribute(key, text)
    for key, text in {
        "service.name": "shop",
        "service.namespace": "acme",
        "service.instance.id": "i-1",
        "host.name": "h",
        "deployment.environment": "prod",
    }.items()
)
GAUGE = f'metrics {{ name: "g" gauge {{ data_points {{ {at()} as_int: 1 }} }} }}'


def test_the_resource_becomes_job_instance_and_info() -> None:
    """Other attributes stand in target_info, and on series only if they are promoted."""
    bench = Bench()
    assert bench.shown(bench.take(GAUGE, RESOURCE)) == {
        'g{instance="i-1", job="acme/shop"}': 1.0,
        'target_info{deployment_environment="prod", host_name="h", instance="i-1", '
        'job="acme/shop"}': 1.0,
    }
    promoting = Bench(promote=("host.name",), promote_scope=True)
    series = list(promoting.shown(promoting.take(GAUGE, RESOURCE)))
    assert series[0] == (
        'g{host_name="h", instance="i-1", job="acme/shop", otel_scope_name="lib", '
        'otel_scope_version="1"}'
    )
    every = Bench(promote_all=True, ignore=("host.name",), keep_identifying=True)
    first, info = every.shown(every.take(GAUGE, RESOURCE))
    assert 'service_name="shop"' in first
    assert "host_name" not in first
    assert 'service_instance_id="i-1"' in info


def test_a_resource_without_service_has_no_info() -> None:
    """Without job and instance nobody could join it."""
    bench = Bench()
    assert list(bench.shown(bench.take(GAUGE, attribute("host.name", "h")))) == ["g"]


def histogram(counts: list[int], bounds: list[float], more: str = "", kind: str = DELTA) -> str:
    """Return an explicit histogram metric ``h``."""
    buckets = " ".join(f"bucket_counts: {n}" for n in counts)
    limits = " ".join(f"explicit_bounds: {bound}" for bound in bounds)
    point = f"count: {sum(counts)} sum: 2.5 {buckets} {limits} {more}"
    return f'metrics {{ name: "h" histogram {{ {kind} data_points {{ {point} }} }} }}'


def test_an_explicit_histogram() -> None:
    """Buckets become cumulative and get their bounds; exemplars go to their bucket."""
    bench = Bench()
    exemplar = (
        ' exemplars { as_double: 0.7 time_unix_nano: 5000000 trace_id: "\\001\\002" '
        'filtered_attributes { key: "k" value { int_value: 5 } } }'
    )
    found = bench.take(histogram([1, 2, 3], [0.5, 1e7], at() + exemplar, CUMULATIVE))
    assert bench.shown(found) == {
        "h_sum": 2.5,
        "h_count": 6.0,
        'h_bucket{le="0.5"}': 1.0,
        'h_bucket{le="10000000"}': 3.0,
        'h_bucket{le="+Inf"}': 6.0,
    }
    assert set(found.start.tolist()) == {T - 60_000}
    (example,) = found.exemplars
    assert (str(example.labels), example.ts) == ('{k="5", trace_id="0102"}', 5)
    assert str(bench.index.labels([example.series])[0]) == 'h_bucket{le="10000000"}'


def test_an_explicit_histogram_as_native() -> None:
    """With the option it gets custom buckets."""
    bench = Bench(convert_histograms=True)
    found = bench.take(histogram([1, 0, 3], [0.5, 2], at(), CUMULATIVE))
    assert bench.shown(found) == {
        "h": HistogramValue(-53, 4.0, 2.5, positive=((0, 1.0), (2, 3.0)), custom_bounds=(0.5, 2.0))
    }


def exponential(scale: int, offset: int, counts: list[int], more: str, kind: str = DELTA) -> str:
    """Return an exponential histogram metric ``e`` with one observation of zero."""
    buckets = " ".join(f"bucket_counts: {n}" for n in counts)
    point = (
        f"count: {sum(counts) + 1} sum: 2.5 scale: {scale} zero_count: 1 "
        f"positive {{ offset: {offset} {buckets} }} {more}"
    )
    return f'metrics {{ name: "e" exponential_histogram {{ {kind} data_points {{ {point} }} }} }}'


@pytest.mark.parametrize(
    ("scale", "offset", "counts", "schema", "buckets"),
    [
        (3, 0, [1, 0, 2], 3, ((1, 1.0), (3, 2.0))),
        (10, -3, [1, 2, 3, 0, 2], 8, ((0, 6.0), (1, 2.0))),
        (-4, 5, [1], -4, ((6, 1.0),)),
        (20, 2**31 - 2, [1], 8, (((2**31 - 2 >> 12) + 1, 1.0),)),
    ],
)
def test_exponential_histograms(
    scale: int, offset: int, counts: list[int], schema: int, buckets: Any
) -> None:
    """Bucket numbers move by one; a scale above 8 is merged down to it."""
    bench = Bench()
    found = bench.take(exponential(scale, offset, counts, at(), CUMULATIVE))
    wanted = HistogramValue(schema, sum(counts) + 1.0, 2.5, 1e-128, 1.0, 0, buckets)
    assert bench.shown(found) == {"e": wanted}


def test_a_summary() -> None:
    """Sum, count and quantiles."""
    bench = Bench()
    quantile = "quantile_values { quantile: 0.5 value: 2 } quantile_values { quantile: 1 value: 3 }"
    point = f"data_points {{ {at()} count: 3 sum: 4.5 {quantile} }}"
    found = bench.take(f'metrics {{ name: "s" summary {{ {point} }} }}')
    assert bench.shown(found) == {
        "s_sum": 4.5,
        "s_count": 3.0,
        's{quantile="0.5"}': 2.0,
        's{quantile="1"}': 3.0,
    }


def test_points_without_a_value_end_their_series() -> None:
    """Each of their series gets a staleness marker."""
    bench = Bench()
    stale = at() + " flags: 1"
    found = bench.take(
        f'metrics {{ name: "g" gauge {{ data_points {{ {stale} }} }} }}'
        + histogram([], [1.0], stale, CUMULATIVE)
        + exponential(0, 0, [], stale, CUMULATIVE)
    )
    assert set(bench.shown(found).values()) == {"stale"}
    assert {"g", "h_count", 'h_bucket{le="1"}', "e"} <= bench.shown(found).keys()


def delta(value: int, begin: int, end: int) -> str:
    """Return a delta sum of the time from ``begin`` to ``end`` in seconds after T."""
    times = at(T + end * 1000, T + begin * 1000)
    point = f"data_points {{ {times} as_int: {value} }}"
    return f'metrics {{ name: "d" sum {{ is_monotonic: true {DELTA} {point} }} }}'


def test_deltas_are_added_up() -> None:
    """The sum and its start go on; a request that was not stored changes nothing."""
    bench = Bench()
    assert bench.shown(bench.take(delta(2, 0, 10))) == {"d_total": 2.0}
    lost = bench.take(delta(3, 10, 20), commit=False)
    assert bench.shown(lost) == {"d_total": 5.0}
    found = bench.take(delta(3, 10, 20))
    assert bench.shown(found) == {"d_total": 5.0}
    assert found.start.tolist() == [T]
    late = bench.take(delta(4, 5, 20))
    assert (late.rejected, len(late.refs)) == ({"out_of_order": 1}, 0)
    both = bench.take(delta(1, 20, 30) + delta(1, 30, 40))
    assert both.values.tolist() == [6.0, 7.0]


def test_delta_histograms_are_added_up() -> None:
    """Explicit ones start anew with other bounds; exponential ones take the coarser scale."""
    bench = Bench()
    first, second = at(T, T - 1000), at(T + 1000, T)
    bench.take(histogram([1, 2], [1.0], first))
    assert bench.shown(bench.take(histogram([1, 0], [1.0], second)))["h_count"] == 4.0
    other = bench.take(histogram([1, 0], [2.0], at(T + 2000, T + 1000)))
    assert bench.shown(other)["h_count"] == 1.0
    assert set(other.start.tolist()) == {T + 1000}
    bench.take(exponential(1, 0, [1, 1, 1], first))
    found = bench.shown(bench.take(exponential(0, 0, [5], second)))
    assert found["e"] == HistogramValue(0, 10.0, 5.0, 1e-128, 2.0, 0, ((1, 7.0), (2, 1.0)))


def test_the_sums_are_bounded() -> None:
    """The series that was unused for longest is forgotten, and counted."""
    sums = DeltaSums(most=2)
    for key, ts in ((b"a", 1), (b"b", 1), (b"a", 2), (b"c", 1)):
        changes = sums.begin()
        changes.add(key, 1.0, 0, ts)
        changes.commit()
    assert (len(sums), sums.forgotten, sums.get(b"b")) == (2, 1, None)


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ('metrics { name: "g" gauge { data_points { as_int: 1 } } }', "timestamp"),
        (f'metrics {{ name: "g" gauge {{ data_points {{ {at()} }} }} }}', "value"),
        (f'metrics {{ name: "é" gauge {{ data_points {{ {at()} as_int: 1 }} }} }}', "name"),
        (f'metrics {{ name: "c" sum {{ data_points {{ {at()} as_int: 1 }} }} }}', "temporality"),
        (histogram([1, 2], [1.0, 2.0], at(), CUMULATIVE), "histogram"),
        (histogram([1, 2, 3], [2.0, 1.0], at(), CUMULATIVE), "histogram"),
        (exponential(-5, 0, [1], at(), CUMULATIVE), "histogram"),
        (
            f'metrics {{ name: "g" gauge {{ data_points {{ {at()} as_int: 1 '
            f"{attribute('', 'x')} }} }} }}",
            "label",
        ),
        (
            f'metrics {{ name: "g" gauge {{ data_points {{ {at()} as_int: 1 '
            f"{attribute('a', 'x' * 5000)} }} }} }}",
            "label",
        ),
    ],
)
def test_what_cannot_be_taken_is_told(metrics: str, reason: str) -> None:
    """It is counted with its reason, and a point beside it is stored."""
    bench = Bench()
    found = bench.take(metrics + GAUGE.replace('"g"', '"good"'))
    assert found.rejected == {reason: 1}
    assert found.message
    assert bench.shown(found) == {"good": 1.0}


def test_a_resource_that_cannot_be_named_costs_only_its_points() -> None:
    """They are counted."""
    bench = Bench(promote_all=True)
    assert bench.take(GAUGE, attribute("üü", "x")).rejected == {"label": 1}


def test_points_beyond_the_limit_are_refused() -> None:
    """The rest of the request is told of."""
    bench = Bench(points=1)
    points = "".join(
        f"data_points {{ {at()} as_int: 1 {attribute('i', str(i))} }}" for i in range(4)
    )
    found = bench.take(f'metrics {{ name: "g" gauge {{ {points} }} }}')
    assert (found.points, found.rejected) == (1, {"too_many_points": 3})


@pytest.mark.parametrize(
    ("number", "text"),
    [(2.0, "2"), (1.5, "1.5"), (2e20, "2" + "0" * 20), (1e21, "1e+21"), (1e-7, "1e-7"),
     (0.00001, "0.00001"), (-0.0, "-0"), (math.inf, "inf")],
)  # fmt: skip
def test_numbers_as_text(number: float, text: str) -> None:
    """Attributes that are numbers are written as Prometheus writes them."""
    assert json_number(number) == text


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_never_crashes(noise: bytes) -> None:
    """Whatever parses as a message is translated, or refused with a reason."""
    bench = Bench()
    request = ExportMetricsServiceRequest()
    request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric = request.resource_metrics[0].scope_metrics[0].metrics[0]
    for part in (metric.gauge, metric.histogram, metric.exponential_histogram, metric.summary):
        try:
            part.data_points.add().MergeFromString(noise)
        except Exception:  # noqa: BLE001 - the library has several errors for damaged bytes
            part.SetInParent()
        found = translate(request, bench.sums.begin(), bench.options).numbered(bench.index)
        assert len(found.refs) == len(found.values) == len(found.ts)
