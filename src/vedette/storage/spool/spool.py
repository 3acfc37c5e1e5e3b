"""The spool: segments that are written, sealed, read back once for the flush, and let go.

Writing happens on one thread; sealed segments may be read and retired on another.

States of a segment by the name of its file: ``00000001.seg`` active, sealed or left by a crash;
``.flushed`` the column store has it (kept for a while: after a restart it tells resent samples from
new ones); ``.damaged`` flushed as far as it could be read, kept for a person to look at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import I32
from vedette.model.samples import SampleBatch
from vedette.storage.spool.files import SpoolFile, SpoolFiles
from vedette.storage.spool.frames import (
    HEADER_SIZE,
    Content,
    Header,
    Numbered,
    Record,
    SamplesRecord,
    decode_header,
    decode_records,
    decode_segment,
    encode_header,
    encode_samples,
    encode_series,
)

log = logging.getLogger(__name__)

NEVER = -(2**62)
_NAME = re.compile(r"(\d{8,})\.(seg|flushed|damaged)")


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Limits of the spool.

    Attributes:
        segment_bytes: a segment is sealed when it is larger; also bounds the memory of a flush.
        retain_ms: how long a flushed segment is kept; longer than samples may be out of order.
        retain_bytes: flushed segments beyond this are let go earlier, oldest first.
        held_bytes: flushed segments that a reader still needs are kept up to this size.
    """

    segment_bytes: int = 48 << 20
    retain_ms: int = 600_000
    retain_bytes: int = 256 << 20
    held_bytes: int = 4 << 30


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that is no longer written.

    Attributes:
        number: of the segment.
        name: of its file.
        first_sequence: of its header.
        last_sequence: of the last batch that belongs to it; later ones in the file do not count.
        newest: largest timestamp of its samples (ms), or ``NEVER``.
        sealed_at: wall time (ms) at which writing ended, or of the start that found it.
        size: bytes.
        flushed: whether the column store has it.
        damaged: bytes that could not be read.
    """

    number: int
    name: str
    first_sequence: int
    last_sequence: int
    newest: int
    sealed_at: int
    size: int
    flushed: bool = False
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """The part of a segment that is durable, sealed or still written.

    Attributes:
        number, name: of the segment; the name changes when it is flushed.
        first_sequence, last_sequence: of its batches; no batch when the last is the smaller one.
        size: bytes that may be read.
    """

    number: int
    name: str
    first_sequence: int
    last_sequence: int
    size: int


@dataclass(slots=True)
class SpoolStats:
    """Counters of the spool."""

    bytes_written: int = 0
    syncs: int = 0
    write_errors: int = 0
    torn_bytes: int = 0
    damaged_bytes: int = 0
    damaged_segments: int = 0


@dataclass(frozen=True, slots=True)
class Write:
    """One batch to write: samples, or events as their finished frame."""

    sequence: int
    samples: SampleBatch | None = None
    frame: bytes = b""


class _Active:
    """The segment that is written."""

    def __init__(self, file: SpoolFile, header: Header, opened_at: int) -> None:
        self.file = file
        self.header = header
        self.opened_at = opened_at
        self.size = HEADER_SIZE
        self.last_sequence = header.first_sequence - 1
        self.newest = NEVER

    @property
    def name(self) -> str:
        return segment_name(self.header.number)


def segment_name(number: int, state: str = "seg") -> str:
    """Return the name of a segment's file."""
    return f"{number:08d}.{state}"


class Spool:
    """Segments in one folder. ``open`` first, then ``write``, ``seal``, ``retire``."""

    def __init__(
        self,
        files: SpoolFiles,
        canonical: Callable[[I32], list[bytes]],
        settings: SpoolSettings | None = None,
    ) -> None:
        """Take ``canonical``, which returns the canonical labels of refs."""
        self._files = files
        self._canonical = canonical
        self._settings = settings or SpoolSettings()
        self.stats = SpoolStats()
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._active: _Active | None = None
        self._defined = np.zeros(1024, np.int64)
        self._id = b""
        self._floor = NEVER
        self._number = 0
        self._sequence = 0
        self._holds: dict[str, int] = {}
        self._unsettled = False

    # Start

    def open(self, now: int, floor: Callable[[], int]) -> None:
        """Find the segments of earlier runs, mend the last one, and begin a new one.

        Args:
            now: wall time in milliseconds.
            floor: for a new spool: the newest timestamp that the column store may hold.

        Raises:
            OSError: the folder cannot be read or written.
        """
        found = []
        for name in self._files.names():
            match = _NAME.fullmatch(name)
            if match:
                found.append((int(match[1]), match[2], name))
        found.sort()
        limit = None
        for number, state, name in reversed(found):
            limit = self._recover(number, state, name, now, limit)
        self._segments.reverse()
        self._number = max((number for number, _, _ in found), default=0)
        if not self._id:
            self._id = os.urandom(16)
            self._floor = max(self._floor, floor())
        self._begin(now)
        self._remove_empty()

    def _recover(
        self, number: int, state: str, name: str, now: int, limit: int | None
    ) -> int | None:
        """Take one segment of an earlier run; return the limit of sequences for the one before.

        ``limit`` is the first sequence that belongs to later segments, ``None`` for the last.
        """
        content = decode_segment(self._files.read(name))
        header, records = content.header, belonging(content.records, limit)
        sequences = [r.sequence for r in records if isinstance(r, Numbered)]
        if header:
            self._id = self._id or header.spool
            self._floor = max(self._floor, header.floor)
        last = max(sequences, default=header.first_sequence - 1 if header else 0)
        first = header.first_sequence if header else min(sequences, default=last + 1)
        self._sequence = max(self._sequence, last)
        following = first if sequences or header else limit
        newest = newest_timestamp(records)
        if state == "damaged":
            self._floor = max(self._floor, newest)
            return following
        torn = content.size - content.end if limit is None else 0
        if torn:
            self._cut(name, content, torn)
        holes = content.holes
        if content.size - content.end > torn:
            holes = (*holes, (content.end, content.size))
        damaged = sum(end - begin for begin, end in holes)
        if damaged and state == "seg":
            log.error(
                "spool segment %s is damaged: %d bytes cannot be read (%s); the rest is read",
                name,
                damaged,
                _places(holes),
            )
        segment = Segment(
            number, name, first, last, newest, now, content.end, state == "flushed", damaged
        )
        with self._lock:
            self._segments.append(segment)
        return following

    def _cut(self, name: str, content: Content, torn: int) -> None:
        self._files.truncate(name, content.end)
        self.stats.torn_bytes += torn
        log.warning(
            "spool segment %s ended in an unfinished write; cut %d bytes; unless "
            "the file was damaged, nobody was told that they were stored",
            name,
            torn,
        )

    def _remove_empty(self) -> None:
        """Remove segments that never got a batch; only once a newer header stands on disk."""
        with self._lock:
            kept: list[Segment] = []
            empty: list[Segment] = []
            for segment in self._segments:
                bare = segment.last_sequence < segment.first_sequence and not segment.damaged
                (empty if bare else kept).append(segment)
            self._segments = kept
        for segment in empty:
            self._files.remove(segment.name)

    # Writing

    @property
    def sequence(self) -> int:
        """The sequence of the last batch that is durable."""
        return self._sequence

    @property
    def floor(self) -> int:
        """Newest timestamp (ms) of segments that are gone, or were when this one began."""
        return self._floor

    def write(self, batches: Sequence[Write], now: int) -> None:
        """Append ``batches`` in order of their sequences and return when they are durable.

        Raises:
            OSError: the disk refused; none of the batches was stored.
        """
        if self._active is not None and self._active.size >= self._settings.segment_bytes:
            self.seal(now)
        active = self._active or self._begin(now)
        data = self._encode(batches, active.header.number)
        try:
            active.file.write(data)
            active.file.sync()
        except OSError:
            self._abandon(now)
            raise
        active.size += len(data)
        self.stats.bytes_written += len(data)
        self.stats.syncs += 1
        self._sequence = active.last_sequence = batches[-1].sequence
        for batch in batches:
            if batch.samples is not None and len(batch.samples):
                active.newest = max(active.newest, int(batch.samples.ts.max()))

    def _encode(self, batches: Sequence[Write], number: int) -> bytes:
        sampled = [batch.samples for batch in batches if batch.samples is not None]
        frames = []
        if sampled:
            refs = sampled[0].refs
            shown = [e.series for samples in sampled for e in samples.exemplars]
            if len(sampled) > 1 or shown:
                refs = np.concatenate([*(s.refs for s in sampled), np.array(shown, np.int32)])
            highest = int(refs.max())
            if highest >= len(self._defined):
                more = np.zeros(highest + 1, np.int64)
                self._defined = np.concatenate([self._defined, more])
            new = refs[self._defined[refs] != number]
            if len(new):
                new = np.unique(new)
                self._defined[new] = number
                frames.append(encode_series(new, self._canonical(new)))
        frames += [
            encode_samples(b.sequence, b.samples) if b.samples is not None else b.frame
            for b in batches
        ]
        return b"".join(frames)

    def _abandon(self, now: int) -> None:
        """Give up the active segment after an error: what was written since the last sync may or
        may not be there, and will be written again to another segment.
        """
        active, self._active = self._active, None
        if active is None:
            return
        self.stats.write_errors += 1
        # Should the cut fail too, the next segment's first sequence tells readers where this
        # one ends.
        with contextlib.suppress(OSError):
            active.file.truncate(active.size)
        with contextlib.suppress(OSError):
            active.file.close()
        self._append_sealed(active, now)

    def _begin(self, now: int) -> _Active:
        """Create the next segment; then let go of flushed ones that its header accounts for."""
        number = self._number + 1
        self._number = number
        gone = self._expired(now)
        floor = max([self._floor, *(segment.newest for segment in gone)])
        header = Header(self._id, number, self._sequence + 1, floor)
        file = self._files.create(segment_name(number))
        try:
            file.write(encode_header(header))
            file.sync()
            self._files.sync_names()
        except OSError:
            self.stats.write_errors += 1
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                self._files.remove(segment_name(number))
            raise
        self._floor = max(self._floor, floor)
        self._active = _Active(file, header, now)
        for segment in gone:
            # What cannot be removed now is found as flushed by the next start.
            with contextlib.suppress(OSError):
                self._files.remove(segment.name)
        with self._lock:
            self._segments = [s for s in self._segments if s not in gone]
        return self._active

    def _expired(self, now: int) -> list[Segment]:
        with self._lock:
            flushed = [s for s in self._segments if s.flushed]
            needed = min(self._holds.values(), default=self._sequence)
        room, held = self._settings.retain_bytes, self._settings.held_bytes
        expired = []
        for segment in reversed(flushed):
            room -= segment.size
            held -= segment.size
            if segment.last_sequence > needed and held >= 0:
                continue
            if room < 0 or now - segment.sealed_at >= self._settings.retain_ms:
                expired.append(segment)
        return expired

    # Reading on

    def hold(self, reader: str, sequence: int) -> None:
        """Keep batches newer than ``sequence`` for ``reader``, within ``held_bytes``."""
        with self._lock:
            self._holds[reader] = sequence

    def release(self, reader: str) -> None:
        """Keep nothing for ``reader`` any more."""
        with self._lock:
            self._holds.pop(reader, None)

    def extents(self) -> list[Extent]:
        """Return what is durable, oldest first; the last one may still grow."""
        with self._lock:
            found = [
                Extent(s.number, s.name, s.first_sequence, s.last_sequence, s.size)
                for s in self._segments
            ]
            active = self._active
            if active is not None:
                first = active.header.first_sequence
                found.append(
                    Extent(
                        active.header.number, active.name, first, active.last_sequence, active.size
                    )
                )
        return found

    def read_part(self, extent: Extent, begin: int) -> bytes:
        """Return the bytes of ``extent`` from ``begin`` on.

        Raises:
            OSError: the file cannot be read, or has got another name meanwhile.
        """
        return self._files.read_part(extent.name, begin, extent.size)

    def seal(self, now: int, age_ms: int = 0) -> None:
        """End the active segment if it holds a batch and was begun at least ``age_ms`` ago.

        Raises:
            OSError: the next segment cannot be created; the one that ended is sealed all the same.
        """
        active = self._active
        if active is None or active.last_sequence < active.header.first_sequence:
            return
        if now - active.opened_at < age_ms:
            return
        self._active = None
        with contextlib.suppress(OSError):
            active.file.close()  # all of it was synced
        self._append_sealed(active, now)
        self._begin(now)

    def _append_sealed(self, active: _Active, now: int) -> None:
        segment = Segment(
            active.header.number,
            active.name,
            active.header.first_sequence,
            active.last_sequence,
            active.newest,
            now,
            active.size,
        )
        with self._lock:
            self._segments.append(segment)

    # Flushing

    def segments(self) -> list[Segment]:
        """Return what is no longer written, in order."""
        with self._lock:
            return list(self._segments)

    def read(self, segment: Segment) -> Iterator[Record]:
        """Yield the records that belong to ``segment``, in order.

        Raises:
            OSError: the file cannot be read.
        """
        content = self._files.read(segment.name)
        header = decode_header(bytes(content[:HEADER_SIZE]))
        for record, _, _ in decode_records(content, HEADER_SIZE if header else 0):
            yield from belonging((record,), segment.last_sequence + 1)

    def token(self, segment: Segment, part: str) -> str:
        """Return the name under which the column store knows a part of ``segment``."""
        return f"{self._id.hex()}/{segment.number}/{part}"

    def settle(self) -> None:
        """Return when a retirement that has to outlive a power cut would do so.

        Raises:
            OSError: the folder cannot be synced.
        """
        if self._unsettled:
            self._files.sync_names()
            self._unsettled = False

    def retire(self, segment: Segment, *, final: bool = False) -> None:
        """Note that the column store durably has all of ``segment``.

        A power cut may undo that, and the segment is flushed again; where it is ``final``, only
        until the next :meth:`settle`.

        Raises:
            OSError: the file cannot be renamed; it is flushed again after a restart.
        """
        state = "damaged" if segment.damaged else "flushed"
        name = segment_name(segment.number, state)
        if segment.name != name:
            self._files.rename(segment.name, name)
        self._unsettled |= final
        if segment.damaged:
            self.stats.damaged_segments += 1
            self.stats.damaged_bytes += segment.damaged
            log.error(
                "spool segment %s is damaged: %d bytes could not be read; the rest was stored, "
                "the file is kept as %s",
                segment.name,
                segment.damaged,
                name,
            )
        with self._lock:
            at = next(k for k, s in enumerate(self._segments) if s.number == segment.number)
            if segment.damaged:
                # Its samples are gone for good from the spool, the header must say so.
                self._floor = max(self._floor, segment.newest)
                del self._segments[at]
            else:
                self._segments[at] = replace(segment, name=name, flushed=True)

    def close(self) -> None:
        """Close the files; everything that was acknowledged is on disk already."""
        if self._active is not None:
            self._active.file.close()
            self._active = None
        self._files.close()


def _places(holes: Sequence[tuple[int, int]]) -> str:
    """Return where ``holes`` lie, the first ten of them."""
    shown = ", ".join(f"{begin} to {end}" for begin, end in holes[:10])
    return f"bytes {shown}" + (f" and {len(holes) - 10} more places" if len(holes) > 10 else "")


def belonging(records: Sequence[Record], limit: int | None) -> tuple[Record, ...]:
    """Return ``records`` without batches whose sequence is ``limit`` or more."""
    if limit is None:
        return tuple(records)
    return tuple(
        record for record in records if not isinstance(record, Numbered) or record.sequence < limit
    )


def newest_timestamp(records: Sequence[Record]) -> int:
    """Return the newest timestamp (ms) of the samples in ``records``, or ``NEVER``."""
    batches = [r.batch for r in records if isinstance(r, SamplesRecord)]
    return max((int(batch.ts.max()) for batch in batches if len(batch)), default=NEVER)
