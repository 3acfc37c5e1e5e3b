"""``POST /api/v1/import/prometheus``: text or OpenMetrics with timestamps, of any length.

A body is read, parsed and stored in pieces of about a megabyte, so that memory does not grow with
it. Whatever was stored before a fault stays stored; the answer says how far it went.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import orjson

from vedette.model.arrays import F64, I32, I64
from vedette.model.histograms import Histograms
from vedette.model.samples import Exemplar, SampleBatch
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import WireError
from vedette.storage.interface import Ingest, OverloadedError, StorageError

WAY = "import"
OPENMETRICS = "application/openmetrics-text"
_PIECE = 1024 * 1024
_LONGEST_LINE = 4 * 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_LATEST_TS = 4_102_444_800_000
_RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Imported:
    """What one piece held.

    Attributes:
        refs, ts, values: int32[n], int64[n] ms (−1: none), float64[n].
        start: int64[n] ms, or ``None``.
        histograms: ``index`` int32[n], or ``None``.
        exemplars: with series as in ``refs``.
        rejected: lines that were refused, by reason.
        line: number of the first of them within the piece, from 1; 0 for none.
        message: what was wrong with it.
    """

    refs: I32
    ts: I64
    values: F64
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    line: int = 0
    message: str = ""


class PieceReader(Protocol):
    """Reads whole lines, piece by piece; what was said of families holds for later pieces."""

    async def read(self, piece: bytes) -> Imported:
        """Return what ``piece`` holds, its series numbered."""
        ...


class PieceReaders(Protocol):
    """Makes readers."""

    def __call__(self, openmetrics: bool, labels: Mapping[str, str]) -> PieceReader:
        """Return a reader of one body; every series gets ``labels`` too."""
        ...


@dataclass(slots=True)
class ImportOutcome:
    """The answer: status, samples taken, lines refused by reason, and the first fault."""

    status: int = 200
    samples: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    message: str = ""
    retry_after: float = 0.0

    def body(self) -> bytes:
        """Return the answer as JSON."""
        return orjson.dumps(
            {
                "success": self.status == 200,
                "samples": self.samples,
                "rejected": dict(self.rejected),
                "error": self.message,
            }
        )


class ImportHandler:
    """Takes bodies of any length."""

    def __init__(self, ingest: Ingest, stats: IntakeStats, readers: PieceReaders) -> None:
        self._ingest = ingest
        self._stats = stats
        self._readers = readers

    async def take(
        self,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        labels: Mapping[str, str],
        now: int,
        app: str,
    ) -> ImportOutcome:
        """Store what the body in ``chunks`` holds; lines without a time are of ``now`` (ms)."""
        outcome = ImportOutcome()
        openmetrics = headers.get("content-type", "").lower().startswith(OPENMETRICS)
        reader = self._readers(openmetrics, labels)
        line, last = 0, b""
        try:
            async for piece in _pieces(_inflated(chunks, headers)):
                found = await reader.read(piece)
                await self._store(found, outcome, now, app)
                if found.line and not outcome.message:
                    outcome.message = f"line {line + found.line}: {found.message}"
                line += piece.count(b"\n")
                last = piece
            if openmetrics and last.rstrip(b"\n").rpartition(b"\n")[2] != b"# EOF":
                raise WireError("incomplete", 'the body does not end with "# EOF": it was cut off')
        except WireError as error:
            outcome.status, outcome.message = 400, f"behind line {line}: {error}"
            outcome.rejected[error.reason] += 1
        except OverloadedError as error:
            outcome.status, outcome.message = 503, f"behind line {line}: {error}"
            outcome.retry_after = error.retry_after
        except StorageError as error:
            outcome.status, outcome.message = 503, f"behind line {line}: {error}"
            outcome.retry_after = _RETRY_SECONDS
        for reason, count in outcome.rejected.items():
            self._stats.rejected(WAY, reason, count)
        if outcome.status == 200 and outcome.rejected and not outcome.samples:
            outcome.status = 400
        return outcome

    async def _store(self, found: Imported, outcome: ImportOutcome, now: int, app: str) -> None:
        ts = np.where(found.ts < 0, now, found.ts)
        batch = SampleBatch(
            app,
            found.refs,
            ts,
            found.values,
            start=found.start,
            histograms=found.histograms,
            exemplars=found.exemplars,
        )
        if len(batch) and int(ts.max()) > _LATEST_TS:
            raise WireError("timestamp", f"timestamp {int(ts.max())} is no time in milliseconds")
        if len(batch):
            await self._ingest.append_samples(batch)
            self._stats.accepted(WAY, len(batch))
        outcome.samples += len(batch)
        outcome.rejected.update(found.rejected)


async def _inflated(
    chunks: AsyncIterator[bytes], headers: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """Yield the body, decompressed if it is gzip, never much more than a piece at once."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in chunks:
            yield chunk
        return
    if encoding != "gzip":
        message = f'content encoding "{encoding[:40]}" is not supported; send gzip or nothing'
        raise WireError("encoding", message)
    inflate = zlib.decompressobj(_GZIP)
    async for chunk in chunks:
        rest = chunk
        while rest:
            try:
                yield inflate.decompress(rest, _PIECE)
            except zlib.error as error:
                raise WireError("gzip", f"the body is not gzip: {error}") from None
            rest = inflate.unconsumed_tail
            if inflate.eof:
                # Compressors that work in parallel write one member after another.
                rest = inflate.unused_data
                inflate = zlib.decompressobj(_GZIP) if rest else inflate
    if not inflate.eof:
        raise WireError("gzip", "the gzip body ends too early")


async def _pieces(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield whole lines, about a megabyte at once; the last one may lack its end."""
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) < _PIECE:
            continue
        end = held.rfind(b"\n") + 1
        if not end:
            if len(held) > _LONGEST_LINE:
                raise WireError("line_length", f"a line is longer than {_LONGEST_LINE} bytes")
            continue
        yield bytes(held[:end])
        del held[:end]
    if held:
        yield bytes(held)
