"""Loops over series that each have timestamps of their own, compiled where numba is installed.

For a shared timestamp vector numpy is as fast as anything; without one it spends most of its time
on bounds and gathers that a loop never makes. The loops below are ordinary functions: tests run
them as they are. :func:`compiled` returns them as machine code, or ``None`` while there is none:
the first call starts the compilation (about a second) beside the queries, which go on with numpy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vedette.model.arrays import F64, I64, Mask


def bounds(ts: I64, offsets: I64, ends: I64, span: int, closed: bool, lo: I64, hi: I64) -> None:
    """Write the windows of every series into ``lo`` and ``hi`` (int64[K, S]).

    Series s has ``ts[offsets[s]:offsets[s + 1]]``; window k is ``(ends[k] − span, ends[k]]``, its
    left edge too where ``closed``; ``ends`` do not descend.
    """
    for s in range(len(offsets) - 1):
        last = offsets[s + 1]
        high = offsets[s]
        low = high
        for k in range(len(ends)):
            edge = ends[k] - span
            while high < last and ts[high] <= ends[k]:
                high += 1
            while low < high and (ts[low] < edge or (ts[low] == edge and not closed)):
                low += 1
            lo[k, s] = low
            hi[k, s] = high


def newest(
    ts: I64,
    values: F64,
    offsets: I64,
    ends: I64,
    span: int,
    closed: bool,
    out: F64,
    ok: Mask,
) -> None:
    """Write the value that each series shows at each end, and whether it shows one.

    ``out`` is float64[K, S]. A staleness marker is for the caller to take out of ``ok``.
    """
    for s in range(len(offsets) - 1):
        last = offsets[s + 1]
        high = offsets[s]
        for k in range(len(ends)):
            while high < last and ts[high] <= ends[k]:
                high += 1
            fresh = False
            if high > offsets[s]:
                age = ends[k] - ts[high - 1]
                fresh = age < span or (age == span and closed)
            out[k, s] = values[high - 1] if fresh else 0.0
            ok[k, s] = fresh


def resets(values: F64, lo: I64, hi: I64, out: F64) -> None:
    """Write into ``out`` (float64[K, S]) what counters lost by falling within each window."""
    for s in range(lo.shape[1]):
        low = lo[0, s]
        high = low
        # An unevaluated sum of two numbers: what is added when a reset comes in must go without
        # a trace when it leaves.
        lost = 0.0
        rest = 0.0
        for k in range(lo.shape[0]):
            if lo[k, s] >= high:
                low = lo[k, s]
                high = low
                lost = 0.0
                rest = 0.0
            while high < hi[k, s] or low < lo[k, s]:
                term = 0.0
                if high < hi[k, s]:
                    if high > low and values[high] < values[high - 1]:
                        term = values[high - 1]
                    high += 1
                else:
                    low += 1
                    if values[low] < values[low - 1]:
                        term = -values[low - 1]
                if term != 0.0:
                    total = lost + term
                    part = total - lost
                    rest += (lost - (total - part)) + (term - part)
                    lost = total
            out[k, s] = lost + rest


def extrapolate(
    ts: I64,
    values: F64,
    lo: I64,
    hi: I64,
    ends: I64,
    span: int,
    kind: tuple[bool, bool, bool],
    out: F64,
) -> None:
    """Write the extrapolated increase of each window into ``out`` (float64[K, S]).

    The formula is that of ``counters.extrapolated``; ``kind`` holds its arguments counter,
    per_second and old_clamp. ``out`` comes with what counters lost in resets. Windows of fewer
    than two samples are left as they are.
    """
    counter, per_second, old_clamp = kind
    for s in range(lo.shape[1]):
        for k in range(lo.shape[0]):
            first, newest = lo[k, s], hi[k, s] - 1
            if newest <= first:
                continue
            sampled = (ts[newest] - ts[first]) / 1000.0
            near = sampled / (newest - first)
            threshold = near * 1.1
            start = (ts[first] - (ends[k] - span)) / 1000.0
            end = (ends[k] - ts[newest]) / 1000.0
            tail = end if end < threshold else near / 2
            far = start >= threshold
            head = near / 2 if far else start
            denominator = sampled * (span / 1000.0) if per_second else sampled
            origin = values[first]
            rise = values[newest] - origin + out[k, s]
            share = rise * (head / denominator)
            limit = origin * (sampled / denominator)
            if counter and far and old_clamp:
                if origin >= 0 and rise > 0 and sampled * (origin / rise) < threshold:
                    share = limit
            elif counter and origin >= 0 and limit < share:
                share = limit
            out[k, s] = rise * ((sampled + tail) / denominator) + share


def sums(values: F64, lo: I64, hi: I64, out: F64) -> None:
    """Write the sum of each window into ``out`` (float64[K, S]), added with compensation."""
    for s in range(lo.shape[1]):
        for k in range(lo.shape[0]):
            total = 0.0
            rest = 0.0
            for at in range(lo[k, s], hi[k, s]):
                term = values[at]
                added = total + term
                part = added - total
                rest += (total - (added - part)) + (term - part)
                total = added
            # Where something infinite was added the rest is a NaN and says nothing.
            out[k, s] = total + rest if np.isfinite(rest) else total


def extremes(values: F64, lo: I64, hi: I64, largest: bool, out: F64) -> None:
    """Write the largest or smallest value of each window; NaN only where there is nothing else."""
    for s in range(lo.shape[1]):
        for k in range(lo.shape[0]):
            best = np.nan
            for at in range(lo[k, s], hi[k, s]):
                value = values[at]
                if best != best or (value > best if largest else value < best):
                    best = value
            out[k, s] = best


WORTH = 1 << 16
"""Result cells (steps × series) that are worth a compiler."""

LONGEST_SCAN = 96
"""Mean samples of a window up to which a loop over each window beats shared partial results."""


class Bounds(Protocol):
    """As :func:`bounds`."""

    def __call__(
        self, ts: I64, offsets: I64, ends: I64, span: int, closed: bool, lo: I64, hi: I64, /
    ) -> None:
        """Write windows."""
        ...


@dataclass(frozen=True, slots=True)
class Kernels:
    """The loops, as machine code that runs without the interpreter's lock."""

    bounds: Bounds
    newest: Callable[[I64, F64, I64, I64, int, bool, F64, Mask], None]
    resets: Callable[[F64, I64, I64, F64], None]
    extrapolate: Callable[[I64, F64, I64, I64, I64, int, tuple[bool, bool, bool], F64], None]
    sums: Callable[[F64, I64, I64, F64], None]
    extremes: Callable[[F64, I64, I64, bool, F64], None]


PLAIN = Kernels(bounds, newest, resets, extrapolate, sums, extremes)
"""The loops as Python runs them, for tests."""

_ARGUMENTS = {
    "bounds": "times times times int bool TIMES TIMES",
    "newest": "times values times times int bool VALUES MASK",
    "resets": "values indices indices VALUES",
    "extrapolate": "times values indices indices times int flags VALUES",
    "sums": "values indices indices VALUES",
    "extremes": "values indices indices bool VALUES",
}
"""Kinds of the arguments of each loop: capitals are written to, the others may be read-only."""


class _Compiler:
    """Compiles once, on a thread of its own."""

    def __init__(self) -> None:
        self.result: Kernels | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self) -> threading.Thread:
        """Begin unless it was begun; return the thread."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._compile, name="compile-kernels")
                self._thread.start()
            return self._thread

    def _compile(self) -> None:
        try:
            import numba
        except ImportError:
            return  # an optional package: queries stay with numpy
        t: Any = numba.types  # typed in part only

        def read(kind: Any, dimensions: int) -> Any:
            return t.Array(kind, dimensions, "C", readonly=True)

        kinds = {
            "times": read(t.int64, 1),
            "values": read(t.float64, 1),
            "indices": read(t.int64, 2),
            "int": t.int64,
            "bool": t.boolean,
            "flags": t.UniTuple(t.boolean, 3),
            "TIMES": t.int64[:, ::1],
            "VALUES": t.float64[:, ::1],
            "MASK": t.boolean[:, ::1],
        }
        made = {
            name: numba.njit(
                t.void(*(kinds[kind] for kind in arguments.split())),
                nogil=True,
                error_model="numpy",
            )(getattr(PLAIN, name))
            for name, arguments in _ARGUMENTS.items()
        }
        self.result = Kernels(**made)


_COMPILER = _Compiler()


def compiled(cells: int) -> Kernels | None:
    """Return the compiled loops, ``None`` while there are none.

    Work of fewer than ``WORTH`` result ``cells`` does not make them: the compiler takes 60 MB.
    """
    if _COMPILER.result is None and cells >= WORTH:
        _COMPILER.start()
    return _COMPILER.result


def wait_until_compiled() -> Kernels | None:
    """Return the compiled loops once they are there; ``None`` without numba."""
    _COMPILER.start().join()
    return _COMPILER.result
