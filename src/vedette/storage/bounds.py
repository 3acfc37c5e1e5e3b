"""What a selection may cost, counted."""

from __future__ import annotations

import numpy as np

from vedette.model.blocks import AnyBlock, Block, Selection
from vedette.model.samples import is_absent
from vedette.storage.interface import SelectionTooLargeError, SelectLimits

_SAMPLE_BYTES = 40
_ROOM = 1 << 20
_MOST_BYTES = 512 << 20


def answer_bytes(limits: SelectLimits, held: int) -> int:
    """Return how large an answer of the engine may be when ``held`` samples are loaded already.

    A sample is 8 to 24 bytes, more where rows of few samples have not been merged yet.
    """
    most = min(_MOST_BYTES, limits.max_bytes or _MOST_BYTES)
    if limits.max_samples:
        left = max(0, limits.max_samples - held)
        most = min(most, _SAMPLE_BYTES * left + _ROOM)
    return most


def refuse_beyond(limits: SelectLimits, samples: int) -> None:
    """Do nothing while ``samples`` are not too many.

    Raises:
        SelectionTooLargeError: they are.
    """
    if limits.max_samples and samples > limits.max_samples:
        raise SelectionTooLargeError(
            "query processing would load too many samples into memory in query execution: "
            f"more than {limits.max_samples:,}; narrow the range or select fewer series"
        )


def count_samples(selection: Selection, start: int, end: int) -> int:
    """Return how many samples of ``start <= ts <= end`` (ms) a selection holds."""
    return sum(_count(block, start, end) for block in selection.blocks)


def _count(block: AnyBlock, start: int, end: int) -> int:
    if isinstance(block, Block):
        lo, hi = np.searchsorted(block.ts, [start, end + 1]).tolist()
        return int(block.values[lo:hi].size)
    return int(((block.ts >= start) & (block.ts <= end)).sum())


def count_present(selection: Selection, start: int, end: int) -> int:
    """Return the same without the absent cells of blocks, at the cost of looking at each."""
    absent = 0
    for block in selection.blocks:
        if isinstance(block, Block):
            lo, hi = np.searchsorted(block.ts, [start, end + 1]).tolist()
            absent += int(is_absent(block.values[lo:hi]).sum())
    return count_samples(selection, start, end) - absent
