"""Starts the systems under measurement on free ports of loopback, and reads what they used."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers" / "usr" / "bin"
START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Running:
    """A started system: its name, address, process and the folder it stores in."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    log: IO[bytes]

    def printed(self) -> str:
        """Return what it has printed so far."""
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), size, 0).decode(errors="replace")

    def cpu_seconds(self) -> float:
        """Return user and system seconds of the process and all its children."""
        total = 0.0
        root = psutil.Process(self.process.pid)
        for process in [root, *root.children(recursive=True)]:
            times = process.cpu_times()
            total += times.user + times.system
        return total

    def resident_bytes(self) -> int:
        """Return the resident memory of the process and all its children."""
        root = psutil.Process(self.process.pid)
        return sum(p.memory_info().rss for p in [root, *root.children(recursive=True)])

    def stored_bytes(self) -> int:
        """Return the size of the folder on disk."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def vedette(
    config: str = "", folder: Path | None = None, arguments: Sequence[str] = ()
) -> Iterator[Running]:
    """Run ``vedette serve`` with ``config`` as its vedette.yml."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        file = place / "vedette.yml"
        file.write_text(config)
        port = free_port()
        command = [sys.executable, "-m", "vedette.cli.main", "serve"]
        command += ["--config", str(file), "--port", str(port), "--data-dir", str(place / "data")]
        command += arguments
        with _run("vedette", command, port, "/-/ready", place / "data") as running:
            yield running


@contextmanager
def prometheus(
    config: str = "global: {scrape_interval: 15s}\n", folder: Path | None = None
) -> Iterator[Running]:
    """Run Debian's Prometheus with its remote-write receiver."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        (place / "prometheus.yml").write_text(config)
        port = free_port()
        command = [
            str(PEERS / "prometheus"),
            f"--config.file={place / 'prometheus.yml'}",
            f"--storage.tsdb.path={place / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--log.level=error",
        ]
        with _run("prometheus", command, port, "/-/ready", place / "data") as running:
            yield running


@contextmanager
def victoria_metrics(
    folder: Path | None = None, arguments: Sequence[str] = ()
) -> Iterator[Running]:
    """Run Debian's VictoriaMetrics."""
    with tempfile.TemporaryDirectory() as temporary:
        place = folder or Path(temporary)
        port = free_port()
        command = [
            str(PEERS / "victoria-metrics"),
            f"-storageDataPath={place / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-search.latencyOffset=0s",
            "-loggerLevel=ERROR",
            *arguments,
        ]
        with _run("victoriametrics", command, port, "/health", place / "data") as running:
            yield running


@contextmanager
def _run(name: str, command: list[str], port: int, ready: str, folder: Path) -> Iterator[Running]:
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    process = subprocess.Popen(command, stdout=log, stderr=log, env=_environment())
    running = Running(name, f"http://127.0.0.1:{port}", process, folder, log)
    try:
        _wait(running, ready)
        yield running
    except BaseException:
        sys.stderr.write(running.printed()[-4_000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "GOMAXPROCS": str(os.cpu_count() or 1)}


def _wait(running: Running, path: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if running.process.poll() is not None:
            raise RuntimeError(f"{running.name} ended with {running.process.returncode}")
        try:
            if httpx.get(running.url + path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{running.name} was not ready within {START_SECONDS} s")
