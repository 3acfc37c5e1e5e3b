"""Work that ends when the client that asked for it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from vedette.web.http import ClientGoneError, Receive

T = TypeVar("T")

# Looking out for the end of a connection costs more than a short answer does.
_WATCHED_AFTER_SECONDS = 0.02


async def while_connected(
    receive: Receive, work: Awaitable[T], after: float = _WATCHED_AFTER_SECONDS
) -> T:
    """Return what ``work`` gives; cancel it when the client disconnects.

    The request's body must have been read. Work is only watched when it takes longer than
    ``after`` seconds.

    Raises:
        ClientGoneError: the client left before there was an answer.
    """
    watch = _Watch(receive, asyncio.current_task())
    timer = asyncio.get_running_loop().call_later(after, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if watch.gone():
            raise ClientGoneError from None
        raise
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    def __init__(self, receive: Receive, worker: asyncio.Task[object] | None) -> None:
        self._receive = receive
        self._worker = worker
        self._task: asyncio.Task[None] | None = None
        self._left = False

    def begin(self) -> None:
        self._task = asyncio.create_task(self._until_gone(), name="connection")

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self._worker is not None:
            self._worker.cancel()

    def gone(self) -> bool:
        """Return whether the cancellation came from here alone, and take it back."""
        return self._left and self._worker is not None and self._worker.uncancel() == 0

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
