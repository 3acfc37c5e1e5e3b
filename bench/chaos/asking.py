"""Asks a server for numbers, and writes to it."""

from __future__ import annotations

import httpx

from bench import remote_write
from bench.processes import Running

# A server recognises a sender by its connection, and reads what it repeats much faster.
_CLIENT = httpx.Client(timeout=120)


def ask(running: Running, query: str, at: float) -> float:
    """Return the value of an instant query with one series, 0 without any.

    Raises:
        HTTPStatusError: the server did not answer it.
    """
    answer = _CLIENT.get(
        f"{running.url}/api/v1/query", params={"query": query, "time": at}, timeout=120
    )
    answer.raise_for_status()
    result = answer.json()["data"]["result"]
    return float(result[0]["value"][1]) if result else 0.0


def post(running: Running, body: bytes) -> httpx.Response:
    """Send the protobuf ``body`` of a remote-write request."""
    return _CLIENT.post(
        f"{running.url}/api/v1/write",
        content=remote_write.compress(body),
        headers=remote_write.HEADERS,
        timeout=120,
    )


def metric(running: Running, name: str) -> float:
    """Return the sum of the server's own series ``name``, -1 where it has none."""
    text = _CLIENT.get(f"{running.url}/metrics", timeout=30).text
    lines = (line for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name)
    values = [float(line.rsplit(" ", 1)[1]) for line in lines]
    return sum(values) if values else -1.0
