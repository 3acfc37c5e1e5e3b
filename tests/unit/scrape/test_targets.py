"""Targets: what relabelling makes of what was discovered, and the pool of a job."""

from __future__ import annotations

from typing import Any

import pytest

from vedette.kit.relabel import Action, RelabelRule
from vedette.scrape.discovery.groups import TargetGroup, group_of
from vedette.scrape.pool import TargetPool
from vedette.scrape.settings import ScrapeJob, ScrapeSettings
from vedette.scrape.targets import Target, TargetMaker


def made(group: TargetGroup, *rules: RelabelRule, **changes: Any) -> list[Target]:
    """Return the targets of ``group`` by ``rules``."""
    job = ScrapeJob("web", (), relabel=rules, **changes)
    kept, _, faults = TargetMaker(job, True).make(group)
    assert faults == []
    return kept


def rule(source: str, target: str, replacement: str = "$1", regex: str = "(.*)") -> RelabelRule:
    """Return a rule that sets ``target`` from ``source``."""
    return RelabelRule(
        source_labels=(source,), regex=regex, target_label=target, replacement=replacement
    )


def test_a_plain_target_has_job_and_instance() -> None:
    """Labels of the group are kept; special and meta labels are not stored."""
    group = group_of("0", ["h:1"], {"env": "prod", "__meta_x": "y"})
    (target,) = made(group, params=(("a", "b c"),))
    assert target.labels.as_dict() == {"env": "prod", "instance": "h:1", "job": "web"}
    assert target.url == "http://h:1/metrics?a=b+c"
    assert target.discovered.as_dict() == {
        "__address__": "h:1",
        "__always_scrape_classic_histograms__": "false",
        "__convert_classic_histograms_to_nhcb__": "false",
        "__meta_x": "y",
        "__metrics_path__": "/metrics",
        "__param_a": "b c",
        "__scheme__": "http",
        "__scrape_interval__": "15s",
        "__scrape_native_histograms__": "false",
        "__scrape_timeout__": "10s",
        "env": "prod",
        "job": "web",
    }


def test_rules_may_change_everything() -> None:
    """Address, scheme, path, parameters, interval, time-out, job, instance and formats."""
    group = group_of("0", ["h:1"], {"__meta_port": "99", "__meta_path": "/ü"})
    (target,) = made(
        group,
        rule("__meta_port", "__address__", "k:$1"),
        rule("__meta_path", "__metrics_path__"),
        rule("", "__scheme__", "https"),
        rule("", "__param_a", "new"),
        rule("", "__param_c", "d"),
        rule("", "__scrape_interval__", "5s"),
        rule("", "__scrape_timeout__", "1s"),
        rule("", "__scrape_native_histograms__", "true"),
        rule("", "job", "other"),
        rule("", "instance", "me"),
        params=(("a", "old"), ("a", "second")),
    )
    assert target.url == "https://k:99/%C3%BC?a=new&a=second&c=d"
    assert (target.interval_ms, target.timeout_ms) == (5_000, 1_000)
    assert target.labels.as_dict() == {"instance": "me", "job": "other"}
    assert target.formats.native_histograms


def test_the_annotations_of_pods_by_the_usual_rules() -> None:
    """``prometheus.io/scrape``, ``path`` and ``port`` decide, as everybody's rules have it."""
    meta = "__meta_kubernetes_pod_annotation_prometheus_io_"
    rules = (
        RelabelRule(Action.KEEP, (f"{meta}scrape",), regex="true"),
        rule(f"{meta}path", "__metrics_path__", regex="(.+)"),
        RelabelRule(
            source_labels=("__address__", f"{meta}port"),
            regex=r"([^:]+)(?::\d+)?;(\d+)",
            replacement="$1:$2",
            target_label="__address__",
        ),
        RelabelRule(Action.LABELMAP, regex="__meta_kubernetes_pod_label_(.+)"),
    )
    wanted = {f"{meta}scrape": "true", f"{meta}path": "/m", f"{meta}port": "99"}
    labels = wanted | {"__meta_kubernetes_pod_label_app": "chat"}
    (target,) = made(group_of("pod/a/b", ["10.0.0.1:8080"], labels), *rules)
    assert target.url == "http://10.0.0.1:99/m"
    assert target.labels.get("app") == "chat"
    assert made(group_of("pod/a/b", ["10.0.0.1:8080"], {f"{meta}scrape": "false"}), *rules) == []


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ((rule("", "__address__", ""),), "no address"),
        ((rule("", "__address__", "h/x"),), "not host:port"),
        ((rule("", "__scheme__", "ftp"),), "not http or https"),
        ((rule("", "__scrape_interval__", "never"),), "__scrape_interval__"),
        ((rule("", "__scrape_interval__", "0s"),), "zero"),
        ((rule("", "__scrape_timeout__", "1h"),), "longer than its interval"),
        ((rule("", "__scrape_native_histograms__", "x"),), "not true or false"),
    ],
)
def test_targets_that_cannot_be_scraped(rules: tuple[RelabelRule, ...], words: str) -> None:
    """They are left out, and the fault says why."""
    maker = TargetMaker(ScrapeJob("web", (), relabel=rules), True)
    kept, dropped, faults = maker.make(group_of("s", ["h:1"], {}))
    assert (kept, dropped) == ([], [])
    assert len(faults) == 1
    assert words in faults[0]


def pool(*addresses: str, **changes: Any) -> TargetPool:
    """Return a pool with a group ``g`` of ``addresses``."""
    job = ScrapeJob("web", (), **changes)
    found = TargetPool(job, ScrapeSettings((job,)))
    found.update(0, [group_of("g", addresses, {})])
    return found


def test_a_pool_holds_what_its_sources_say_now() -> None:
    """A source replaces its own groups only; without targets it is gone; equals are one."""
    found = pool("a:1", "b:1")
    found.update(1, [group_of("g", ["b:1", "c:1"], {})])
    assert {t.address for t in found.state().targets.values()} == {"a:1", "b:1", "c:1"}
    assert len(found.state().targets) == 3
    found.update(0, [group_of("g", [], {})])
    assert {t.address for t in found.state().targets.values()} == {"b:1", "c:1"}
    found.forget(1)
    assert found.state().targets == {}


def test_targets_of_one_address_with_other_labels_are_two() -> None:
    """What tells them apart is everything that is stored with their samples."""
    found = pool()
    found.update(0, [group_of("a", ["h:1"], {"x": "1"}), group_of("b", ["h:1"], {"x": "2"})])
    assert len(found.state().targets) == 2


def test_dropped_targets_are_counted_and_some_are_kept() -> None:
    """``keep_dropped_targets`` bounds what is shown, not the count."""
    found = pool("a:1", "b:1", "c:1", relabel=(RelabelRule(Action.DROP),), keep_dropped=2)
    state = found.state()
    assert (state.targets, state.dropped_count, len(state.dropped)) == ({}, 3, 2)


def test_too_many_targets_are_said() -> None:
    """Above ``target_limit`` the pool says why none is scraped."""
    assert pool("a:1", "b:1", target_limit=2).state().excess == ""
    assert (
        "number of targets: 3, limit: 2" in pool("a:1", "b:1", "c:1", target_limit=2).state().excess
    )


def test_new_rules_hold_for_what_is_known() -> None:
    """A reload relabels the groups that are there, without asking their discovery again."""
    found = pool("a:1", "b:1")
    job = ScrapeJob("web", (), relabel=(RelabelRule(Action.KEEP, ("__address__",), regex="a.*"),))
    found.configure(job, ScrapeSettings((job,)))
    found.renew(1)
    assert [t.address for t in found.state().targets.values()] == ["a:1"]
