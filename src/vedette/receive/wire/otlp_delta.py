"""Delta points added up to cumulative ones, with a bounded memory.

What a request adds becomes valid only when the request was stored: a sender that repeats a refused
request must not be counted twice.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from vedette.model.histograms import HistogramValue
from vedette.receive.wire.otlp_points import ClassicValue, PointError, rescaled

Value = float | ClassicValue | HistogramValue
V = TypeVar("V", float, ClassicValue, HistogramValue)


@dataclass(frozen=True, slots=True)
class Running:
    """The sum of a series so far: since ``start`` ms (0: unknown), up to ``ts`` ms."""

    value: Value
    start: int
    ts: int


class DeltaSums:
    """The running sums of all delta series; the ones unused for longest are forgotten.

    A forgotten series starts anew, which readers see as a counter that was reset.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._sums: OrderedDict[bytes, Running] = OrderedDict()
        self.forgotten = 0
        """Series that were forgotten because there were too many."""

    def __len__(self) -> int:
        return len(self._sums)

    def begin(self) -> DeltaChanges:
        """Return what one request changes, to be committed once it is stored."""
        return DeltaChanges(self)

    def get(self, key: bytes) -> Running | None:
        """Return the running sum of the series ``key``."""
        return self._sums.get(key)

    def put(self, changes: dict[bytes, Running]) -> None:
        """Take new sums."""
        for key, running in changes.items():
            self._sums[key] = running
            self._sums.move_to_end(key)
        while len(self._sums) > self._most:
            self._sums.popitem(last=False)
            self.forgotten += 1


@dataclass(slots=True)
class DeltaChanges:
    """What one request adds to the sums."""

    sums: DeltaSums
    changed: dict[bytes, Running] = field(default_factory=dict)

    def add(self, key: bytes, value: V, start: int, ts: int) -> tuple[V, int]:
        """Add the delta ``value`` of the time from ``start`` to ``ts`` (ms).

        Returns the sum and its start in ms, 0 for unknown. Where the two cannot be added, such as
        for other bounds, the sum starts anew.

        Raises:
            PointError: for ``out_of_order``: the sum reaches to ``ts`` or beyond already.
        """
        before = self.changed.get(key) or self.sums.get(key)
        if before is not None and ts <= before.ts:
            message = f"a delta up to {ts} ms came after one up to {before.ts} ms"
            raise PointError("out_of_order", message)
        total: V | None = None
        if before is not None and isinstance(before.value, type(value)):
            total = _added(before.value, value)
        if before is None or total is None:
            total = value
            start = start or (before.ts if before else 0)
        else:
            start = before.start
        self.changed[key] = Running(total, start, ts)
        return total, start

    def commit(self) -> None:
        """Make the changes valid."""
        self.sums.put(self.changed)
        self.changed = {}


def _added(sum_: V, delta: V) -> V | None:
    """Return both together, or ``None`` where they do not fit together."""
    if isinstance(sum_, float):
        return sum_ + delta
    if isinstance(sum_, ClassicValue):
        return _added_classic(sum_, delta)
    return _added_native(sum_, delta)


def _added_classic(sum_: ClassicValue, delta: ClassicValue) -> ClassicValue | None:
    if sum_.bounds != delta.bounds or len(sum_.counts) != len(delta.counts):
        return None
    total = None if sum_.sum is None or delta.sum is None else sum_.sum + delta.sum
    counts = tuple(a + b for a, b in zip(sum_.counts, delta.counts, strict=True))
    return ClassicValue(sum_.bounds, counts, sum_.count + delta.count, total)


def _added_native(sum_: HistogramValue, delta: HistogramValue) -> HistogramValue | None:
    if sum_.zero_threshold != delta.zero_threshold:
        return None
    schema = min(sum_.schema, delta.schema)
    a, b = rescaled(sum_, schema), rescaled(delta, schema)
    return HistogramValue(
        schema,
        a.count + b.count,
        a.sum + b.sum,
        a.zero_threshold,
        a.zero_count + b.zero_count,
        0,
        _merged(a.positive, b.positive),
        _merged(a.negative, b.negative),
    )


def _merged(
    a: tuple[tuple[int, float], ...], b: tuple[tuple[int, float], ...]
) -> tuple[tuple[int, float], ...]:
    counts = dict(a)
    for at, count in b:
        counts[at] = counts.get(at, 0.0) + count
    return tuple(sorted(counts.items()))
