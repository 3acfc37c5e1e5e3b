"""Durations as Prometheus writes them: ``1h30m``, ``15s``, ``100ms``."""

from __future__ import annotations

import re

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?"
)


def parse_duration(text: str) -> int:
    """Return the milliseconds that ``text`` stands for.

    Raises:
        ValueError: ``text`` is not a duration such as ``1h30m`` (falling units, each once).
    """
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0
    if not text or match is None:
        raise ValueError(f'not a duration: "{text}"; write it like 30s, 5m or 1h30m')
    pairs = zip(match.groups(), _UNITS_MS.values(), strict=True)
    return sum(int(count) * unit for count, unit in pairs if count)


def format_duration(ms: int) -> str:
    """Return the shortest text that :func:`parse_duration` reads back as ``ms``."""
    if ms == 0:
        return "0s"
    sign, rest = ("-", -ms) if ms < 0 else ("", ms)
    parts = []
    for name, unit in _UNITS_MS.items():
        count, remainder = divmod(rest, unit)
        # Years and weeks only where they come out even, so that 10 days do not read "1w3d".
        if count and (name not in "yw" or remainder == 0):
            parts.append(f"{count}{name}")
            rest = remainder
    return sign + "".join(parts)
