"""The functions that are evaluated by hand: each takes the evaluator, its call and the frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vedette.model.arrays import F64, Mask
from vedette.model.blocks import LabelTable
from vedette.query.promql.ast import Call, Expr, MatrixSelector, Paren, VectorSelector
from vedette.query.promql.evaluation import Evaluation
from vedette.query.promql.histogram_calls import HISTOGRAM_CALLS
from vedette.query.promql.info import info
from vedette.query.promql.labeling import EMPTY_TABLE
from vedette.query.promql.values import (
    Frame,
    Part,
    Scalar,
    Value,
    Vector,
    both,
    stream_of,
)
from vedette.query.promql.vectorfuncs import (
    DATES,
    ELEMENTWISE,
    absent_labels,
    clamp,
    label_join,
    label_replace,
    round_to,
    sort_by_label,
    sort_by_value,
)

Evaluate = Callable[[Evaluation, Call, Frame], Value]
Change = Callable[[Part], Part]
Prepare = Callable[[Evaluation, Call, Frame], Change]


# ---- functions of each sample alone, which a stream passes through


def _elementwise(function: Callable[[F64], F64]) -> Prepare:
    def prepare(evaluator: Evaluation, call: Call, frame: Frame) -> Change:
        def change(part: Part) -> Part:
            with np.errstate(all="ignore"):
                return replace(part, values=function(part.values))

        return change

    return prepare


def _round(evaluator: Evaluation, call: Call, frame: Frame) -> Change:
    one = len(call.args) < 2
    nearest = np.ones(len(frame)) if one else evaluator.scalar(call.args[1], frame)

    def change(part: Part) -> Part:
        with np.errstate(all="ignore"):
            return replace(part, values=round_to(part.values, nearest))

    return change


def _clamp(evaluator: Evaluation, call: Call, frame: Frame) -> Change:
    bounds = [evaluator.scalar(arg, frame) for arg in call.args[1:]]
    low, high = np.full(len(frame), -np.inf), np.full(len(frame), np.inf)
    if call.function != "clamp_max":
        low = bounds[0]
    if call.function != "clamp_min":
        high = bounds[-1]
    empty = (high < low)[:, None]

    def change(part: Part) -> Part:
        present = part.present
        if empty.any():
            present = ~empty if present is None else present & ~empty
        return replace(part, values=clamp(part.values, low, high), present=present)

    return change


STREAM_CALLS: dict[str, Prepare] = {
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
    "round": _round,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
}


# ---- scalars and constant vectors


def _of_frame(value: Callable[[Frame], F64]) -> Evaluate:
    return lambda evaluator, call, frame: Scalar(value(frame))


def _of_query(value: Callable[[Frame], float]) -> Evaluate:
    return lambda evaluator, call, frame: Scalar(np.full(len(frame), value(evaluator.frame)))


def _vector(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    return Vector(EMPTY_TABLE, evaluator.scalar(call.args[0], frame)[None, :])


def _scalar(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    vector = evaluator.vector(call.args[0], frame).floats()
    mask = vector.mask()
    alone = mask.sum(axis=0) == 1
    values = np.where(mask, vector.values, 0.0).sum(axis=0)
    return Scalar(np.where(alone, values, np.nan))


def _extreme_of(pick: np.ufunc) -> Evaluate:
    def evaluate(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
        left, right = (evaluator.scalar(arg, frame) for arg in call.args)
        return Scalar(np.asarray(pick(left, right)))

    return evaluate


def _date(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    part_of_date = DATES[call.function]
    if not call.args:
        return Vector(EMPTY_TABLE, part_of_date(frame.ts / 1000.0)[None, :].astype(np.float64))
    vector = evaluator.vector(call.args[0], frame).floats()

    def change(part: Part) -> Part:
        dates = np.where(np.isfinite(part.values), part_of_date(part.values), np.nan)
        return replace(part, values=dates)

    stream = stream_of(vector).map(change)
    return evaluator.unnamed(stream.collect(len(frame), evaluator.budget), call)


def _timestamp(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    inner = call.args[0]
    while isinstance(inner, Paren):
        inner = inner.expr
    if isinstance(inner, VectorSelector):
        vector = evaluator.instants(inner, frame, times=True).collect(len(frame), evaluator.budget)
    else:
        vector = evaluator.vector(inner, frame)
        seconds = np.broadcast_to(frame.ts / 1000.0, vector.values.shape)
        vector = replace(vector, values=seconds.copy(), histograms=None)
    return evaluator.unnamed(vector, call)


def _start_timestamp(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    """Start timestamps are known of stored samples only, and only where the options say so."""
    inner = call.args[0]
    while isinstance(inner, Paren):
        inner = inner.expr
    vector = evaluator.vector(inner, frame)
    if not isinstance(inner, VectorSelector) or not evaluator.options.start_timestamps:
        return vector.take(np.zeros(0, np.int64))
    stream = evaluator.starts(inner, frame)
    began = stream.collect(len(frame), evaluator.budget)
    # Whether there is a sample at all, staleness considered, is the business of the selection.
    present = both(began.present, vector.present)
    return evaluator.unnamed(replace(began, present=present), call)


# ---- absence


def _one_where(seen: Mask, expr: Expr) -> Vector:
    """Return 1 where nothing was ``seen`` (bool[K]), labelled by the matchers of ``expr``."""
    inner = expr
    while isinstance(inner, Paren):
        inner = inner.expr
    if isinstance(inner, MatrixSelector):
        inner = inner.selector
    matchers = inner.matchers if isinstance(inner, VectorSelector) else ()
    labels = LabelTable.of([absent_labels(matchers)])
    return Vector(labels, np.ones((1, len(seen))), ~seen[None, :])


def _absent(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    mask = evaluator.vector(call.args[0], frame).mask()
    return _one_where(np.asarray(mask.any(axis=0)), call.args[0])


def _absent_over_time(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    return _one_where(evaluator.seen(call, frame), call.args[0])


# ---- labels and order


def _label_replace(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    texts = [evaluator.text(arg) for arg in call.args[1:]]
    vector, old = evaluator.vector(call.args[0], frame), evaluator.options.window_2x
    return label_replace(vector, texts, call.span, old, evaluator.budget)


def _label_join(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    texts = [evaluator.text(arg) for arg in call.args[1:]]
    vector, old = evaluator.vector(call.args[0], frame), evaluator.options.window_2x
    return label_join(vector, texts, call.span, old, evaluator.budget)


def _sort(evaluator: Evaluation, call: Call, frame: Frame) -> Value:
    vector = evaluator.vector(call.args[0], frame)
    if "label" not in call.function:
        vector = vector.floats()
    if len(evaluator.frame) > 1 or evaluator.frame.step:
        evaluator.remarks.warn(
            "sort is ineffective for range queries since results are always ordered by labels",
            call.span,
        )
        return vector
    if len(frame) > 1:
        return vector
    descending = call.function.endswith("_desc")
    if "label" in call.function:
        names = [evaluator.text(arg) for arg in call.args[1:]]
        return sort_by_label(vector, names, descending, evaluator.budget)
    return sort_by_value(vector, descending)


CALLS: dict[str, Evaluate] = {
    **HISTOGRAM_CALLS,
    **dict.fromkeys(DATES, _date),
    **dict.fromkeys(("sort", "sort_desc", "sort_by_label", "sort_by_label_desc"), _sort),
    "time": _of_frame(lambda frame: frame.ts / 1000.0),
    "pi": _of_query(lambda frame: np.pi),
    "start": _of_query(lambda frame: frame.start / 1000.0),
    "end": _of_query(lambda frame: frame.end / 1000.0),
    "step": _of_query(lambda frame: frame.step / 1000.0),
    "range": _of_query(lambda frame: (frame.end - frame.start) / 1000.0),
    "min_of": _extreme_of(np.minimum),
    "max_of": _extreme_of(np.maximum),
    "vector": _vector,
    "scalar": _scalar,
    "timestamp": _timestamp,
    "start_timestamp": _start_timestamp,
    "absent": _absent,
    "absent_over_time": _absent_over_time,
    "label_replace": _label_replace,
    "label_join": _label_join,
    "info": info,
}
