"""Time and durations."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.kit.clock import FakeClock, iso
from vedette.kit.duration import format_duration, parse_duration


@given(st.integers(0, 10**14))
def test_durations_survive_the_round_trip(ms: int) -> None:
    """What is printed is read back as the same number."""
    assert parse_duration(format_duration(ms)) == ms


@pytest.mark.parametrize("text", ["", "5", "m", "1m1h", "1.5h", "-5m", "5 m", "1h1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Units come once each, in falling order, with whole numbers."""
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


def test_iso_has_milliseconds_and_z() -> None:
    """Timestamps are ISO-8601 in UTC."""
    assert iso(1_767_225_600_007) == "2026-01-01T00:00:00.007Z"


async def test_the_fake_clock_wakes_sleepers_in_order() -> None:
    """Sleepers wake at their own time and see it."""
    clock = FakeClock(0)
    woken: list[tuple[str, int]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now_ms()))

    tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("late", 2), ("early", 1))]
    await clock.advance(1.5)
    assert woken == [("early", 1000)]
    await clock.advance(1)
    assert woken == [("early", 1000), ("late", 2000)]
    await asyncio.gather(*tasks)
