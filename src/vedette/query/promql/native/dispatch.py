"""Which range function does what with series that have histograms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from vedette.model.arrays import F64, I64, Mask
from vedette.model.histograms import Histograms
from vedette.query.promql.extended import anchored_windows
from vedette.query.promql.native import extended, ranges, rates
from vedette.query.promql.native.flat import Sampled
from vedette.query.promql.native.notes import Notes
from vedette.query.promql.native.ranges import Found, OfFloats
from vedette.query.promql.rangefuncs import Arguments, RangeFunction
from vedette.query.promql.windows import Windows

_FUNCTIONS: dict[str, Callable[[Sampled, OfFloats], Found]] = {
    **dict.fromkeys(
        (
            "absent_over_time",
            "count_over_time",
            "present_over_time",
            "ts_of_first_over_time",
            "ts_of_last_over_time",
        ),
        ranges.like_floats,
    ),
    "first_over_time": ranges.oldest,
    "last_over_time": ranges.newest,
    "resets": ranges.resets,
    "changes": ranges.changes,
    "irate": ranges.newest_rates,
    "idelta": ranges.newest_deltas,
    "sum_over_time": ranges.sums,
    "avg_over_time": ranges.means,
}


def applied(
    name: str,
    function: RangeFunction,
    place: tuple[Windows, I64],
    arguments: Arguments,
    notes: Notes,
) -> tuple[F64, Mask | None, Histograms | None]:
    """Return what the range function ``name`` makes of windows, with or without histograms.

    ``place``: the windows, and their series in the table of ``notes``.
    """
    windows, columns = place
    if windows.histograms is None:
        return *function(windows, arguments), None
    return evaluate(name, function, Sampled(windows, windows.histograms, notes, columns), arguments)


def evaluate(name: str, function: RangeFunction, sampled: Sampled, arguments: Arguments) -> Found:
    """Return values, presence and histograms of the range function ``name``."""
    rate, edges = function.rate, arguments.edges
    with np.errstate(all="ignore"):
        if rate is not None and edges is not None:
            of_floats = partial(_applied, function, arguments)
            return extended.rates(sampled, of_floats, edges, rate.counter, rate.per_second)
        if edges is not None:
            sampled = replace(sampled, windows=anchored_windows(sampled.windows, edges))
            arguments = replace(arguments, edges=None)
        of_floats = partial(_applied, function, arguments)
        if rate is not None:
            return rates.rates(sampled, of_floats, rate.counter, rate.per_second)
        return _FUNCTIONS.get(name, ranges.of_floats)(sampled, of_floats)


def _applied(
    function: RangeFunction, arguments: Arguments, windows: Windows
) -> tuple[F64, Mask | None]:
    return function(windows, arguments)
