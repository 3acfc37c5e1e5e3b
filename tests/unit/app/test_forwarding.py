"""Loops of remote write that are ended while a thread works for them."""

from __future__ import annotations

import asyncio

import pytest

from vedette.app.forwarding import finished
from vedette.kit.clock import FakeClock


async def test_results_and_errors_pass() -> None:
    """What the call returns or raises is what its caller gets."""
    loop = asyncio.get_running_loop()
    good, bad = loop.create_future(), loop.create_future()
    good.set_result(7)
    bad.set_exception(OSError("disk"))
    assert await finished(good) == 7
    with pytest.raises(OSError, match="disk"):
        await finished(bad)


@pytest.mark.parametrize("fails", [False, True])
async def test_the_end_waits_for_the_thread(fails: bool) -> None:
    """A cancelled caller ends when its call has ended, whatever that returns, and not before."""
    call: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(finished(call))
    clock = FakeClock()
    await clock.advance(0)
    task.cancel()
    await clock.advance(0)
    assert not task.done()
    if fails:
        call.set_exception(OSError("disk"))
    else:
        call.set_result(1)
    await asyncio.wait([task])
    assert task.cancelled()
