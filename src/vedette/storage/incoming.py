"""What is made of a batch before anything looks at it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vedette.model.samples import ABSENT_BITS, HISTOGRAM_BITS, NAN_BITS, SampleBatch, bits
from vedette.storage.histogram_rows import through

_LOWEST_RESERVED = min(ABSENT_BITS, HISTOGRAM_BITS)


def plain(batch: SampleBatch) -> SampleBatch:
    """Return ``batch`` with the patterns that never come from outside made ordinary NaNs.

    ``HISTOGRAM`` stays where there is a histogram, and a histogram where its sample says so.
    """
    patterns = bits(batch.values)
    if patterns.max(initial=0) < _LOWEST_RESERVED and batch.histograms is None:
        return batch
    marked = patterns == HISTOGRAM_BITS
    reserved = patterns == ABSENT_BITS
    histograms = batch.histograms
    if histograms is None:
        reserved |= marked
    else:
        held = histograms.index >= 0
        reserved |= marked & ~held
        if bool((held & ~marked).any()):
            histograms = through(histograms, np.where(marked, histograms.index, np.int32(-1)))
    if not reserved.any():
        return replace(batch, histograms=histograms)
    values = batch.values.copy()
    bits(values)[reserved] = NAN_BITS
    return replace(batch, values=values, histograms=histograms)
