"""What an answer to a remote-write request means, and how long to wait before the next try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Outcome(StrEnum):
    """What becomes of a request; a label of the metrics."""

    SENT = "sent"
    RETRY = "retry"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer means.

    Attributes:
        outcome: of the request.
        reason: why; a label of the metrics.
        wait_ms: pause that the receiver asked for, 0 for none.
        written: samples that the receiver stored of a request that it refused in part.
        advice: what a person can do about it, or "".
    """

    outcome: Outcome
    reason: str
    wait_ms: int = 0
    written: int = 0
    advice: str = ""


_LONGEST_WAIT_MS = 300_000


_WRITTEN = "x-prometheus-remote-write-{}-written"
_ADVICE = "it does not take remote write 2.0; set protobuf_message: prometheus.WriteRequest"


def judge(status: int, retry_after: str = "", *, retry_429: bool = True) -> Verdict:
    """Return what ``status`` means.

    2xx is done; 429 (where ``retry_429`` says so) and 5xx are tried again, for as long as the
    backlog is kept; everything else would fail again just so, and is dropped. Source: "Prometheus
    Remote-Write 1.0", "Retries & Backoff".
    """
    if 200 <= status < 300:
        return Verdict(Outcome.SENT, "accepted")
    if status >= 500 or (status == 429 and retry_429):
        seconds = int(retry_after) if retry_after.isascii() and retry_after.isdecimal() else 0
        return Verdict(Outcome.RETRY, str(status), min(seconds * 1000, _LONGEST_WAIT_MS))
    return Verdict(Outcome.DROPPED, str(status))


def judge_written(verdict: Verdict, headers: Mapping[str, str], samples: int) -> Verdict:
    """Return ``verdict`` in the light of what a receiver of version 2.0 says it has written.

    One that takes a request with ``samples`` and does not say how many of them it wrote read it as
    version 1.0, where it is empty. Source: "Prometheus Remote-Write 2.0", "Required Written
    Response Headers".
    """
    if verdict.outcome is Outcome.RETRY:
        return verdict
    if verdict.reason == "415":
        return replace(verdict, advice=_ADVICE)
    given = [headers.get(_WRITTEN.format(kind), "") for kind in ("samples", "histograms")]
    counts = [int(each) for each in given if each.isascii() and each.isdecimal()]
    written = min(sum(counts), samples)
    if verdict.outcome is Outcome.DROPPED:
        return replace(verdict, written=written)
    if not counts and samples:
        return Verdict(Outcome.DROPPED, "version", advice=_ADVICE)
    if written < samples:
        return Verdict(Outcome.DROPPED, "partial", written=written)
    return verdict


def pause_ms(attempt: int, least: int, most: int, asked: int, jitter: float) -> int:
    """Return how long to wait after failed attempt number ``attempt`` (from 1).

    It doubles from ``least`` to ``most`` and is never shorter than the receiver ``asked`` for;
    ``jitter`` in [0, 1) spreads those that failed together.
    """
    ceiling = min(most, least << min(attempt - 1, 30))
    return max(asked, round(ceiling * (0.5 + jitter / 2)))
