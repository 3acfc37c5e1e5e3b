"""Tiny instant queries over one kept connection: Vedette beside Prometheus.

All systems hold the same few series, sent by remote write. Requests are written to a bare socket,
so that no client library's time is measured along; systems are asked in turn.
"""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx

from bench import remote_write
from bench.processes import Running, prometheus, vedette, victoria_metrics
from bench.report import PROMETHEUS, Aim, Report, Row

ROUNDS = 20
PER_ROUND = 200
QUERIES = ("1", "up", "sum(up)", 'up{job="api"} == 1')


class Connection:
    """One kept connection that asks for one path again and again."""

    def __init__(self, system: Running, path: str) -> None:
        where = urlsplit(system.url)
        self._socket = socket.create_connection((where.hostname, where.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode()

    def ask(self) -> float:
        """Return the microseconds until the whole answer was there."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        answer = self._socket.recv(65_536)
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < size:
            body += self._socket.recv(65_536)
        elapsed = (time.perf_counter() - began) * 1e6
        if b" 200 " not in head[:16]:
            raise RuntimeError(f"{head!r} {body!r}")
        return elapsed

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def tiny(report: Report) -> None:
    """Measure a few tiny queries."""
    with ExitStack() as stack:
        systems = [
            stack.enter_context(start()) for start in (vedette, prometheus, victoria_metrics)
        ]
        for system in systems:
            _fill(system)
        time.sleep(3)
        for query in QUERIES:
            report.add(_compared(query, systems))


def _fill(system: Running) -> None:
    now = int(time.time()) * 1000
    for back in range(20, -1, -1):
        rows = [
            remote_write.series(
                {"__name__": "up", "job": job, "instance": "a:1"}, 1.0, now - back * 1000
            )
            for job in ("api", "db", "web")
        ]
        body = remote_write.compress(b"".join(rows))
        answer = httpx.post(
            f"{system.url}/api/v1/write", content=body, headers=remote_write.HEADERS
        )
        answer.raise_for_status()


def _compared(query: str, systems: list[Running]) -> Row:
    path = f"/api/v1/query?{httpx.QueryParams({'query': query})}"
    times: dict[str, list[float]] = {system.name: [] for system in systems}
    with ExitStack() as stack:
        connections = {}
        for system in systems:
            connections[system.name] = connection = Connection(system, path)
            stack.callback(connection.close)
        for turn in range(ROUNDS + 1):
            for name, connection in connections.items():
                found = [connection.ask() for _ in range(PER_ROUND)]
                times[name] += found if turn else []
    medians = {name: statistics.median(found) for name, found in times.items()}
    aims = (Aim(PROMETHEUS, 1),)
    return Row(f"tiny query over a bare socket, median: {query}", "µs", medians, aims)


if __name__ == "__main__":
    tiny(Report())
