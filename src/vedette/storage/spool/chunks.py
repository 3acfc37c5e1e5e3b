"""From the records of one segment to inserts: the same segment always gives the same inserts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I64
from vedette.model.events import Event
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels, canonical_id, canonical_metric, parse_canonical
from vedette.model.samples import SampleBatch
from vedette.storage.columns import ChunkBatch, StoredExemplar
from vedette.storage.histogram_rows import picked, side_by_side
from vedette.storage.spool.frames import EventsRecord, Record, SamplesRecord, SeriesRecord

log = logging.getLogger(__name__)

PART_SAMPLES = 1_048_576
"""Samples of one insert, give or take one series: nearly always a whole segment, because every
insert is merged again and again with others. Part of the format: tokens name parts."""

PART_EVENTS = 65_536
"""Events of one insert. Part of the format, as above."""

PART_EXEMPLARS = 16_384
"""Exemplars of one insert. Part of the format, as above."""

_FIRST_ROOM = 16_384
_GROWTH = 4

_Number = TypeVar("_Number", np.int32, np.int64, np.float64)


def event_parts(records: Sequence[Record]) -> Iterator[tuple[Event, ...]]:
    """Yield the events of a segment in inserts, sorted by application, type, time and id."""
    events = [e for r in records if isinstance(r, EventsRecord) for e in r.events]
    events.sort(key=lambda e: (e.app, e.type, e.ts, e.id))
    for k in range(0, len(events), PART_EVENTS):
        yield tuple(events[k : k + PART_EVENTS])


def exemplar_parts(
    records: Sequence[SamplesRecord], series: Sequence[SeriesRecord]
) -> Iterator[tuple[StoredExemplar, ...]]:
    """Yield the exemplars of ``records`` in inserts; ``series`` are the segment's definitions."""
    shown = {each.series for record in records for each in record.batch.exemplars}
    if not shown:
        return
    labels: dict[int, Labels] = {}
    for definition in series:
        for ref, canonical in zip(definition.refs.tolist(), definition.canonical, strict=True):
            if ref in shown:
                labels[ref] = parse_canonical(canonical)
    found = [
        StoredExemplar(record.batch.app, labels[each.series], each.ts, each.value, each.labels)
        for record in records
        for each in record.batch.exemplars
        if each.series in labels
    ]
    found.sort(key=lambda e: (e.app, e.series.pairs, e.ts, e.labels.pairs))
    for k in range(0, len(found), PART_EXEMPLARS):
        yield tuple(found[k : k + PART_EXEMPLARS])


def sample_parts(records: Iterable[Record]) -> Iterator[ChunkBatch]:
    """Yield the samples of a segment in inserts, sorted by (application, labels, time).

    Of samples with equal application, series and timestamp the first written stays. Samples of
    series that damage has left without a definition cannot be told apart and are logged as lost.
    """
    gathered, defined = _gather(records)
    if not gathered.count:
        return
    by_labels = sorted((canonical, ref) for ref, canonical in defined.items())
    apps = sorted(set(gathered.apps))
    rows, samples = _keyed(gathered, [ref for _, ref in by_labels], apps)
    del gathered
    labels = [canonical for canonical, _ in by_labels]
    offsets = samples.offsets
    for first, last in _split(offsets):
        span = slice(int(offsets[first]), int(offsets[last]))
        found = [divmod(row, len(labels)) for row in rows[first:last].tolist()]
        canonical = tuple(labels[k] for _, k in found)
        yield ChunkBatch(
            tuple(apps[a] for a, _ in found),
            canonical,
            tuple(map(canonical_metric, canonical)),
            b"".join(map(canonical_id, canonical)),
            offsets[first : last + 1] - offsets[first],
            samples.ts[span],
            samples.values[span],
            samples.start[span] if samples.start is not None else None,
            picked(samples.histograms, span),
        )


class _Gathered:
    """Samples of a segment, batch after batch; copied at once so that batches can be let go."""

    def __init__(self) -> None:
        self.apps: list[str] = []
        self.lengths: list[int] = []
        self.starts: list[I64 | None] = []
        self.histograms: list[Histograms | None] = []
        self.refs = np.empty(_FIRST_ROOM, np.int32)
        self.ts = np.empty(_FIRST_ROOM, np.int64)
        self.values = np.empty(_FIRST_ROOM)
        self.count = 0

    def add(self, batch: SampleBatch) -> None:
        count = self.count + len(batch)
        if count > len(self.ts):
            room = max(count, _GROWTH * len(self.ts))
            self.refs = _larger(self.refs[: self.count], room)
            self.ts = _larger(self.ts[: self.count], room)
            self.values = _larger(self.values[: self.count], room)
        self.refs[self.count : count] = batch.refs
        self.ts[self.count : count] = batch.ts
        self.values[self.count : count] = batch.values
        self.count = count
        self.apps.append(batch.app)
        self.lengths.append(len(batch))
        self.starts.append(batch.start)
        self.histograms.append(batch.histograms)


def _larger(array: NDArray[_Number], room: int) -> NDArray[_Number]:
    larger = np.empty(room, array.dtype)
    larger[: len(array)] = array
    return larger


def _gather(records: Iterable[Record]) -> tuple[_Gathered, dict[int, bytes]]:
    """Return the samples of a segment, and the canonical labels of every ref that it defines."""
    gathered = _Gathered()
    defined: dict[int, bytes] = {}
    for record in records:
        if isinstance(record, SamplesRecord):
            gathered.add(record.batch)
        elif isinstance(record, SeriesRecord):
            defined.update(zip(record.refs.tolist(), record.canonical, strict=True))
    return gathered, defined


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Samples of R chunks one after another: int64[R + 1], then int64[N], float64[N], int64[N].

    ``histograms`` has ``index`` int32[N].
    """

    offsets: I64
    ts: I64
    values: F64
    start: I64 | None
    histograms: Histograms | None


def _keyed(gathered: _Gathered, known: list[int], apps: list[str]) -> tuple[I64, _Sorted]:
    """Return the samples of each (application, series), and these keys, int64[R] ascending.

    A key is the number of the application in ``apps`` times ``len(known)`` plus the number of the
    ref in ``known``.
    """
    key = _keys(gathered, known, apps)
    order = _order(key)
    key, ts = key[order], gathered.ts[: gathered.count][order]
    if bool(((ts[1:] <= ts[:-1]) & (key[1:] == key[:-1])).any()):
        by_time = np.lexsort((ts, key))
        order, key, ts = order[by_time], key[by_time], ts[by_time]
        new = np.ones(len(key), bool)
        new[1:] = (ts[1:] != ts[:-1]) | (key[1:] != key[:-1])
        order, key, ts = order[new], key[new], ts[new]
    lost = int(key.searchsorted(1))
    if lost:
        log.error("damage in the spool took the labels of %d samples, which are lost", lost)
        order, key, ts = order[lost:], key[lost:], ts[lost:]
    first = np.flatnonzero(np.concatenate([[len(key) > 0], key[1:] != key[:-1]]))
    start = _starts(gathered.starts, gathered.lengths)
    return key[first].astype(np.int64) - 1, _Sorted(
        np.append(first, len(key)),
        ts,
        gathered.values[: gathered.count][order],
        start[order] if start is not None else None,
        picked(side_by_side(list(zip(gathered.histograms, gathered.lengths, strict=True))), order),
    )


def _keys(gathered: _Gathered, known: list[int], apps: list[str]) -> NDArray[np.unsignedinteger]:
    """Return one more than each sample's key, 0 without one, in no more bytes than need be."""
    highest = max(known, default=-1)
    kind = np.min_scalar_type(len(known) * len(apps))
    places = np.zeros(highest + 2, kind)
    places[known] = np.arange(1, len(known) + 1)
    refs = gathered.refs[: gathered.count]
    if refs.max() > highest:
        refs = np.minimum(refs, highest + 1)
    keys: NDArray[np.unsignedinteger] = places[refs]
    if len(apps) > 1:
        owner = np.array([apps.index(app) * len(known) for app in gathered.apps], kind)
        keys = np.where(keys, keys + np.repeat(owner, gathered.lengths), keys)
    return keys


def _order(key: NDArray[np.unsignedinteger]) -> I64:
    """Return the stable order of ``key``; numpy sorts numbers of up to 16 bits by radix."""
    order: I64 = np.argsort(key.astype(np.uint16, copy=False), kind="stable")
    highest, bits = int(key.max()), 16
    while highest >> bits:
        digit = (key[order] >> bits).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
        bits += 16
    return order


def _starts(starts: list[I64 | None], lengths: list[int]) -> I64 | None:
    if all(start is None for start in starts):
        return None
    filled = [
        start if start is not None else np.zeros(length, np.int64)
        for start, length in zip(starts, lengths, strict=True)
    ]
    return np.concatenate(filled)


def _split(offsets: I64) -> Iterator[tuple[int, int]]:
    """Yield ranges of rows with at most ``PART_SAMPLES`` samples, or one row."""
    first, rows = 0, len(offsets) - 1
    while first < rows:
        limit = offsets[first] + PART_SAMPLES
        last = max(first + 1, int(np.searchsorted(offsets, limit, side="right")) - 1)
        yield first, last
        first = last
