"""Warnings of lasting troubles."""

from __future__ import annotations

import asyncio
import logging

import pytest

from vedette.kit.clock import FakeClock
from vedette.kit.complaints import Complaints


def test_the_same_trouble_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred failures in a minute are one line without a traceback; the next counts them."""
    clock = FakeClock()
    complaints = Complaints(logging.getLogger("test"), clock)
    for _ in range(100):
        complaints.warn("states cannot be stored", OSError("disk\n is full"), "free some space")
    asyncio.run(clock.advance(60))
    complaints.warn("states cannot be stored", OSError("disk is full"), "free some space")
    assert [record.getMessage() for record in caplog.records] == [
        "states cannot be stored: disk is full; free some space",
        "states cannot be stored: disk is full; free some space (99 more since this was said last)",
    ]
    assert all(record.exc_info is None for record in caplog.records)


def test_another_trouble_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Kinds do not hide each other."""
    complaints = Complaints(logging.getLogger("test"), FakeClock())
    complaints.warn("a", OSError("x"), "do this")
    complaints.warn("b", OSError(), "do that")
    assert [record.getMessage() for record in caplog.records] == [
        "a: x; do this",
        "b: OSError; do that",
    ]
