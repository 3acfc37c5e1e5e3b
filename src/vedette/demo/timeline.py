"""When the provider is well and when it is not."""

from __future__ import annotations

from enum import StrEnum

_FAULT_FROM, _FAULT_UNTIL = 25 / 90, 50 / 90
"""Shares of a limited run: 25 s and 50 s of the usual 90."""

_PERIOD, _PERIOD_FROM, _PERIOD_UNTIL = 240.0, 60.0, 100.0
"""Seconds, in a run without an end."""


class Mode(StrEnum):
    """How the provider is."""

    HEALTHY = "healthy"
    SLOW = "slow"
    FAULTY = "faulty"
    """Slow, and with faults of every kind."""


def mode_at(elapsed: float, seconds: float | None) -> Mode:
    """Return how the provider is ``elapsed`` seconds after ready, in a run of ``seconds``."""
    if seconds is None:
        ill = _PERIOD_FROM <= elapsed % _PERIOD < _PERIOD_UNTIL
    else:
        ill = _FAULT_FROM * seconds <= elapsed < _FAULT_UNTIL * seconds
    return Mode.FAULTY if ill else Mode.HEALTHY
