"""From the nodes of an expression to values, over all steps of a frame at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.blocks import Block
from vedette.model.labels import METRIC_NAME
from vedette.model.matchers import Matcher, MatchOp
from vedette.model.results import RawSeries
from vedette.query.promql import binary, extended, histogram, starts
from vedette.query.promql.aggregate import STREAMED, streamed, whole
from vedette.query.promql.ast import (
    Aggregation,
    Binary,
    Call,
    Expr,
    MatrixSelector,
    NumberLiteral,
    Paren,
    RangeModifier,
    Span,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from vedette.query.promql.budget import Budget
from vedette.query.promql.calls import CALLS, STREAM_CALLS
from vedette.query.promql.labeling import is_named, nameless, names_of
from vedette.query.promql.native.combine import scaled
from vedette.query.promql.native.dispatch import applied
from vedette.query.promql.native.extended import smoothed_instants as smoothed_natives
from vedette.query.promql.native.flat import Sampled
from vedette.query.promql.native.hints import forgetful
from vedette.query.promql.native.judged import judged
from vedette.query.promql.native.notes import Notes
from vedette.query.promql.options import EngineOptions
from vedette.query.promql.plan import is_scalar, is_step_invariant, subquery_range
from vedette.query.promql.rangefuncs import RANGE_FUNCTIONS, Arguments, RangeFunction
from vedette.query.promql.remarks import Remarks, execution_error, number
from vedette.query.promql.select import Found, Reach, instant_parts, unite, window_parts
from vedette.query.promql.suspects import Suspects
from vedette.query.promql.values import (
    CELL_BYTES,
    PART_CELLS,
    Frame,
    Part,
    Scalar,
    Stream,
    String,
    Value,
    Vector,
    repeat,
    stream_of,
    without_name,
)
from vedette.query.promql.vectorfuncs import check_label_name
from vedette.query.promql.windows import Windows
from vedette.query.source import SampleSource
from vedette.storage.interface import SelectionTooLargeError, SelectLimits

_SUBQUERY_BYTES = 64
"""Memory for a step of a subquery, of one series: time, value, and the windows over them."""


class Evaluator:
    """Evaluates the nodes of one query.

    Attributes:
        options: those of the engine.
        frame: the frame of the whole query.
        remarks: where annotations go.
        budget: what the query may spend.
    """

    def __init__(
        self,
        samples: SampleSource,
        options: EngineOptions,
        frame: Frame,
        remarks: Remarks,
        budget: Budget,
        statistics: Sequence[VectorSelector] = (),
    ) -> None:
        """Evaluate on ``samples``; ``statistics`` are selectors whose buckets are not used."""
        self._statistics = frozenset(map(id, statistics))
        self.options = options
        self.frame = frame
        self.remarks = remarks
        self.budget = budget
        self._samples = samples

    # ---- values

    def value(self, expr: Expr, frame: Frame) -> Value:
        """Return the value of ``expr`` at the times of ``frame``.

        Raises:
            QueryError: it cannot be computed.
        """
        self.budget.check()
        # At least a scalar over all steps will be made; vectors are asked for where they are.
        self.budget.need(CELL_BYTES * len(frame))
        if len(frame) > 1 and is_step_invariant(expr):
            value = self._once(expr, frame)
        else:
            value = self._of_node(expr, frame)
        if isinstance(value, Vector):
            self.budget.hold(value.values, value.present)
        elif isinstance(value, Scalar):
            self.budget.hold(value.values)
        return value

    def _of_node(self, expr: Expr, frame: Frame) -> Value:
        match expr:
            case NumberLiteral(value):
                return Scalar(np.full(len(frame), value))
            case StringLiteral(text):
                return String(text)
            case Paren(inner):
                return self.value(inner, frame)
            case MatrixSelector() | Subquery():
                raise execution_error(
                    "a range vector has no value here; use it in a function such as rate()",
                    expr.span,
                )
            case _:
                return self._composed(expr, frame)

    def _composed(
        self, expr: VectorSelector | Call | Unary | Binary | Aggregation, frame: Frame
    ) -> Value:
        match expr:
            case VectorSelector():
                return self._collected(self.instants(expr, frame, times=False), frame)
            case Call():
                return self._call(expr, frame)
            case Unary():
                return self._unary(expr, frame)
            case Binary():
                return self._binary(expr, frame)
            case Aggregation():
                return self._aggregation(expr, frame)

    def _call(self, call: Call, frame: Frame) -> Value:
        if call.function in CALLS:
            return CALLS[call.function](self, call, frame)
        if call.function in RANGE_FUNCTIONS:
            stream = self._range_parts(call, RANGE_FUNCTIONS[call.function], frame)
            vector = self._collected(stream, frame)
            keeps = RANGE_FUNCTIONS[call.function].keeps_name
            return vector if keeps else self.unnamed(vector, call)
        if call.function in STREAM_CALLS:
            change = STREAM_CALLS[call.function](self, call, frame)
            stream = self.stream(call.args[0], frame).map(Part.floats).map(change)
            return self.unnamed(self._collected(stream, frame), call)
        raise execution_error(f"{call.function}() is not supported", call.span)

    def _once(self, expr: Expr, frame: Frame) -> Value:
        """Evaluate what is the same at every step at the first one only."""
        value = self.value(expr, frame.single())
        if isinstance(value, Scalar):
            return Scalar(np.repeat(value.values, len(frame)))
        if isinstance(value, Vector):
            self.budget.cells(len(value) * len(frame))
            self.budget.need(CELL_BYTES * len(value) * len(frame))
            return repeat(value, len(frame))
        return value

    def vector(self, expr: Expr, frame: Frame) -> Vector:
        """Return the value of ``expr``, which the parser found to be an instant vector."""
        value = self.value(expr, frame)
        if not isinstance(value, Vector):
            raise execution_error("expected an instant vector", expr.span)
        return value

    def scalar(self, expr: Expr, frame: Frame) -> F64:
        """Return float64[K], the value of ``expr``, which the parser found to be a scalar."""
        value = self.value(expr, frame)
        if not isinstance(value, Scalar):
            raise execution_error("expected a scalar", expr.span)
        return value.values

    def text(self, expr: Expr) -> str:
        """Return the text of ``expr``, which the parser found to be a string."""
        value = self.value(expr, self.frame)
        if not isinstance(value, String):
            raise execution_error("expected a string", expr.span)
        return value.text

    def unnamed(self, vector: Vector, expr: Expr) -> Vector:
        """Return ``vector`` without metric names, now or, as the options say, in the end."""
        return without_name(vector, self.options.delayed_name_removal, expr.span, self.budget)

    def _collected(self, stream: Stream, frame: Frame) -> Vector:
        return stream.collect(len(frame), self.budget)

    # ---- streams

    def stream(self, expr: Expr, frame: Frame) -> Stream:
        """Return the instant vector ``expr`` part by part where that is possible."""
        if len(frame) == 1 or not is_step_invariant(expr):
            stream = self._stream(expr, frame)
            if stream is not None:
                return stream
        return stream_of(self.vector(expr, frame))

    def _stream(self, expr: Expr, frame: Frame) -> Stream | None:
        match expr:
            case Paren(inner):
                return self._stream(inner, frame)
            case VectorSelector():
                return self.instants(expr, frame, times=False)
            case Call() if expr.function in RANGE_FUNCTIONS:
                function = RANGE_FUNCTIONS[expr.function]
                stream = self._range_parts(expr, function, frame)
                return stream if function.keeps_name else self._unnamed_stream(stream)
            case Call() if expr.function in STREAM_CALLS:
                operand = self.stream(expr.args[0], frame)
                change = STREAM_CALLS[expr.function](self, expr, frame)
                return self._unnamed_stream(operand.map(Part.floats).map(change))
            case Binary() if is_scalar(expr.left) != is_scalar(expr.right):
                return self._scalar_stream(expr, frame)
            case _:
                return None

    def _scalar_stream(self, node: Binary, frame: Frame) -> Stream | None:
        swap = is_scalar(node.left)
        operand, other = (node.right, node.left) if swap else (node.left, node.right)
        scalar = self.scalar(other, frame)
        inner = self.stream(operand, frame)
        change = partial(self._scalar_part, node, scalar, swap)
        stream = inner.map(change)
        return (
            self._unnamed_stream(stream)
            if binary.changes_meaning(node, self.options.window_2x)
            else stream
        )

    def _unnamed_stream(self, stream: Stream) -> Stream | None:
        """Return the stream without names, or ``None`` where series could become the same."""
        if not is_named(stream.labels):
            return stream
        if self.options.delayed_name_removal:
            return replace(stream, unnamed=np.ones(len(stream.labels), np.bool_))
        if names_of(stream.labels) > 1:
            return None
        return replace(stream, labels=nameless(stream.labels))

    def instants(self, node: VectorSelector, frame: Frame, times: bool) -> Stream:
        """Return the samples (or their times in seconds) that ``node`` selects at each step."""
        ends = _ends(node, frame)
        lookback = self.options.lookback_ms
        reach = Reach(ends, lookback, self.options.window_2x, self.budget)
        if node.modifier is RangeModifier.SMOOTHED and not times:
            return self._smoothed(node, replace(reach, ends=ends + lookback, span=2 * lookback))
        found = self._find(node, reach)
        return Stream(found.labels, lambda: instant_parts(found, reach, times))

    def _smoothed(self, node: VectorSelector, reach: Reach) -> Stream:
        """Return the values between samples at each step, ``reach`` being around the steps."""
        found, ends = self._find(node, reach), reach.ends - self.options.lookback_ms
        notes = Notes(self.remarks, node.span, found.labels)

        def parts() -> Iterator[Part]:
            for columns, windows in window_parts(found, reach):
                if windows.histograms is None:
                    yield extended.smoothed_instants(columns, windows, ends)
                    continue
                sampled = Sampled(windows, windows.histograms, notes, columns)

                def floats(part: Windows, columns: I64 = columns) -> tuple[F64, Mask | None]:
                    found = extended.smoothed_instants(columns, part, ends)
                    return found.values, found.present

                yield smoothed_natives(sampled, floats, ends)

        return Stream(found.labels, parts)

    def _range_parts(self, call: Call, function: RangeFunction, frame: Frame) -> Stream:
        node = _range_argument(call)
        modifier = extended.modifier_of(node)
        refused = modifier and extended.refuse_function(call.function, modifier)
        if refused:
            raise refused
        found, reach = self._range(node, frame)
        suspects = None
        if call.function in ("rate", "increase") and len(found.labels):
            typed = self.options.type_and_unit_labels
            suspects = Suspects(found.labels, typed, _remarked(call, node), self.remarks)
        scalars = tuple(self.scalar(arg, frame) for arg in call.args if not _is_range(arg))
        edges = None
        if modifier is not None:
            edges = extended.Edges(reach.ends, reach.span, modifier)
            reach = extended.stretched(reach, modifier, self.options.lookback_ms)
        if call.function in starts.FUNCTIONS and isinstance(node, MatrixSelector):
            reach = replace(reach, starts=self.options.starts)
        arguments = Arguments(scalars, frame.ts, self.options.window_2x, edges)
        # Prometheus remarks on the first argument, whichever that is.
        notes = Notes(self.remarks, _remarked(call, node), found.labels)

        def parts() -> Iterator[Part]:
            overlaps: dict[str, int] = {}
            for columns, windows in window_parts(found, reach):
                self.budget.check()
                if windows.start is not None and call.function in ("rate", "increase"):
                    starts.count_overlaps(overlaps, found.labels, columns, windows)
                place = windows, columns
                part = Part(columns, *applied(call.function, function, place, arguments, notes))
                if suspects is not None:
                    suspects.saw(columns, part.floats().present)
                yield part
            self._warn_overlaps(overlaps, node)

        if call.function == "quantile_over_time" and len(found.labels):
            self.warn_quantile(scalars[0], call.args[0])
        return Stream(found.labels, parts, found.unnamed)

    def _warn_overlaps(self, overlaps: dict[str, int], node: MatrixSelector | Subquery) -> None:
        for name, count in overlaps.items():
            times = f" ({count} occurrences)" if count > 1 else ""
            self.remarks.warn(
                "sample has start time that overlaps with previous sample timestamp for metric "
                f'"{name}"{times}',
                node.span,
            )

    def starts(self, node: VectorSelector, frame: Frame) -> Stream:
        """Return the start timestamps (s, 0 unknown) of the samples that ``node`` selects."""
        ends = _ends(node, frame)
        reach = Reach(ends, self.options.lookback_ms, self.options.window_2x, self.budget)
        reach = replace(reach, starts=self.options.starts)
        found = self._find(node, reach)

        def parts() -> Iterator[Part]:
            for columns, windows in window_parts(found, reach):
                yield Part(columns, starts.newest(windows), windows.at_least(1))

        return Stream(found.labels, parts)

    def seen(self, call: Call, frame: Frame) -> Mask:
        """Return bool[K]: whether the range vector of ``call`` holds any sample."""
        stream = self._range_parts(call, RANGE_FUNCTIONS["present_over_time"], frame)
        seen = np.zeros(len(frame), np.bool_)
        for part in stream.parts():
            seen |= True if part.present is None else part.present.any(axis=1)
        return seen

    # ---- selection

    def _find(self, node: VectorSelector, reach: Reach) -> Found:
        matchers = list(node.matchers)
        named = any(m.name == METRIC_NAME and m.op is MatchOp.EQUAL for m in matchers)
        if node.name is not None and not named:
            matchers.append(Matcher(METRIC_NAME, MatchOp.EQUAL, node.name))
        self.budget.check()
        start, end = int(reach.ends[0]) - reach.span, int(reach.ends[-1])
        options = self.budget.options
        limits = SelectLimits(options.max_samples, options.max_bytes, self.budget.check)
        try:
            found = unite(self._samples.select(matchers, start, end, limits))
        except SelectionTooLargeError as error:
            raise execution_error(str(error)) from error
        if id(node) not in self._statistics:
            return found
        return replace(found, blocks=tuple((base, judged(block)) for base, block in found.blocks))

    def _range(self, node: MatrixSelector | Subquery, frame: Frame) -> tuple[Found, Reach]:
        selector = node.selector if isinstance(node, MatrixSelector) else node
        reach = Reach(_ends(selector, frame), node.range, self.options.window_2x, self.budget)
        if isinstance(node, MatrixSelector):
            modifier, wide = node.selector.modifier, reach
            if modifier is not None:
                wide = extended.stretched(reach, modifier, self.options.lookback_ms)
            return self._find(node.selector, wide), reach
        return self._subquery(node, reach), reach

    def _subquery(self, node: Subquery, reach: Reach) -> Found:
        step = node.step or self.options.default_step_ms
        times = subquery_range(reach, step)
        self.budget.cells(len(times))
        self.budget.need(_SUBQUERY_BYTES * len(times))
        if not len(times):
            return unite(())
        ts = np.arange(times.start, times.stop, times.step, dtype=np.int64)
        self.budget.hold(ts)
        inner = Frame(ts, step, self.frame.start, self.frame.end)
        value = self.value(node.expr, inner)
        if not isinstance(value, Vector):
            raise execution_error("a subquery needs an instant vector", node.span)
        columns = np.arange(len(value), dtype=np.int32)
        self.budget.need(3 * CELL_BYTES * value.values.size)
        natives = value.histograms
        if natives is not None:
            natives = forgetful(natives.at(np.ascontiguousarray(natives.index.T)))
        block = Block(columns, ts, np.ascontiguousarray(value.marked().T), None, natives)
        self.budget.hold(block.values)
        return Found(value.labels, ((0, block),) if len(value) else (), value.unnamed)

    def samples(self, node: MatrixSelector | Subquery, frame: Frame) -> list[RawSeries]:
        """Return the raw samples of a range vector at the only step of ``frame``."""
        found, reach = self._range(node, frame)
        modifier, edges = extended.modifier_of(node), None
        if modifier is not None:
            edges = extended.Edges(reach.ends, reach.span, modifier)
            reach = extended.stretched(reach, modifier, self.options.lookback_ms)
        rows: list[RawSeries] = []
        for columns, windows in window_parts(found, reach):
            self.budget.hold(windows.values, windows.ts)
            for k, column in enumerate(columns.tolist()):
                at = 0 if windows.shared else k
                piece = slice(int(windows.lo[0, at]), int(windows.hi[0, at]))
                values = windows.values[piece, k] if windows.shared else windows.values[piece]
                ts, natives = windows.ts[piece], windows.histograms
                if natives is not None:
                    natives = natives.at(natives.index[piece])
                if edges is not None:
                    if natives is not None and (natives.index >= 0).any():
                        raise execution_error(
                            f"{edges.modifier} modifier is not supported with histograms"
                        )
                    ts, values = extended.extended_samples(ts, values, edges)
                if len(values):
                    labels = found.labels.labels(column)
                    rows.append(RawSeries(labels, ts, values, natives))
        return sorted(rows, key=lambda row: row.labels.pairs)

    # ---- operators

    def _unary(self, node: Unary, frame: Frame) -> Value:
        value = self.value(node.expr, frame)
        if node.op == "+" or isinstance(value, String):
            return value
        if isinstance(value, Scalar):
            return Scalar(-value.values)
        self.budget.need(CELL_BYTES * value.values.size)
        natives = value.histograms
        if natives is not None:
            natives = scaled(natives, np.full(natives.rows, -1.0))
        return self.unnamed(replace(value, values=-value.values, histograms=natives), node)

    def _binary(self, node: Binary, frame: Frame) -> Value:
        left, right = self.value(node.left, frame), self.value(node.right, frame)
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return Scalar(binary.scalars(node.op, left.values, right.values))
        if isinstance(left, Vector) and isinstance(right, Vector):
            if node.op in binary.SET_OPERATORS:
                return binary.set_operation(node, left, right, self.budget)
            return binary.vectors(node, left, right, self.options, self.remarks, self.budget)
        if isinstance(left, Vector) and isinstance(right, Scalar):
            return self._with_scalar(node, left, right.values, swap=False)
        if isinstance(left, Scalar) and isinstance(right, Vector):
            return self._with_scalar(node, right, left.values, swap=True)
        raise execution_error(f'operator "{node.op}" is not defined for strings', node.span)

    def _scalar_part(self, node: Binary, scalar: F64, swap: bool, part: Part) -> Part:
        return binary.part_with_scalar(node, part, scalar, swap, self.remarks)

    def _with_scalar(self, node: Binary, vector: Vector, scalar: F64, swap: bool) -> Vector:
        stream = stream_of(vector).map(partial(self._scalar_part, node, scalar, swap))
        if vector.values.size <= PART_CELLS:
            self.budget.need(CELL_BYTES * vector.values.size)
            result = stream.sole()
        else:
            result = stream.collect(vector.values.shape[1], self.budget)
        return (
            self.unnamed(result, node)
            if binary.changes_meaning(node, self.options.window_2x)
            else result
        )

    def _aggregation(self, node: Aggregation, frame: Frame) -> Vector:
        if node.op in STREAMED:
            stream = self.stream(node.expr, frame)
            return streamed(node, stream, len(frame), self.remarks, self.budget)
        parameter: F64 | str = ""
        if node.op == "count_values" and node.parameter is not None:
            parameter, old = self.text(node.parameter), self.options.window_2x
            check_label_name(parameter, "label name", node.parameter.span, old)
        elif node.parameter is not None:
            parameter = self.scalar(node.parameter, frame)
            self._check_parameter(node, node.parameter, parameter)
        vector = self.vector(node.expr, frame)
        return whole(node, vector, parameter, self.remarks, self.budget)

    def _check_parameter(self, node: Aggregation, expr: Expr, value: F64) -> None:
        if node.op == "quantile":
            extremes = {float(value.max()), float(value.min())}
            self.warn_quantile(np.array(sorted(extremes, reverse=True)), expr)
        elif np.isnan(value).any():
            what = "Ratio" if node.op == "limit_ratio" else "Parameter"
            raise execution_error(f"{what} value is NaN", expr.span)
        elif node.op == "limit_ratio":
            self._warn_ratio(value, expr)
        elif value.max() < 1:
            return
        elif value.min() <= -(2.0**63):
            text = number(float(value.min()))
            raise execution_error(f"Scalar value {text} underflows int64", expr.span)
        elif value.max() >= 2.0**63:
            text = number(float(value.max()))
            raise execution_error(f"Scalar value {text} overflows int64", expr.span)

    def _warn_ratio(self, ratio: F64, expr: Expr) -> None:
        bad = ratio[np.abs(ratio) > 1]
        if len(bad):
            self.remarks.warn(
                f"ratio value should be between -1 and 1, got {number(float(bad[0]))}, "
                f"capping to {number(float(np.sign(bad[0])))}",
                expr.span,
            )

    def warn_quantile(self, q: F64, expr: Expr) -> None:
        """Warn where φ is not between 0 and 1."""
        histogram.warn_about_quantiles(q, expr.span, self.remarks)


def _is_range(expr: Expr) -> bool:
    while isinstance(expr, Paren):
        expr = expr.expr
    return isinstance(expr, MatrixSelector | Subquery)


def _remarked(call: Call, node: MatrixSelector | Subquery) -> Span:
    """Return where remarks on a range vector point; of a subquery, Prometheus names the start."""
    return Span(0, 0) if isinstance(node, Subquery) else call.args[0].span


def _range_argument(call: Call) -> MatrixSelector | Subquery:
    """Return the range vector that ``call`` is about."""
    for arg in call.args:
        inner = arg
        while isinstance(inner, Paren):
            inner = inner.expr
        if isinstance(inner, MatrixSelector | Subquery):
            return inner
    raise execution_error(f"{call.function}() needs a range vector", call.span)


def _ends(node: VectorSelector | Subquery, frame: Frame) -> I64:
    """Return int64[K], the times at which ``node`` looks at its samples."""
    return frame.moved(node.at, node.offset, frame.ts)
