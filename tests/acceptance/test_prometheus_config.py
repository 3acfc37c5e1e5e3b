"""One prometheus.yml for both: Debian's Prometheus and Vedette scrape Debian's node exporter."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.processes import Running, free_port, prometheus, vedette
from tests import needs

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(180)]

CONFIG = """
global: {scrape_interval: 1s, scrape_timeout: 900ms}
scrape_configs:
- job_name: node
  params: {a: [x, z], b: ['y']}
  static_configs: [{targets: ['127.0.0.1:PORT'], labels: {env: dev}}]
  relabel_configs:
  - {source_labels: [__address__], regex: '(.*):.*', target_label: host, replacement: 'h-${1}'}
  metric_relabel_configs:
  - {source_labels: [__name__], regex: 'go_.*|promhttp_.*', action: drop}
  - {source_labels: [mode], target_label: shard, modulus: 3, action: hashmod}
  - {source_labels: [device], regex: 'lo', target_label: loop, replacement: 'yes'}
- job_name: files
  honor_labels: true
  file_sd_configs: [{files: ['sd/*.json'], refresh_interval: 1s}]
  relabel_configs:
  - {source_labels: [drop], regex: 'yes', action: drop}
  - {regex: 'team_(.+)', action: labelmap}
- job_name: limited
  sample_limit: 3
  static_configs: [{targets: ['127.0.0.1:PORT']}]
"""


def eventually(check: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true value of ``check``; fail when it does not come in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = check()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"not within {seconds} s: {check}")


@contextmanager
def node_exporter() -> Iterator[int]:
    """Run Debian's node exporter; yield its port."""
    path = needs.peer("prometheus-node-exporter")
    port = free_port()
    command = [str(path), f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def get(server: Running, path: str, **params: str) -> Any:
    """Return the data of an answer of Prometheus' API."""
    return httpx.get(f"{server.url}{path}", params=params, timeout=20).json()["data"]


def targets(server: Running) -> list[Any]:
    """Return pool, address, health and labels of each target, sorted."""
    found = get(server, "/api/v1/targets")["activeTargets"]
    return sorted((t["scrapePool"], t["scrapeUrl"], t["health"], t["labels"]) for t in found)


def series(server: Running) -> set[str]:
    """Return all series that are scraped, bounds written as since Prometheus 3."""
    found = get(server, "/api/v1/series", **{"match[]": '{job=~".+"}'})
    for labels in found:
        for name in labels.keys() & {"le", "quantile"}:
            labels[name] = str(float(labels[name]))
    return {json.dumps(labels, sort_keys=True) for labels in found}


def counts(server: Running) -> dict[str, str]:
    """Return what scrapes report about themselves."""
    names = "up|scrape_samples_scraped|scrape_samples_post_metric_relabeling|scrape_series_added"
    found = get(server, "/api/v1/query", query=f'{{__name__=~"{names}"}}')["result"]
    return {json.dumps(row["metric"], sort_keys=True): row["value"][1] for row in found}


def test_both_scrape_the_same(tmp_path: Path) -> None:
    """Targets, series and reports are those of Prometheus; a file's change and a reload too."""
    needs.peer("prometheus")
    (tmp_path / "sd").mkdir()
    groups = tmp_path / "sd" / "a.json"
    with node_exporter() as port:
        address = f"127.0.0.1:{port}"
        config = CONFIG.replace("PORT", str(port))
        labels = {"team_owner": "ops", "app": "x"}
        groups.write_text(
            json.dumps(
                [
                    {"targets": [address], "labels": labels},
                    {"targets": [address], "labels": {"drop": "yes"}},
                ]
            )
        )
        own = tmp_path / "vedette"
        own.mkdir()
        arguments = ["--prometheus-config", str(tmp_path / "prometheus.yml")]
        with prometheus(config, tmp_path) as theirs, vedette("", own, arguments) as ours:
            eventually(lambda: len(targets(ours)) == len(targets(theirs)) == 3)
            eventually(lambda: "unknown" not in str(targets(ours)) + str(targets(theirs)))
            assert targets(ours) == targets(theirs)
            # Some series of the exporter appear after its first answer.
            eventually(lambda: series(ours) == series(theirs))
            eventually(lambda: counts(ours) == counts(theirs))
            dropped = get(ours, "/api/v1/targets")["droppedTargets"]
            assert [each["discoveredLabels"]["drop"] for each in dropped] == ["yes"]

            fresh = tmp_path / "fresh"
            fresh.write_text(json.dumps([{"targets": [address], "labels": {"app": "y"}}]))
            fresh.replace(groups)
            eventually(lambda: '"app": "y"' in json.dumps(targets(ours)))
            eventually(lambda: targets(ours) == targets(theirs))

            _reload(ours, tmp_path, config)


def _reload(ours: Running, folder: Path, config: str) -> None:
    """Check that a reload takes a changed file, and refuses one with a fault."""
    file = folder / "prometheus.yml"
    token = (folder / "vedette" / "data" / "admin-token").read_text().strip()

    def reload() -> httpx.Response:
        bearer = {"Authorization": f"Bearer {token}"}
        return httpx.post(f"{ours.url}/-/reload", headers=bearer, timeout=20)

    assert httpx.post(f"{ours.url}/-/reload").status_code == 401
    file.write_text(config.replace("job_name: limited", "job_name: renamed"))
    assert reload().status_code == 200
    pools = get(ours, "/api/v1/scrape_pools")["scrapePools"]
    assert pools == ["files", "node", "renamed"]
    file.write_text(config.replace("sample_limit", "sampel_limit"))
    answer = reload()
    assert answer.status_code == 500
    assert 'did you mean "sample_limit"?' in answer.text
    assert get(ours, "/api/v1/scrape_pools")["scrapePools"] == pools
    file.write_text(config)
    ours.process.send_signal(signal.SIGHUP)
    eventually(lambda: "limited" in get(ours, "/api/v1/scrape_pools")["scrapePools"])
    failed = httpx.get(f"{ours.url}/metrics").text
    assert 'vedette_config_reloads_total{result="failure"} 1.0' in failed
