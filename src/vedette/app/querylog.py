"""The query log: one JSON line for each query that took long enough.

Lines go through a thread of their own, so that a slow disk holds up no query. The file may be
moved away at any time, as log rotation does: the next line goes to a new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import orjson

from vedette.kit.clock import iso
from vedette.query.usage import Usage

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
_MOST_TEXT = 16_384
_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class QueryRecord:
    """What was asked: the text, from when to when at which step (ms), and by whom."""

    query: str
    start: int
    end: int
    step: int
    who: str


class QueryLog:
    """Appends to the file ``path`` what took ``slow_seconds`` or longer; 0 takes everything.

    Attributes:
        dropped: lines that were left out because the disk did not keep up or refused them.
    """

    def __init__(self, path: Path, slow_seconds: float = 0.0) -> None:
        self._path = path
        self._slow = slow_seconds
        self._lines: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="query-log", daemon=True)
        self._thread.start()
        self._complained = False
        self.dropped = 0

    def write(
        self, record: QueryRecord, usage: Usage, seconds: float, now_ms: int, error: str
    ) -> None:
        """Queue the line of one query that ended at ``now_ms`` after ``seconds``."""
        if seconds < self._slow:
            return
        line = orjson.dumps(
            {
                "time": iso(now_ms),
                "who": record.who,
                "query": record.query[:_MOST_TEXT],
                "start": record.start / 1000,
                "end": record.end / 1000,
                "step_seconds": record.step / 1000,
                "seconds": round(seconds, 6),
                "queue_seconds": round(usage.queue_seconds, 6),
                "eval_seconds": round(usage.eval_seconds, 6),
                "samples": usage.samples,
                "peak_bytes": usage.peak_bytes,
                "error": error,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, and end the thread."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_PATIENCE_SECONDS)
        self._thread.join(_PATIENCE_SECONDS)

    def _run(self) -> None:
        file: IO[bytes] | None = None
        while (line := self._lines.get()) is not None:
            try:
                file = self._current(file)
                file.write(line)
                file.flush()
            except OSError as error:
                self.dropped += 1
                if not self._complained:
                    self._complained = True
                    log.warning("the query log %s cannot be written: %s", self._path, error)
        if file is not None:
            file.close()

    def _current(self, file: IO[bytes] | None) -> IO[bytes]:
        """Return the file under the path, opened anew when another stands there or none."""
        if file is not None:
            try:
                there, ours = self._path.stat(), os.fstat(file.fileno())
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return file
            except FileNotFoundError:
                pass
            file.close()
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return os.fdopen(descriptor, "ab")
