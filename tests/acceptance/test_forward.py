"""Remote write outwards, into the real stores of others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bench.processes import prometheus, vedette, victoria_metrics
from tests import needs
from vedette.forward.encode import Outgoing, encode_labels, encode_request
from vedette.model.labels import Labels

pytestmark = [pytest.mark.acceptance, pytest.mark.peers, pytest.mark.timeout(180)]

SERIES = 50


def push(url: str, ts: int, number: float) -> None:
    """Store one sample of each series."""
    labels = [Labels.of({"__name__": "sent_on", "k": str(k)}) for k in range(SERIES)]
    outgoing = Outgoing(
        [encode_labels(each) for each in labels],
        np.arange(SERIES, dtype=np.int32),
        np.full(SERIES, ts, np.int64),
        np.full(SERIES, number),
    )
    headers = {"Content-Encoding": "snappy"}
    httpx.post(f"{url}/api/v1/write", content=encode_request(outgoing), headers=headers)


def value(url: str, query: str) -> float:
    """Return the value of the only series that ``query`` gives, 0 without any."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query, "nocache": "1"})
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


def until(url: str, query: str, wanted: float) -> float:
    """Return the value of ``query`` once it is at least ``wanted``, or after half a minute."""
    found = 0.0
    for _ in range(150):
        found = value(url, query)
        if found >= wanted:
            break
        time.sleep(0.2)
    return found


def test_prometheus_and_victoria_metrics_get_everything(tmp_path: Path) -> None:
    """What Vedette stored is in two other stores, once, also after a restart of its own."""
    needs.peer("victoria-metrics")
    needs.peer("prometheus")
    with prometheus() as first, victoria_metrics() as second:
        urls = (first.url, second.url)
        remotes = "".join(
            f'  - {{name: r{k}, url: "{url}/api/v1/write", deadline: 500ms,'
            " external_labels: {site: here}}\n"
            for k, url in enumerate(urls)
        )
        config = f"storage: {{segment: 2s}}\nremote_write:\n{remotes}"
        now = time.time_ns() // 1_000_000
        for run in range(2):
            with vedette(config, tmp_path) as running:
                for k in range(3):
                    push(running.url, now - 60_000 + 10_000 * run + 1_000 * k, 3 * run + k)
                if run == 0:
                    assert until(urls[0], "count(sent_on)", SERIES) == SERIES
        with vedette(config, tmp_path):
            for url in urls:
                query = 'sum(count_over_time(sent_on{site="here"}[1h]))'
                assert until(url, query, 6 * SERIES) == 6 * SERIES
                assert value(url, "sum(sum_over_time(sent_on[1h]))") == 15 * SERIES
