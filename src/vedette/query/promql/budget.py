"""What one query may spend: samples read, memory held at once, and time until it is stopped."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.query.promql.options import EngineOptions
from vedette.query.promql.remarks import execution_error
from vedette.query.usage import Usage

T = TypeVar("T")

_REMEDY = "narrow the range, raise the step or select fewer series"

_BETWEEN_CHECKS = 256


class Budget:
    """The account of one query.

    Whoever is about to allocate asks :meth:`need` first; what outlives the call is entered with
    :meth:`hold` and leaves the account by itself when the array dies.

    Attributes:
        options: those of the query.
        check: returns, or raises when the query has to stop; costs next to nothing.
    """

    def __init__(
        self, options: EngineOptions, check: Callable[[], None], usage: Usage | None = None
    ) -> None:
        self.check = check
        self._usage = usage or Usage()
        self.options = options
        self._spent = 0
        self._held = 0
        self._arrays: dict[int, tuple[weakref.ref[NDArray[Any]], int]] = {}

    def spend(self, samples: int) -> None:
        """Account for ``samples`` that are about to be read.

        Raises:
            QueryError: the query reads too many.
        """
        self.check()
        self._spent += samples
        self._usage.samples = self._spent
        if self._spent > self.options.max_samples:
            raise execution_error(
                "query processing would load too many samples into memory in query execution: "
                f"more than {self.options.max_samples:,}; {_REMEDY}"
            )

    def cells(self, count: int) -> None:
        """Refuse an intermediate result of ``count`` cells (series × steps) if that is too many."""
        if count > self.options.max_cells:
            raise execution_error(
                f"query would need to work on {count:,} values at once, more than "
                f"{self.options.max_cells:,}; {_REMEDY}"
            )

    def need(self, size: int) -> None:
        """Refuse ``size`` bytes more than what is held now if that is too much.

        Raises:
            QueryError: it is.
        """
        total = self._held + size
        if total > self.options.max_bytes:
            raise execution_error(
                f"query would need {_readable(total)} of memory at once, where "
                f"{_readable(self.options.max_bytes)} are allowed; {_REMEDY}"
            )

    def hold(self, *arrays: NDArray[Any] | None) -> None:
        """Enter ``arrays`` (views: what they are views of) until they are freed."""
        for array in arrays:
            owner = array if array is None or array.base is None else array.base
            key = id(owner)
            if not isinstance(owner, np.ndarray) or key in self._arrays:
                continue
            self._arrays[key] = (weakref.ref(owner, partial(self._release, key)), owner.nbytes)
            self._held += owner.nbytes
        if self._held > self._usage.peak_bytes:
            self._usage.peak_bytes = self._held

    def _release(self, key: int, _: object) -> None:
        self._held -= self._arrays.pop(key)[1]

    def paced(self, items: Iterable[T]) -> Iterator[T]:
        """Yield ``items``, with a check now and then: for loops of many small pieces of work."""
        for k, item in enumerate(items):
            if k % _BETWEEN_CHECKS == 0:
                self.check()
            yield item


def _readable(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} TB" if amount < 1000 else f"{amount:,.0f} TB"
