"""Writes what rules record, and marks the end of series that they no longer have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vedette.model.histograms import HistogramValue, histograms_of
from vedette.model.labels import Labels
from vedette.model.samples import HISTOGRAM, STALE, SampleBatch
from vedette.rules.evaluate import Series
from vedette.rules.rule import Rule
from vedette.rules.surroundings import ADVICE, Surroundings
from vedette.storage.interface import StorageError


@dataclass(slots=True)
class _Batch:
    """Samples of one application, and which rule each is of."""

    labels: list[Labels] = field(default_factory=list)
    values: list[float | HistogramValue] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)

    def add(self, owner: str, labels: Labels, value: float | HistogramValue) -> None:
        self.labels.append(labels)
        self.values.append(value)
        self.owners.append(owner)


class SeriesWriter:
    """Knows which series each rule of a group wrote last."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._written: dict[str, tuple[str, frozenset[Labels]]] = {}

    def remember(self, rule: Rule, samples: Iterable[Series]) -> None:
        """Take series for written that an earlier process wrote."""
        labels = frozenset(one.labels for one in samples)
        if labels:
            self._written[rule.key] = (rule.app or self._around.app, labels)

    async def write(
        self, results: Sequence[tuple[Rule, Sequence[Series]]], ts: int
    ) -> dict[str, str]:
        """Write the series of rules at ``ts`` (ms), end those that are gone.

        Returns what went wrong, by the rule's key.
        """
        batches: dict[str, _Batch] = {}
        for rule, samples in results:
            before = self._written.pop(rule.key, None)
            if not samples and before is None:
                continue
            app = rule.app or self._around.app
            labels = frozenset(one.labels for one in samples)
            if labels:
                self._written[rule.key] = (app, labels)
            batch = batches.setdefault(app, _Batch())
            for one in samples:
                batch.add(rule.key, one.labels, one.value)
            _end(batches, rule.key, before, labels)
        return await self._append(batches, ts)

    async def end_all_but(self, known: Collection[str], ts: int) -> None:
        """End the series of all rules whose key is not ``known``."""
        batches: dict[str, _Batch] = {}
        for key in [key for key in self._written if key not in known]:
            _end(batches, key, self._written.pop(key), frozenset())
        await self._append(batches, ts)

    async def _append(self, batches: dict[str, _Batch], ts: int) -> dict[str, str]:
        errors: dict[str, str] = {}
        for app, batch in batches.items():
            if batch.labels:
                errors |= await self._append_batch(app, batch, ts)
        return errors

    async def _append_batch(self, app: str, batch: _Batch, ts: int) -> dict[str, str]:
        around, counters = self._around, self._around.counters
        refs = around.index.refs(batch.labels)
        taken = np.flatnonzero(refs >= 0)
        refused = np.flatnonzero(refs < 0).tolist()
        counters.samples_refused += len(refused)
        errors = {
            batch.owners[k]: "some of its series are beyond the limit of series" for k in refused
        }
        values = [batch.values[k] for k in taken.tolist()]
        natives = [value for value in values if isinstance(value, HistogramValue)]
        floats = [HISTOGRAM if isinstance(value, HistogramValue) else value for value in values]
        index = np.full(len(values), -1, np.int32)
        if natives:
            at = [k for k, value in enumerate(values) if isinstance(value, HistogramValue)]
            index[at] = np.arange(len(at))
        samples = SampleBatch(
            app,
            refs[taken],
            np.full(len(taken), ts, np.int64),
            np.array(floats, np.float64),
            histograms=histograms_of(natives, index) if natives else None,
        )
        try:
            await around.ingest.append_samples(samples)
        except StorageError as error:
            counters.samples_refused += len(samples)
            around.complaints.warn("series of rules cannot be written", error, ADVICE)
            return dict.fromkeys(batch.owners, f"its series could not be written: {error}")
        counters.samples += len(samples)
        return errors


def _end(
    batches: dict[str, _Batch],
    owner: str,
    before: tuple[str, frozenset[Labels]] | None,
    labels: frozenset[Labels],
) -> None:
    """Add staleness markers for what was written before and is not among ``labels``."""
    if before is None:
        return
    app, old = before
    if old == labels:
        return
    batch = batches.setdefault(app, _Batch())
    for gone in sorted(old - labels, key=lambda one: one.pairs):
        batch.add(owner, gone, STALE)
