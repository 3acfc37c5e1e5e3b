"""Annotations about histograms: texts of Prometheus (``util/annotations``), and whom they name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vedette.model.arrays import I64
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import Span
from vedette.query.promql.remarks import Remarks

MIXED_SAMPLES = "encountered a mix of histograms and floats for metric name"
MIXED_IN_AGGREGATION = "encountered a mix of histograms and floats for aggregation"
MIXED_KINDS = (
    "vector contains a mix of histograms with exponential and custom buckets schemas for metric "
    "name"
)
NOT_COUNTER = "this native histogram metric is not a counter:"
NOT_GAUGE = "this native histogram metric is not a gauge:"
IGNORED = "ignored histograms in a range containing both floats and histograms for metric name"
RECONCILED = "mismatched custom buckets were reconciled during"
COLLIDED = "conflicting counter resets during histogram"


@dataclass(frozen=True, slots=True)
class Notes:
    """Where remarks on some series go.

    Attributes:
        remarks: that of the query.
        span: the expression that is remarked on.
        labels: those of all series that may be named.
    """

    remarks: Remarks
    span: Span
    labels: LabelTable

    def warn(self, text: str, series: I64) -> None:
        """Warn of the metrics of ``series`` (any order, any number), each once."""
        for name in self._names(series):
            self.remarks.warn(f'{text} "{name}"', self.span)

    def info(self, text: str, series: I64) -> None:
        """Remark on the metrics of ``series``."""
        for name in self._names(series):
            self.remarks.info(f'{text} "{name}"', self.span)

    def _names(self, series: I64) -> Iterator[str]:
        column = self.labels.column(METRIC_NAME)
        if not len(series):
            return
        if column is None:
            yield ""
            return
        for code in np.unique(column[0][series]).tolist():
            yield column[1][code]

    def reconciled(self, operation: str) -> None:
        """Remark that custom bounds differed in ``operation``."""
        self.remarks.info(f"{RECONCILED} {operation}", self.span)

    def collided(self, operation: str) -> None:
        """Warn that one histogram was said to follow a reset and another not to."""
        self.remarks.warn(f"{COLLIDED} {operation}", self.span)
