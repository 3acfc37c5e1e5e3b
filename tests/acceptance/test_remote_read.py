"""Debian's Prometheus reads from Vedette what was written to Vedette."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bench import remote_write
from bench.processes import free_port, vedette
from tests import needs
from tests.acceptance.test_interop import ask, process, wait

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(120)]


def test_prometheus_answers_from_what_it_reads(tmp_path: Path) -> None:
    """Queries to a Prometheus that has nothing of its own are answered as Vedette answers them."""
    binary, port = needs.peer("prometheus"), free_port()
    now = int(time.time() * 1000)
    with ExitStack() as stack:
        ours = stack.enter_context(vedette("", tmp_path)).url
        for k in range(100):
            body = b"".join(
                remote_write.series(
                    {"__name__": "t", "i": str(i), "job": "x"},
                    math.sin(i * k) * k if i else 0.0,
                    now - 300_000 + 3_000 * k + i,
                )
                for i in range(5)
            )
            answer = httpx.post(
                f"{ours}/api/v1/write",
                content=remote_write.compress(body),
                headers=remote_write.HEADERS,
            )
            assert answer.status_code == 204, answer.text
        config = tmp_path / "prometheus.yml"
        config.write_text(f"remote_read: [{{url: '{ours}/api/v1/read', read_recent: true}}]\n")
        command = [
            str(binary),
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        stack.enter_context(process(*command))
        theirs = f"http://127.0.0.1:{port}"
        wait(f"{theirs}/-/ready")
        for query in (
            "t[1h]",
            "count_over_time(t[1h])",
            'max by (i) (max_over_time(t{i=~"[1-3]",job!="y"}[1h]))',
            'last_over_time(t{i!~"0|4"}[1h])',
        ):
            params = {"query": query, "time": now / 1000}
            left, right = ask(ours, "query", params), ask(theirs, "query", params)
            found = [
                sorted(answer["data"]["result"], key=lambda row: str(row["metric"]))
                for answer in (left, right)
            ]
            assert found[0] == found[1]
            assert found[0]
