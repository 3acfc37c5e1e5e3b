"""The functions of histograms, classic and native: quantiles, fractions, counts, sums, spreads.

One vector may hold both kinds. A native histogram and classic buckets of the same name, labels and
step exclude each other. Semantics: the documentation of Prometheus, "Query functions".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.model.labels import METRIC_NAME
from vedette.query.promql import histogram
from vedette.query.promql.ast import Call, Expr, Span
from vedette.query.promql.evaluation import Evaluation
from vedette.query.promql.labeling import concat, encode, group_all, with_column
from vedette.query.promql.native.measure import fractions, quantiles, variances
from vedette.query.promql.remarks import number
from vedette.query.promql.values import CELL_BYTES, Frame, Value, Vector, distinct

_NAN = "input to {function} has NaN observations, "
_RESULT_NAN = _NAN + "result is NaN"
_RESULT_SKEWED = _NAN + "result is skewed higher"
_EXCLUDED = _NAN + "which are excluded from all fractions"
_MIXED = "vector contains a mix of classic and native histograms"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where remarks on an argument go, and whether they know the names of metrics."""

    evaluation: Evaluation
    span: Span

    def tell(self, text: str, vector: Vector, series: I64, warning: bool = False) -> None:
        """Remark on ``series`` of ``vector``, each metric once."""
        if not len(series):
            return
        column = vector.labels.column(METRIC_NAME)
        names = [""]
        if column is not None and self.evaluation.options.delayed_name_removal:
            names = [column[1][code] for code in np.unique(column[0][series]).tolist()]
        remarks = self.evaluation.remarks
        say = remarks.warn if warning else remarks.info
        for name in names:
            say(f'{text} for metric name "{name}"' if name else text, self.span)


_OfCells = Callable[[Histograms, I64, Callable[[str, Mask], None]], F64]
"""From the histograms of cells, the steps of the cells and a place for remarks to float64[H]."""


def _estimated(
    place: _Place, vector: Vector, of_cells: _OfCells, classic: histogram.Measure
) -> Vector:
    """Return the estimates of all histograms of ``vector``; the result keeps ``__name__``."""
    evaluation = place.evaluation
    named = evaluation.options.delayed_name_removal
    if vector.histograms is None:
        if vector.present is not None:
            vector = vector.take(np.flatnonzero(vector.present.any(axis=1)))
        return histogram.measure_histograms(
            vector, classic, place.span, evaluation.remarks, evaluation.budget, named
        )
    floats = vector.floats()
    buckets = histogram.measure_histograms(
        floats.take(np.flatnonzero(floats.mask().any(axis=1))),
        classic,
        place.span,
        evaluation.remarks,
        evaluation.budget,
        named,
    )
    estimates = _of_natives(place, vector, of_cells)
    labels = concat([estimates.labels, buckets.labels])
    there = np.concatenate([estimates.mask(), buckets.mask()])
    groups = group_all(labels)
    count = np.zeros((len(groups), there.shape[1]), np.int64)
    np.add.at(count, groups.ids, there)
    clash = count[groups.ids] > 1
    natives = clash[: len(estimates)] & estimates.mask()
    place.tell(_MIXED, estimates, np.flatnonzero(natives.any(axis=1)), warning=True)
    unnamed = None
    if vector.unnamed is not None:
        sides = (estimates.unnamed, buckets.unnamed)
        unnamed = np.concatenate([side for side in sides if side is not None])
    values = np.concatenate([estimates.values, buckets.values])
    joint = Vector(labels, values, there & ~clash, unnamed)
    return distinct(joint, place.span, evaluation.budget)


def _of_natives(place: _Place, vector: Vector, of_cells: _OfCells) -> Vector:
    """Return the estimates of the native histograms of ``vector`` alone."""
    natives = vector.histograms
    if natives is None:
        return vector.take(np.zeros(0, np.int64))
    chosen = np.flatnonzero((natives.index >= 0).any(axis=1))
    vector = replace(vector, histograms=None).take(chosen)
    cells = natives.index[chosen] >= 0
    rows = natives.index[chosen][cells].astype(np.int64)
    series, step = np.nonzero(cells)
    place.evaluation.budget.need(CELL_BYTES * vector.values.size + _size(natives, rows))

    def tell(text: str, which: Mask) -> None:
        place.tell(text, vector, np.unique(series[which]))

    values = np.full(vector.values.shape, np.nan)
    values[cells] = of_cells(natives.take(rows, rows.astype(np.int32)), step, tell)
    return replace(vector, values=values, present=cells)


def _size(natives: Histograms, rows: I64) -> int:
    """Return the bytes of the buckets of ``rows`` while they are measured."""
    lengths = np.diff(natives.positive_offsets) + np.diff(natives.negative_offsets) + 2
    return 64 * int(lengths[rows].sum())


def _quantile_of(q: F64) -> _OfCells:
    def of_cells(histograms: Histograms, step: I64, tell: Callable[[str, Mask], None]) -> F64:
        values, lost, skewed = quantiles(histograms, q[step])
        tell(_RESULT_NAN.format(function="histogram_quantile"), lost)
        tell(_RESULT_SKEWED.format(function="histogram_quantile"), skewed)
        return values

    return of_cells


def _histogram_quantile(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    q = evaluator.scalar(call.args[0], frame)
    evaluator.warn_quantile(q, call.args[0])
    result = _measured(evaluator, call.args[1], evaluator.vector(call.args[1], frame), q)
    return evaluator.unnamed(result, call)


def _measured(evaluator: Evaluation, arg: Expr, vector: Vector, q: F64) -> Vector:
    classic = histogram.quantile(q, arg.span, evaluator.remarks)
    return _estimated(_Place(evaluator, arg.span), vector, _quantile_of(q), classic)


def _histogram_quantiles(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    label = evaluator.text(call.args[1])
    vector = evaluator.vector(call.args[0], frame)
    results: list[Vector] = []
    for arg in call.args[2:]:
        q = evaluator.scalar(arg, frame)
        evaluator.warn_quantile(q, arg)
        result = evaluator.unnamed(_measured(evaluator, call.args[0], vector, q), call)
        text = number(float(q[0]))
        text += ".0" if text.lstrip("-").isdigit() else ""
        codes, values = encode([text] * len(result))
        evaluator.budget.need(3 * CELL_BYTES * result.values.size * (len(results) + 1))
        results.append(replace(result, labels=with_column(result.labels, label, codes, values)))
    unnamed = [r.unnamed for r in results if r.unnamed is not None]
    joint = Vector(
        concat([r.labels for r in results]),
        np.concatenate([r.values for r in results]),
        np.concatenate([r.mask() for r in results]),
        np.concatenate(unnamed) if unnamed else None,
    )
    return distinct(joint, call.span, evaluator.budget)


def _histogram_fraction(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    low, high = (evaluator.scalar(arg, frame) for arg in call.args[:2])
    vector = evaluator.vector(call.args[2], frame)

    def of_cells(histograms: Histograms, step: I64, tell: Callable[[str, Mask], None]) -> F64:
        values, partial = fractions(histograms, low[step], high[step])
        tell(_EXCLUDED.format(function="histogram_fraction"), partial)
        return values

    place = _Place(evaluator, call.args[2].span)
    result = _estimated(place, vector, of_cells, histogram.fraction(low, high))
    return evaluator.unnamed(result, call)


def _mean(histograms: Histograms) -> F64:
    return np.asarray(histograms.sum / histograms.count)


_FIGURES: dict[str, Callable[[Histograms], F64]] = {
    "histogram_count": lambda histograms: histograms.count,
    "histogram_sum": lambda histograms: histograms.sum,
    "histogram_avg": _mean,
    "histogram_stdvar": variances,
    "histogram_stddev": lambda histograms: np.sqrt(variances(histograms)),
}


def _figure(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    """Evaluate a function of one native histogram alone; floats are left out."""
    figure = _FIGURES[call.function]
    vector = evaluator.vector(call.args[0], frame)
    place = _Place(evaluator, call.args[0].span)
    result = _of_natives(place, vector, lambda histograms, step, tell: figure(histograms))
    return evaluator.unnamed(result, call)


HISTOGRAM_CALLS: dict[str, Callable[[Evaluation, Call, Frame], Value]] = {
    "histogram_quantile": _histogram_quantile,
    "histogram_quantiles": _histogram_quantiles,
    "histogram_fraction": _histogram_fraction,
    **dict.fromkeys(_FIGURES, _figure),
}
"""The functions by name."""
