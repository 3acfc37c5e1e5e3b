"""What is written within a turn of the loop is sent in one piece."""

from __future__ import annotations

import asyncio

from vedette.app.listen import HttpServer, Together
from vedette.kit.clock import FakeClock
from vedette.web.http import Receive, Scope, Send

TURN = FakeClock()


class Wire(asyncio.Transport):
    """Remembers what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def test_head_and_body_go_together() -> None:
    """Writes of one turn are joined in order; those of the next stand alone."""
    wire = Wire()
    together = Together(wire, asyncio.get_running_loop())
    together.write(b"head ")
    together.write(b"body")
    assert wire.sent == []
    await TURN.sleep(0)
    together.write(b"more")
    await TURN.sleep(0)
    assert wire.sent == [b"head body", b"more"]


async def test_closing_sends_what_is_held() -> None:
    """An answer that is written just before the end arrives; after an abort nothing does."""
    wire, cut = Wire(), Wire()
    together = Together(wire, asyncio.get_running_loop())
    together.write(b"last words")
    together.close()
    assert (wire.sent, wire.closed) == ([b"last words"], True)
    together = Together(cut, asyncio.get_running_loop())
    together.write(b"lost")
    together.abort()
    await TURN.sleep(0)
    assert cut.sent == []
    assert together.is_closing()


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing."""


async def test_the_server_ends_as_soon_as_it_is_told() -> None:
    """It sleeps until then, dates its answers, and goes on while told to."""
    server = HttpServer(_nothing)
    server.should_exit = True
    server.should_exit = False
    running = asyncio.create_task(server.main_loop())
    for _ in range(5):
        await TURN.sleep(0)
    assert not running.done()
    assert dict(server.server_state.default_headers)[b"date"]
    server.should_exit = True
    for _ in range(5):
        await TURN.sleep(0)
    assert running.done()
