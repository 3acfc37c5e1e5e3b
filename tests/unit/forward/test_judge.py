"""What answers mean, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.forward.judge import Outcome, judge, pause_ms


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SENT),
        (204, Outcome.SENT),
        (302, Outcome.DROPPED),
        (400, Outcome.DROPPED),
        (404, Outcome.DROPPED),
        (429, Outcome.RETRY),
        (500, Outcome.RETRY),
        (503, Outcome.RETRY),
    ],
)
def test_statuses(status: int, outcome: Outcome) -> None:
    """Only what may go better later is tried again."""
    assert judge(status).outcome is outcome


@given(st.text(max_size=12))
def test_wishes_of_the_receiver_are_bounded(text: str) -> None:
    """No Retry-After, however odd, makes the sender fail or wait for more than five minutes."""
    assert 0 <= judge(503, text).wait_ms <= 300_000


@given(
    st.integers(1, 10_000), st.integers(1, 1_000), st.integers(1_000, 60_000), st.floats(0, 0.999)
)
def test_pauses_grow_and_stay_bounded(attempt: int, least: int, most: int, jitter: float) -> None:
    """Every pause lies between half the shortest and the longest one."""
    assert least // 2 <= pause_ms(attempt, least, most, 0, jitter) <= most
    assert pause_ms(attempt, least, most, 70_000, jitter) == 70_000
