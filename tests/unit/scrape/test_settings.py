"""The section ``scrape``: what it reads, and where it points when something is wrong."""

from __future__ import annotations

import pytest

from vedette.kit.http_settings import HttpSettings
from vedette.kit.yamlpos import Fault, compose
from vedette.scrape.discovery.groups import group_of
from vedette.scrape.discovery.settings import KubernetesDiscovery
from vedette.scrape.settings import ScrapeJob, ScrapeLimits, ScrapeSettings, read_scrape_jobs
from vedette.scrape.targets import TargetMaker


def read(text: str) -> tuple[ScrapeSettings, list[Fault]]:
    """Read ``text`` as the value of ``scrape``."""
    faults: list[Fault] = []
    node = compose(text, "f.yml", faults)
    assert node is not None
    return read_scrape_jobs(node, faults), faults


def test_a_whole_job() -> None:
    """Every key reaches its field; what is left out has its default."""
    found, faults = read(
        "- job: chat\n"
        "  targets: ['127.0.0.1:5000', '[::1]:80']\n"
        "  app: shop\n  interval: 1s\n  timeout: 900ms\n  path: /m\n  scheme: https\n"
        "  params: {a: b}\n  labels: {env: prod}\n  honor_labels: true\n"
        "  honor_timestamps: false\n  follow_redirects: true\n  limits: {samples: 5}\n"
        "- {job: other, targets: [h], interval: 5s}\n"
    )
    assert faults == []
    assert found.jobs == (
        ScrapeJob(
            job="chat",
            targets=("127.0.0.1:5000", "[::1]:80"),
            app="shop",
            interval_ms=1000,
            timeout_ms=900,
            path="/m",
            scheme="https",
            params=(("a", "b"),),
            labels=(("env", "prod"),),
            honor_labels=True,
            honor_timestamps=False,
            http=HttpSettings(),
            limits=ScrapeLimits(samples=5),
        ),
        ScrapeJob("other", ("h",), interval_ms=5000, timeout_ms=5000),
    )


GOOD = "- {job: a, targets: [h:1]}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("job: a", 1, 1, "list of jobs"),
        ("- {targets: [h:1]}", 1, 3, "name"),
        ("- {job: a}", 1, 3, "targets"),
        ("- {job: a, targets: [ok:1, 'http://h:1/m']}", 1, 28, "host:port"),
        ("- {job: a, targets: [h:70000]}", 1, 22, "65535"),
        ("- {job: a, targets: [h:1, h:1]}", 1, 27, "twice"),
        (GOOD + "- {job: a, targets: [h:1]}", 2, 9, "twice"),
        ("- {job: a, targets: [h:1], timeout: 20s}", 1, 37, "at most the interval"),
        ("- {job: a, targets: [h:1], interval: 5ms}", 1, 38, "too short"),
        ("- {job: a, targets: [h:1], interval: 15}", 1, 38, "unit"),
        ("- {job: a, targets: [h:1], scheme: ftp}", 1, 36, "http"),
        ("- {job: a, targets: [h:1], path: m}", 1, 34, '"/"'),
        ("- {job: a, targets: [h:1], labels: {__x: y}}", 1, 37, "__x"),
        ("- {job: a, targets: [h:1], intervall: 5s}", 1, 28, "interval"),
    ],
)
def test_faults_name_their_place(text: str, line: int, column: int, words: str) -> None:
    """The job is left out, and one fault stands at the value that is wrong."""
    found, faults = read(text)
    assert len(found.jobs) == text.startswith(GOOD)
    (fault,) = faults
    assert (fault.line, fault.column) == (line, column)
    assert words in str(fault)


def test_kubernetes_in_one_word() -> None:
    """``kubernetes: services`` scrapes what the annotations of services ask for (INT-04)."""
    faults: list[Fault] = []
    node = compose("- {job: k8s, kubernetes: services, labels: {env: prod}}", "v.yml", faults)
    assert node is not None
    (job,) = read_scrape_jobs(node, faults).jobs
    assert faults == []
    assert job.discovery == (KubernetesDiscovery("endpoints"),)
    note = "__meta_kubernetes_service_annotation_prometheus_io_"
    group = group_of(
        "endpoints/shop/shop-metrics",
        ["10.0.0.1:8080", "10.0.0.1:5000"],
        {
            f"{note}scrape": "true",
            f"{note}path": "/metrics",
            f"{note}port": "5000",
            "__meta_kubernetes_namespace": "shop",
            "__meta_kubernetes_service_name": "shop-metrics",
        },
    )
    kept, dropped, wrong = TargetMaker(job, True).make(group)
    assert (dropped, wrong) == ([], [])
    assert {target.url for target in kept} == {"http://10.0.0.1:5000/metrics"}
    assert len({target.key for target in kept}) == 1
    assert kept[0].labels.as_dict() == {
        "env": "prod",
        "instance": "10.0.0.1:5000",
        "job": "k8s",
        "namespace": "shop",
        "service": "shop-metrics",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {job: a, kubernetes: nodes}", "one of pods, services"),
        ("- {job: a, targets: [h:1], kubeconfig_file: x}", "needs"),
    ],
)
def test_faults_of_kubernetes(text: str, words: str) -> None:
    """What cannot be scraped by annotations is named."""
    faults: list[Fault] = []
    node = compose(text, "v.yml", faults)
    assert node is not None
    read_scrape_jobs(node, faults)
    assert any(words in str(fault) for fault in faults)
