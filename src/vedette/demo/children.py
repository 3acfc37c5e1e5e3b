"""The demo's processes: started in groups of their own, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vedette.kit.clock import Clock

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 3.0
_TAIL_LINES = 15


class ChildFailed(Exception):  # noqa: N818 - says what happened to it
    """A process of the demo ended although nobody told it to."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running process and the file that takes its output."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def check(self) -> None:
        """Raise ``ChildFailed``, with the end of its output, when it has ended."""
        code = self.process.returncode
        if code is not None:
            raise ChildFailed(f"{self.name} ended with code {code}:\n{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of its output."""
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(lines[-_TAIL_LINES:])
        return ""


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``module`` with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


async def start(
    name: str, command: Sequence[str], log: Path, pass_fds: Sequence[int] = ()
) -> Child:
    """Start ``command``; its output goes to ``log``."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            # A terminal's Ctrl-C is for the demo, which then stops its children in order.
            start_new_session=True,
            preexec_fn=_die_with_parent(),
        )
    return Child(name, process, log)


def _die_with_parent() -> Callable[[], None] | None:
    """Return what makes a child get SIGTERM when this process dies, even by ``kill -9``."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)

    return arm


async def stop(children: Sequence[Child], clock: Clock) -> None:
    """End all ``children``: SIGTERM, a few seconds, then SIGKILL to whatever is left of them."""
    for child in children:
        _signal(child, signal.SIGTERM)
    waits = [asyncio.create_task(child.process.wait()) for child in children]
    if waits:
        patience = asyncio.create_task(clock.sleep(_GRACE_SECONDS))
        everybody = asyncio.gather(*waits)
        either: set[asyncio.Future[Any]] = {patience, everybody}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        patience.cancel()
        for child in children:
            # The group, not only the process: a server may have an engine as its child.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
        await everybody


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(number)
