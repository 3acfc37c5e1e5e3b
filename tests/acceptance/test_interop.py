"""Debian's Prometheus and node exporter beside Vedette: the same samples, the same answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.processes import free_port, vedette
from bench.side_by_side import disagreement
from tests import needs

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(240)]

# ``$`` stands for the job that Prometheus scrapes: Vedette holds its own scrapes as another job.
QUERIES = [
    "up{$}",
    "node_load1{$}",
    "node_cpu_seconds_total{$}",
    'sum by (mode) (rate(node_cpu_seconds_total{cpu="0",$}[10s]))',
    "sum without (cpu) (irate(node_cpu_seconds_total{$}[10s]))",
    "1 - avg(rate(node_cpu_seconds_total{mode='idle',$}[10s]))",
    "increase(node_cpu_seconds_total{mode=~'user|system',$}[8s])",
    "delta(node_memory_MemFree_bytes{$}[10s])",
    "node_memory_MemFree_bytes{$} / node_memory_MemTotal_bytes{$}",
    "node_memory_MemFree_bytes{$} offset 3s",
    "avg_over_time(node_load1{$}[10s])",
    "max_over_time(node_memory_MemFree_bytes{$}[10s]) - node_memory_MemFree_bytes{$}",
    "stddev_over_time(node_memory_MemFree_bytes{$}[10s])",
    "quantile_over_time(0.5, node_memory_MemFree_bytes{$}[10s])",
    "count_over_time(up{$}[10s])",
    "topk(3, node_cpu_seconds_total{$})",
    "quantile(0.9, node_cpu_seconds_total{$})",
    "count by (mode) (node_cpu_seconds_total{$} > 1)",
    "node_network_receive_bytes_total{$} * on (device) group_left node_network_up{$}",
    "node_filesystem_avail_bytes{$} unless node_filesystem_avail_bytes{$} < 0",
    'label_replace(node_load1{$}, "short", "$1", "instance", "(.*):.*")',
    "round(node_load1{$} * 100) == bool 0",
    "histogram_quantile(0.9, sum by (le)"
    " (rate(prometheus_http_request_duration_seconds_bucket[10s])))",
    "absent(node_nothing{$})",
    "scalar(node_load1{$}) + vector(1)",
    "rate(node_context_switches_total{$}[10s:2s])",
    "max by (job) (sort_desc(node_cpu_seconds_total{$}))",
    "clamp_max(node_load1{$}, 0.01)",
]


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(10)


def wait(url: str) -> None:
    """Wait until ``url`` answers 200."""
    for _ in range(300):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{url} did not answer")


@contextmanager
def prometheus(folder: Path, port: int, exporter: int, write_to: str) -> Iterator[str]:
    """Run Prometheus, scraping the exporter and itself, writing everything to ``write_to``."""
    (folder / "prometheus.yml").write_text(
        f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{exporter}"]}}]
  - job_name: prometheus
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
remote_write: [{{url: "{write_to}/api/v1/write"}}]
"""
    )
    command = [
        str(needs.peer("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with process(*command):
        wait(f"http://127.0.0.1:{port}/-/ready")
        yield f"http://127.0.0.1:{port}"


def ask(url: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a query."""
    answer = httpx.get(f"{url}/api/v1/{path}", params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_prometheus_and_vedette_agree(tmp_path: Path) -> None:
    """Twenty-eight queries over remote-written samples give Prometheus' own answers to 1e-9."""
    exporter_path = needs.peer("prometheus-node-exporter")
    exporter, port = free_port(), free_port()
    config = f"""
query: {{prometheus_2_windows: true}}
scrape:
  - {{job: node-scraped, interval: 1s, timeout: 900ms, targets: ["127.0.0.1:{exporter}"]}}
"""
    with ExitStack() as stack:
        stack.enter_context(
            process(str(exporter_path), f"--web.listen-address=127.0.0.1:{exporter}")
        )
        ours = stack.enter_context(vedette(config, tmp_path)).url
        theirs = stack.enter_context(prometheus(tmp_path, port, exporter, ours))
        time.sleep(25)
        # Remote write lags: ask for a time that both have seen, off the scrapes' own beat.
        end = int(time.time()) - 8
        window = {"start": end - 8, "end": end, "step": 1}
        worst = {}
        for text in QUERIES:
            expr = text.replace("{$}", '{job="node"}').replace(",$}", ',job="node"}')
            left = ask(ours, "query_range", {"query": expr, **window})
            right = ask(theirs, "query_range", {"query": expr, **window})
            worst[expr] = disagreement(left, right)
        assert {expr: d for expr, d in worst.items() if d > 1e-9} == {}
        scraped = ask(ours, "query", {"query": 'count({job="node-scraped"})'})["data"]["result"]
        assert int(scraped[0]["value"][1]) > 100
