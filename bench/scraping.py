"""What scraping costs: targets of 10,000 series each second, and the CPU of taking them in."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.processes import Running, free_port, prometheus, vedette, victoria_metrics
from bench.report import OURS, PROMETHEUS, VICTORIA, Aim, Report, Row

WARM_SECONDS, SECONDS = 8, 30
TARGETS = 5


def scraping(report: Report) -> None:
    """Measure CPU per scrape, one system after another."""
    figures: dict[str, float] = {}
    with exporter() as port, tempfile.TemporaryDirectory() as temporary:
        target = f"127.0.0.1:{port}"
        jobs = "".join(
            f"  - {{job_name: wide{k}, static_configs: [{{targets: ['{target}']}}]}}\n"
            for k in range(TARGETS)
        )
        file = Path(temporary) / "prometheus.yml"
        file.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}")
        ours = "scrape:\n" + "".join(
            f"  - {{job: wide{k}, interval: 1s, timeout: 900ms, targets: ['{target}']}}\n"
            for k in range(TARGETS)
        )
        for name, system in (
            (OURS, vedette(ours)),
            (PROMETHEUS, prometheus(config=file.read_text())),
            (VICTORIA, victoria_metrics(arguments=[f"-promscrape.config={file}"])),
        ):
            with system as running:
                figures[name] = _cpu_per_scrape(running)
    what = f"scrapes of 10,000 series, {TARGETS} a second, CPU of everything"
    report.add(Row(what, "ms of CPU per scrape", figures, (Aim(PROMETHEUS, 1),)))


@contextmanager
def exporter() -> Iterator[int]:
    """Run the target; give its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.exporter", str(port)])
    try:
        for _ in range(100):
            try:
                httpx.get(f"http://127.0.0.1:{port}/metrics")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _cpu_per_scrape(running: Running) -> float:
    time.sleep(WARM_SECONDS)
    before, samples = running.cpu_seconds(), _scraped(running)
    time.sleep(SECONDS)
    cpu, taken = running.cpu_seconds() - before, _scraped(running) - samples
    if taken < TARGETS * (SECONDS - 5):
        raise RuntimeError(f"{running.name} scraped {taken:.0f} times in {SECONDS} s")
    return cpu / taken * 1000


def _scraped(running: Running) -> float:
    """Return how often the targets were scraped with success."""
    query = 'sum(count_over_time(wide_metric_0_total{series="0"}[5m]))'
    params = {"query": query, "nocache": "1"}
    answer = httpx.get(f"{running.url}/api/v1/query", params=params, timeout=30)
    found = answer.json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0
