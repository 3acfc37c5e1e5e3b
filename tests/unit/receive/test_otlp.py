"""OTLP end to end: the OpenTelemetry SDK exports over both transports; bad requests."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
import uvicorn
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcExporter,
)
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpExporter,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from tests.unit.receive.doubles import Index, Store
from tests.unit.web.support import fake_services
from vedette.model.histograms import histogram_value
from vedette.receive.otlp import JSON, PROTOBUF, OtlpHandler
from vedette.receive.otlp_grpc import OtlpGrpcServer
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.otlp_delta import DeltaSums
from vedette.storage.interface import OverloadedError
from vedette.web.asgi import WebApp
from vedette.web.services import IntakeAnswer

DELTAS = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


class Bench:
    """A handler with doubles of storage behind it."""

    def __init__(self) -> None:
        self.index, self.store, self.stats = Index(), Store(), IntakeStats()
        self.metadata: list[Any] = []
        self.handler = OtlpHandler(self.index, self.store, self.stats, metadata=self)  # type: ignore[arg-type]  # only put is called

    def put(self, statements: Any) -> None:
        self.metadata += statements

    def last(self) -> dict[str, Any]:
        """Return the latest sample of each series."""
        out: dict[str, Any] = {}
        for batch in self.store.batches:
            for i, labels in enumerate(self.index.labels(batch.refs.tolist())):
                row = -1 if batch.histograms is None else int(batch.histograms.index[i])
                held = batch.histograms
                native = histogram_value(held, row) if held is not None and row >= 0 else None
                out[str(labels)] = native or float(batch.values[i])
        return out


@asynccontextmanager
async def listening(bench: Bench) -> AsyncIterator[str]:
    """Serve the web room with the handler on a port of loopback; yield the address."""

    async def take(body: bytes, headers: Any, sender: str, app: str) -> IntakeAnswer:
        said = await bench.handler.handle(body, headers, sender, app)
        return IntakeAnswer(said.status, said.body, said.content_type.encode(), said.retry_after)

    web = WebApp(fake_services(intakes={"/v1/metrics": take}))
    sock = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(web, lifespan="off", log_level="error")  # type: ignore[arg-type]  # uvicorn has its own ASGI types
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1/metrics"
    finally:
        server.should_exit = True
        await serving
        sock.close()


@asynccontextmanager
async def listening_for_grpc(bench: Bench) -> AsyncIterator[str]:
    """Serve the handler by gRPC; yield the address. A key named "secret" is needed."""

    def admit(headers: Any) -> str:
        if headers.get("authorization") != "Bearer secret":
            raise PermissionError("an ingest key is needed")
        return "shop"

    server = OtlpGrpcServer(bench.handler, admit, "127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()


def export(exporter: MetricExporter) -> None:
    """Let the SDK count and export twice, as an application does."""
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    view = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
    resource = Resource.create({"service.name": "shop", "service.instance.id": "i-1"})
    provider = MeterProvider([reader], resource, views=[view], shutdown_on_exit=False)
    meter = provider.get_meter("tests")
    requests = meter.create_counter("http.requests", description="Requests.")
    duration = meter.create_histogram("duration", unit="s")
    size = meter.create_histogram("size", unit="By")
    for _ in range(2):
        requests.add(2, {"http.method": "GET"})
        duration.record(0.3)
        size.record(1000)
        provider.force_flush()
    provider.shutdown()


def check(bench: Bench) -> None:
    """Check what the second export left behind."""
    last = bench.last()
    identity = 'instance="i-1", job="shop"'
    labels = f'http_method="GET", {identity}'
    assert last[f"http_requests_total{{{labels}}}"] == 4.0
    assert last[f"duration_seconds_count{{{identity}}}"] == 2.0
    assert last['duration_seconds_bucket{instance="i-1", job="shop", le="5"}'] == 2.0
    native = last[f"size_bytes{{{identity}}}"]
    assert (native.count, native.sum) == (2.0, 2000.0)
    assert native.schema <= 8
    assert sum(count for _, count in native.positive) == 2.0
    assert any(name.startswith("target_info") for name in last)
    batch = bench.store.batches[0]
    assert batch.start is not None
    assert (batch.start[batch.start > 0] < batch.ts[batch.start > 0]).all()
    assert {m.metric: m.help for m in bench.metadata}["http_requests_total"] == "Requests."


@pytest.mark.parametrize("temporality", [None, DELTAS])
@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
async def test_the_sdk_exports_over_http(temporality: Any, compression: Compression) -> None:
    """Cumulative and delta export leave the same sums."""
    bench = Bench()
    async with listening(bench) as address:
        exporter = HttpExporter(address, compression=compression, preferred_temporality=temporality)
        await asyncio.to_thread(export, exporter)
    check(bench)


@pytest.mark.parametrize("temporality", [None, DELTAS])
async def test_the_sdk_exports_over_grpc(temporality: Any) -> None:
    """The same by gRPC, with an ingest key."""
    bench = Bench()
    async with listening_for_grpc(bench) as address:
        exporter = GrpcExporter(
            address,
            insecure=True,
            headers={"authorization": "Bearer secret"},
            preferred_temporality=temporality,
        )
        await asyncio.to_thread(export, exporter)
    check(bench)
    assert {batch.app for batch in bench.store.batches} == {"shop"}


def request(value: int = 1, name: str = "g") -> ExportMetricsServiceRequest:
    """Return a request with one gauge."""
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.gauge.data_points.add(as_int=value, time_unix_nano=1_700_000_000 * 10**9)
    return message


async def post(bench: Bench, body: bytes, **headers: str) -> tuple[int, bytes]:
    """Return status and body of the answer to ``body``."""
    told = {"content-type": PROTOBUF} | {k.replace("_", "-"): v for k, v in headers.items()}
    answer = await bench.handler.handle(body, told, "test", "default")
    assert answer.content_type in (PROTOBUF, JSON)
    return answer.status, answer.body


async def test_json_is_read_as_the_specification_says() -> None:
    """Numbers may be text, ids are hexadecimal, enumerations numbers; the answer is JSON."""
    bench = Bench()
    point = {
        "timeUnixNano": "1700000000000000000",
        "asInt": "7",
        "attributes": [{"key": "a", "value": {"stringValue": "b"}}],
        "exemplars": [{"traceId": "5b8aa5a2d2c872e8321cf37308d69df2", "asDouble": 1.5}],
        "unknown": 1,
    }
    metric = {
        "name": "c",
        "sum": {"isMonotonic": True, "aggregationTemporality": 2, "dataPoints": [point]},
    }
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    status, answer = await post(bench, orjson.dumps(body), content_type=f"{JSON}; charset=utf-8")
    assert (status, orjson.loads(answer)) == (200, {})
    assert bench.last() == {'c_total{a="b"}': 7.0}
    (exemplar,) = bench.store.batches[0].exemplars
    assert exemplar.labels.get("trace_id") == "5b8aa5a2d2c872e8321cf37308d69df2"


async def test_partial_success_is_told() -> None:
    """What was refused is counted in the answer, with a message; the rest is stored."""
    bench = Bench()
    message = request()
    message.resource_metrics[0].scope_metrics[0].metrics.add(name="x").gauge.data_points.add()
    status, body = await post(bench, message.SerializeToString())
    answer = ExportMetricsServiceResponse.FromString(body)
    assert (status, answer.partial_success.rejected_data_points) == (200, 1)
    assert "time_unix_nano" in answer.partial_success.error_message
    assert bench.last() == {"g": 1.0}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", {}, 400),
        (b"{", {"content_type": JSON}, 400),
        (b"[]", {"content_type": JSON}, 400),
        (b'{"resourceMetrics": [{"traceId": "xyz"}]}', {"content_type": JSON}, 400),
        (b"[" * 500 + b"]" * 500, {"content_type": JSON}, 400),
        (b"", {"content_type": "text/plain"}, 415),
        (b"", {"content_encoding": "br"}, 415),
        (b"no gzip", {"content_encoding": "gzip"}, 400),
        (gzip.compress(b"x" * (17 << 20), mtime=0), {"content_encoding": "gzip"}, 413),
        (b"x" * ((16 << 20) + 1), {}, 413),
    ],
)
async def test_bad_requests(body: bytes, headers: dict[str, str], status: int) -> None:
    """Each is answered with its status and a message, and counted; nothing is stored."""
    bench = Bench()
    got, answer = await post(bench, body, **headers)
    assert got == status
    assert len(answer) > 10
    assert sum(bench.stats.snapshot().rejected.values()) == 1
    assert not bench.store.batches


async def test_a_full_queue_sends_the_sender_away() -> None:
    """It is told to come again, and deltas are not counted twice when it does."""
    bench = Bench()
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="d")
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 1
    metric.sum.data_points.add(as_int=2, time_unix_nano=1_700_000_000 * 10**9)
    body = message.SerializeToString()
    bench.store.error = OverloadedError("full", 3.0)
    answer = await bench.handler.handle(body, {"content-type": PROTOBUF}, "test", "default")
    assert (answer.status, answer.retry_after) == (503, 3.0)
    assert b"full" in answer.body
    bench.store.error = None
    assert (await post(bench, body))[0] == 200
    assert bench.last() == {"d_total": 2.0}


async def test_forgotten_sums_are_counted() -> None:
    """More delta series than are remembered: the counter tells how many were forgotten."""
    bench = Bench()
    bench.handler.deltas = DeltaSums(most=1)
    message = ExportMetricsServiceRequest()
    metrics = message.resource_metrics.add().scope_metrics.add().metrics
    for name in ("a", "b", "c"):
        metric = metrics.add(name=name)
        metric.sum.aggregation_temporality = 1
        metric.sum.data_points.add(as_int=2, time_unix_nano=1_700_000_000 * 10**9)
    assert (await post(bench, message.SerializeToString()))[0] == 200
    assert bench.stats.snapshot().dropped == {("otlp", "delta_forgotten"): 2}


async def test_grpc_needs_its_key() -> None:
    """Without it nothing is stored, and the exporter is told."""
    bench = Bench()
    async with listening_for_grpc(bench) as address:
        exporter = GrpcExporter(address, insecure=True)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
        provider = MeterProvider([reader], shutdown_on_exit=False)
        provider.get_meter("tests").create_counter("c").add(1)
        await asyncio.to_thread(provider.shutdown)
    assert not bench.store.batches
