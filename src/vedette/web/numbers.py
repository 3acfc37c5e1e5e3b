"""Numbers and times as Prometheus' API writes them."""

from __future__ import annotations

import math
from decimal import Decimal


def number(value: float) -> str:
    """Return ``value`` as Prometheus writes samples: shortest digits, ``NaN``, ``+Inf``, ``-Inf``.

    An exponent stands below 1e-6 and from 1e21 on.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        return f"{Decimal(text):f}"
    return text.removesuffix(".0")


def seconds(ms: int) -> str:
    """Return a timestamp as Prometheus writes it: seconds, with milliseconds where it has any."""
    whole, rest = divmod(abs(ms), 1000)
    text = f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
    return f"-{text}" if ms < 0 else text
