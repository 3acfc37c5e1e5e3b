"""Runs the commands of a ``.test`` file against the engine."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.promqltest.natives import as_custom_buckets, columns, result_points, same
from tests.promqltest.pinned import pinned
from tests.promqltest.script import Clear, Eval, Expectation, Load, ScriptError, read
from vedette.model.arrays import F64, I64
from vedette.model.histograms import Histograms, HistogramValue
from vedette.model.labels import Labels
from vedette.model.results import (
    Annotation,
    QueryResult,
    SamplesResult,
    ScalarResult,
    StringResult,
    VectorResult,
)
from vedette.model.samples import is_absent
from vedette.query.errors import QueryError
from vedette.query.promql.ast import Expr
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.notation import Point
from vedette.query.promql.parser import PromQLSyntaxError, parse
from vedette.query.promql.remarks import describe
from vedette.query.source import MemorySamples

_OF_THE_QUERY = re.compile(r"(start|end|range|step)\(\)", re.IGNORECASE)

_TOLERANCE = 1e-6
_SMALLEST = 2.2250738585072014e-308


class MismatchError(Exception):
    """What came out is not what was expected."""


@dataclass(frozen=True)
class Failure:
    """A case that did not pass; ``line`` is 0 where the whole file cannot be read."""

    line: int
    query: str
    reason: str

    def __str__(self) -> str:
        return f"{self.line}: {self.query}: {self.reason}"


@dataclass
class Outcome:
    """Result of a file: how many cases passed, and what was wrong with the others."""

    passed: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Return how many cases failed."""
        return len(self.failures)


OPTIONS = EngineOptions(
    delayed_name_removal=True,
    experimental_functions=True,
    extended_selectors=True,
    fill_modifiers=True,
    start_timestamps=True,
    signed_starts=True,
    default_step_ms=60_000,
)
"""As Prometheus' own suite is run."""


def run_file(path: Path, layout: str = "shared") -> Outcome:
    """Run all cases of ``path``; each ``eval`` is one.

    A file with an unknown command fails as a whole.
    """
    outcome = Outcome()
    try:
        commands = read(path)
    except ScriptError as error:
        outcome.failures.append(Failure(0, "", str(error)))
        return outcome
    samples = MemorySamples(layout=layout)
    for command in commands:
        if isinstance(command, Clear):
            samples = MemorySamples(layout=layout)
        elif isinstance(command, Load):
            _load(samples, command)
        else:
            _judge(samples, command, outcome)
    return outcome


def _judge(samples: MemorySamples, case: Eval, outcome: Outcome) -> None:
    engine = Engine(samples, OPTIONS)
    try:
        if case.broken:
            raise MismatchError(case.broken)
        _run(engine, case)
    except MismatchError as mismatch:
        outcome.failures.append(Failure(case.line, case.query, str(mismatch)))
    else:
        outcome.passed += 1


def _load(samples: MemorySamples, load: Load) -> None:
    for labels, points, offsets in load.series:
        kept = [k for k, p in enumerate(points) if p is not None]
        ts = np.array([k * load.step for k in kept], np.int64)
        values, histograms = columns([points[k] for k in kept])
        start = _starts(ts, [offsets[k] for k in kept] if offsets else [])
        samples.add(labels, ts, values, start, histograms)
    if load.nhcb:
        for labels, points in as_custom_buckets((row[0], row[1]) for row in load.series):
            samples.add(labels, *_custom(points, load.step))


def _custom(points: list[Point], step: int) -> tuple[I64, F64, None, Histograms | None]:
    kept = [k for k, p in enumerate(points) if p is not None]
    values, histograms = columns([points[k] for k in kept])
    return np.array(kept, np.int64) * step, values, None, histograms


def _starts(ts: I64, offsets: list[int | None]) -> I64 | None:
    if not offsets:
        return None
    pairs = zip(ts.tolist(), offsets, strict=True)
    return np.array([0 if offset is None else t + offset for t, offset in pairs], np.int64)


def _run(engine: Engine, case: Eval) -> None:
    if not case.instant:
        result = _evaluated(case, lambda: engine.range(case.query, case.start, case.end, case.step))
        if result is not None:
            _compare(case, result)
        return
    _run_instant(engine, case, case.query, case.start)
    try:
        expr = parse(case.query)
    except PromQLSyntaxError:
        return
    for fixed, ts in pinned(expr, case.start):
        try:
            _run_instant(engine, case, fixed, ts)
        except MismatchError as mismatch:
            raise MismatchError(f"pinned, at {ts} ms: {mismatch}") from mismatch


def _run_instant(engine: Engine, case: Eval, query: str | Expr, ts: int) -> None:
    result = _evaluated(case, lambda: engine.instant(query, ts))
    if result is None:
        return
    _compare(case, result)
    if case.samples is None and not _OF_THE_QUERY.search(case.query):
        _compare_in_range(engine, case, result, (query, ts))


def _evaluated(case: Eval, evaluate: Callable[[], QueryResult]) -> QueryResult | None:
    """Return the result, ``None`` where the case expects the failure that came."""
    failures = case.expects("fail")
    try:
        result = evaluate()
    except (QueryError, PromQLSyntaxError) as error:
        if not failures:
            raise MismatchError(f"failed: {error}") from error
        if not all(_matches(e, str(error)) for e in failures):
            raise MismatchError(f"failed differently: {error}") from error
        return None
    if failures:
        raise MismatchError("should have failed")
    return result


def _compare_in_range(
    engine: Engine, case: Eval, result: QueryResult, asked: tuple[str | Expr, int]
) -> None:
    """An instant query must give what a range query gives at that step."""
    if isinstance(result, StringResult | SamplesResult):
        return
    query, ts = asked
    try:
        ranged = engine.range(query, ts - 60_000, ts + 60_000, 60_000)
    except QueryError as error:
        raise MismatchError(f"failed as a range query: {error}") from error
    if case.ordered:
        return
    at = ranged.ts[1:2]
    if isinstance(ranged, ScalarResult):
        _compare(case, ScalarResult(at, ranged.values[1:2]), annotations=False)
    else:
        some = ~is_absent(np.ascontiguousarray(ranged.values[:, 1]))
        rows = np.flatnonzero(some)
        natives = ranged.histograms
        if natives is not None:
            natives = natives.at(natives.index[rows, 1:2])
        values = ranged.values[rows, 1:2]
        cut = VectorResult(ranged.labels.take(rows), at, values, (), natives)
        _compare(case, cut, annotations=False)


def _compare(case: Eval, result: QueryResult, annotations: bool = True) -> None:
    if annotations:
        _compare_annotations(case, result.annotations)
    if isinstance(result, StringResult):
        if result.value != case.string:
            raise MismatchError(f"got the string {result.value!r}")
    elif isinstance(result, SamplesResult):
        _compare_samples(case, result)
    elif isinstance(result, ScalarResult):
        _compare_scalar(case, result)
    else:
        _compare_vector(case, result)


def _compare_annotations(case: Eval, annotations: tuple[Annotation, ...]) -> None:
    for kind in ("warn", "info"):
        found = [describe(a, case.query) for a in annotations if a.info == (kind == "info")]
        if case.expects(f"no_{kind}") and found:
            raise MismatchError(f"unexpected {kind}: {found}")
        wanted = case.expects(kind)
        if wanted and not found:
            raise MismatchError(f"no {kind}")
        for expectation in wanted:
            if not any(_matches(expectation, text) for text in found):
                raise MismatchError(f"no {kind} like {expectation.text!r}: {found}")
        if wanted and not all(any(_matches(e, text) for e in wanted) for text in found):
            raise MismatchError(f"unexpected {kind}: {found}")


def _matches(expectation: Expectation, text: str) -> bool:
    if expectation.how == "msg":
        return text == expectation.text
    if expectation.how == "regex":
        return re.search(expectation.text, text) is not None
    return True


def _compare_scalar(case: Eval, result: ScalarResult) -> None:
    if not case.instant:
        # A range query of a scalar is answered as a series without labels.
        _compare_points(case, [(Labels(), list(result.values))])
        return
    if case.scalar is None or not equal(case.scalar, float(result.values[0])):
        raise MismatchError(f"got the scalar {result.values[0]!r}")


def _compare_vector(case: Eval, result: VectorResult) -> None:
    natives = result.histograms
    rows = [
        result_points(row, None if natives is None else natives.at(natives.index[s]))
        for s, row in enumerate(result.values)
    ]
    _compare_points(case, list(zip(result.labels.rows(), rows, strict=True)))


def _compare_samples(case: Eval, result: SamplesResult) -> None:
    if case.samples is None:
        raise MismatchError("got a range vector")
    start, end, step = case.samples
    times = list(range(start, end + 1, step))
    found = []
    for row in result.series:
        labels = row.labels
        at = dict(zip(row.ts.tolist(), result_points(row.values, row.histograms), strict=True))
        if set(at) - set(times):
            raise MismatchError(f"samples of {labels} at unexpected times: {sorted(at)}")
        found.append((labels, [at.get(t) for t in times]))
    _compare_points(case, found)


def _compare_points(case: Eval, found: list[tuple[Labels, list[Point]]]) -> None:
    if len({labels for labels, _ in found}) != len(found):
        raise MismatchError("two series with the same labels")
    if case.ordered and [labels for labels, _ in found] != [labels for labels, _ in case.series]:
        raise MismatchError(f"wrong order: {[str(labels) for labels, _ in found]}")
    left = dict(found)
    for labels, points in case.series:
        if labels not in left:
            raise MismatchError(f"{labels} is missing; got {[str(x) for x, _ in found]}")
        got = left.pop(labels)
        wanted = points + [None] * (len(got) - len(points))
        if len(wanted) != len(got) or not all(map(equal, wanted, got)):
            raise MismatchError(f"{labels}: expected {wanted}, got {got}")
    if left or (case.scalar is not None and not case.series):
        raise MismatchError(f"unexpected: {[(str(labels), p) for labels, p in left.items()]}")


def equal(wanted: Point, got: Point) -> bool:
    """Return whether two points agree to a millionth."""
    if isinstance(wanted, HistogramValue) and isinstance(got, HistogramValue):
        return same(wanted, got, equal)
    if not isinstance(wanted, float | int) or not isinstance(got, float | int):
        return wanted is None and got is None
    if wanted == got or (math.isnan(wanted) and math.isnan(got)):
        return True
    if math.isinf(wanted) or math.isinf(got) or math.isnan(wanted) or math.isnan(got):
        return False
    size, apart = abs(wanted) + abs(got), abs(wanted - got)
    if wanted == 0 or got == 0 or size < _SMALLEST:
        return apart < _TOLERANCE * _SMALLEST
    return apart / size < _TOLERANCE
