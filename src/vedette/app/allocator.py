"""Settings of glibc's allocator, which else keeps much more than a server of many threads needs.

Source: "mallopt(3)" and "malloc_trim(3)" of the Linux manual. Elsewhere these do nothing.
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads share two arenas: with one each, what one frees the others cannot use.

    Measured with 100,000 pushed series: 600 MB instead of 770. Call it before threads begin.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def trim() -> None:
    """Give memory that is free back to the system; takes some milliseconds."""
    malloc_trim = getattr(_libc(), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
