"""Which queries are so light that a thread would cost more than they do.

A query is judged by its plan before it runs: only instant selectors of named metrics that have few
series, all of them in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from vedette.query.promql.ast import Call, Expr, MatrixSelector, Subquery, VectorSelector
from vedette.query.promql.features import walk
from vedette.query.promql.parser import PromQLSyntaxError, parse

MOST_SERIES = 300
_MOST_NODES = 24
_MOST_TEXT = 1_000
# It reads series that its text does not name.
_WIDE = frozenset({"info"})

RecentSeries = Callable[[str, int], int]
"""Number of series of a metric (all it ever had), or −1 where samples since a time in ms are not
all in memory. Cheap, and safe to call from the event loop."""


def is_light(query: str, ts: int, lookback_ms: int, recent: RecentSeries) -> bool:
    """Return whether evaluating ``query`` at ``ts`` (ms) takes well below a millisecond or two."""
    if len(query) > _MOST_TEXT:
        return False
    metrics = _metrics(query)
    if metrics is None:
        return False
    total = 0
    for metric in metrics:
        series = recent(metric, ts - lookback_ms)
        total += series
        if series < 0 or total > MOST_SERIES:
            return False
    return True


@lru_cache(1_024)
def _metrics(query: str) -> tuple[str, ...] | None:
    """Return the metrics that ``query`` selects, ``None`` when it is not light for any data."""
    try:
        expr = parse(query)
    except PromQLSyntaxError:
        return None
    nodes = list(walk(expr))
    if len(nodes) > _MOST_NODES or not all(map(_plain, nodes)):
        return None
    return tuple(n.name for n in nodes if isinstance(n, VectorSelector) and n.name is not None)


def _plain(node: Expr) -> bool:
    match node:
        case VectorSelector():
            shifted = node.offset or node.at is not None or node.offset_expr or node.modifier
            return node.name is not None and not shifted
        case Call(name):
            return name not in _WIDE
        case MatrixSelector() | Subquery():
            return False
    return True
