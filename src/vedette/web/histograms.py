"""Native histograms as the JSON of Prometheus' API.

Source of the format: Prometheus' documentation, "HTTP API", "Native histograms". A bucket is
``[boundary rule, "left", "right", "count"]``, where the rule is 0 for one that is open on the left,
1 open on the right, 2 open on both sides, 3 closed. Empty buckets are left out.
"""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import F64
from vedette.model.histograms import CUSTOM_BUCKETS, Histograms
from vedette.query.promql.native.buckets import shown_bounds
from vedette.web.numbers import number

_OPEN_LEFT, _OPEN_RIGHT, _CLOSED = 0, 1, 3


class HistogramTexts:
    """Renders the rows of ``histograms``, each at most once."""

    def __init__(self, histograms: Histograms) -> None:
        self._histograms = histograms
        self._positive, self._negative = shown_bounds(histograms)
        self._known: dict[int, bytes] = {}

    def __getitem__(self, row: int) -> bytes:
        """Return ``{"count":"…","sum":"…","buckets":[…]}`` of ``row``."""
        text = self._known.get(row)
        if text is None:
            text = self._known[row] = self._rendered(row)
        return text

    def _rendered(self, row: int) -> bytes:
        h = self._histograms
        buckets = [*self._below(row), *self._around(row), *self._above(row)]
        head = f'"count":"{number(float(h.count[row]))}","sum":"{number(float(h.sum[row]))}"'
        tail = f',"buckets":[{",".join(buckets)}]' if buckets else ""
        return f"{{{head}{tail}}}".encode()

    def _below(self, row: int) -> list[str]:
        h = self._histograms
        some = slice(*h.negative_offsets[row : row + 2].tolist())
        lower, upper = (side[some] for side in self._negative)
        rules = np.full(len(lower), _OPEN_RIGHT)
        return _buckets(rules, lower, upper, h.negative_count[some])[::-1]

    def _around(self, row: int) -> list[str]:
        h = self._histograms
        if not h.zero_count[row] > 0:
            return []
        edge, count = h.zero_threshold[row : row + 1], h.zero_count[row : row + 1]
        return _buckets(np.array([_CLOSED]), -edge, edge, count)

    def _above(self, row: int) -> list[str]:
        h = self._histograms
        some = slice(*h.positive_offsets[row : row + 2].tolist())
        lower, upper = (side[some] for side in self._positive)
        first = (h.schema[row] == CUSTOM_BUCKETS) & (h.positive_index[some] == 0)
        rules = np.where(first, _CLOSED, _OPEN_LEFT)
        return _buckets(rules, lower, upper, h.positive_count[some])


def _buckets(rules: np.ndarray[tuple[int, ...], np.dtype[np.int64]], *sides: F64) -> list[str]:
    columns = zip(rules.tolist(), *(side.tolist() for side in sides), strict=True)
    return [
        f'[{rule},"{number(low)}","{number(high)}","{number(count)}"]'
        for rule, low, high, count in columns
        if count != 0
    ]
