"""How work that would hold the event loop is done elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Offload(Protocol):
    """Does ``work`` outside of the event loop; ``asyncio.to_thread`` is one."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Return what ``work`` returns, once it is done; raises what it raises."""
        ...
