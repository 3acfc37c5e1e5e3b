"""Sums by key that keep their digits.

A plain sum is good while it is not much smaller than what was added and taken away; only where it
is, or where it overflowed, it is formed again with compensation (A. Neumaier, 1974).
"""

from __future__ import annotations

import numpy as np

from vedette.model.arrays import F64, I64

_TRUSTED = 1e-5
"""Share of the sum of sizes below which a plain sum may have lost digits."""


def sums_by_key(keys: I64, values: F64, size: int) -> F64:
    """Return float64[size]: the sums of ``values`` (float64[n]) with the same key (int64[n])."""
    total: F64 = np.bincount(keys, weights=values, minlength=size).astype(np.float64)
    if not len(values) or (values.min() >= 0 and np.isfinite(total).all()):
        return total
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = np.bincount(keys, weights=np.abs(values), minlength=size)
        doubtful = ~(np.abs(total) >= _TRUSTED * sizes) | np.isinf(total)
    doubtful &= sizes > 0
    if doubtful.any():
        chosen = np.flatnonzero(doubtful)
        some = np.flatnonzero(doubtful[keys])
        total[chosen] = _compensated(np.searchsorted(chosen, keys[some]), values[some], len(chosen))
    return total


def _compensated(keys: I64, values: F64, size: int) -> F64:
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    length = np.bincount(keys, minlength=size)
    start = np.cumsum(length) - length
    total, lost = np.zeros(size), np.zeros(size)
    for k in range(int(length.max(initial=0))):
        chosen = np.flatnonzero(length > k)
        old, value = total[chosen], values[start[chosen] + k]
        with np.errstate(invalid="ignore", over="ignore"):
            new = old + value
            step = np.where(np.abs(old) >= np.abs(value), (old - new) + value, (value - new) + old)
        lost[chosen] += np.where(np.isfinite(new), step, 0.0)
        total[chosen] = new
    return np.where(np.isfinite(total), total + lost, total)
