"""Counter reset hints: what a histogram says about the one before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vedette.model.histograms import Histograms

UNKNOWN, RESET, NOT_RESET, GAUGE = range(4)


def forgetful(histograms: Histograms) -> Histograms:
    """Return ``histograms`` knowing of gauges only.

    The samples of a subquery are not those that the hints speak of: some are left out, some come
    several times.
    """
    hints = np.where(histograms.reset_hint == GAUGE, GAUGE, UNKNOWN).astype(np.int8)
    return replace(histograms, reset_hint=hints)
