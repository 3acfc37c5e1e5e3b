"""What answers mean, and how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.forward.judge import Outcome, judge, judge_written, pause_ms


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


def test_429_may_be_final() -> None:
    """Where the settings say so, a request that was one too many is given up."""
    assert judge(429, retry_429=False).outcome is Outcome.DROPPED


@pytest.mark.parametrize(
    ("status", "samples", "histograms", "outcome", "reason", "written"),
    [
        (204, "2", "1", Outcome.SENT, "accepted", 0),
        (204, "3", "", Outcome.SENT, "accepted", 0),
        (204, "2", "0", Outcome.DROPPED, "partial", 2),
        (204, "", "", Outcome.DROPPED, "version", 0),
        (204, "many", "", Outcome.DROPPED, "version", 0),
        (400, "1", "0", Outcome.DROPPED, "400", 1),
        (400, "", "", Outcome.DROPPED, "400", 0),
        (415, "", "", Outcome.DROPPED, "415", 0),
        (503, "", "", Outcome.RETRY, "503", 0),
    ],
)
def test_what_was_written_counts(
    status: int, samples: str, histograms: str, outcome: Outcome, reason: str, written: int
) -> None:
    """A receiver of 2.0 that took three samples says so; otherwise they are not there."""
    headers = {
        "x-prometheus-remote-write-samples-written": samples,
        "x-prometheus-remote-write-histograms-written": histograms,
    }
    found = judge_written(judge(status), headers, 3)
    assert (found.outcome, found.reason, found.written) == (outcome, reason, written)
    assert ("protobuf_message" in found.advice) == (reason in ("version", "415"))


def test_requests_without_samples_need_no_counts() -> None:
    """Exemplars alone are no samples that a receiver could have written."""
    assert judge_written(judge(204), {}, 0).outcome is Outcome.SENT
