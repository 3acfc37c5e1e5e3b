"""Names for the arrays that everything else is written with, and runs in flat ones.

R runs of elements stand one after another in an array; ``offsets`` int64[R + 1] tell where each
begins and ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
Mask = NDArray[np.bool_]


def offsets_of(lengths: NDArray[np.integer]) -> I64:
    """Return int64[R + 1], the offsets of runs of ``lengths``, from 0."""
    out = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


def ranges(begins: NDArray[np.integer], ends: NDArray[np.integer]) -> I64:
    """Return the positions of all half-open ranges, one after another, as int64."""
    lengths = ends - begins
    stops = np.cumsum(lengths)
    total = int(stops[-1]) if len(stops) else 0
    at: I64 = np.arange(total, dtype=np.int64) + np.repeat(begins - stops + lengths, lengths)
    return at


def spread(offsets: I64, rows: NDArray[np.integer]) -> I64:
    """Return the positions of all elements of the runs ``rows``, one run after another."""
    return ranges(offsets[rows], offsets[rows + 1])
