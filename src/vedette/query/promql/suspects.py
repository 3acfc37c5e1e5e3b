"""Rates of what does not look like a counter."""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import I64, Mask
from vedette.model.blocks import LabelTable
from vedette.model.labels import METRIC_NAME
from vedette.query.promql.ast import Span
from vedette.query.promql.labeling import group_by
from vedette.query.promql.remarks import Remarks

_COUNTER_SUFFIXES = ("_total", "_sum", "_count", "_bucket")
_TYPE = "__type__"
_COUNTER_TYPES = ("counter", "histogram")


class Suspects:
    """Remarks on metrics that a rate is taken of, once any of their series has a result.

    ``typed``: the label ``__type__`` tells what a counter is, not the end of the name.
    """

    def __init__(self, table: LabelTable, typed: bool, span: Span, remarks: Remarks) -> None:
        self._span, self._remarks = span, remarks
        groups = group_by(table, (METRIC_NAME, _TYPE) if typed else (METRIC_NAME,))
        self._groups = groups.ids
        self._texts: dict[int, str] = {}
        for group, series in enumerate(groups.first.tolist()):
            labels = table.labels(series)
            text = _remark(labels.metric, labels.get(_TYPE), typed)
            if text:
                self._texts[group] = text

    def saw(self, columns: I64, present: Mask | None) -> None:
        """Take note of results of the series ``columns``: ``present`` as in a part."""
        if not self._texts:
            return
        if present is not None and present.shape[1] == len(columns):
            columns = columns[present.any(axis=0)]
        elif present is not None and not present.any():
            return
        for group in np.unique(self._groups[columns]).tolist():
            text = self._texts.pop(group, "")
            if text:
                self._remarks.info(text, self._span)


def _remark(name: str, kind: str, typed: bool) -> str:
    if not name:
        return ""
    if typed:
        if kind in _COUNTER_TYPES:
            return ""
        return (
            'metric might not be a counter, __type__ label is not set to "counter" or '
            f'"histogram", got "{kind}": "{name}"'
        )
    if name.endswith(_COUNTER_SUFFIXES):
        return ""
    return (
        f'metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "{name}"'
    )
