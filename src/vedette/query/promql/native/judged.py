"""Counter resets that are found while samples are read, for queries of counts and sums alone.

Prometheus leaves the buckets of a histogram out where a query asks for its count or sum only
(``HistogramStatsIterator``), and therefore looks for counter resets as it reads. Annotations depend
on what it finds, so the same is found here.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vedette.model.arrays import I64
from vedette.model.blocks import AnyBlock, Block
from vedette.query.promql.ast import Binary, Call, Expr, Subquery, VectorSelector
from vedette.query.promql.features import children
from vedette.query.promql.native.compare import detect_resets
from vedette.query.promql.native.hints import NOT_RESET, RESET, UNKNOWN

_STATISTICS = frozenset(("histogram_count", "histogram_sum", "histogram_avg"))


def selectors_of_statistics(expr: Expr) -> list[VectorSelector]:
    """Return the selectors of ``expr`` of whose histograms only count and sum are used.

    A function of these stands above them, and nothing that needs whole histograms does.
    """
    found: list[VectorSelector] = []
    pending = [(expr, False)]
    while pending:
        node, used = pending.pop()
        match node:
            case VectorSelector():
                if used:
                    found.append(node)
                continue
            case Subquery() | Call(function="histogram_quantile" | "histogram_quantiles"):
                continue
            case Call(function="histogram_fraction") | Binary(op="</" | ">/"):
                continue
            case Call() if node.function in _STATISTICS:
                used = True
            case _:
                pass
        pending += [(child, used) for child in children(node)]
    return found


def judged(block: AnyBlock) -> AnyBlock:
    """Return ``block`` with hints where it had none: what the histogram before tells.

    The first histogram of a series stays unknown.
    """
    natives = block.histograms
    if natives is None:
        return block
    series, at = _by_series(block)
    rows = natives.index[at].astype(np.int64)
    follows = np.flatnonzero(series[1:] == series[:-1]) + 1
    hints = natives.reset_hint[rows]
    open_ = follows[hints[follows] == UNKNOWN]
    fell = detect_resets(natives, rows[open_], rows[open_ - 1])
    hints[open_] = np.where(fell, RESET, NOT_RESET)
    index = np.full(natives.index.shape, -1, np.int32)
    index[at] = np.arange(len(rows))
    return replace(block, histograms=replace(natives.take(rows, index), reset_hint=hints))


def _by_series(block: AnyBlock) -> tuple[I64, tuple[I64, ...]]:
    """Return the series of each histogram, and where it stands, series by series in time."""
    natives = block.histograms
    if natives is None:
        return np.zeros(0, np.int64), (np.zeros(0, np.int64),)
    if isinstance(block, Block):
        series, step = np.nonzero(natives.index.T >= 0)
        return series, (step, series)
    at = np.flatnonzero(natives.index >= 0)
    return np.searchsorted(block.offsets, at, "right"), (at,)
