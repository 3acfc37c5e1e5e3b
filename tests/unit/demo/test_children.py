"""Processes of the demo end when they are told, and when they are not."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from vedette.demo import children
from vedette.demo.children import ChildFailed
from vedette.kit.clock import SystemClock


class _Impatient(SystemClock):
    """Waits a tenth of the time."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


def _code(text: str) -> list[str]:
    return [sys.executable, "-c", text]


_STUBBORN = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")
async def test_whoever_ignores_the_signal_is_killed_with_its_children(tmp_path: Path) -> None:
    """A process that does not end at SIGTERM is killed, and what it started with it."""
    clock = _Impatient()
    log = tmp_path / "log"
    child = await children.start("stubborn", _code(_STUBBORN), log)
    while not log.read_text().strip():
        await clock.sleep(0.1)
    grandchild = int(log.read_text())
    assert _alive(grandchild)
    await children.stop([child], clock)
    assert child.process.returncode == -signal.SIGKILL
    while _alive(grandchild):
        await clock.sleep(0.1)


async def test_a_child_that_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    """An unexpected end names the process, its code, and the end of its output."""
    child = await children.start("brief", _code("print('so long'); exit(3)"), tmp_path / "log")
    await child.process.wait()
    with pytest.raises(ChildFailed, match=r"(?s)brief ended with code 3.*so long"):
        child.check()
    await children.stop([child], SystemClock())


async def test_children_do_not_share_the_terminals_signals(tmp_path: Path) -> None:
    """A child is the leader of a group of its own, so that Ctrl-C reaches only the demo."""
    child = await children.start("any", _code("import signal; signal.pause()"), tmp_path / "log")
    assert os.getpgid(child.process.pid) == child.process.pid
    await children.stop([child], SystemClock())
    assert child.process.returncode == -signal.SIGTERM
