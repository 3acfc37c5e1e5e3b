"""What an answer to a remote-write request means, and how long to wait before the next try."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What becomes of a request; a label of the metrics."""

    SENT = "sent"
    RETRY = "retry"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, why, and the pause in milliseconds that the receiver asked for (0: none)."""

    outcome: Outcome
    reason: str
    wait_ms: int = 0


_LONGEST_WAIT_MS = 300_000


def judge(status: int, retry_after: str = "") -> Verdict:
    """Return what ``status`` means.

    2xx is done; 429 and 5xx are tried again, for as long as the backlog is kept; everything else
    would fail again just so, and is dropped. Source: "Prometheus Remote-Write 1.0", "Retries &
    Backoff".
    """
    if 200 <= status < 300:
        return Verdict(Outcome.SENT, "accepted")
    if status == 429 or status >= 500:
        seconds = int(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0
        return Verdict(Outcome.RETRY, str(status), min(seconds * 1000, _LONGEST_WAIT_MS))
    return Verdict(Outcome.DROPPED, str(status))


def pause_ms(attempt: int, least: int, most: int, asked: int, jitter: float) -> int:
    """Return how long to wait after failed attempt number ``attempt`` (from 1).

    It doubles from ``least`` to ``most`` and is never shorter than the receiver ``asked`` for;
    ``jitter`` in [0, 1) spreads those that failed together.
    """
    ceiling = min(most, least << min(attempt - 1, 30))
    return max(asked, round(ceiling * (0.5 + jitter / 2)))
