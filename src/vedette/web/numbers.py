"""Numbers and times as Prometheus' API writes them."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """Return ``value`` as Prometheus writes it: shortest digits, ``NaN``, ``+Inf``, ``-Inf``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    return text.removesuffix(".0")


def seconds(ms: int) -> str:
    """Return a timestamp as Prometheus writes it: seconds, with milliseconds where it has any."""
    whole, rest = divmod(abs(ms), 1000)
    text = f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
    return f"-{text}" if ms < 0 else text
