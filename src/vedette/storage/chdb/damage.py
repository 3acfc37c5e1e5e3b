"""Recognises what the engine says of a damaged part, and tells a person what to do.

A part is a folder of files, of one table and one day; the engine checks each block that it reads.
"""

from __future__ import annotations

import re
from datetime import date

_CODES = (
    "CHECKSUM_DOESNT_MATCH",
    "CORRUPTED_DATA",
    "CANNOT_DECOMPRESS",
    "UNKNOWN_CODEC",
    "CANNOT_READ_ALL_DATA",
    "ATTEMPT_TO_READ_AFTER_EOF",
    "TOO_LARGE_SIZE_COMPRESSED",
)
_PART = re.compile(r"(/\S*/store/\w+/[\w-]+/((\d+)_\d+_\d+_\d+(?:_\d+)?))(?![\w])")
_NAME = re.compile(r"(?:^|_)(\d+)_\d+_\d+_\d+")
_TOLD = re.compile(r"damaged part (\S+) of (\S+):")
_EPOCH = date(1970, 1, 1).toordinal()
_LAST = date.max.toordinal() - _EPOCH


def marked(text: str) -> str:
    """Return what stands before the engine's message ``text``: the damaged part, or nothing."""
    if not any(code in text for code in _CODES):
        return ""
    found = _PART.search(text)
    if found is None:
        return ""
    return f"damaged part {found[1]} of {_day(int(found[3]))}: "


def day_of_part(name: str) -> str:
    """Return the day of a part by its name, "" where the name has none."""
    found = _NAME.search(name)
    return _day(int(found[1])) if found else ""


def _day(number: int) -> str:
    """Return day ``number`` since 1970; one that no calendar has stays a number."""
    return date.fromordinal(_EPOCH + number).isoformat() if number <= _LAST else str(number)


def advice(text: str) -> tuple[str, str]:
    """Return the part that a :func:`marked` message names, and what to tell; empty for others."""
    found = _TOLD.search(text)
    if found is None:
        return "", ""
    part, day = found[1], found[2]
    return part, (
        f"the store is damaged: {part} (of {day}) cannot be read; queries that need it fail, all "
        "others go on. Look at the disk; restore a backup, or stop Vedette and move that folder "
        "out of the data folder to go on without what it holds"
    )
