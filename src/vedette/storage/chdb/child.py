"""The engine's own process: ``python -m vedette.storage.chdb.child FD PARENT PATH SESSIONS``.

It answers the frames that arrive on the socket FD until the other end closes, which is also how it
learns of the death of its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import cast

from vedette.storage.chdb.frames import Frame, FrameError, Kind, receive, send
from vedette.storage.chdb.library import EngineError, LocalEngine

_PR_SET_PDEATHSIG = 1


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGKILL when the thread that started this process ends."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere EOF must do
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _serve(engine: LocalEngine, sock: socket.socket, writing: threading.Lock, frame: Frame) -> None:
    def reply(answer: Frame) -> None:
        with writing, contextlib.suppress(OSError):  # a parent that is gone needs no answer
            send(sock, answer)

    def answer(body: bytes | memoryview) -> None:
        reply(Frame(Kind.RESULT, frame.call, {}, body))

    try:
        sql = str(frame.head["sql"])
        if frame.kind is Kind.INSERT:
            engine.insert(sql, bytes(frame.body))
            answer(b"")
        else:
            parameters = cast("dict[str, str | int]", frame.head["parameters"])
            engine.query_with(answer, sql, parameters)
    except EngineError as error:
        reply(Frame(Kind.ERROR, frame.call, {"message": str(error)}))


def main(arguments: list[str]) -> int:
    """Run until the socket closes; return the exit code."""
    # Ctrl-C reaches the whole process group; the parent decides when the store closes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sock = socket.socket(fileno=int(arguments[0]))
    _die_with(int(arguments[1]))
    sessions = int(arguments[3])
    try:
        engine = LocalEngine(Path(arguments[2]), sessions)
    except (EngineError, OSError) as error:
        send(sock, Frame(Kind.FATAL, 0, {"message": str(error)}))
        return 1
    send(sock, Frame(Kind.READY, 0, {"pid": os.getpid()}))
    work: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
    writing = threading.Lock()

    def worker() -> None:
        while (frame := work.get()) is not None:
            _serve(engine, sock, writing, frame)

    workers = [threading.Thread(target=worker, daemon=True) for _ in range(sessions)]
    for thread in workers:
        thread.start()
    with contextlib.suppress(FrameError):  # a parent that talks nonsense is as good as gone
        while (frame := receive(sock)) is not None:
            work.put(frame)
    for _ in workers:
        work.put(None)
    for thread in workers:
        thread.join()
    engine.close()
    return 0


if __name__ == "__main__":
    # Engine threads outlive the interpreter's own clean-up; leave without it.
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)
