"""The endpoint of Prometheus remote write, both versions, without the web framework.

A request says its version in the content type, as the specification of 2.0 asks:
https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from vedette.model.samples import SampleBatch
from vedette.receive.stats import IntakeStats
from vedette.receive.wire import remote_write, remote_write2
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.request import WriteLimits, WriteRequest
from vedette.receive.wire.sender import SenderCaches
from vedette.receive.wire.snappy import Inflater
from vedette.storage.interface import (
    Ingest,
    MetadataStore,
    OverloadedError,
    SeriesIndex,
    StorageError,
)

WAY = "remote_write"
_RETRY_SECONDS = 5.0
_PROTOBUF = "application/x-protobuf"
_MESSAGES = {"prometheus.WriteRequest": 1, "io.prometheus.write.v2.Request": 2}


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """The answer to one request.

    Attributes:
        status: HTTP status. A sender repeats a request after 5xx and gives it up after 4xx.
        message: what was wrong, as plain text; empty with 204.
        accepted: number of stored samples.
        rejected: number of refused samples by reason.
        retry_after: seconds after which to come again; 0 where that makes no sense.
        written: samples, histograms and exemplars that were stored, for a sender of version 2,
            which must be told; ``None`` for one of version 1.
    """

    status: int
    message: str = ""
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    retry_after: float = 0.0
    written: tuple[int, int, int] | None = None

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what the answer to version 2 has to say beside status and message."""
        kinds = ("Samples", "Histograms", "Exemplars")
        return tuple(
            (f"X-Prometheus-Remote-Write-{kind}-Written", str(count))
            for kind, count in zip(kinds, self.written or (), strict=False)
        )


class RemoteWriteHandler:
    """Takes requests; remembers per sender what its series are."""

    def __init__(
        self,
        index: SeriesIndex,
        ingest: Ingest,
        metadata: MetadataStore,
        stats: IntakeStats,
        limits: WriteLimits | None = None,
        caches: SenderCaches | None = None,
    ) -> None:
        self._index = index
        self._ingest = ingest
        self._metadata = metadata
        self._stats = stats
        self._limits = limits or WriteLimits()
        self._caches = caches or SenderCaches()
        self._inflater = Inflater()

    async def handle(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> WriteOutcome:
        """Store the samples in ``body``.

        ``headers`` have lower-case names. ``sender`` tells senders apart, best by connection:
        each of a sender's connections keeps its own order of series. ``app`` is the application
        that the samples belong to.
        """
        version, complaint = version_of(
            headers.get("content-encoding", "snappy"), headers.get("content-type", _PROTOBUF)
        )
        if not version:
            return self._refuse(415, "encoding", complaint)
        outcome = await self._take(body, version, sender, app)
        if version == 2 and outcome.written is None:
            return replace(outcome, written=(0, 0, 0))
        return outcome

    async def _take(self, body: bytes, version: int, sender: str, app: str) -> WriteOutcome:
        decode = remote_write2.decode if version == 2 else remote_write.decode
        try:
            data = self._inflater.decompress(body, self._limits.body_bytes)
            request = decode(data, self._caches.of(sender), self._index, self._limits)
        except TooLargeError as error:
            return self._refuse(413, error.reason, f"{error}; send fewer in a request")
        except WireError as error:
            return self._refuse(400, error.reason, str(error))
        finally:
            self._caches.bound()
        if request.bad_exemplars:
            self._stats.dropped(WAY, "exemplar", request.bad_exemplars)
        if request.metadata:
            self._metadata.put(request.metadata)
        return await self._store(request, app, version)

    async def _store(self, request: WriteRequest, app: str, version: int) -> WriteOutcome:
        count = len(request.refs)
        if count or request.exemplars:
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
        written = None
        if version == 2:
            histograms = request.histogram_count
            written = count - histograms, histograms, len(request.exemplars)
        if not request.rejected:
            return WriteOutcome(204, accepted=count, written=written)
        total = sum(request.rejected.values())
        message = f"{request.message} ({count} samples stored, {total} refused)"
        return WriteOutcome(400, message, count, request.rejected, written=written)

    def _refuse(self, status: int, reason: str, message: str) -> WriteOutcome:
        self._stats.rejected(WAY, reason)
        return WriteOutcome(status, message, rejected={reason: 1})


# Senders send the same headers over and over.
@lru_cache(maxsize=64)
def version_of(encoding: str, content: str) -> tuple[int, str]:
    """Return the version of a request, 1 or 2, or 0 and why it is neither.

    ``encoding`` and ``content`` are Content-Encoding and Content-Type.
    """
    encoding = encoding.strip().lower()
    if encoding != "snappy":
        return 0, f'content encoding "{encoding[:40]}" is not supported; send snappy'
    kind, *parameters = (part.strip() for part in content.split(";"))
    if kind.lower() != _PROTOBUF:
        return 0, f'content type "{kind[:80]}" is not supported; send {_PROTOBUF}'
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "proto":
            message = value.strip().strip('"')
            version = _MESSAGES.get(message, 0)
            known = " or ".join(_MESSAGES)
            return version, f'message "{message[:80]}" is not supported; send {known}'
    return 1, ""
