"""How a bound or quantile is written as a label value."""

from __future__ import annotations

import math
from decimal import Decimal


def format_bound(value: float) -> str:
    """Return ``value`` as OpenMetrics writes a bound: shortest, and with ``.`` or ``e``.

    The form is that of Go's ``strconv.FormatFloat(value, 'g', -1, 64)``, which takes an exponent
    below 1e-4 and from 1e6 on; Python's ``repr`` takes it from 1e16 on.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if not value:
        return "0.0"
    exact = Decimal(repr(value)).normalize()
    exponent = exact.adjusted()
    if -4 <= exponent < 6:
        return repr(value)
    first, *rest = map(str, exact.as_tuple().digits)
    fraction = f".{''.join(rest)}" if rest else ""
    return f"{'-' if value < 0 else ''}{first}{fraction}e{exponent:+03d}"
