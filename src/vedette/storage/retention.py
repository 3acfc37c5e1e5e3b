"""Which days are let go: what is too old first, then the oldest while all is too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_DAY_MS = 86_400_000


class Expiry(StrEnum):
    """Why a day was let go; the values are labels of a metric."""

    TIME = "time"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class StoredDay:
    """A day of the store: its number since 1970-01-01 (UTC), and its bytes on disk.

    Days before 1970 are negative; a day is the unit of which the store lets go.
    """

    day: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """How long and how much is kept.

    Attributes:
        time_ms: a day is let go when it ended longer ago than this; 0 means never.
        size_bytes: of store, spool and recent samples together; 0 means no limit.
    """

    time_ms: int = 30 * _DAY_MS
    size_bytes: int = 0


def expired_days(
    days: Sequence[StoredDay], settings: RetentionSettings, now_ms: int, beside: int
) -> dict[int, Expiry]:
    """Return the days to let go, oldest first, and why.

    ``beside`` is what else counts towards the size, in bytes. The newest day stays whatever its
    size: a limit that one day exceeds must not erase what is being watched.
    """
    found: dict[int, Expiry] = {}
    ordered = sorted(days, key=lambda each: each.day)
    size = beside + sum(each.nbytes for each in ordered)
    for each in ordered:
        if settings.time_ms and (each.day + 1) * _DAY_MS <= now_ms - settings.time_ms:
            found[each.day] = Expiry.TIME
        elif settings.size_bytes and size > settings.size_bytes and each is not ordered[-1]:
            found[each.day] = Expiry.SIZE
        else:
            break
        size -= each.nbytes
    return found
