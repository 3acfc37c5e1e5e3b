"""Kill -9 under load, again and again.

One sender writes 200 series, a sample each per request, and repeats a request until it is
acknowledged, as Prometheus does. In the end each series must hold exactly one sample per request.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from bench import remote_write
from bench.chaos.asking import ask
from bench.chaos.outcome import Outcome
from bench.processes import Running, vedette

SERIES = 200
CONFIG = "storage: {segment: 2s}\n"


class Sender:
    """Writes without pause; ``sent`` counts acknowledged requests."""

    def __init__(self, start_ms: int) -> None:
        self.sent = 0
        self.start_ms = start_ms
        self.url = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the request that is under way."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            body = self._body(self.sent)
            while not self._post(body):
                time.sleep(0.02)
            self.sent += 1

    def _body(self, number: int) -> bytes:
        ts = self.start_ms + number * 100
        rows = (
            remote_write.series({"__name__": "chaos_total", "series": f"{s:03d}"}, number + s, ts)
            for s in range(SERIES)
        )
        return remote_write.compress(b"".join(rows))

    def _post(self, body: bytes) -> bool:
        try:
            answer = httpx.post(
                f"{self.url}/api/v1/write", content=body, headers=remote_write.HEADERS, timeout=30
            )
        except httpx.TransportError:
            return False
        if answer.status_code == 204:
            return True
        if answer.status_code < 500:
            raise RuntimeError(f"refused with {answer.status_code}: {answer.text}")
        return False


@contextmanager
def _server(folder: Path, sender: Sender) -> Iterator[Running]:
    with vedette(CONFIG, folder) as running:
        sender.url = running.url
        yield running


def kill_again_and_again(folder: Path, kills: int, rng: random.Random) -> list[Outcome]:
    """Kill and restart the server ``kills`` times, then count three times."""
    sender = Sender(int(time.time()) * 1000 - 3_600_000)
    for kill in range(kills):
        with _server(folder, sender) as running:
            if kill == 0:
                sender.start()
            time.sleep(rng.uniform(0.2, 4))
            _kill(running, rng)
        print(f"kill {kill + 1:2}: {sender.sent * SERIES:,} samples acknowledged", flush=True)
    with _server(folder, sender) as running:
        time.sleep(1)
        sender.stop()
        counts = [("in the head", _count(running, sender))]
        time.sleep(6)
        counts.append(("flushed", _count(running, sender)))
    with _server(folder, sender) as running:
        counts.append(("restarted", _count(running, sender)))
    return [
        Outcome(f"{kills} x kill -9, {where}", sender.sent * SERIES, found)
        for where, found in counts
    ]


def _kill(running: Running, rng: random.Random) -> None:
    # Now and then only the engine dies: the server must carry on and restart it.
    children = psutil.Process(running.process.pid).children(recursive=True)
    if children and rng.random() < 0.25:
        children[0].send_signal(signal.SIGSEGV)
        time.sleep(rng.uniform(0.5, 3))
    running.process.kill()
    running.process.wait()


def _count(running: Running, sender: Sender) -> int:
    """Return how many samples there are, each point of each series counted once where it stands."""
    window = int(sender.sent * 0.1) + 10
    end = (sender.start_ms + sender.sent * 100) / 1000 + 1
    return int(ask(running, f"sum(count_over_time(chaos_total[{window}s]))", end))
