"""Work ends with the connection that asked for it."""

from __future__ import annotations

import asyncio

import pytest

from vedette.kit.clock import FakeClock
from vedette.web.connection import Lookout
from vedette.web.http import ClientGoneError, Message

TURN = FakeClock()


class Client:
    """A connection whose client leaves when told to."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_an_answer_passes_through() -> None:
    """Work that ends first gives its answer, watched or not."""

    async def work(turns: int) -> int:
        for _ in range(turns):
            await TURN.sleep(0)
        return 7

    client = Client()
    assert await Lookout().while_connected(client.receive, work(0)) == 7
    assert await Lookout(0).while_connected(client.receive, work(20)) == 7


async def test_a_client_that_leaves_cancels_the_work() -> None:
    """When the client goes away the work is cancelled and nobody else is."""
    client, cancelled = Client(), asyncio.Event()

    async def work() -> None:
        client.left.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientGoneError):
        await Lookout(0).while_connected(client.receive, work())
    assert cancelled.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Stopping the server cancels the request, although its client is still there."""
    client = Client()
    task = asyncio.create_task(Lookout(0).while_connected(client.receive, asyncio.Event().wait()))
    await TURN.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_lookout_serves_many() -> None:
    """Only the request whose client left is cancelled; later ones are watched too."""
    lookout = Lookout(0)
    staying, leaving, later = Client(), Client(), Client()
    done = asyncio.Event()
    kept = asyncio.create_task(lookout.while_connected(staying.receive, done.wait()))
    ended = asyncio.create_task(lookout.while_connected(leaving.receive, asyncio.Event().wait()))
    leaving.left.set()
    with pytest.raises(ClientGoneError):
        await ended
    last = asyncio.create_task(lookout.while_connected(later.receive, asyncio.Event().wait()))
    later.left.set()
    with pytest.raises(ClientGoneError):
        await last
    done.set()
    assert await kept is True
