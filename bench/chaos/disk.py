"""A full disk: senders are told, readiness says why, nothing acknowledged goes, and it passes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench import remote_write
from bench.chaos.asking import ask, post
from bench.chaos.outcome import Outcome
from bench.processes import Running, vedette

SERIES = 500
CONFIG = "storage: {segment: 2s}\n"
_PATIENCE = 30.0


@contextmanager
def small_disk(size: int) -> Iterator[tuple[Path, bool]]:
    """Yield a folder, on a file system of ``size`` bytes where that can be had, and whether."""
    with tempfile.TemporaryDirectory() as temporary:
        image, folder = Path(temporary) / "image", Path(temporary) / "disk"
        folder.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        if not _mounted(image, folder):
            yield folder, False
            return
        try:
            yield folder, True
        finally:
            subprocess.run(["umount", str(folder)], check=True)


def _mounted(image: Path, folder: Path) -> bool:
    make, mount = shutil.which("mkfs.ext4"), shutil.which("mount")
    if os.geteuid() != 0 or make is None or mount is None:
        return False
    commands = ([make, "-q", "-m", "0", str(image)], [mount, "-o", "loop", str(image), str(folder)])
    return all(subprocess.run(c, capture_output=True).returncode == 0 for c in commands)


def full_disk(folder: Path) -> list[Outcome]:
    """Fill the disk with ballast under load, and take the ballast away again."""
    sent = 0
    faults: list[str] = []
    start = int(time.time()) * 1000 - 600_000
    ballast = folder / "ballast"
    with vedette(CONFIG, folder) as running:
        for _ in range(20):
            sent += _send(running, start, sent).status_code == 204
        _take_all(ballast)
        refused = None
        end = time.monotonic() + _PATIENCE
        while refused is None and time.monotonic() < end:
            answer = _send(running, start, sent)
            if answer.status_code == 204:
                sent += 1
            else:
                refused = answer
        faults += _judge(running, refused)
        # The refused request is shown already, until the server ends or it is sent again.
        shown = _count(running, start) - SERIES
        shown += SERIES if shown < sent * SERIES else 0
        while_full = Outcome("disk full, queries", sent * SERIES, shown)
        ballast.unlink()
        begun = time.monotonic()
        while (answer := _send(running, start, sent)).status_code != 204:
            if time.monotonic() - begun > _PATIENCE:
                faults.append(f"still refuses with room again: {answer.text}")
                break
            time.sleep(0.2)
        took = time.monotonic() - begun
        sent += answer.status_code == 204
        for _ in range(20):
            sent += _send(running, start, sent).status_code == 204
        if httpx.get(running.url + "/-/ready").status_code != 200:
            faults.append("not ready although there is room again")
        after = Outcome("room again", sent * SERIES, _count(running, start), tuple(faults),
                        f"went on after {took:.1f} s")  # fmt: skip
        running.process.kill()
        running.process.wait()
    with vedette(CONFIG, folder) as running:
        restarted = Outcome("room again, killed, restarted", sent * SERIES, _count(running, start))
    return [while_full, after, restarted]


def _judge(running: Running, refused: httpx.Response | None) -> list[str]:
    """Return what is wrong with how a full disk is told."""
    if refused is None:
        return ["nothing was refused although the disk is full"]
    faults = []
    if refused.status_code != 503 or "space" not in refused.text:
        faults.append(f"refused with {refused.status_code}: {refused.text}")
    ready = httpx.get(running.url + "/-/ready")
    if ready.status_code != 503 or "space" not in ready.text:
        faults.append(f"/-/ready says {ready.status_code}: {ready.text}")
    print(f"full disk: senders get {refused.text.strip()}; /-/ready: {ready.text.strip()}")
    return faults


def _take_all(ballast: Path) -> None:
    """Fill the file system to its last block."""
    with ballast.open("wb", buffering=0) as file:
        for size in (64 << 20, 1 << 20, 4096):
            block = bytes(size)
            try:
                while file.write(block) == size:
                    pass
            except OSError:
                continue
        os.fsync(file.fileno())


def _send(running: Running, start: int, number: int) -> httpx.Response:
    rows = (
        remote_write.series({"__name__": "chaos_disk", "series": f"{s:03d}"}, s, start + number)
        for s in range(SERIES)
    )
    return post(running, b"".join(rows))


def _count(running: Running, start: int) -> int:
    return int(ask(running, "sum(count_over_time(chaos_disk[10m]))", start / 1000 + 300))
