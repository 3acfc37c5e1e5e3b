"""Answers of the query engine, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vedette.model.arrays import F64, I64
from vedette.model.blocks import LabelTable
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on a result; ``info`` is milder than a warning. Positions are character offsets."""

    text: str
    info: bool = False
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class VectorResult:
    """S series over K evaluation times (K is 1 for an instant query).

    ``labels`` includes ``__name__`` where the operation keeps it; ``values`` is float64[S, K] with
    ``ABSENT`` where a series has no value at a step and ``HISTOGRAM`` where its value is a native
    histogram of ``histograms`` (``index`` int32[S, K]); ``ts`` is int64[K]. Series without any
    value are left out.
    """

    labels: LabelTable
    ts: I64
    values: F64
    annotations: tuple[Annotation, ...] = ()
    histograms: Histograms | None = None


@dataclass(frozen=True, slots=True)
class ScalarResult:
    """A scalar over K evaluation times: float64[K] at int64[K]."""

    ts: I64
    values: F64
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class StringResult:
    """A string literal, evaluated at ``ts``."""

    ts: int
    value: str
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class RawSeries:
    """Samples of one series: float64[n] at int64[n].

    ``HISTOGRAM`` stands where ``histograms`` (``index`` int32[n]) holds the sample.
    """

    labels: Labels
    ts: I64
    values: F64
    histograms: Histograms | None = None


@dataclass(frozen=True, slots=True)
class SamplesResult:
    """Raw samples of an instant query for a range vector such as ``x[5m]``."""

    series: tuple[RawSeries, ...]
    annotations: tuple[Annotation, ...] = ()


QueryResult: TypeAlias = VectorResult | ScalarResult | StringResult | SamplesResult


def steps(start: int, end: int, step: int) -> I64:
    """Return the evaluation times int64[K] from ``start`` to at most ``end``, ``step`` ms apart."""
    return np.arange(start, end + 1, step, dtype=np.int64)
