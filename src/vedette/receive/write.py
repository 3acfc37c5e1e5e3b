"""The endpoint of Prometheus remote write 1.0, without the web framework."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from vedette.model.metadata import MetricMetadata
from vedette.model.samples import SampleBatch
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.remote_write import decode
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCaches
from vedette.receive.wire.snappy import Inflater
from vedette.storage.interface import Ingest, OverloadedError, SeriesIndex, StorageError

WAY = "remote_write"
_MOST_FAMILIES = 20_000
_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The answer to one request.

    Attributes:
        status: HTTP status. A sender repeats a request after 5xx and gives it up after 4xx.
        message: what was wrong, as plain text; empty with 204.
        accepted: number of stored samples.
        rejected: number of refused samples by reason.
        retry_after: seconds after which to come again; 0 where that makes no sense.
    """

    status: int
    message: str = ""
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    retry_after: float = 0.0


class RemoteWriteHandler:
    """Takes requests; remembers per sender what its series are."""

    def __init__(
        self,
        index: SeriesIndex,
        ingest: Ingest,
        stats: IntakeStats,
        limits: WriteLimits | None = None,
        caches: SenderCaches | None = None,
    ) -> None:
        self._index = index
        self._ingest = ingest
        self._stats = stats
        self._limits = limits or WriteLimits()
        self._caches = caches or SenderCaches()
        self._inflater = Inflater()
        self._metadata: OrderedDict[str, MetricMetadata] = OrderedDict()

    async def handle(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> WriteOutcome:
        """Store the samples in ``body``.

        ``headers`` have lower-case names. ``sender`` tells senders apart, best by connection:
        each of a sender's connections keeps its own order of series. ``app`` is the application
        that the samples belong to.
        """
        complaint = check_headers(headers)
        if complaint:
            return self._refuse(415, "encoding", complaint)
        try:
            data = self._inflater.decompress(body, self._limits.body_bytes)
            request = decode(data, self._caches.of(sender), self._index, self._limits)
        except TooLargeError as error:
            return self._refuse(413, error.reason, f"{error}; send fewer in a request")
        except WireError as error:
            return self._refuse(400, error.reason, str(error))
        finally:
            self._caches.bound()
        self._note(request)
        return await self._store(request, app)

    def metadata(self) -> Mapping[str, MetricMetadata]:
        """Return what senders last said of each metric family."""
        return dict(self._metadata)

    async def _store(self, request: WriteRequest, app: str) -> WriteOutcome:
        count = len(request.refs)
        if count:
            batch = SampleBatch(
                app,
                request.refs,
                request.ts,
                request.values,
                start=request.start,
                histograms=request.histograms,
                exemplars=request.exemplars,
            )
            try:
                await self._ingest.append_samples(batch)
            except OverloadedError as error:
                self._stats.rejected(WAY, "overloaded", count)
                return WriteOutcome(503, str(error), retry_after=error.retry_after)
            except StorageError as error:
                self._stats.rejected(WAY, "storage", count)
                return WriteOutcome(503, str(error), retry_after=_RETRY_SECONDS)
            self._stats.accepted(WAY, count)
        # Counted only now: a request that is sent again must not count its refusals twice.
        for reason, refused in request.rejected.items():
            self._stats.rejected(WAY, reason, refused)
        if not request.rejected:
            return WriteOutcome(204, accepted=count)
        total = sum(request.rejected.values())
        message = f"{request.message} ({count} samples stored, {total} refused)"
        return WriteOutcome(400, message, count, request.rejected)

    def _note(self, request: WriteRequest) -> None:
        if request.bad_exemplars:
            self._stats.dropped(WAY, "exemplar", request.bad_exemplars)
        for metadata in request.metadata:
            self._metadata[metadata.metric] = metadata
            self._metadata.move_to_end(metadata.metric)
        while len(self._metadata) > _MOST_FAMILIES:
            self._metadata.popitem(last=False)

    def _refuse(self, status: int, reason: str, message: str) -> WriteOutcome:
        self._stats.rejected(WAY, reason)
        return WriteOutcome(status, message, rejected={reason: 1})


def check_headers(headers: Mapping[str, str]) -> str:
    """Return why a request cannot be remote write 1.0, or the empty string."""
    encoding = headers.get("content-encoding", "snappy").strip().lower()
    if encoding != "snappy":
        return f'content encoding "{encoding[:40]}" is not supported; send snappy'
    content = headers.get("content-type", "application/x-protobuf").lower()
    kind, _, parameters = content.partition(";")
    if kind.strip() != "application/x-protobuf":
        return f'content type "{kind[:80]}" is not supported; send application/x-protobuf'
    if "proto=" in parameters and "prometheus.writerequest" not in parameters:
        return "only remote write 1.0 (proto=prometheus.WriteRequest) is supported"
    return ""
