"""Histograms as the text that ``count_values`` makes a label of: ``{count:3, sum:4, (1,2]:3}``."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from vedette.model.histograms import CUSTOM_BUCKETS, Histograms
from vedette.query.promql.native.buckets import negative_bounds, positive_bounds

_MOST_DIGITS = 21
"""Digits before the point that are still written out."""


def histogram_texts(histograms: Histograms) -> list[str]:
    """Return the text of each histogram, buckets from the lowest to the highest."""
    below, above = negative_bounds(histograms), positive_bounds(histograms)
    return [_text(histograms, row, below, above) for row in range(histograms.rows)]


_Bounds = tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], ...]


def _text(h: Histograms, row: int, below: _Bounds, above: _Bounds) -> str:
    parts = [f"count:{general(float(h.count[row]))}", f"sum:{general(float(h.sum[row]))}"]
    some = slice(*h.negative_offsets[row : row + 2].tolist())
    columns = (below[0][some], below[1][some], h.negative_count[some])
    for low, high, count in reversed(list(zip(*(side.tolist() for side in columns), strict=True))):
        if count:
            parts.append(f"[{general(low)},{general(high)}):{general(count)}")
    zero, edge = float(h.zero_count[row]), float(h.zero_threshold[row])
    if zero:
        parts.append(f"[{general(-edge)},{general(edge)}]:{general(zero)}")
    some = slice(*h.positive_offsets[row : row + 2].tolist())
    first = (h.schema[row] == CUSTOM_BUCKETS) & (h.positive_index[some] == 0)
    columns = (above[0][some], above[1][some], h.positive_count[some])
    buckets = zip(first.tolist(), *(side.tolist() for side in columns), strict=True)
    for closed, low, high, count in buckets:
        if count:
            opening = "[" if closed else "("
            parts.append(f"{opening}{general(low)},{general(high)}]:{general(count)}")
    return "{" + ", ".join(parts) + "}"


def general(value: float) -> str:
    """Return ``value`` as Go's ``%g`` does: shortest, with an exponent where it is far from 1."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted()
    if value == 0 or -4 <= exponent < _MOST_DIGITS:
        return f"{number:f}"
    mantissa, _, power = f"{number:e}".partition("e")
    return f"{mantissa}e{'-' if int(power) < 0 else '+'}{abs(int(power)):02d}"
