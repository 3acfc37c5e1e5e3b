"""The head: what queries see of recent samples.

It is a cache over the spool and the column store, never the source of a flush, so that losing it
loses nothing. One thread appends and evicts; any thread selects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vedette.model.arrays import I32, I64
from vedette.model.blocks import AnyBlock, Selection
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher
from vedette.model.samples import Exemplar, SampleBatch
from vedette.storage.head.admission import (
    Refusal,
    Sorted,
    as_runs,
    both_samples,
    late_samples,
    narrowed,
    sort_samples,
)
from vedette.storage.head.dense import TargetGroup, target_block
from vedette.storage.head.grouping import GroupingCache
from vedette.storage.head.quota import Quotas, SeriesQuota
from vedette.storage.head.ragged import RaggedPool
from vedette.storage.regroup import combine, join_runs, renumber
from vedette.storage.series_index import MemorySeriesIndex, MetricSeries

_NEVER = -(2**62)
_REMEMBERED_REFS = 5_000
_REMEMBERED_BATCHES = 128


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """Limits of the head.

    Attributes:
        budget: bytes that samples may take before the oldest flushed ones are evicted.
        age_ms: flushed samples older than this, measured from the newest, are evicted.
        out_of_order_ms: how far a sample pushed to us may lie behind the newest of its series.
        future_ms: how far a sample may lie ahead of the clock.
        grouping_cache: bytes kept of pushed series grouped by shared timestamps.
        quota: how many series a metric, a target and an application may have.
    """

    budget: int = 96 << 20
    age_ms: int = 12 * 3_600_000
    out_of_order_ms: int = 300_000
    future_ms: int = 600_000
    grouping_cache: int = 32 << 20
    quota: SeriesQuota = field(default_factory=SeriesQuota)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the series of one metric stand among the target groups.

    ``groups[g]`` holds ``refs[offsets[g]:offsets[g + 1]]`` in its ``columns`` of the same range, as
    long as its view's epoch is ``epochs[g]``.
    """

    groups: tuple[TargetGroup, ...]
    epochs: tuple[int, ...]
    offsets: I64
    refs: I32
    columns: I64


@dataclass(slots=True)
class HeadStats:
    """Counters of the head."""

    refused: Counter[Refusal] = field(default_factory=Counter)
    evicted_until: int = _NEVER


class Head:
    """Recent samples of all series of ``index``."""

    def __init__(self, index: MemorySeriesIndex, settings: HeadSettings | None = None) -> None:
        self.index = index
        self.settings = settings or HeadSettings()
        self.stats = HeadStats()
        self._groups: dict[tuple[str, str], TargetGroup] = {}
        self._pool = RaggedPool(self.settings.budget)
        self._cache = GroupingCache(self.settings.grouping_cache)
        self._newest = np.full(1024, _NEVER, np.int64)
        self._oldest = np.full(1024, -_NEVER, np.int64)
        self._scraped = np.zeros(1024, bool)
        self._order = np.zeros(1024, np.int64)
        self._batches: dict[bytes, tuple[bool, I32]] = {}
        self._layout = 0
        self._places: dict[str, tuple[int, _Places]] = {}
        self._floor = _NEVER
        self._latest = _NEVER
        self._quotas = Quotas(index, self.settings.quota)

    # Writing

    def append(self, batch: SampleBatch, sequence: int, now: int) -> SampleBatch:
        """Take what is new of ``batch`` and return it; the rest is counted in ``stats``.

        Args:
            batch: samples; a ref of −1 counts as refused by the limit of series.
            sequence: of the batch; rises with every call.
            now: wall time in milliseconds.
        """
        batch = self._plausible(batch, now)
        if not len(batch):
            return batch
        self._make_room()
        taken = self._append_scrape(batch, sequence) if batch.target else None
        if taken is None:
            taken = self._append_pushed(batch, sequence)
        if len(taken):
            self._latest = max(self._latest, int(taken.ts.max()))
        return taken

    def _plausible(self, batch: SampleBatch, now: int) -> SampleBatch:
        known = batch.refs >= 0
        if not known.all():
            self.stats.refused[Refusal.SERIES_LIMIT] += int((~known).sum())
            batch = narrowed(batch, known)
        near = batch.ts <= now + self.settings.future_ms
        if not near.all():
            self.stats.refused[Refusal.FUTURE] += int((~near).sum())
            batch = narrowed(batch, near)
        allowed, refused = self._quotas.admit(
            batch.refs, batch.app, batch.target, self._newest, self._latest
        )
        if allowed is not None:
            self.stats.refused.update(refused)
            batch = narrowed(batch, allowed)
        return batch

    def exemplars_within_limits(self, batch: SampleBatch) -> tuple[Exemplar, ...]:
        """Return the exemplars of ``batch``, with series −1 where a limit of series refuses it."""
        refs = np.array([each.series for each in batch.exemplars], np.int32)
        known = np.flatnonzero(refs >= 0)
        allowed, _ = self._quotas.admit(
            refs[known], batch.app, batch.target, self._newest, self._latest
        )
        if allowed is None:
            return batch.exemplars
        refs[known[~allowed]] = -1
        return tuple(
            replace(each, series=ref)
            for each, ref in zip(batch.exemplars, refs.tolist(), strict=True)
        )

    def _make_room(self) -> None:
        need = len(self.index)
        have = len(self._newest)
        if need <= have:
            return
        more = max(need, 2 * have) - have
        self._oldest = np.concatenate([self._oldest, np.full(more, -_NEVER, np.int64)])
        self._scraped = np.concatenate([self._scraped, np.zeros(more, bool)])
        self._order = np.concatenate([self._order, np.zeros(more, np.int64)])
        self._newest = np.concatenate([self._newest, np.full(more, _NEVER, np.int64)])
        self._pool.reserve_refs(len(self._newest))

    def _append_scrape(self, batch: SampleBatch, sequence: int) -> SampleBatch | None:
        """Append a row to the target's group; ``None`` when its rows are newer already."""
        ts = int(batch.ts[0])
        key = (batch.app, batch.target)
        group = self._groups.get(key)
        if group is None:
            group = TargetGroup()
            self._groups = {**self._groups, key: group}
            self._layout += 1
        if ts <= group.newest:
            return None
        fresh = self._newest[batch.refs] < ts
        if not fresh.all():
            self.stats.refused[Refusal.OUT_OF_ORDER] += int((~fresh).sum())
            batch = narrowed(batch, fresh)
            if not len(batch):
                return batch
        generation = group.generation
        group.append(batch.refs, ts, batch.values, batch.start, sequence, batch.histograms)
        if group.generation != generation:
            self._layout += 1
            self._scraped[batch.refs] = True
            self._oldest[batch.refs] = np.minimum(self._oldest[batch.refs], ts)
        self._newest[batch.refs] = ts
        return batch

    def _append_pushed(self, batch: SampleBatch, sequence: int) -> SampleBatch:
        """Append to the pool, late samples in their place."""
        refs = batch.refs
        once, metrics = self._known(refs)
        newest = self._newest[refs]
        if once and bool((batch.ts > newest).all()):
            self._pool.append_single(
                refs, batch.ts, batch.values, batch.start, sequence, batch.histograms
            )
            self._newest[refs] = batch.ts
            if newest.min() == _NEVER:
                self._oldest[refs] = np.minimum(self._oldest[refs], batch.ts)
            self._cache.touch(metrics)
            return batch
        samples, refused = sort_samples(batch)
        self.stats.refused.update(refused)
        late = samples.ts <= self._newest[samples.refs]
        new = samples.take(~late)
        filled = self._fill_gaps(samples.take(late), sequence) if late.any() else None
        if len(new.refs):
            self._pool.append(new.refs, new.ts, new.values, new.start, sequence, new.histograms)
            edge = new.refs[1:] != new.refs[:-1]
            first = np.flatnonzero(np.append(True, edge))
            last = np.flatnonzero(np.append(edge, True))
            self._note(new.refs[first], new.ts[first], new.ts[last])
        if filled is None or not len(filled.refs):
            return _batch(batch, new)
        return _batch(batch, both_samples(new, filled))

    def _known(self, refs: I32) -> tuple[bool, I32]:
        """Return whether each ref comes once, and the numbers of their metrics.

        Senders send the same series over and over.
        """
        key = refs.tobytes() if len(refs) <= _REMEMBERED_REFS else b""
        found = self._batches.get(key)
        if found is None:
            order = np.arange(len(refs))
            self._order[refs] = order
            once = bool((self._order[refs] == order).all())
            found = once, np.unique(self.index.metric_numbers(refs))
            if key:
                self._batches[key] = found
            if len(self._batches) > _REMEMBERED_BATCHES:
                del self._batches[next(iter(self._batches))]
        return found

    def _note(self, refs: I32, first: I64, last: I64) -> None:
        self._newest[refs] = last
        self._oldest[refs] = np.minimum(self._oldest[refs], first)
        self._cache.touch(self.index.metric_numbers(refs))

    def _fill_gaps(self, late: Sorted, sequence: int) -> Sorted:
        """Put late samples between those that the pool holds, and return the ones taken."""
        # What is evicted cannot be told from what never came.
        oldest = np.maximum(self._newest[late.refs] - self.settings.out_of_order_ms, self._floor)
        old = late.ts < oldest
        # Rows of a scrape are never reopened: a target reports each moment once.
        scraped = self._scraped[late.refs] & ~old
        self.stats.refused[Refusal.TOO_OLD] += int(old.sum())
        self.stats.refused[Refusal.OUT_OF_ORDER] += int(scraped.sum())
        late = late.take(~old & ~scraped)
        if not len(late.refs):
            return late
        refs, row = np.unique(late.refs, return_inverse=True)
        since = int(late.ts.min())
        held = self._pool.gather(refs, since)
        keep, refused = late_samples(late, row, held)
        self.stats.refused.update(refused)
        late, row = late.take(keep), row[keep]
        if not len(late.refs):
            return late
        merged = join_runs([held, as_runs(late, row, len(refs))])
        self._pool.rewrite(refs, since, merged, sequence)
        first = np.flatnonzero(np.append(True, late.refs[1:] != late.refs[:-1]))
        seen = late.refs[first]
        self._oldest[seen] = np.minimum(self._oldest[seen], late.ts[first])
        self._cache.touch(self.index.metric_numbers(seen))
        return late

    # Deletion

    def delete(self, matchers: Sequence[Matcher], start: int, end: int, sequence: int) -> list[int]:
        """Forget the samples of ``start <= ts <= end`` (ms); return the refs of their series.

        ``sequence`` is that of the deletion. A pushed series that loses everything begins anew.
        """
        found = self.index.select(matchers)
        # A reader or writer may know a series before the head has made room for it.
        refs = np.sort(np.concatenate([np.zeros(0, np.int32), *(s.refs for s in found)]))
        refs = refs[: int(np.searchsorted(refs, len(self._newest)))]
        if not len(refs):
            return []
        for group in self._groups.values():
            group.delete(refs, start, end)
        pushed = refs[self._pool.holds(refs)]
        if len(pushed):
            self._pool.delete(pushed, start, end, sequence)
        inside = (self._oldest[refs] >= start) & (self._newest[refs] <= end)
        # A target's rows only go on, so that its series need not begin anew.
        bare = refs[inside & ~self._scraped[refs]]
        self._newest[bare] = _NEVER
        self._oldest[bare] = -_NEVER
        self._cache.touch(np.unique(self.index.metric_numbers(refs)))
        return [int(ref) for ref in refs]

    # Eviction

    @property
    def nbytes(self) -> int:
        """Bytes that samples take."""
        return self._pool.nbytes + sum(group.nbytes for group in self._groups.values())

    @property
    def complete_from(self) -> int:
        """The time (ms) from which the head holds every sample that was accepted."""
        return self._floor

    @property
    def span(self) -> tuple[int, int]:
        """Times in ms of the oldest and the newest sample; zeros before the first."""
        if self._latest == _NEVER:
            return 0, 0
        return int(self._oldest.min()), self._latest

    def incomplete_until(self, ts: int) -> None:
        """Note that samples up to ``ts`` may exist that the head does not hold."""
        self._floor = max(self._floor, ts + 1)

    def evict(self, flushed: int) -> int:
        """Drop old samples of batches up to sequence ``flushed``; return how many bytes went.

        By age first; then, while the budget is exceeded, the oldest sixteenth of the time that is
        held, down to nine tenths of the budget, so that evictions come in lumps.
        """
        before = self.nbytes
        self._drop(self._latest - self.settings.age_ms, flushed)
        if self.nbytes > self.settings.budget:
            target = self.settings.budget * 9 // 10
            begin = self._begin()
            step = max(1, (self._latest - begin) // 16)
            for cut in range(begin + step, self._latest + step + 1, step):
                self._drop(cut, flushed)
                if self.nbytes <= target:
                    break
        return before - self.nbytes

    def _begin(self) -> int:
        oldest = [group.oldest() for group in self._groups.values()]
        found = [ts for ts in (*oldest, self._pool.oldest()) if ts is not None]
        return min(found, default=self._latest)

    def _drop(self, before: int, flushed: int) -> None:
        groups = self._groups
        newest = max(
            (group.evictable(before, flushed) for group in groups.values()),
            default=-1,
        )
        newest = max(newest, self._pool.evictable(before, flushed))
        if newest < 0:
            return
        # The bound comes first, so that no reader takes what is half evicted for complete.
        self.stats.evicted_until = max(self.stats.evicted_until, newest)
        self.incomplete_until(newest)
        self._pool.evict(before, flushed)
        self._cache.clear()
        layout = sum(group.generation for group in groups.values())
        for group in groups.values():
            group.evict(before, flushed)
        left = {key: group for key, group in groups.items() if group.oldest() is not None}
        same = layout == sum(group.generation for group in groups.values())
        if len(left) < len(groups) or not same:
            self._groups = left
            self._layout += 1

    # Reading

    def select(self, matchers: Sequence[Matcher], start: int, end: int) -> tuple[Selection, ...]:
        """Return one selection per metric with what is held of ``start <= ts <= end``."""
        selections = []
        for series in self.index.select(matchers):
            live = self._active(series.refs, start, end)
            if not len(live):
                continue
            if len(live) < len(series.refs):
                series = MetricSeries(series.metric, series.refs[live], series.table.take(live))
            blocks = self._blocks(series, start, end)
            if blocks:
                selections.append(_compact(series, blocks))
        return tuple(selections)

    def _active(self, refs: I32, start: int, end: int) -> I64:
        # A reader may know a series before the head has made room for it: it has no samples yet.
        newest, oldest = self._newest, self._oldest
        known = min(len(newest), len(oldest))
        if len(refs) and refs[-1] >= known:
            refs = refs[: int(refs.searchsorted(known))]
        live: I64 = np.flatnonzero((newest[refs] >= start) & (oldest[refs] <= end))
        return live

    def _blocks(self, series: MetricSeries, start: int, end: int) -> tuple[AnyBlock, ...]:
        blocks = self._scraped_blocks(series, start, end)
        pushed = np.flatnonzero(self._pool.holds(series.refs))
        if len(pushed):
            refs = series.refs[pushed]
            found = self._cache.blocks(self._pool, self.index, refs, start, end)
            numbers = pushed.astype(np.int32)
            blocks.extend(renumber(block, numbers) for block in found)
        return combine(blocks)

    def _scraped_blocks(self, series: MetricSeries, start: int, end: int) -> list[AnyBlock]:
        places = self._find_places(series.metric)
        if not len(places.refs):
            return []
        number = series.refs.searchsorted(places.refs)
        number[number == len(series.refs)] = 0
        hit = series.refs[number] == places.refs
        every = bool(hit.all())
        offsets = places.offsets.tolist()
        numbers = number.astype(np.int32)
        blocks: list[AnyBlock] = []
        for g, group in enumerate(places.groups):
            part = slice(offsets[g], offsets[g + 1])
            columns, names = places.columns[part], numbers[part]
            if not every:
                columns, names = columns[hit[part]], names[hit[part]]
            if not len(columns):
                continue
            view = group.view
            if view.epoch != places.epochs[g]:
                # Columns were dropped since the places were found.
                at = np.searchsorted(series.refs, view.refs)
                at[at == len(series.refs)] = 0
                columns = np.flatnonzero(series.refs[at] == view.refs)
                names = at[columns].astype(np.int32)
                if not len(columns):
                    continue
            block = target_block(view, columns, names, start, end)
            if block is not None:
                blocks.append(block)
        return blocks

    def _find_places(self, metric: str) -> _Places:
        layout = self._layout
        cached = self._places.get(metric)
        if cached is not None and cached[0] == layout:
            return cached[1]
        own = self.index.metric(metric)
        held = np.zeros(len(self._newest), bool)
        if own is not None:
            held[own.refs[own.refs < len(held)]] = True
        groups, epochs, refs, columns = [], [], [], []
        for group in self._groups.values():
            view = group.view
            inside = view.refs < len(held)
            at = np.flatnonzero(held[np.where(inside, view.refs, 0)] & inside)
            if len(at):
                groups.append(group)
                epochs.append(view.epoch)
                refs.append(view.refs[at])
                columns.append(at)
        none = np.zeros(0, np.int32)
        places = _Places(
            tuple(groups),
            tuple(epochs),
            np.cumsum([0, *map(len, refs)]),
            np.concatenate([none, *refs]),
            np.concatenate([none.astype(np.int64), *columns]),
        )
        self._places[metric] = (layout, places)
        return places

    def series(
        self, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> dict[bytes, Labels]:
        """Return by canonical bytes the label sets that were active in the range."""
        found: dict[bytes, Labels] = {}
        for one in matchers or [()]:
            for series in self.index.select(one):
                live = self._active(series.refs, start, end)
                if not len(live):
                    continue
                rows = series.table.take(live).with_name(series.metric).rows()
                keys = self.index.canonical(series.refs[live])
                found.update(zip(keys, rows, strict=True))
        return found

    def label_values(
        self, name: str, matchers: Sequence[Sequence[Matcher]], start: int, end: int
    ) -> set[str]:
        """Return the values of label ``name`` among series that were active in the range."""
        values: set[str] = set()
        for one in matchers or [()]:
            for series in self.index.select(one):
                live = self._active(series.refs, start, end)
                if not len(live):
                    continue
                if name == METRIC_NAME:
                    values.add(series.metric)
                elif column := series.table.column(name):
                    values.update(column[1][code] for code in np.unique(column[0][live]).tolist())
        return values - {""}

    def label_names(self, matchers: Sequence[Sequence[Matcher]], start: int, end: int) -> set[str]:
        """Return the label names of series that were active in the range."""
        names: set[str] = set()
        for one in matchers or [()]:
            for series in self.index.select(one):
                live = self._active(series.refs, start, end)
                if not len(live):
                    continue
                used = np.unique(np.nonzero(series.table.codes[:, live])[0]).tolist()
                names.update(series.table.names[k] for k in used)
                names.add(METRIC_NAME)
        return names


def _compact(series: MetricSeries, blocks: tuple[AnyBlock, ...]) -> Selection:
    """Return the selection of the series that stand in ``blocks``."""
    if sum(len(block.columns) for block in blocks) == len(series.refs):
        return Selection(series.metric, series.table, blocks)
    present = np.zeros(len(series.refs), bool)
    for block in blocks:
        present[block.columns] = True
    numbers = (np.cumsum(present) - 1).astype(np.int32)
    table = series.table.take(np.flatnonzero(present))
    return Selection(series.metric, table, tuple(renumber(block, numbers) for block in blocks))


def _batch(batch: SampleBatch, samples: Sorted) -> SampleBatch:
    return SampleBatch(
        batch.app,
        samples.refs,
        samples.ts,
        samples.values,
        "",
        samples.start,
        samples.histograms,
        batch.exemplars,
    )
