"""Times and durations of templates, as Go's package ``time`` prints and formats them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from vedette.rules.gotemplate.values import Struct, TemplateError, Value, kind_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAYOUT = re.compile(
    r"January|Jan|Monday|Mon|MST|2006|-07:00|-0700|Z07:00|[.,][09]+|01|02|03|04|05|06|002|15|PM|pm"
    r"|1|2|3|4|5|_2"
)


def moment(seconds: float) -> Struct:
    """Return the time ``seconds`` after the epoch, in UTC, as a value with Go's methods.

    Raises:
        TemplateError: it lies outside the years 1 to 9999.
    """
    try:
        when = _EPOCH + timedelta(microseconds=round(seconds * 1e6))
    except (OverflowError, ValueError):
        raise TemplateError(f"{seconds} cannot be represented as a time") from None

    def layout(text: Value) -> str:
        if not isinstance(text, str):
            raise TemplateError(f"wrong type for value; expected string; got {kind_of(text)}")
        return _LAYOUT.sub(lambda match: _part(match.group(), when), text)

    return Struct(
        "time.Time",
        {},
        {
            "Format": layout,
            "Unix": lambda: int(seconds // 1),
            "UTC": lambda: moment(seconds),
            "Year": lambda: when.year,
            "Month": lambda: f"{when:%B}",
            "Day": lambda: when.day,
            "Hour": lambda: when.hour,
            "Minute": lambda: when.minute,
            "Second": lambda: when.second,
            "Weekday": lambda: f"{when:%A}",
            "YearDay": lambda: when.timetuple().tm_yday,
            "String": lambda: time_text(when),
        },
        text=time_text(when),
    )


def time_text(when: datetime) -> str:
    """Return ``when`` as Go's ``Time.String`` does: 2015-06-23 13:19:44.128 +0000 UTC."""
    fraction = f".{when.microsecond:06d}".rstrip("0") if when.microsecond else ""
    return f"{when.year:04d}-{when:%m-%d %H:%M:%S}{fraction} +0000 UTC"


def _part(layout: str, when: datetime) -> str:
    if layout[0] in ".,":
        digits = f"{when.microsecond * 1000:09d}"[: len(layout) - 1]
        if layout[1] == "9":
            digits = digits.rstrip("0")
        return f"{layout[0]}{digits}" if digits else ""
    hour = when.hour % 12 or 12
    known = {
        "2006": f"{when.year:04d}",
        "06": f"{when.year % 100:02d}",
        "January": f"{when:%B}",
        "Jan": f"{when:%b}",
        "01": f"{when.month:02d}",
        "1": str(when.month),
        "Monday": f"{when:%A}",
        "Mon": f"{when:%a}",
        "02": f"{when.day:02d}",
        "2": str(when.day),
        "_2": f"{when.day:2d}",
        "002": f"{when.timetuple().tm_yday:03d}",
        "15": f"{when.hour:02d}",
        "03": f"{hour:02d}",
        "3": str(hour),
        "04": f"{when.minute:02d}",
        "4": str(when.minute),
        "05": f"{when.second:02d}",
        "5": str(when.second),
        "PM": "AM" if when.hour < 12 else "PM",
        "pm": "am" if when.hour < 12 else "pm",
        "MST": "UTC",
        "-0700": "+0000",
        "-07:00": "+00:00",
        "Z07:00": "Z",
    }
    return known[layout]


def duration(seconds: float) -> Struct:
    """Return ``seconds`` as a duration that prints as Go's ``Duration.String``: 1h2m3.5s."""
    nanoseconds = int(seconds * 1e9)
    text = duration_text(nanoseconds)
    return Struct(
        "time.Duration",
        {},
        {
            "Seconds": lambda: nanoseconds / 1e9,
            "Minutes": lambda: nanoseconds / 6e10,
            "Hours": lambda: nanoseconds / 3.6e12,
            "Milliseconds": lambda: nanoseconds // 1_000_000,
            "String": lambda: text,
        },
        text=text,
    )


def duration_text(nanoseconds: int) -> str:
    """Return nanoseconds as Go's ``Duration.String`` does."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
        if rest < size * 1000:
            return f"{sign}{_decimal(rest, size)}{unit}"
    minutes, rest = divmod(rest, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return f"{sign}{text}{_decimal(rest, 1_000_000_000)}s"


def _decimal(amount: int, size: int) -> str:
    whole, part = divmod(amount, size)
    digits = str(part).zfill(len(str(size)) - 1).rstrip("0") if size > 1 and part else ""
    return f"{whole}.{digits}" if digits else str(whole)
