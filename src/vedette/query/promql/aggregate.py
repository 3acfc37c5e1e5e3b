"""Aggregation operators.

Those that need no more than running totals consume a stream part by part, so that
``sum by (job) (rate(x[5m]))`` never holds the rates of all series. The others hold the vector.
Semantics: the documentation of Prometheus, "Aggregation operators".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vedette.kit.xxhash import xxh64
from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.histograms import Histograms
from vedette.model.labels import METRIC_NAME, Labels
from vedette.query.promql.ast import Aggregation
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import (
    Groups,
    encode,
    group_by,
    label_order,
    only,
    with_column,
)
from vedette.query.promql.native.groups import GroupedHistograms, ignored
from vedette.query.promql.native.notes import Notes
from vedette.query.promql.native.text import histogram_texts
from vedette.query.promql.rangefuncs import nan_first_sorted, neumaier, sorted_quantile
from vedette.query.promql.remarks import Remarks, number
from vedette.query.promql.values import CELL_BYTES, Part, Stream, Vector, as_slice

_MATMUL_LIMIT = 1 << 14
"""Largest product of series and groups of a part that is summed as a matrix product."""

_SINGLE_THREADED = 1 << 17
"""Multiplications of a product that BLAS does not yet spread over threads."""

_TOTAL_BYTES = 32
"""Memory for a cell of running totals."""

_SORT_BYTES = 48
"""Memory for a cell that is gathered and sorted within its group."""

_PIECE_CELLS = 1 << 18
"""Cells of a vector that are worked on at once: some milliseconds."""

_COUNT_BYTES = 80
"""Memory for a cell whose value is counted: its place, its rank, its key."""

_TEXT_BYTES = 256
"""Memory for a value as a label."""


def grouping(table: LabelTable, node: Aggregation) -> tuple[Groups, LabelTable]:
    """Return the groups of the series and the label table of the groups."""
    if node.without:
        dropped = {*node.grouping, METRIC_NAME}
        names = [name for name in table.names if name not in dropped]
    else:
        names = [name for name in table.names if name in node.grouping]
    groups = group_by(table, names)
    return groups, only(table, names).take(groups.first)


@dataclass(frozen=True, slots=True)
class Layout:
    """How the s series of a part fall into groups, g of them in the part.

    Attributes:
        groups: int64[g], the groups that occur, ascending.
        order: int64[s] that sorts the part's series by group, or ``None`` when they are sorted.
        starts: int64[g], where each group begins in that order.
    """

    groups: I64
    order: I64 | None
    starts: I64

    @classmethod
    def of(cls, ids: I64) -> Layout:
        """Return the layout of series that belong to the groups ``ids``."""
        order = None
        if not (ids[1:] >= ids[:-1]).all():
            order = np.argsort(ids, kind="stable")
            ids = ids[order]
        starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
        return cls(ids[starts], order, starts)

    def reduce(self, values: F64, pick: np.ufunc) -> F64:
        """Return float64[K, g]: float64[K, s] reduced by ``pick`` within groups."""
        if len(self.starts) == 1:
            return np.asarray(pick.reduce(values, axis=1))[:, None]
        if self.order is not None:
            values = values[:, self.order]
        if len(self.starts) == values.shape[1]:
            return values
        return np.asarray(pick.reduceat(values, self.starts, axis=1))

    def sum(self, values: F64) -> F64:
        """Return float64[K, g]: float64[K, s] summed within groups."""
        steps, size = values.shape
        groups = len(self.starts)
        if 1 < groups < size and size * groups <= _MATMUL_LIMIT and steps > 8:
            member = np.zeros((size, groups))
            lengths = np.diff(np.append(self.starts, size))
            series = np.arange(size) if self.order is None else self.order
            member[series, np.repeat(np.arange(groups), lengths)] = 1.0
            out = np.empty((steps, groups))
            rows = _SINGLE_THREADED // (size * groups)
            for at in range(0, steps, rows):
                np.matmul(values[at : at + rows], member, out=out[at : at + rows])
            # 0 · Inf is NaN: one infinite value would spoil the groups that it is not in.
            if np.isfinite(out).all():
                return out
        return self.reduce(values, np.add)

    def counts(self, size: int) -> I64:
        """Return int64[g], the number of series in each group."""
        return np.diff(np.append(self.starts, size))


class _Totals:
    """Running totals float64[K, G] of one streamed aggregation."""

    def __init__(self, op: str, steps: int, groups: int) -> None:
        self.op = op
        self.count = np.zeros((steps, groups))
        # Series that are there at every step are counted once for all steps.
        self.always = np.zeros(groups)
        self.total = np.zeros((steps, groups))
        self.size: F64 | None = None
        if op in ("min", "max"):
            self.total.fill(np.nan)

    def add(self, part: Part, layout: Layout) -> None:
        """Take in one part."""
        at = as_slice(layout.groups)
        size = part.values.shape[1]
        if part.present is None:
            self.always[at] += layout.counts(size)
        elif part.present.shape[1] == 1:
            self.count[:, at] += layout.counts(size) * part.present
        else:
            self.count[:, at] += layout.sum(part.present.astype(np.float64))
        if self.op in ("sum", "avg"):
            self._add_sum(_filled(part, 0.0), layout, at)
        elif self.op in ("min", "max"):
            pick = np.fmin if self.op == "min" else np.fmax
            found = layout.reduce(_filled(part, np.nan), pick)
            self.total[:, at] = pick(self.total[:, at], found)

    def _add_sum(self, values: F64, layout: Layout, at: slice | I64) -> None:
        sums = layout.sum(values)
        negative = values.size > 0 and not values.min() >= 0
        if negative and self.size is None:
            # Nothing before was negative: so far the sum of sizes is the sum.
            self.size = self.total.copy()
        if self.size is not None:
            self.size[:, at] += layout.sum(np.abs(values)) if negative else sums
        self.total[:, at] += sums

    def counts(self) -> F64:
        """Return float64[K, G], the samples in each group."""
        return self.count + self.always

    def doubtful(self) -> Mask | None:
        """Return bool[K, G]: sums that may have lost digits or overflowed, ``None`` if none has.

        A plain sum is good while it is not much smaller than what was added and taken away.
        """
        redo = np.isinf(self.total)
        if self.size is not None:
            redo |= np.abs(self.total) < 1e-5 * self.size
        return redo if redo.any() else None

    def result(self) -> F64:
        """Return float64[K, G]."""
        match self.op:
            case "count":
                return self.counts()
            case "group":
                return np.ones_like(self.count)
            case "avg":
                with np.errstate(all="ignore"):
                    return np.asarray(self.total / self.counts())
        return self.total


def _filled(part: Part, filling: float) -> F64:
    if part.present is None:
        return part.values
    return np.where(part.present, part.values, filling)


STREAMED = frozenset({"sum", "avg", "min", "max", "count", "group"})
"""Operators that :func:`streamed` evaluates; the others need :func:`whole`."""


def streamed(
    node: Aggregation, stream: Stream, steps: int, remarks: Remarks, budget: Budget
) -> Vector:
    """Evaluate one of ``STREAMED`` over ``stream``."""
    groups, labels = grouping(stream.labels, node)
    budget.cells(len(groups) * steps)
    budget.need(_TOTAL_BYTES * len(groups) * steps)
    totals = _Totals(node.op, steps, len(groups))
    natives = GroupedHistograms()
    with np.errstate(invalid="ignore", over="ignore"):
        for part in stream.parts():
            budget.check()
            if len(part.columns):
                ids = groups.ids[part.columns]
                natives.add(part.histograms, part.columns, ids)
                totals.add(part.floats(), Layout.of(ids))
        values = totals.result()
        if node.op in ("sum", "avg"):
            redo = totals.doubtful()
            if redo is not None:
                vector = stream.collect(steps, budget).floats()
                _sum_again(node.op, vector, groups, (values, redo), budget)
    present = totals.counts() > 0
    unnamed = _unnamed(stream.unnamed, groups)
    if natives:
        budget.need(natives.nbytes)
        notes = Notes(remarks, node.expr.span, stream.labels)
        values, present, histograms = _with_histograms(node.op, totals, natives, notes, budget)
        return Vector(labels, values.T, present.T, unnamed, histograms)
    return Vector(labels, values.T, None if present.all() else present.T, unnamed)


def _with_histograms(
    op: str, totals: _Totals, natives: GroupedHistograms, notes: Notes, budget: Budget
) -> tuple[F64, Mask, Histograms | None]:
    """Return values float64[K, G], presence, and histograms (turned to series × steps)."""
    values, floats = totals.result(), totals.counts() > 0
    if op in ("min", "max"):
        ignored(op, notes)
        return values, floats, None
    if op in ("count", "group"):
        counts = natives.counts((values.shape[0], values.shape[1]))
        values = values + counts if op == "count" else values
        return values, floats | (counts > 0), None
    sums = natives.sums(floats, op == "avg", notes, budget)
    present, histograms = floats & ~sums.spoiled, sums.histograms
    if histograms is not None:
        present |= histograms.index >= 0
        values = np.where(histograms.index >= 0, np.nan, values)
        histograms = histograms.at(histograms.index.T)
    return values, present, histograms


def _unnamed(unnamed: Mask | None, groups: Groups) -> Mask | None:
    """A group loses its name at the end of the query when any of its series does."""
    if unnamed is None:
        return None
    return np.bincount(groups.ids, weights=unnamed, minlength=len(groups)) > 0


def _sum_again(
    op: str, vector: Vector, groups: Groups, cells_of: tuple[F64, Mask], budget: Budget
) -> None:
    """Sum cells with compensation: into float64[K, G], those that bool[K, G] marks."""
    values, redo = cells_of
    order = np.argsort(groups.ids, kind="stable")
    ends = np.cumsum(np.bincount(groups.ids, minlength=len(groups)))
    for group in np.flatnonzero(redo.any(axis=0)):
        rows = order[ends[group - 1] if group else 0 : ends[group]]
        steps = np.flatnonzero(redo[:, group])
        budget.check()
        budget.need(_SORT_BYTES * len(rows) * values.shape[0])
        present = vector.mask()[rows][:, steps].T[:, :, None]
        cells = np.where(present, vector.values[rows][:, steps].T[:, :, None], 0.0)
        count = present.sum(axis=1) if op == "avg" else np.ones((len(steps), 1))
        total, lost = neumaier(cells, budget)
        if op == "avg":
            # A sum that overflows while the values do not is taken of the values' shares instead.
            small, small_lost = neumaier(cells / count[:, None, :], budget)
            fallback = np.where(np.isinf(small), small, small + small_lost)
            total = np.where(np.isfinite(total), total / count + lost / count, fallback)
        else:
            total = np.where(np.isinf(total), total, total + lost)
        values[steps, group] = total[:, 0]


# ---- operators over a whole vector


_OF_FLOATS = frozenset({"stddev", "stdvar", "quantile", "topk", "bottomk"})
"""Operators that leave histograms out with a remark."""


def whole(
    node: Aggregation, vector: Vector, parameter: F64 | str, remarks: Remarks, budget: Budget
) -> Vector:
    """Evaluate an operator that is not in ``STREAMED``.

    ``parameter`` is float64[K] (topk, bottomk, limitk, limit_ratio, quantile), the label of
    count_values, or the empty string.
    """
    with np.errstate(all="ignore"):
        if node.op in _OF_FLOATS and vector.histograms is not None:
            # Prometheus points at the operand here, but at the whole aggregation for those with k.
            span = node.span if node.op in ("topk", "bottomk") else node.expr.span
            ignored(node.op, Notes(remarks, span, vector.labels))
            vector = vector.floats()
        if isinstance(parameter, str):
            if node.op == "count_values":
                return _count_values(node, vector, parameter, budget)
            return _deviation(node, vector, budget)
        if node.op == "quantile":
            return _quantile(node, vector, parameter, budget)
        if node.op == "limit_ratio":
            return _limit_ratio(vector, parameter, budget)
        return _selection(node, vector, parameter, budget)


def _deviation(node: Aggregation, vector: Vector, budget: Budget) -> Vector:
    groups, labels = grouping(vector.labels, node)
    size, steps = vector.values.shape
    budget.need(_TOTAL_BYTES * len(groups) * steps)
    values = np.zeros((steps, len(groups)))
    seen = np.zeros((steps, len(groups)), np.bool_)
    if not len(groups):
        return Vector(labels, values.T)
    layout = Layout.of(groups.ids)
    at = as_slice(layout.groups)
    for piece in _some_steps(size, steps, budget):
        mask = None if vector.present is None else vector.present[:, piece].T
        cells = vector.values[:, piece].T
        count = np.broadcast_to(layout.counts(size).astype(np.float64), (len(cells), len(groups)))
        filled = cells
        if mask is not None:
            count = layout.sum(mask.astype(np.float64))
            filled = np.where(mask, cells, np.nan)
        # Some value of each group is a centre that keeps constants exact.
        spread = cells - layout.reduce(filled, np.fmax)[:, groups.ids]
        if mask is not None:
            spread[~mask] = 0.0
        spread -= (layout.reduce(spread, np.add) / count)[:, groups.ids]
        if mask is not None:
            spread[~mask] = 0.0
        values[piece, at] = layout.reduce(spread * spread, np.add) / count
        seen[piece, at] = count > 0
    if node.op == "stddev":
        np.sqrt(values, out=values)
    return Vector(labels, values.T, seen.T, _unnamed(vector.unnamed, groups))


def _some_steps(size: int, steps: int, budget: Budget) -> Iterator[slice]:
    """Yield slices of the steps of ``size`` series, each some milliseconds of work."""
    wide = max(1, _PIECE_CELLS // max(size, 1))
    budget.need(_SORT_BYTES * size * min(wide, steps))
    for at in range(0, steps, wide):
        budget.check()
        yield slice(at, min(at + wide, steps))


def _padded(groups: Groups) -> Iterator[tuple[I64, I64, Mask]]:
    """Yield groups int64[g], their series int64[w, g] and bool[w, g] where these are not padding.

    Groups of about the same size come together, so that padding at most doubles the work.
    """
    order = np.argsort(groups.ids, kind="stable")
    size = np.bincount(groups.ids, minlength=len(groups))
    start = np.cumsum(size) - size
    kind = np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    for exponent in np.unique(kind):
        chosen = np.flatnonzero(kind == exponent)
        reach = np.arange(size[chosen].max())[:, None]
        inside = reach < size[chosen]
        yield chosen, order[np.where(inside, start[chosen] + reach, start[chosen])], inside


def _by_group(
    vector: Vector,
    groups: Groups,
    budget: Budget,
    work: Callable[[slice, I64, I64, F64, Mask], None],
) -> None:
    """Call ``work`` with steps, groups, series int64[w, g], values and presence [k, w, g]."""
    steps = vector.values.shape[1]
    mask = vector.mask()
    for chosen, rows, inside in _padded(groups):
        size = max(1, (1 << 20) // rows.size)
        budget.need(_SORT_BYTES * rows.size * min(size, steps))
        for at in range(0, steps, size):
            budget.check()
            piece = slice(at, min(at + size, steps))
            values = np.moveaxis(vector.values[:, piece][rows], 2, 0)
            present = np.moveaxis(mask[:, piece][rows], 2, 0) & inside
            work(piece, chosen, rows, values, present)


def _quantile(node: Aggregation, vector: Vector, q: F64, budget: Budget) -> Vector:
    groups, labels = grouping(vector.labels, node)
    steps = vector.values.shape[1]
    budget.need(_TOTAL_BYTES * len(groups) * steps)
    out = np.full((steps, len(groups)), np.nan)
    seen = np.zeros((steps, len(groups)), np.bool_)

    def work(piece: slice, chosen: I64, rows: I64, values: F64, present: Mask) -> None:
        ordered, count = nan_first_sorted(values, present)
        out[piece, chosen] = sorted_quantile(ordered, count, q[piece][:, None])
        seen[piece, chosen] = count > 0

    _by_group(vector, groups, budget, work)
    return Vector(labels, out.T, seen.T, _unnamed(vector.unnamed, groups))


def _selection(node: Aggregation, vector: Vector, k: F64, budget: Budget) -> Vector:
    """Keep k series of each group at each step: topk, bottomk, limitk."""
    groups, _ = grouping(vector.labels, node)
    kept = np.zeros(vector.values.shape, np.bool_)
    sign = {"topk": -1.0, "bottomk": 1.0, "limitk": 0.0}[node.op]
    # The first k in the order of labels, whatever order the source has.
    ranks = np.zeros(len(vector), np.int64)
    if not sign:
        ranks[label_order(vector.labels)] = np.arange(len(vector))
    limit = np.clip(np.nan_to_num(k), 0, len(vector)).astype(np.int64)

    def work(piece: slice, chosen: I64, rows: I64, values: F64, present: Mask) -> None:
        # Present before absent, then by value with NaN last; equal values keep their order.
        key = sign * values if sign else np.broadcast_to(ranks[rows], values.shape)
        order = np.lexsort((key, ~present), axis=1)
        rank = np.empty(order.shape, np.int64)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :, None], axis=1)
        step, place, group = np.nonzero(present & (rank < limit[piece][:, None, None]))
        kept[rows[place, group], piece.start + step] = True

    _by_group(vector, groups, budget, work)
    rows = np.flatnonzero(kept.any(axis=1))
    if vector.values.shape[1] == 1 and sign:
        value = sign * vector.values[rows, 0]
        rows = rows[np.lexsort((value, groups.ids[rows]))]
    budget.need(2 * CELL_BYTES * len(rows) * vector.values.shape[1])
    return vector.take(rows).where(kept[rows])


def _limit_ratio(vector: Vector, ratio: F64, budget: Budget) -> Vector:
    """Keep about the share ``ratio`` of the series; −r keeps just those that 1 − r leaves out."""
    texts = [_encoded(row) for row in budget.paced(vector.labels.rows())]
    place = (xxh64(texts).astype(np.float64) / 2.0**64)[:, None]
    share = np.clip(ratio, -1.0, 1.0)
    budget.need(_TOTAL_BYTES * vector.values.size)
    kept = np.where(share >= 0, place < share, place >= 1.0 + share)
    return vector.where(kept)


def _encoded(labels: Labels) -> bytes:
    """Return the bytes that Prometheus hashes labels by, so that samples of series agree."""
    pieces = []
    for pair in labels:
        for text in pair:
            data = text.encode()
            size = len(data)
            short = size < 255
            pieces.append(bytes([size]) if short else b"\xff" + size.to_bytes(3, "little"))
            pieces.append(data)
    return b"".join(pieces)


def _count_values(node: Aggregation, vector: Vector, label: str, budget: Budget) -> Vector:
    groups, labels = grouping(vector.labels.drop(label), node)
    vector, natives = _with_texts(vector)
    size, steps = vector.values.shape
    unlabelled = node.without and label in node.grouping
    bits = np.zeros(1, np.uint64)
    if not unlabelled:
        found = [np.unique(_bits(vector, piece)[1]) for piece in _some_steps(size, steps, budget)]
        bits = np.unique(np.concatenate([np.zeros(0, np.uint64), *found]))
    radix = max(len(bits), 1)
    pieces: list[tuple[slice, I64, I64]] = []
    for piece in _some_steps(size, steps, budget):
        (series, step), cells = _bits(vector, piece)
        which = np.zeros(len(cells), np.int64) if unlabelled else np.searchsorted(bits, cells)
        keys, place = np.unique(groups.ids[series] * radix + which, return_inverse=True)
        wide = piece.stop - piece.start
        counts = np.bincount(place * wide + step, minlength=len(keys) * wide)
        budget.need(_COUNT_BYTES * sum(part[2].size for part in pieces))
        pieces.append((piece, keys, counts.reshape(len(keys), wide)))
    keys = np.unique(np.concatenate([np.zeros(0, np.int64), *(part[1] for part in pieces)]))
    # Every distinct value is a series of its own, over all steps.
    budget.cells(len(keys) * steps)
    budget.need(len(keys) * (_TOTAL_BYTES * steps + _TEXT_BYTES))
    total = np.zeros((len(keys), steps))
    for piece, some, counts in pieces:
        budget.check()
        total[np.searchsorted(keys, some), piece] = counts
    labels = labels.take(keys // radix)
    if not unlabelled:
        floats = bits[bits < _NATIVE_BITS]
        texts = [number(value) for value in budget.paced(floats.view(np.float64).tolist())]
        texts += [natives[k] for k in (bits[len(floats) :] - _NATIVE_BITS).tolist()]
        codes, dictionary = encode(texts)
        labels = with_column(labels, label, codes[keys % radix], dictionary)
    return Vector(labels, total, total > 0)


_NATIVE_BITS = np.uint64(0xFFFF_0000_0000_0000)
"""NaNs that no float above is: the number of a text of a histogram stands in their low bits."""


def _with_texts(vector: Vector) -> tuple[Vector, list[str]]:
    """Return ``vector`` whose histograms have the number of their text for ``index``."""
    natives = vector.histograms
    if natives is None:
        return vector, []
    there = natives.index >= 0
    used, place = np.unique(natives.index[there], return_inverse=True)
    rendered = histogram_texts(natives.take(used, used))
    texts = {text: k for k, text in enumerate(dict.fromkeys(rendered))}
    code = np.array([texts[text] for text in rendered], np.int32)
    index = natives.index.copy()
    index[there] = code[place.ravel()]
    return replace(vector, histograms=natives.at(index)), list(texts)


def _bits(vector: Vector, piece: slice) -> tuple[tuple[I64, I64], NDArray[np.uint64]]:
    """Return series and step of each sample of some steps, and its value as bits, NaN as one."""
    values = vector.values[:, piece]
    present = (
        np.ones(values.shape, np.bool_) if vector.present is None else vector.present[:, piece]
    )
    series, step = np.nonzero(present)
    cells = values[series, step]
    cells[np.isnan(cells)] = np.nan
    bits = np.ascontiguousarray(cells).view(np.uint64)
    if vector.histograms is not None:
        native = vector.histograms.index[:, piece][series, step]
        bits = np.where(native >= 0, _NATIVE_BITS + native.astype(np.uint64), bits)
    return (series, step), bits
