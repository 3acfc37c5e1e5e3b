"""Pages of the backlog → requests: relabelled, without what is not to be sent, split in shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vedette.forward.encode import Outgoing, encode_labels
from vedette.forward.settings import Destination
from vedette.kit.relabel import Relabeller
from vedette.model.arrays import I32, I64, Mask
from vedette.model.histograms import joined
from vedette.model.labels import Labels, parse_canonical
from vedette.model.samples import Exemplar, SampleBatch, is_histogram

Canonical = Callable[[I32], list[bytes]]
"""Returns the canonical labels of each ref."""


class LabelCache:
    """Labels by ref, as the encoder of a destination takes them; each is relabelled once."""

    def __init__(self, canonical: Canonical, destination: Destination) -> None:
        self._canonical = canonical
        self._external = dict(destination.external_labels)
        self._relabel = Relabeller(destination.relabel)
        self._version = destination.version
        self._known: dict[int, bytes] = {}

    def encoded(self, refs: I32) -> list[bytes]:
        """Return the labels of each ref; empty where the series is not to be sent."""
        known = self._known
        wanted = refs.tolist()
        new = [ref for ref in wanted if ref not in known]
        if new:
            found = self._canonical(np.array(new, np.int32))
            known.update(zip(new, map(self._encoded, found), strict=True))
        return [known[ref] for ref in wanted]

    def _encoded(self, canonical: bytes) -> bytes:
        # Labels of the series win over external ones, and rules see both, as in Prometheus.
        labels = self._external | parse_canonical(canonical).as_dict()
        if self._relabel:
            labels = self._relabel(labels) or {}
        found = Labels.of(labels)
        return found.canonical() if self._version == 2 else encode_labels(found)


@dataclass(frozen=True, slots=True)
class Split:
    """A page as requests: per shard in order, and how many samples are left out by reason."""

    shards: tuple[tuple[Outgoing, ...], ...]
    left_out: Counter[str]


def split_page(
    batches: tuple[SampleBatch, ...],
    destination: Destination,
    labels: LabelCache,
    oldest: int = 0,
) -> Split:
    """Return the samples of ``batches`` from ``oldest`` (ms) on as requests.

    A series is in one shard; there are no more shards than full requests.
    """
    whole = _whole(batches)
    left_out: Counter[str] = Counter()
    whole = _without(whole, whole.ts < oldest, "too_old", left_out)
    if not destination.send_histograms:
        whole = _without(whole, is_histogram(whole.values), "histogram", left_out)
    dropped = _refused(whole.refs, labels)
    whole = _without(whole, dropped, "relabelled", left_out)
    examples: dict[int, list[Exemplar]] = {}
    for each in whole.exemplars if destination.send_exemplars else ():
        if each.ts >= oldest and labels.encoded(np.array([each.series], np.int32))[0]:
            examples.setdefault(each.series, []).append(each)
    return Split(tuple(_shards(whole, examples, destination, labels)), left_out)


def _refused(refs: I32, labels: LabelCache) -> Mask:
    unique, rows = np.unique(refs, return_inverse=True)
    empty = np.array([not each for each in labels.encoded(unique)], bool)
    mask: Mask = empty[rows]
    return mask


def _shards(
    whole: SampleBatch,
    examples: dict[int, list[Exemplar]],
    destination: Destination,
    labels: LabelCache,
) -> list[tuple[Outgoing, ...]]:
    size = destination.samples_per_request
    order = np.lexsort((whole.ts, whole.refs))
    count = max(1, min(destination.shards, -(-len(order) // size)))
    shard_of = whole.refs[order] % count
    shards = []
    for shard in range(count):
        mine = order[shard_of == shard]
        chunks = [mine[at : at + size] for at in range(0, len(mine), size)]
        if chunks:
            found = [_outgoing(whole, chunk, examples, labels) for chunk in chunks]
            shards.append(tuple(found))
    if examples:
        # Of series without a sample in this page.
        alone = _outgoing(whole, order[:0], examples, labels, refs=sorted(examples))
        shards.append((alone,))
    return shards


def _whole(batches: tuple[SampleBatch, ...]) -> SampleBatch:
    """Return one batch of all ``batches``."""
    sizes = [len(batch) for batch in batches]
    index = np.full(sum(sizes), -1, np.int32)
    start = np.zeros(sum(sizes), np.int64)
    parts, at, rows = [], 0, 0
    for batch, size in zip(batches, sizes, strict=True):
        if batch.histograms is not None:
            own = batch.histograms.index
            index[at : at + size] = np.where(own >= 0, own + rows, -1)
            parts.append(batch.histograms)
            rows += batch.histograms.rows
        if batch.start is not None:
            start[at : at + size] = batch.start
        at += size
    return SampleBatch(
        "",
        np.concatenate([batch.refs for batch in batches]),
        np.concatenate([batch.ts for batch in batches]),
        np.concatenate([batch.values for batch in batches]),
        start=start,
        histograms=joined(parts, index) if parts else None,
        exemplars=tuple(e for b in batches for e in b.exemplars),
    )


def _without(whole: SampleBatch, mask: Mask, reason: str, left_out: Counter[str]) -> SampleBatch:
    count = int(np.count_nonzero(mask))
    if not count:
        return whole
    left_out[reason] += count
    kept = np.flatnonzero(~mask)
    return replace(
        whole,
        refs=whole.refs[kept],
        ts=whole.ts[kept],
        values=whole.values[kept],
        start=None if whole.start is None else whole.start[kept],
        histograms=None
        if whole.histograms is None
        else whole.histograms.at(whole.histograms.index[kept]),
    )


def _outgoing(
    whole: SampleBatch,
    chosen: I64,
    examples: dict[int, list[Exemplar]],
    labels: LabelCache,
    refs: list[int] | None = None,
) -> Outgoing:
    """Return the samples ``chosen``; the exemplars of a series go with its first samples.

    With ``refs`` there are no samples, and these series have exemplars.
    """
    unique, rows = np.unique(whole.refs[chosen], return_inverse=True)
    if refs is not None:
        unique = np.array(refs, np.int32)
    histograms = whole.histograms
    if histograms is not None:
        histograms = histograms.at(histograms.index[chosen])
    exemplars = [
        replace(each, series=row)
        for row, ref in enumerate(unique.tolist())
        for each in examples.pop(ref, ())
    ]
    return Outgoing(
        labels.encoded(unique),
        rows.astype(np.int32),
        whole.ts[chosen],
        whole.values[chosen],
        histograms,
        tuple(exemplars),
        None if whole.start is None else whole.start[chosen],
    )
