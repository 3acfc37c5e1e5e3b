"""Remote write outwards, into the real stores of others and into a second Vedette."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bench.processes import Running, prometheus, vedette, victoria_metrics
from tests import needs
from vedette.forward.describe import Described
from vedette.forward.encode import Outgoing, encode_labels, encode_request
from vedette.forward.encode_v2 import encode_request_v2
from vedette.model.histograms import HistogramValue, histograms_of
from vedette.model.labels import Labels
from vedette.model.metadata import MetricMetadata
from vedette.model.samples import HISTOGRAM, Exemplar

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


STEPS = 20
NATIVE = ("native", "custom")


def push_all_kinds(url: str, now: int) -> None:
    """Store counters with start timestamps, native histograms and exemplars by version 2.0."""
    labels = [
        Labels.of({"__name__": name, "k": str(k), "noise": "x"})
        for name in ("requests_total", *NATIVE)
        for k in range(3)
    ]
    count = len(labels)
    natives = []
    for row in range(3, count):
        for step in range(STEPS):
            own = 10.0 + row + 3 * step
            if row < 6:
                positive = ((-2, own), (0, 2 * own), (5, 1.0))
                total = 4 * own + 1
                natives.append(
                    HistogramValue(3, total, 1.5 * own, 0.001, own, 0, positive, ((1, 0.0),))
                )
            else:
                positive = ((0, own), (2, own))
                natives.append(
                    HistogramValue(-53, 2 * own, own, positive=positive, custom_bounds=(0.5, 2.5))
                )
    floats = [float(step * (row + 1)) for row in range(3) for step in range(STEPS)]
    values = np.array([*floats, *([HISTOGRAM] * len(natives))])
    index = np.concatenate(
        [np.full(len(floats), -1, np.int32), np.arange(len(natives), dtype=np.int32)]
    )
    ts = np.tile(now - 15_000 * np.arange(STEPS, 0, -1, dtype=np.int64), count)
    trace = Labels.of({"trace_id": "abc"})
    outgoing = Outgoing(
        [each.canonical() for each in labels],
        np.repeat(np.arange(count, dtype=np.int32), STEPS),
        ts,
        values,
        histograms_of(natives, index),
        tuple(Exemplar(row, now - 20_000, 0.25, trace) for row in range(6)),
        np.full(len(values), now - 600_000, np.int64),
    )
    known = {
        "requests_total": MetricMetadata("requests_total", "counter", "Requests."),
        "native": MetricMetadata("native", "histogram", "Times.", "seconds"),
    }
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
    }
    body = encode_request_v2(outgoing, Described(known))
    answer = httpx.post(f"{url}/api/v1/write", content=body, headers=headers)
    assert answer.status_code == 204, answer.text


def asked(url: str, path: str, parameters: Mapping[str, str | float]) -> Any:
    """Return the data of an answer of the API."""
    answer = httpx.get(f"{url}/api/v1/{path}", params={**parameters})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.mark.parametrize("version", [1, 2])
def test_another_vedette_answers_the_same(tmp_path: Path, version: int) -> None:
    """Floats, native histograms and exemplars that were sent on give the same results there."""
    message = "io.prometheus.write.v2.Request" if version == 2 else "prometheus.WriteRequest"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with vedette("", tmp_path / "b") as second:
        config = (
            f"remote_write:\n- url: {second.url}/api/v1/write\n  protobuf_message: {message}\n"
            "  deadline: 200ms\n  send_exemplars: true\n  metadata_interval: 1s\n"
            "  write_relabel_configs: [{regex: noise, action: labeldrop}]\n"
        )
        with vedette(config, tmp_path / "a") as first:
            now = time.time_ns() // 1_000_000
            push_all_kinds(first.url, now)
            assert until(second.url, 'count({__name__=~"requests_total|native|custom"})', 9) == 9
            span = {"start": now / 1000 - 330, "end": now / 1000, "step": 15}
            for query in (
                "sum by (k) (requests_total)",
                "sum by (k) (native)",
                "sum by (k) (custom)",
                "sum by (k) (rate(native[1m]))",
                "histogram_quantile(0.9, sum(rate(native[2m])))",
                "histogram_quantile(0.5, sum by (k) (custom))",
                "histogram_stddev(sum(native))",
            ):
                here = asked(first.url, "query_range", {"query": query, **span})["result"]
                there = asked(second.url, "query_range", {"query": query, **span})["result"]
                assert here, query
                assert there == here, query
            assert asked(second.url, "series", {"match[]": '{noise="x"}'}) == []
            found = [
                [
                    (each["seriesLabels"]["__name__"], each["seriesLabels"]["k"], each["exemplars"])
                    for each in asked(url, "query_exemplars", {"query": query, **span})
                ]
                for url in (first.url, second.url)
                for query in ('{__name__=~"requests_total|native"}',)
            ]
            assert len(found[0]) == 6
            assert sorted(found[1], key=str) == sorted(found[0], key=str)
            for _ in range(50):
                known = asked(second.url, "metadata", {})
                if "native" in known:
                    break
                time.sleep(0.2)
            assert known["native"] == [{"type": "histogram", "help": "Times.", "unit": "seconds"}]


def reload(running: Running, folder: Path, config: str) -> None:
    """Give the server another configuration and wait until it runs with it."""
    metric = 'vedette_config_reloads_total{result="success"}'
    before = own(running.url, metric)
    (folder / "vedette.yml").write_text(config)
    running.process.send_signal(signal.SIGHUP)
    for _ in range(100):
        if own(running.url, metric) > before:
            return
        time.sleep(0.1)
    raise AssertionError("the configuration was not reloaded")


def own(url: str, metric: str) -> float:
    """Return what the server says of itself, 0 where it says nothing."""
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith(metric + " "):
            return float(line.split()[-1])
    return 0.0


def test_destinations_change_with_a_reload(tmp_path: Path) -> None:
    """A changed destination goes on where it was, a new one starts, one that is gone gets nothing.

    Nothing of it needs a restart, and no sample is lost or there twice.
    """
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with vedette("", tmp_path / "b") as second:
        # The server's own metrics stay at home.
        keep = "{source_labels: [__name__], regex: sent_on, action: keep}"
        config = (
            f"remote_write:\n- name: r\n  url: {second.url}/api/v1/write\n  deadline: %s\n"
            f"  write_relabel_configs: [{keep}]\n"
        )
        query = "sum(count_over_time(sent_on[1h]))"
        now = time.time_ns() // 1_000_000
        with vedette("", tmp_path / "a") as first:
            push(first.url, now - 90_000, 0)
            reload(first, tmp_path / "a", config % "200ms")
            push(first.url, now - 80_000, 1)
            assert until(second.url, query, SERIES) == SERIES
            # It waits for a page to become full; what is changed then must not be lost.
            reload(first, tmp_path / "a", config % "60s")
            time.sleep(0.5)
            push(first.url, now - 70_000, 2)
            reload(first, tmp_path / "a", config % "300ms")
            assert until(second.url, query, 2 * SERIES) == 2 * SERIES
            assert own(
                first.url, 'vedette_remote_write_samples_total{outcome="sent",remote="r"}'
            ) == (2 * SERIES)
            reload(first, tmp_path / "a", "")
            push(first.url, now - 60_000, 3)
            time.sleep(1.5)
            assert value(second.url, query) == 2 * SERIES
            assert (
                "vedette_remote_write_samples_total{" not in httpx.get(f"{first.url}/metrics").text
            )
