"""Work that ends when the client that asked for it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from vedette.web.http import ClientGoneError, Receive

T = TypeVar("T")

_WATCHED_AFTER_SECONDS = 0.02


class Lookout:
    """Looks out for the end of connections whose answers take their time.

    Looking out costs more than a short answer does, and so does a timer: one timer at a time, for
    all requests, begins to watch those that are still at work.
    """

    def __init__(self, after: float = _WATCHED_AFTER_SECONDS) -> None:
        self._after = after
        self._at_work: list[_Watch] = []

    async def while_connected(self, receive: Receive, work: Awaitable[T]) -> T:
        """Return what ``work`` gives; cancel it when the client disconnects.

        The request's body must have been read. Work that takes longer than ``after`` seconds is
        watched.

        Raises:
            ClientGoneError: the client left before there was an answer.
        """
        watch = _Watch(receive, asyncio.current_task())
        if not self._at_work:
            asyncio.get_running_loop().call_later(self._after, self._look)
        self._at_work.append(watch)
        try:
            return await work
        except asyncio.CancelledError:
            if watch.gone():
                raise ClientGoneError from None
            raise
        finally:
            watch.end()

    def _look(self) -> None:
        at_work, self._at_work = self._at_work, []
        for watch in at_work:
            watch.begin()


class _Watch:
    __slots__ = ("_ended", "_left", "_receive", "_task", "_worker")

    def __init__(self, receive: Receive, worker: asyncio.Task[object] | None) -> None:
        self._receive = receive
        self._worker = worker
        self._task: asyncio.Task[None] | None = None
        self._left = False
        self._ended = False

    def begin(self) -> None:
        if not self._ended:
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
        self._ended = True
        if self._task is not None:
            self._task.cancel()
