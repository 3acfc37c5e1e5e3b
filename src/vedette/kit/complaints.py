"""Warnings of what lasts: the same one is logged at most once a minute, on one line.

A full disk fails every evaluation of every group. A traceback for each would fill what is left of
the disk and hide what matters.
"""

from __future__ import annotations

import logging

from vedette.kit.clock import Clock

EVERY_SECONDS = 60.0


class Complaints:
    """Logs warnings through ``log``, each kind at most once in ``every_seconds``."""

    def __init__(self, log: logging.Logger, clock: Clock, every_seconds: float = EVERY_SECONDS):
        self._log = log
        self._clock = clock
        self._every = every_seconds
        self._kinds: dict[str, tuple[float, int]] = {}

    def warn(self, what: str, error: Exception, advice: str) -> None:
        """Log that ``what`` failed with ``error``, and what to do, unless that was said just now.

        ``what`` tells kinds apart; give it no names of single objects, so that the memory for it
        stays small. The line says how often it has happened since the last one.
        """
        now = self._clock.monotonic()
        said_at, unsaid = self._kinds.get(what, (-self._every, 0))
        if now - said_at < self._every:
            self._kinds[what] = (said_at, unsaid + 1)
            return
        self._kinds[what] = (now, 0)
        again = f" ({unsaid} more since this was said last)" if unsaid else ""
        reason = " ".join(str(error).split()) or type(error).__name__
        self._log.warning("%s: %s; %s%s", what, reason, advice, again)
