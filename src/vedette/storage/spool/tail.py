"""Reads the spool on behind its writer: every durable batch once, in order, from a sequence on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from vedette.model.arrays import I32
from vedette.model.labels import Labels, parse_canonical
from vedette.model.samples import SampleBatch, is_histogram
from vedette.storage.interface import StorageError
from vedette.storage.spool.frames import (
    HEADER_SIZE,
    Record,
    SamplesRecord,
    SeriesRecord,
    decode_records,
)
from vedette.storage.spool.spool import Extent, Spool

_NONE = np.full(1, -1, np.int32)


@dataclass(frozen=True, slots=True)
class TailPage:
    """Batches that follow a sequence.

    Attributes:
        batches: in order, with refs of this process.
        last: sequence up to which everything was returned, here or before.
        lost: whether the spool no longer has what came first after the sequence.
    """

    batches: tuple[SampleBatch, ...]
    last: int
    lost: bool


@dataclass(slots=True)
class _Place:
    """Where a reader stands: an offset in a segment, and what its refs mean in this process.

    ``after`` is where the last page ended.
    """

    number: int
    after: int
    offset: int = HEADER_SIZE
    refs: I32 = field(default_factory=lambda: _NONE)


class SpoolTail:
    """Several readers by name; calls of one reader come one after another."""

    def __init__(self, spool: Spool, refs: Callable[[list[Labels]], I32]) -> None:
        """Take ``refs``, which numbers series in this process."""
        self._spool = spool
        self._refs = refs
        self._places: dict[str, _Place] = {}

    def hold(self, reader: str, sequence: int) -> None:
        """Ask the spool to keep batches newer than ``sequence`` for ``reader``."""
        self._spool.hold(reader, sequence)

    def release(self, reader: str) -> None:
        """Keep nothing for ``reader`` any more, its place neither."""
        self._spool.release(reader)
        self._places.pop(reader, None)

    def read(self, reader: str, after: int, samples: int) -> TailPage:
        """Return batches with a sequence above ``after``, until there are ``samples`` of them.

        A call with another ``after`` than the last page ended with begins anew there.

        Raises:
            StorageError: a segment cannot be read.
        """
        try:
            return self._read(reader, after, samples)
        except FileNotFoundError:
            # The segment was flushed, and so renamed, between look and read.
            pass
        except OSError as error:
            raise StorageError(f"cannot read the spool: {error}") from error
        try:
            return self._read(reader, after, samples)
        except OSError as error:
            raise StorageError(f"cannot read the spool: {error}") from error

    def _read(self, reader: str, after: int, samples: int) -> TailPage:
        extents = [e for e in self._spool.extents() if e.last_sequence > after]
        if not extents:
            return TailPage((), after, False)
        lost = extents[0].first_sequence > after + 1
        place = self._place(reader, extents[0].number, after)
        batches: list[SampleBatch] = []
        taken, last = 0, after
        for extent in extents:
            if place.number != extent.number:
                place = self._places[reader] = _Place(extent.number, after)
            for record, end in self._records(extent, place):
                if isinstance(record, SeriesRecord):
                    self._define(place, record)
                elif isinstance(record, SamplesRecord) and record.sequence > after:
                    if record.sequence <= extent.last_sequence:
                        batches.append(_mapped(record.batch, place.refs))
                        taken += len(record.batch)
                    last = min(max(last, record.sequence), extent.last_sequence)
                place.offset = end
                if taken >= samples:
                    place.after = last
                    return TailPage(tuple(batches), last, lost)
            last = extent.last_sequence
        place.after = last
        return TailPage(tuple(batches), last, lost)

    def _place(self, reader: str, number: int, after: int) -> _Place:
        place = self._places.get(reader)
        if place is None or (place.number, place.after) != (number, after):
            place = self._places[reader] = _Place(number, after)
        return place

    def _records(self, extent: Extent, place: _Place) -> Iterator[tuple[Record, int]]:
        """Yield what ``place`` has not seen of ``extent``, each with where it ends."""
        begin = place.offset
        for record, _, end in decode_records(self._spool.read_part(extent, begin), 0):
            yield record, begin + end

    def _define(self, place: _Place, record: SeriesRecord) -> None:
        highest = int(record.refs.max(initial=0))
        if highest >= len(place.refs):
            more = np.full(highest + 1, -1, np.int32)
            place.refs = np.concatenate([place.refs, more])
        labels = [parse_canonical(canonical) for canonical in record.canonical]
        place.refs[record.refs] = self._refs(labels)


def _mapped(batch: SampleBatch, refs: I32) -> SampleBatch:
    """Return ``batch`` with refs of this process, without series that the index refuses."""
    inside = batch.refs < len(refs)
    mapped = np.where(inside, refs[np.where(inside, batch.refs, 0)], np.int32(-1))
    known = mapped >= 0
    exemplars = tuple(
        replace(each, series=int(refs[each.series]))
        for each in batch.exemplars
        if 0 <= each.series < len(refs) and refs[each.series] >= 0
    )
    if known.all():
        return replace(batch, refs=mapped, exemplars=exemplars)
    values = batch.values[known]
    histograms = batch.histograms
    if histograms is not None:
        histograms = histograms.at(histograms.index[known]) if is_histogram(values).any() else None
    return replace(
        batch,
        refs=mapped[known],
        ts=batch.ts[known],
        values=values,
        start=None if batch.start is None else batch.start[known],
        histograms=histograms,
        exemplars=exemplars,
    )
