"""From the records of one segment to inserts: the same segment always gives the same inserts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np

from vedette.model.events import Event
from vedette.model.labels import series_id
from vedette.model.samples import I64
from vedette.storage.columns import ChunkBatch
from vedette.storage.regroup import offsets_of
from vedette.storage.series_index import parse_canonical
from vedette.storage.spool.frames import EventsRecord, Record, SamplesRecord, SeriesRecord

log = logging.getLogger(__name__)

PART_SAMPLES = 262_144
"""Samples of one insert, give or take one series. Part of the format: tokens name parts."""

PART_EVENTS = 65_536
"""Events of one insert. Part of the format, as above."""


def defined_series(records: Sequence[Record]) -> dict[int, bytes]:
    """Return the canonical labels of every ref that the segment defines."""
    found: dict[int, bytes] = {}
    for record in records:
        if isinstance(record, SeriesRecord):
            found.update(zip(record.refs.tolist(), record.canonical, strict=True))
    return found


def event_parts(records: Sequence[Record]) -> Iterator[tuple[Event, ...]]:
    """Yield the events of a segment in inserts, sorted by application, type, time and id."""
    events = [e for r in records if isinstance(r, EventsRecord) for e in r.events]
    events.sort(key=lambda e: (e.app, e.type, e.ts, e.id))
    for k in range(0, len(events), PART_EVENTS):
        yield tuple(events[k : k + PART_EVENTS])


def sample_parts(records: Sequence[Record]) -> Iterator[ChunkBatch]:
    """Yield the samples of a segment in inserts, sorted by (application, labels, time).

    Of samples with equal application, series and timestamp the first written stays. Samples of
    series that damage has left without a definition cannot be told apart and are logged as lost.
    """
    batches = [(r.sequence, r.batch) for r in records if isinstance(r, SamplesRecord)]
    if not batches:
        return
    defined = defined_series(records)
    refs = np.concatenate([b.refs for _, b in batches])
    ts = np.concatenate([b.ts for _, b in batches])
    values = np.concatenate([b.values for _, b in batches])
    start = _starts([b.start for _, b in batches], [len(b) for _, b in batches])
    apps = sorted({b.app for _, b in batches})
    owner = np.repeat([apps.index(b.app) for _, b in batches], [len(b) for _, b in batches])

    numbers, inverse = np.unique(refs, return_inverse=True)
    known = [ref in defined for ref in numbers.tolist()]
    by_labels = sorted((defined[ref], k) for k, ref in enumerate(numbers.tolist()) if known[k])
    rank = np.full(len(numbers), -1, np.int64)
    rank[[k for _, k in by_labels]] = np.arange(len(by_labels))
    series = rank[inverse]
    if not all(known):
        lost = int((series < 0).sum())
        log.error("damage in the spool took the labels of %d samples, which are lost", lost)
    key = owner * max(1, len(by_labels)) + series

    order = np.lexsort((ts, key))
    order = order[series[order] >= 0]
    key, ts = key[order], ts[order]
    keep = np.ones(len(order), bool)
    keep[1:] = (key[1:] != key[:-1]) | (ts[1:] != ts[:-1])
    order, key, ts = order[keep], key[keep], ts[keep]
    rows, lengths = np.unique(key, return_counts=True)
    labels = [parse_canonical(canonical) for canonical, _ in by_labels]
    offsets = offsets_of(lengths)
    values = values[order]
    start = start[order] if start is not None else None
    for first, last in _split(offsets):
        span = slice(int(offsets[first]), int(offsets[last]))
        picked = [divmod(row, max(1, len(by_labels))) for row in rows[first:last].tolist()]
        chosen = tuple(labels[k] for _, k in picked)
        yield ChunkBatch(
            tuple(apps[a] for a, _ in picked),
            chosen,
            b"".join(map(series_id, chosen)),
            offsets[first : last + 1] - offsets[first],
            ts[span],
            values[span],
            start[span] if start is not None else None,
        )


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
