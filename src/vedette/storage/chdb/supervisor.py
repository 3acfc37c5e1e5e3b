"""The engine in a child process: started, watched, and restarted when it dies."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from pathlib import Path

from vedette.kit.clock import Clock, SystemClock
from vedette.storage.chdb.frames import Frame, FrameError, Kind, receive, send
from vedette.storage.chdb.library import EngineError
from vedette.storage.interface import StorageError

_log = logging.getLogger(__name__)
_CHILD = "vedette.storage.chdb.child"
_FIRST_BACKOFF = 0.2
_LAST_BACKOFF = 30.0
_STEADY = 60.0


class EngineDownError(StorageError):
    """The engine's process is not there, or died with the call in flight; the call may be tried
    again, inserts too, as their tokens make them idempotent."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """How the child stands: ``pid`` is 0 while it is down, ``last_end`` tells why it ended last."""

    up: bool
    pid: int
    restarts: int
    last_end: str


def backoff(failures: int) -> float:
    """Return the seconds to wait before the next start, after ``failures`` short lives in a row."""
    return float(min(_LAST_BACKOFF, _FIRST_BACKOFF * 2 ** max(0, min(failures - 1, 20))))


def describe_end(code: int) -> str:
    """Return in words how a process with the return code ``code`` of ``subprocess`` ended."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


class ChildEngine:
    """An ``Engine`` in a process of its own, so that its crash takes nothing else along.

    One thread starts the child, reads its answers and starts it again, with growing pauses, when
    it ends. Calls in flight at its end fail with :class:`EngineDownError`; later ones wait up to
    ``patience`` seconds for the next child. A call that takes longer than ``timeout`` seconds
    counts as hung, and the child is killed. At most ``in_flight`` calls are under way at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        sessions: int = 3,
        in_flight: int = 16,
        timeout: float = 60.0,
        patience: float = 2.0,
        clock: Clock | None = None,
        command: Sequence[str] = (sys.executable, "-m", _CHILD),
    ) -> None:
        self._path = path
        self._sessions = sessions
        self._timeout = timeout
        self._patience = patience
        self._clock = clock or SystemClock()
        self._command = tuple(command)
        self._slots = threading.BoundedSemaphore(in_flight)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Future[Frame]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._closing = threading.Event()
        self._starts = 0
        self._last_end = ""
        # The kernel kills the child when the thread that spawned it ends, so that this one thread
        # lives as long as the engine; close() ends both.
        self._thread = threading.Thread(target=self._run, name="engine-supervisor", daemon=True)

    def start(self, timeout: float = 30.0) -> None:
        """Start the child and wait until it has opened the store.

        Raises:
            StorageError: it could not within ``timeout`` seconds; says why.
        """
        self._thread.start()
        with self._changed:
            if not self._changed.wait_for(lambda: self._sock is not None, timeout):
                reason = self._last_end or "it did not answer"
                raise StorageError(f"the store at {self._path} did not open: {reason}")

    def status(self) -> EngineStatus:
        """Return how the child stands now."""
        with self._changed:
            up = self._sock is not None
            pid = self._process.pid if up and self._process else 0
            return EngineStatus(up, pid, max(0, self._starts - 1), self._last_end)

    def query(
        self, sql: str, parameters: Mapping[str, str | int] | None = None
    ) -> bytes | bytearray:
        """Run ``sql``; see ``Engine``."""
        body = self._call(Kind.QUERY, {"sql": sql, "parameters": dict(parameters or {})}).body
        return body if isinstance(body, bytearray) else bytes(body)

    def insert(self, sql: str, data: bytes) -> None:
        """Insert ``data``; see ``Engine``."""
        self._call(Kind.INSERT, {"sql": sql}, data)

    def close(self) -> None:
        """Let the child finish what it does and close the store; kill it after 5 seconds."""
        self._closing.set()
        with self._changed:
            sock, process = self._sock, self._process
            self._changed.notify_all()
        if sock is not None:
            with contextlib.suppress(OSError):  # it may have died meanwhile
                sock.shutdown(socket.SHUT_WR)
        if process is not None:
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                _log.warning("the engine did not close within 5 s and is killed")
                process.kill()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _call(self, kind: Kind, head: Mapping[str, object], body: bytes = b"") -> Frame:
        if not self._slots.acquire(timeout=self._timeout):
            raise StorageError("too many calls wait for the store; try again later")
        number = next(self._numbers)
        future: Future[Frame] = Future()
        try:
            sock = self._register(number, future)
            try:
                with self._writing:
                    send(sock, Frame(kind, number, head, body))
            except OSError:
                # The child is gone or hung; the supervising thread fails the call, saying which.
                self._kill(sock)
            try:
                answer = future.result(self._timeout)
            except FutureTimeout:
                self._kill(sock)
                raise EngineDownError(
                    f"the store did not answer within {self._timeout:g} s; it is restarted"
                ) from None
        finally:
            with self._changed:
                self._pending.pop(number, None)
            self._slots.release()
        if answer.kind is Kind.ERROR:
            raise EngineError(str(answer.head.get("message", "unknown error")))
        return answer

    def _register(self, number: int, future: Future[Frame]) -> socket.socket:
        with self._changed:
            self._changed.wait_for(
                lambda: self._sock is not None or self._closing.is_set(), self._patience
            )
            if self._closing.is_set():
                raise StorageError("the store is closed")
            if self._sock is None:
                raise EngineDownError(
                    "the store's engine process is down and is being restarted"
                    f" (last end: {self._last_end or 'none'}); try again later"
                )
            self._pending[number] = future
            return self._sock

    def _kill(self, sock: socket.socket) -> None:
        """Kill the child behind ``sock``; later calls wait for the next one."""
        with self._changed:
            if self._sock is not sock or self._process is None:
                return
            self._sock = None
            self._process.kill()

    # What follows runs on the supervising thread.

    def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            began = self._clock.monotonic()
            end = self._one_life()
            if self._closing.is_set():
                break
            failures = 1 if self._clock.monotonic() - began > _STEADY else failures + 1
            pause = backoff(failures)
            _log.error("the engine process ended (%s); next start in %.1f s", end, pause)
            self._closing.wait(pause)

    def _one_life(self) -> str:
        ours, theirs = socket.socketpair()
        # A hung child must not block a writer for ever.
        ours.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(self._timeout) + 1, 0)
        )
        fd = theirs.fileno()
        arguments = (str(fd), str(os.getpid()), str(self._path), str(self._sessions))
        try:
            with theirs:
                process = subprocess.Popen(  # noqa: S603 # our own interpreter and module
                    (*self._command, *arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=(fd,),
                )
        except OSError as error:
            ours.close()
            return self._ended(f"could not start: {error}")
        with self._changed:
            self._process = process
            self._starts += 1
        if self._closing.is_set():
            process.kill()
        reason = ""
        try:
            reason = self._read(ours)
        except FrameError as error:
            reason = str(error)
        if reason:
            process.kill()
        code = _reap(process)
        with self._changed:
            self._process = None
        end = self._ended(reason or describe_end(code))
        ours.close()
        return end

    def _read(self, sock: socket.socket) -> str:
        """Hand answers out until the child closes; return what it says of its own end."""
        while (frame := receive(sock)) is not None:
            if frame.kind is Kind.READY:
                with self._changed:
                    self._sock = sock
                    self._changed.notify_all()
            elif frame.kind is Kind.FATAL:
                return str(frame.head.get("message", ""))
            else:
                with self._changed:
                    future = self._pending.pop(frame.call, None)
                if future is not None:
                    future.set_result(frame)
        return ""

    def _ended(self, reason: str) -> str:
        with self._changed:
            self._sock = None
            self._last_end = reason
            pending, self._pending = self._pending, {}
            self._changed.notify_all()
        for future in pending.values():
            future.set_exception(
                EngineDownError(f"the store's engine process ended during the call ({reason})")
            )
        return reason


def _reap(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(5.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
