"""The endpoint of OTLP metrics, without the web framework: HTTP with protobuf or JSON, and gRPC."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import orjson
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

from vedette.kit.varint import varint
from vedette.model.samples import SampleBatch
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.events import gunzip
from vedette.receive.wire.otlp import OtlpOptions, OtlpRequest, Rows, translate
from vedette.receive.wire.otlp_delta import DeltaChanges, DeltaSums
from vedette.storage.interface import (
    Ingest,
    MetadataStore,
    OverloadedError,
    SeriesIndex,
    StorageError,
)

WAY = "otlp"
PROTOBUF = "application/x-protobuf"
JSON = "application/json"
BODY_BYTES = 16 * 1024 * 1024
_QUICK_BYTES = 32 * 1024
_RETRY_SECONDS = 5.0
_DEEPEST = 32
# Codes of google.rpc.Status, https://grpc.io/docs/guides/status-codes/
_INVALID_ARGUMENT, _RESOURCE_EXHAUSTED, _UNAVAILABLE = 3, 8, 14

T = TypeVar("T")


class Offload(Protocol):
    """Does ``work`` outside of the event loop; ``asyncio.to_thread`` is one."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what ``work`` returns, once it is done; raises what it raises."""
        ...


@dataclass(frozen=True, slots=True)
class Export:
    """What became of one request.

    Attributes:
        stored: samples.
        refused: data points that were not taken.
        message: what was wrong; empty for nothing.
        code: of ``google.rpc.Status``; 0 when the request as a whole was taken.
        retry_after: seconds after which to come again; 0 where that makes no sense.
    """

    stored: int = 0
    refused: int = 0
    message: str = ""
    code: int = 0
    retry_after: float = 0.0

    def response(self) -> ExportMetricsServiceResponse:
        """Return the answer to a request that was taken, perhaps in part."""
        answer = ExportMetricsServiceResponse()
        if self.refused or self.message:
            answer.partial_success.rejected_data_points = self.refused
            answer.partial_success.error_message = self.message
        return answer


@dataclass(frozen=True, slots=True)
class OtlpAnswer:
    """The answer over HTTP."""

    status: int
    body: bytes
    content_type: str
    retry_after: float = 0.0


class OtlpHandler:
    """Takes requests; holds the sums of what comes as deltas."""

    def __init__(
        self,
        index: SeriesIndex,
        ingest: Ingest,
        stats: IntakeStats,
        options: OtlpOptions | None = None,
        metadata: MetadataStore | None = None,
        offload: Offload = asyncio.to_thread,
    ) -> None:
        self._index = index
        self._ingest = ingest
        self._stats = stats
        self._options = options or OtlpOptions()
        self._metadata = metadata
        self._offload = offload
        self.deltas = DeltaSums()
        self._summing = asyncio.Lock()

    async def handle(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> OtlpAnswer:
        """Store what ``body`` holds; ``headers`` have lower-case names."""
        kind = headers.get("content-type", PROTOBUF).partition(";")[0].strip().lower()
        if kind not in (PROTOBUF, JSON):
            message = f'content type "{kind[:80]}" is not supported; send {PROTOBUF} or {JSON}'
            return self._failed(415, JSON, self._refused("content_type", message))
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            message = f'content encoding "{encoding[:40]}" is not supported; send gzip or nothing'
            return self._failed(415, kind, self._refused("encoding", message))
        try:
            if encoding == "gzip":
                body = gunzip(body, BODY_BYTES)
            _check_size(body)
        except TooLargeError as error:
            message = f"{error}; send fewer points in a request"
            return self._failed(413, kind, self._refused(error.reason, message))
        except WireError as error:
            return self._failed(400, kind, self._refused(error.reason, str(error)))
        export = await self.export(body, app, json=kind == JSON)
        if export.code:
            return self._failed(503 if export.retry_after else 400, kind, export)
        answer = export.response()
        if kind == JSON:
            return OtlpAnswer(200, json_format.MessageToJson(answer, indent=None).encode(), kind)
        return OtlpAnswer(200, answer.SerializeToString(), kind)

    async def export(self, data: bytes, app: str, json: bool = False) -> Export:
        """Store what the message ``data`` holds; both transports come here."""
        try:
            _check_size(data)
            read = partial(_parse, data, json)
            request = await self._offload(read) if len(data) > _QUICK_BYTES else read()
        except WireError as error:
            return self._refused(error.reason, str(error))
        if not _has_deltas(request):
            return await self._store(request, self.deltas.begin(), app, len(data))
        # A sum must not be added to before the request that changed it was stored or refused.
        async with self._summing:
            changes = self.deltas.begin()
            export = await self._store(request, changes, app, len(data))
            if not export.code:
                before = self.deltas.forgotten
                changes.commit()
                if self.deltas.forgotten > before:
                    self._stats.dropped(WAY, "delta_forgotten", self.deltas.forgotten - before)
            return export

    async def _store(
        self, request: ExportMetricsServiceRequest, deltas: DeltaChanges, app: str, size: int
    ) -> Export:
        work = partial(translate, request, deltas, self._options)
        rows: Rows = await self._offload(work) if size > _QUICK_BYTES else work()
        found = rows.numbered(self._index)
        count = len(found.refs)
        if count:
            try:
                await self._ingest.append_samples(_batch(found, app))
            except OverloadedError as error:
                self._stats.rejected(WAY, "overloaded", count)
                return Export(0, 0, str(error), _UNAVAILABLE, error.retry_after)
            except StorageError as error:
                self._stats.rejected(WAY, "storage", count)
                return Export(0, 0, str(error), _UNAVAILABLE, _RETRY_SECONDS)
            self._stats.accepted(WAY, count)
        for reason, refused in found.rejected.items():
            self._stats.rejected(WAY, reason, refused)
        if self._metadata is not None and found.metadata:
            self._metadata.put(found.metadata)
        return Export(count, sum(found.rejected.values()), found.message)

    def _refused(self, reason: str, message: str) -> Export:
        self._stats.rejected(WAY, reason)
        code = _RESOURCE_EXHAUSTED if reason == "body_size" else _INVALID_ARGUMENT
        return Export(message=message, code=code)

    def _failed(self, status: int, kind: str, export: Export) -> OtlpAnswer:
        """Return a ``google.rpc.Status`` in the format of the request."""
        if kind == JSON:
            body = orjson.dumps({"code": export.code, "message": export.message})
        else:
            text = export.message.encode()
            body = bytes([0x08, export.code, 0x12]) + varint(len(text)) + text
        return OtlpAnswer(status, body, kind, export.retry_after)


def _batch(found: OtlpRequest, app: str) -> SampleBatch:
    return SampleBatch(
        app,
        found.refs,
        found.ts,
        found.values,
        start=found.start if found.start.any() else None,
        histograms=found.histograms,
        exemplars=found.exemplars,
    )


def _check_size(body: bytes) -> None:
    if len(body) > BODY_BYTES:
        raise TooLargeError("body_size", f"the body holds more than {BODY_BYTES} bytes")


def _has_deltas(request: ExportMetricsServiceRequest) -> bool:
    return any(
        AGGREGATION_TEMPORALITY_DELTA
        in (
            metric.sum.aggregation_temporality,
            metric.histogram.aggregation_temporality,
            metric.exponential_histogram.aggregation_temporality,
        )
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


def _parse(data: bytes, json: bool) -> ExportMetricsServiceRequest:
    """Return the request in ``data``; raises ``WireError``."""
    try:
        if not json:
            return ExportMetricsServiceRequest.FromString(data)
        said = orjson.loads(data)
        if not isinstance(said, dict):
            raise WireError("malformed", "the body is no OTLP message in JSON: it is no object")
        _binary_ids(said, 0)
        return json_format.ParseDict(
            said, ExportMetricsServiceRequest(), ignore_unknown_fields=True
        )
    except (DecodeError, UnicodeDecodeError) as error:
        raise WireError("malformed", f"the body is no OTLP message: {error}") from None
    except (orjson.JSONDecodeError, json_format.ParseError, AttributeError, TypeError) as error:
        message = f"the body is no OTLP message in JSON: {str(error)[:200]}"
        raise WireError("malformed", message) from None


def _binary_ids(node: object, depth: int) -> None:
    """Turn trace and span ids from hexadecimal, as OTLP writes them, to protobuf's base64."""
    if depth > _DEEPEST:
        raise WireError("malformed", f"the JSON is nested more than {_DEEPEST} levels deep")
    if isinstance(node, list):
        for item in node:
            _binary_ids(item, depth + 1)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("traceId", "spanId", "trace_id", "span_id") and isinstance(value, str):
                node[key] = _from_hex(value)
            else:
                _binary_ids(value, depth + 1)


def _from_hex(text: str) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(text)).decode()
    except (binascii.Error, ValueError):
        raise WireError("malformed", f'"{text[:40]}" is no hexadecimal id') from None
