"""Query results as the JSON that Prometheus' clients read.

Rows of floats are written by orjson and joined with timestamps that are rendered once per answer,
so that no Python object is made per sample beyond one bytes slice. Source of the format:
Prometheus' documentation, "HTTP API", "Expression query result formats".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import orjson

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels
from vedette.model.results import (
    Annotation,
    QueryResult,
    RawSeries,
    SamplesResult,
    ScalarResult,
    StringResult,
    VectorResult,
)
from vedette.model.samples import Exemplar, is_absent
from vedette.query.promql.remarks import describe
from vedette.query.promql.remarks import number as plain
from vedette.query.usage import Usage
from vedette.web.histograms import HistogramTexts
from vedette.web.numbers import number as number
from vedette.web.numbers import seconds as seconds

TRUNCATED = "results truncated due to limit"
_MOST_ANNOTATIONS = 10


def scientific(value: float) -> str:
    """Return ``value`` with an exponent of two digits or more, as alerts have it: ``1e+00``."""
    if not math.isfinite(value):
        return number(value)
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def answer(
    result: QueryResult,
    query: str = "",
    *,
    range_query: bool,
    stats: bytes = b"",
    warnings: Sequence[str] = (),
) -> bytes:
    """Return the whole body of a successful query.

    Args:
        result: what the engine gave.
        query: the text that annotations name a place in.
        range_query: a scalar becomes a matrix with one unlabelled series, as in Prometheus.
        stats: the JSON of the member ``stats``, where it was asked for.
        warnings: further ones than the result's own.
    """
    kind, body = _data(result, range_query=range_query)
    head = b'{"status":"success","data":{"resultType":"%s","result":%s' % (kind.encode(), body)
    end = b',"stats":%s}' % stats if stats else b"}"
    return head + end + _annotations(result.annotations, query, warnings) + b"}"


def statistics(usage: Usage) -> bytes:
    """Return what a query used in the members that Prometheus has for it (times in seconds).

    Vedette does not tell preparation and sorting apart from the evaluation; ``peakSamples`` is the
    memory at the peak in values of 8 bytes.
    """
    total = round(usage.eval_seconds, 9)
    return orjson.dumps(
        {
            "timings": {
                "evalTotalTime": total,
                "resultSortTime": 0,
                "queryPreparationTime": 0,
                "innerEvalTime": total,
                "execQueueTime": round(usage.queue_seconds, 9),
                "execTotalTime": round(usage.queue_seconds + usage.eval_seconds, 9),
            },
            "samples": {
                "totalQueryableSamples": usage.samples,
                "samplesRead": usage.samples,
                "peakSamples": usage.peak_bytes // 8,
            },
        }
    )


def cut(result: QueryResult, most: int) -> tuple[QueryResult, bool]:
    """Return the first ``most`` series of a result, and whether it had more."""
    if isinstance(result, SamplesResult) and len(result.series) > most:
        return replace(result, series=result.series[:most]), True
    if isinstance(result, VectorResult) and len(result.values) > most:
        labels = result.labels.take(np.arange(most))
        natives = result.histograms
        if natives is not None:
            natives = natives.at(natives.index[:most])
        values = result.values[:most]
        return replace(result, labels=labels, values=values, histograms=natives), True
    return result, False


def exemplar(found: Exemplar) -> dict[str, object]:
    """Return an exemplar as the API writes it; the timestamp is in seconds."""
    return {
        "labels": found.labels.as_dict(),
        "value": number(found.value),
        "timestamp": found.ts / 1000,
    }


def size(result: QueryResult) -> int:
    """Return how many points a result has at most."""
    if isinstance(result, SamplesResult):
        return sum(len(row.ts) for row in result.series)
    return 1 if isinstance(result, StringResult) else result.values.size


def success(data: object, warnings: Sequence[str] = ()) -> bytes:
    """Return the body of any other successful answer of the Prometheus API."""
    members: dict[str, object] = {"status": "success", "data": data}
    if warnings:
        members["warnings"] = warnings
    return orjson.dumps(members, option=orjson.OPT_NON_STR_KEYS)


def failure(kind: str, message: str) -> bytes:
    """Return the body of a failed request of the Prometheus API."""
    return orjson.dumps({"status": "error", "errorType": kind, "error": message})


def _data(result: QueryResult, *, range_query: bool) -> tuple[str, bytes]:
    if isinstance(result, VectorResult):
        labels = [_metric(row) for row in result.labels.rows()]
        if range_query:
            return "matrix", matrix(labels, result.ts, result.values, result.histograms)
        return "vector", _vector(labels, result)
    if isinstance(result, SamplesResult):
        return "matrix", b"[" + b",".join(map(_raw, result.series)) + b"]"
    if isinstance(result, ScalarResult):
        if range_query:
            return "matrix", matrix([b"{}"], result.ts, result.values[np.newaxis, :])
        point = f'[{seconds(int(result.ts[0]))},"{plain(float(result.values[0]))}"]'
        return "scalar", point.encode()
    return "string", _string(result)


def _string(result: StringResult) -> bytes:
    return b"[%s,%s]" % (seconds(result.ts).encode(), orjson.dumps(result.value))


def _vector(labels: list[bytes], result: VectorResult) -> bytes:
    stamp = seconds(int(result.ts[0])).encode()
    values = map(number, result.values[:, 0].tolist())
    present = (~is_absent(np.ascontiguousarray(result.values[:, 0]))).tolist()
    natives = result.histograms
    texts = None if natives is None else HistogramTexts(natives)
    index = [-1] * len(labels) if natives is None else natives.index[:, 0].tolist()
    rows = []
    for metric, value, there, row in zip(labels, values, present, index, strict=True):
        if row >= 0 and texts is not None:
            rows.append(b'{"metric":%s,"histogram":[%s,%s]}' % (metric, stamp, texts[row]))
        elif there:
            rows.append(b'{"metric":%s,"value":[%s,"%s"]}' % (metric, stamp, value.encode()))
    return b"[" + b",".join(rows) + b"]"


def matrix(
    labels: list[bytes], ts: I64, values: F64, histograms: Histograms | None = None
) -> bytes:
    """Return a matrix: float64[S, K] at int64[K], ``ABSENT`` points and empty series left out.

    Points that are ``histograms`` (``index`` int32[S, K]) make a member of their own.
    """
    values = np.ascontiguousarray(values)
    stamps = [f'[{seconds(t)},"'.encode() for t in ts.tolist()]
    holes = is_absent(values)
    texts = None
    if histograms is not None:
        texts = HistogramTexts(histograms)
        holes |= histograms.index >= 0
    whole: Mask = ~np.any(holes, axis=1)
    rows = []
    for s, metric in enumerate(labels):
        if whole[s]:
            rows.append(_series(metric, _join(stamps, values[s])))
            continue
        there = np.flatnonzero(~holes[s])
        points = _join([stamps[k] for k in there.tolist()], values[s, there])
        if texts is not None and histograms is not None:
            natives = _histograms(ts, histograms.index[s].tolist(), texts)
            if natives:
                rows.append(_series(metric, points, natives))
                continue
        if len(there):
            rows.append(_series(metric, points))
    return b"[" + b",".join(rows) + b"]"


def _raw(row: RawSeries) -> bytes:
    """Return the samples of a series as they are."""
    natives = row.histograms
    if natives is None:
        return _series(_metric(row.labels), _pairs(row.ts, row.values))
    floats = natives.index < 0
    points = _pairs(row.ts[floats], row.values[floats])
    texts = HistogramTexts(natives)
    return _series(_metric(row.labels), points, _histograms(row.ts, natives.index.tolist(), texts))


def _histograms(ts: I64, index: list[int], texts: HistogramTexts) -> bytes:
    return b",".join(
        b"[%s,%s]" % (seconds(t).encode(), texts[row])
        for t, row in zip(ts.tolist(), index, strict=True)
        if row >= 0
    )


def _series(metric: bytes, points: bytes, histograms: bytes = b"") -> bytes:
    if not histograms:
        return b'{"metric":%s,"values":[%s]}' % (metric, points)
    values = b',"values":[%s]' % points if points else b""
    return b'{"metric":%s%s,"histograms":[%s]}' % (metric, values, histograms)


def _pairs(ts: I64, values: F64) -> bytes:
    return _join([f'[{seconds(t)},"'.encode() for t in ts.tolist()], values)


def _join(stamps: list[bytes], values: F64) -> bytes:
    if not stamps:
        return b""
    texts = _texts(values)
    return b'"],'.join(map(bytes.__add__, stamps, texts)) + b'"]'


def _texts(values: F64) -> list[bytes]:
    if not np.isfinite(values).all():
        return [number(value).encode() for value in values.tolist()]
    row = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    if b"e" in row:
        return [number(value).encode() for value in values.tolist()]
    return row[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")


def _metric(labels: Labels) -> bytes:
    return orjson.dumps(dict(labels.pairs))


def _annotations(notes: Iterable[Annotation], query: str, warnings: Sequence[str]) -> bytes:
    parts = []
    notes = list(notes)
    for member, info in (("warnings", False), ("infos", True)):
        texts = [] if info else list(warnings)
        texts += [describe(note, query) for note in notes if note.info is info]
        if len(texts) > _MOST_ANNOTATIONS:
            kind = "info" if info else "warning"
            more = f"{len(texts) - _MOST_ANNOTATIONS} more {kind} annotations omitted"
            texts = [*texts[:_MOST_ANNOTATIONS], more]
        if texts:
            parts.append(f',"{member}":'.encode() + orjson.dumps(texts))
    return b"".join(parts)
