"""Samples on their way in, and the NaN bit patterns that carry meaning.

A value is a float64 whose bits survive head, spool and store unchanged: stale markers and other
NaN patterns, ±Inf and −0.0 included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.model.arrays import F64, I32, I64, Mask
from vedette.model.histograms import Histograms
from vedette.model.labels import Labels

STALE_BITS = 0x7FF0000000000002
"""Prometheus' staleness marker: the series has ended here."""

ABSENT_BITS = 0x7FF0564544455454
"""No sample at this timestamp of a shared vector. Never leaves Vedette; an incoming value with
just these bits is stored as the ordinary NaN."""

HISTOGRAM_BITS = 0x7FF0564548495354
"""The sample is a native histogram, which stands in the arrays beside the values. Reserved as
``ABSENT_BITS`` is."""

NAN_BITS = 0x7FF8000000000001
"""The ordinary NaN, as Prometheus writes it."""

STALE: float = np.array([STALE_BITS], np.uint64).view(np.float64)[0]
ABSENT: float = np.array([ABSENT_BITS], np.uint64).view(np.float64)[0]
HISTOGRAM: float = np.array([HISTOGRAM_BITS], np.uint64).view(np.float64)[0]


def bits(values: F64) -> NDArray[np.uint64]:
    """Return the same memory as unsigned integers."""
    return values.view(np.uint64)


def is_stale(values: F64) -> Mask:
    """Return where ``values`` are staleness markers; same shape."""
    mask: Mask = bits(values) == STALE_BITS
    return mask


def is_absent(values: F64) -> Mask:
    """Return where ``values`` hold no sample; same shape."""
    mask: Mask = bits(values) == ABSENT_BITS
    return mask


def is_histogram(values: F64) -> Mask:
    """Return where ``values`` stand for a native histogram; same shape."""
    mask: Mask = bits(values) == HISTOGRAM_BITS
    return mask


@dataclass(frozen=True, slots=True)
class Exemplar:
    """An example of what a series counted: usually a trace id.

    Attributes:
        series: number of the series, as in the batch or block that holds the exemplar.
        ts: milliseconds.
        value: of the observation.
        labels: of the exemplar, not of the series.
    """

    series: int
    ts: int
    value: float
    labels: Labels


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Samples that are acknowledged together: one scrape, or one remote-write request.

    Attributes:
        app: the application that they belong to.
        refs: int32[n], the series as numbered by the series index of this process.
        ts: int64[n], milliseconds since the epoch.
        values: float64[n]; ``HISTOGRAM`` where ``histograms`` holds the sample.
        target: not empty when all samples come from one scrape of this target (``job/instance``
            key); then ``ts`` holds one value n times, and ``refs`` each series once.
        start: int64[n] start timestamps, or ``None`` when all are unknown. Above 0 it is what the
            exposition said; 0 is unknown; below 0 it is synthetic, and the time is its negative: a
            target that was scraped before showed the series for the first time since then.
        histograms: the samples that are histograms (``index`` int32[n]), or ``None``.
        exemplars: with series as in ``refs``; those of series without a sample here are allowed.
    """

    app: str
    refs: I32
    ts: I64
    values: F64
    target: str = ""
    start: I64 | None = None
    histograms: Histograms | None = None
    exemplars: tuple[Exemplar, ...] = ()

    def __len__(self) -> int:
        return len(self.refs)
