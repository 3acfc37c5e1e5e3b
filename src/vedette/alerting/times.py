"""Time intervals in which a route is silent or active; pure.

The fields are Alertmanager's (``time_intervals``): times of day, weekdays, days of the month
(negative from its end), months and years, in a time zone; all given fields must fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    "",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)

Range = tuple[int, int]


class TimeError(ValueError):
    """A field of a time interval cannot be read; ``key`` names it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """Fields of one interval; an empty field fits always.

    Attributes:
        times: half-open ranges of minutes of the day, 0 to 1440.
        weekdays: inclusive ranges, Sunday is 0; days: 1 to 31 or −31 to −1; months, years.
    """

    times: tuple[Range, ...] = ()
    weekdays: tuple[Range, ...] = ()
    days: tuple[Range, ...] = ()
    months: tuple[Range, ...] = ()
    years: tuple[Range, ...] = ()
    zone: str = "UTC"

    def contains(self, now_ms: int) -> bool:
        """Whether the moment lies in the interval."""
        moment = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(self.zone))
        minute = moment.hour * 60 + moment.minute
        return (
            (not self.times or any(start <= minute < end for start, end in self.times))
            and _fits(self.weekdays, moment.isoweekday() % 7)
            and self._day_fits(moment)
            and _fits(self.months, moment.month)
            and _fits(self.years, moment.year)
        )

    def _day_fits(self, moment: datetime) -> bool:
        if not self.days:
            return True
        following = (moment.replace(day=28) + timedelta(days=4)).replace(day=1)
        length = (following - timedelta(days=1)).day

        def clamp(day: int) -> int:
            return max(1, min(length, day if day > 0 else length + day + 1))

        # A range that begins behind the month's end does not fit in that month at all.
        return any(
            clamp(start) <= moment.day <= clamp(end)
            for start, end in self.days
            if start <= length and (end > 0 or length + end + 1 >= 1)
        )


def _fits(ranges: Sequence[Range], value: int) -> bool:
    return not ranges or any(start <= value <= end for start, end in ranges)


@dataclass(frozen=True, slots=True)
class MuteTimes:
    """All time intervals by name."""

    spans: Mapping[str, tuple[TimeSpan, ...]] = field(default_factory=dict)

    def within(self, names: Sequence[str], now_ms: int) -> bool:
        """Whether ``now_ms`` lies in any interval of any of ``names``."""
        return any(span.contains(now_ms) for name in names for span in self.spans.get(name, ()))

    def muted(self, mute: Sequence[str], active: Sequence[str], now_ms: int) -> bool:
        """Whether a route with these names is silent now."""
        return self.within(mute, now_ms) or (bool(active) and not self.within(active, now_ms))


def parse_span(
    times: Sequence[tuple[str, str]],
    weekdays: Sequence[str],
    days_of_month: Sequence[str],
    months: Sequence[str],
    years: Sequence[str],
    zone: str,
) -> TimeSpan:
    """Return the interval that Alertmanager's texts describe.

    Raises:
        TimeError: a text cannot be read.
    """
    return TimeSpan(
        times=tuple(_minutes(start, end) for start, end in times),
        weekdays=tuple(_range("weekdays", text, _WEEKDAYS, 0, 6) for text in weekdays),
        days=tuple(_day_range(text) for text in days_of_month),
        months=tuple(_range("months", text, _MONTHS, 1, 12) for text in months),
        years=tuple(_range("years", text, (), 0, 9999) for text in years),
        zone=zone,
    )


def _minutes(start: str, end: str) -> Range:
    pair = (_minute(start), _minute(end))
    if pair[0] >= pair[1]:
        raise TimeError("times", f"{start} must come before {end}; split what spans midnight")
    return pair


def _minute(text: str) -> int:
    hours, colon, minutes = text.partition(":")
    if colon and hours.isdecimal() and minutes.isdecimal() and len(minutes) == 2:
        value = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and value <= 1440:
            return value
    raise TimeError("times", f'not a time of day: "{text}"; write it in quotes, like "09:30"')


def _range(key: str, text: str, names: Sequence[str], least: int, most: int) -> Range:
    first, _, last = text.lower().partition(":")
    start = _position(key, first, names)
    end = _position(key, last, names) if last else start
    if not least <= start <= end <= most:
        raise TimeError(key, f'not a rising range of {least} to {most}: "{text}"')
    return start, end


def _position(key: str, text: str, names: Sequence[str]) -> int:
    text = text.strip()
    if text and text in names:
        return names.index(text)
    if text.isdecimal() and key != "weekdays":
        return int(text)
    raise TimeError(key, f'not one of the {key.replace("_", " ")}: "{text}"')


def _day_range(text: str) -> Range:
    first, _, last = text.partition(":")
    try:
        start = int(first)
        end = int(last) if last else start
    except ValueError:
        raise TimeError("days_of_month", f'not a day of the month: "{text}"') from None
    sound = all(1 <= abs(day) <= 31 for day in (start, end))
    if not sound or (start < 0 < end) or (start > end and (start > 0) == (end > 0)):
        raise TimeError("days_of_month", f'not a range of days of the month: "{text}"')
    return start, end
