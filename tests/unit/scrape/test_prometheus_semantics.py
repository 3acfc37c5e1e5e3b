"""What a scrape by Prometheus' rules stores: relabelling, limits, first occurrences, discovery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.unit.scrape.doubles import Bench, Index
from vedette.kit.relabel import Action, RelabelRule
from vedette.model.metadata import MetricMetadata
from vedette.scrape.discovery.groups import Publish, group_of
from vedette.scrape.discovery.settings import FileDiscovery, StaticDiscovery
from vedette.scrape.formats import Answer
from vedette.scrape.loop import Health, Rooms
from vedette.scrape.manager import ScrapeManager
from vedette.scrape.settings import ScrapeJob, ScrapeLimits, ScrapeSettings
from vedette.scrape.target import ScrapeError, TargetScrape
from vedette.scrape.targets import Target

T0 = 1_767_225_600_000
OWN = 'instance="h:1", job="web"'
COUNTERS = "# TYPE c_total counter\n# TYPE h histogram\n# TYPE s summary\n# TYPE g gauge\n"


class OneTarget:
    """A target that is scraped every second; shows what is stored."""

    def __init__(self, **changes: Any) -> None:
        self.index = Index()
        job = ScrapeJob("web", ("h:1",), **changes)
        self.scrape = TargetScrape(Target(job, "h:1"), self.index)
        self.ts = T0

    def answer(self, text: str) -> dict[str, Any]:
        """Take ``text``; return all that is stored, by series."""
        self.ts += 1000
        row = self.scrape.success(Answer(text.encode()), self.ts, 0.25)
        self.scrape.commit(row)
        self.batch = row.batches[0]
        return self.index.shown(self.batch)

    def fail(self) -> None:
        """Let a scrape fail."""
        self.ts += 1000
        self.scrape.commit(self.scrape.failure(self.ts, 0.1))

    def starts(self) -> dict[str, int]:
        """Return the start timestamps of the latest scrape that are not 0."""
        if self.batch.start is None:
            return {}
        names = [str(labels) for labels in self.index.series]
        pairs = zip(self.batch.refs.tolist(), self.batch.start.tolist(), strict=True)
        return {names[ref]: start for ref, start in pairs if start}


# ---- relabelling and limits


def test_series_are_relabelled_once() -> None:
    """Rules drop, rename and change series; a known series costs no further relabelling."""
    rules = (
        RelabelRule(Action.DROP, ("__name__",), regex="go_.*"),
        RelabelRule(source_labels=("__name__",), regex="old_(.*)", target_label="__name__"),
        RelabelRule(Action.LABELDROP, regex="device"),
    )
    one = OneTarget(metric_relabel=rules)
    text = 'go_x 1\nold_m{device="a",x="y"} 2\nn 3\n'
    stored = one.answer(text)
    assert stored[f'm{{{OWN}, x="y"}}'] == 2
    assert f"go_x{{{OWN}}}" not in stored
    assert stored[f"scrape_samples_scraped{{{OWN}}}"] == 3
    assert stored[f"scrape_samples_post_metric_relabeling{{{OWN}}}"] == 2
    asked = one.index.asked
    stored = one.answer(text.replace("2\n", "5\n").replace("1\n", "7\n"))
    assert stored[f'm{{{OWN}, x="y"}}'] == 5
    assert one.index.asked == asked


def test_rules_see_the_labels_of_the_target() -> None:
    """As in Prometheus the target's labels are there before metric_relabel_configs apply."""
    rule = RelabelRule(source_labels=("instance", "job"), target_label="both")
    stored = OneTarget(metric_relabel=(rule,)).answer("m 1\n")
    assert f'm{{both="h:1;web", {OWN}}}' in stored


def test_a_series_without_a_name_is_refused() -> None:
    """Rules that remove the name leave nothing that could be stored."""
    one = OneTarget(metric_relabel=(RelabelRule(Action.LABELDROP, regex="__name__"),))
    row = one.scrape.success(Answer(b"m 1\n"), T0, 0.1)
    assert row.rejected == {"name": 1}


def test_sample_limit_counts_what_the_rules_leave() -> None:
    """Above it the scrape fails, its counts are reported, and no number is given to the excess."""
    rules = (RelabelRule(Action.DROP, ("__name__",), regex="go_.*"),)
    limits = ScrapeLimits(kept_samples=2, strict=True)
    one = OneTarget(metric_relabel=rules, limits=limits)
    assert one.answer("go_x 1\na 1\nb 1\n")[f"up{{{OWN}}}"] == 1
    text = "go_x 1\n" + "".join(f"m{i} 1\n" for i in range(100))
    for _ in range(3):
        with pytest.raises(ScrapeError) as caught:
            one.answer(text)
        assert (caught.value.reason, caught.value.found) == ("sample_limit", (101, 100))
    assert len(one.index.series) <= 5 + 2 + 2
    assert one.answer("c 1\nd 1\n")[f"c{{{OWN}}}"] == 1


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ScrapeLimits(labels=3, strict=True), "label_limit"),
        (ScrapeLimits(name_length=8, strict=True), "label_length"),
        (ScrapeLimits(value_length=5, strict=True), "label_length"),
    ],
)
def test_strict_limits_of_labels_fail_the_scrape(limits: ScrapeLimits, reason: str) -> None:
    """One series beyond them makes the whole scrape fail, as in Prometheus."""
    with pytest.raises(ScrapeError) as caught:
        OneTarget(limits=limits).answer('ok 1\nm{long_name="long value"} 1\n')
    assert caught.value.reason == reason


def test_extra_metrics_of_a_scrape() -> None:
    """Time-out, limit and size are reported where the job asks for them, also of a failure."""
    one = OneTarget(extra_metrics=True, limits=ScrapeLimits(kept_samples=9), timeout_ms=1500)
    stored = one.answer("m 1\nn 2\n")
    assert stored[f"scrape_timeout_seconds{{{OWN}}}"] == 1.5
    assert stored[f"scrape_sample_limit{{{OWN}}}"] == 9
    assert stored[f"scrape_body_size_bytes{{{OWN}}}"] == 8
    assert (stored[f"m{{{OWN}}}"], stored[f"n{{{OWN}}}"]) == (1, 2)
    one.fail()
    assert one.scrape.failure(one.ts, 0.1).batches[0].values.tolist()[-3:] == [1.5, 9, 0]
    assert one.answer("m 2\n")[f"m{{{OWN}}}"] == 2
    text = COUNTERS + "c_total 1\n"
    before = one.ts
    one.answer(text)
    assert one.starts() == {f"c_total{{{OWN}}}": -before}


def test_legacy_names_fail_the_scrape_if_asked_for() -> None:
    """``metric_name_validation_scheme: legacy`` takes no name that Prometheus 2 would refuse."""
    text = '{"a.b","c"="d"} 1\n'
    strict = ScrapeLimits(strict=True)
    assert OneTarget(limits=strict).answer(text)[f"up{{{OWN}}}"] == 1
    for body in (text, 'm{"a.b"="c"} 1\n'):
        with pytest.raises(ScrapeError) as caught:
            OneTarget(limits=strict, legacy_names=True).answer(body)
        assert caught.value.reason == "legacy_name"


def test_staleness_of_series_with_timestamps_is_tracked_if_asked_for() -> None:
    """``track_timestamps_staleness`` marks their end; without it they just stop."""
    for tracked in (True, False):
        one = OneTarget(track_stale_timestamps=tracked)
        one.answer(f"m 1 {T0}\nn 1\n")
        stored = one.answer("n 2\n")
        assert (stored.get(f"m{{{OWN}}}") == "stale") is tracked


# ---- first occurrences


def test_a_counter_that_appears_later_starts_at_the_scrape_before() -> None:
    """Only its first sample has that start; others that were there from the start have none."""
    one = OneTarget()
    one.answer(COUNTERS + "c_total 1\n")
    assert one.starts() == {}
    before = one.ts
    one.answer(COUNTERS + 'c_total 2\nc_total{code="500"} 1\ng{x="y"} 1\nuntyped_total 1\n')
    assert one.starts() == {f'c_total{{code="500", {OWN}}}': -before}
    one.answer(COUNTERS + 'c_total 3\nc_total{code="500"} 2\n')
    assert one.starts() == {}


def test_parts_of_histograms_and_summaries_start_alike() -> None:
    """Buckets, sums and counts do; quantiles do not."""
    one = OneTarget()
    one.answer(COUNTERS)
    before = one.ts
    one.answer(
        COUNTERS
        + 'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
        + 's{quantile="0.5"} 1\ns_sum 1\ns_count 1\n'
    )
    assert one.starts() == {
        f'h_bucket{{{OWN}, le="1.0"}}': -before,
        f'h_bucket{{{OWN}, le="+Inf"}}': -before,
        f"h_sum{{{OWN}}}": -before,
        f"h_count{{{OWN}}}": -before,
        f"s_sum{{{OWN}}}": -before,
        f"s_count{{{OWN}}}": -before,
    }


def test_a_series_that_comes_back_is_no_first_occurrence() -> None:
    """What was seen of this target before has counted meanwhile, nobody knows from where."""
    one = OneTarget()
    one.answer(COUNTERS + "c_total 5\n")
    one.answer(COUNTERS)
    one.answer(COUNTERS + "c_total 6\n")
    assert one.starts() == {}


def test_failed_scrapes_do_not_count_as_earlier_ones() -> None:
    """The start is the last scrape that succeeded; without one there is none."""
    one = OneTarget()
    one.fail()
    one.answer(COUNTERS + "c_total 1\n")
    assert one.starts() == {}
    before = one.ts
    one.fail()
    one.answer(COUNTERS + 'c_total 1\nc_total{x="y"} 1\n')
    assert one.starts() == {f'c_total{{{OWN}, x="y"}}': -before}


def test_a_start_that_is_not_stored_comes_with_the_next_scrape() -> None:
    """A scrape that storage refused leaves the series without its first sample."""
    one = OneTarget()
    one.answer(COUNTERS)
    before = one.ts
    text = COUNTERS + "c_total 1\n"
    row = one.scrape.success(Answer(text.encode()), one.ts + 500, 0.1)
    assert row.batches[0].start is not None
    one.answer(text)
    assert one.starts() == {f"c_total{{{OWN}}}": -before}


def test_starts_stand_beside_their_values() -> None:
    """Staleness markers in the same batch get no start, and places agree."""
    one = OneTarget()
    one.answer(COUNTERS + "g 1\n")
    one.answer(COUNTERS + "c_total 1\n")
    assert one.batch.start is not None
    assert len(one.batch.start) == len(one.batch.refs) == len(one.batch.values)
    assert np.count_nonzero(one.batch.start) == 1


# ---- the manager


class Found:
    """A discovery whose groups the test publishes."""

    def __init__(self) -> None:
        self.publish: Publish | None = None

    async def run(self, publish: Publish) -> None:
        self.publish = publish
        await Bench().clock.sleep(1)

    def now(self, *addresses: str) -> None:
        """Publish a group of ``addresses``."""
        assert self.publish is not None
        self.publish([group_of("g", addresses, {})])


def discovering(bench: Bench, found: Found) -> ScrapeManager:
    """Return a manager whose discoveries are ``found``."""
    old = bench.rooms
    rooms = Rooms(
        old.index, old.ingest, old.fetcher, old.counts, old.clock, old.offload, lambda _: found
    )
    return ScrapeManager(rooms)


def job(**changes: Any) -> ScrapeSettings:
    """Return a job that looks for targets in files, scraped every 10 s."""
    values = {"interval_ms": 10_000, "discovery": (FileDiscovery(("a.json",)),), **changes}
    return ScrapeSettings((ScrapeJob("web", (), **values),))


async def test_discovered_targets_come_and_go() -> None:
    """Their loops start and end with them; what stays is not disturbed."""
    bench, found = Bench(), Found()
    manager = discovering(bench, found)
    await manager.apply(job())
    await bench.clock.advance(1)
    assert manager.targets() == ()
    assert manager.pools() == ("web",)
    found.now("a:1", "b:1")
    await bench.clock.advance(3)
    assert [status.instance for status in manager.targets()] == ["a:1", "b:1"]
    asked = bench.answers.asked["a:1"]
    assert asked >= 1
    found.now("a:1")
    await bench.clock.advance(2)
    assert [status.instance for status in manager.targets()] == ["a:1"]
    series = {str(labels): ref for labels, ref in bench.index.series.items()}
    ended = [b for b in bench.store.batches if series['m{instance="b:1", job="web"}'] in b.refs][-1]
    assert bench.index.shown(ended)['m{instance="b:1", job="web"}'] == "stale"
    await manager.stop()


async def test_a_reload_keeps_discovered_targets() -> None:
    """Settings that leave the discovery alone do not begin it anew; new rules hold at once."""
    bench, found = Bench(), Found()
    manager = discovering(bench, found)
    await manager.apply(job())
    await bench.clock.advance(1)
    found.now("a:1", "b:1")
    await bench.clock.advance(1)
    first = found.publish
    rules = (RelabelRule(Action.KEEP, ("__address__",), regex="a.*"),)
    await manager.apply(job(relabel=rules))
    assert [status.instance for status in manager.targets()] == ["a:1"]
    (dropped,) = manager.dropped()
    assert (dropped.pool, dropped.count, dropped.labels[0].get("__address__")) == ("web", 1, "b:1")
    assert found.publish is first
    await manager.apply(ScrapeSettings())
    assert manager.targets() == ()
    await manager.stop()


async def test_too_many_targets_fail_all_of_them() -> None:
    """Above ``target_limit`` nothing is fetched, and each target says why it is down."""
    bench, found = Bench(), Found()
    manager = discovering(bench, found)
    await manager.apply(job(target_limit=1))
    await bench.clock.advance(1)
    found.now("a:1", "b:1")
    await bench.clock.advance(12)
    assert {status.health for status in manager.targets()} == {Health.DOWN}
    assert "limit: 1" in manager.targets()[0].last_error
    assert not bench.answers.asked
    found.now("a:1")
    await bench.clock.advance(12)
    assert manager.targets()[0].health is Health.UP
    await manager.stop()


async def test_another_interval_ends_no_series() -> None:
    """A target that is only scraped in another way goes on without staleness markers."""
    bench, found = Bench(), Found()
    manager = discovering(bench, found)
    await manager.apply(job())
    await bench.clock.advance(1)
    found.now("a:1")
    await bench.clock.advance(12)
    count = len(bench.store.batches)
    await manager.apply(job(interval_ms=5_000, timeout_ms=5_000))
    await bench.clock.advance(6)
    fresh = bench.store.batches[count:]
    assert len(fresh) >= 2
    assert "stale" not in str([bench.index.shown(batch) for batch in fresh])
    stamps = [int(batch.ts[0]) for batch in bench.store.batches]
    assert stamps == sorted(set(stamps))
    bench.answers.default = b"n 1\n"
    await bench.clock.advance(6)
    assert "stale" in str(bench.last())
    await manager.stop()


async def test_meta_labels_that_change_nothing_leave_the_loop_alone() -> None:
    """The page shows them, and the target goes on as it was."""
    bench, found = Bench(), Found()
    manager = discovering(bench, found)
    await manager.apply(job())
    await bench.clock.advance(1)
    assert found.publish is not None
    for ready in ("false", "true"):
        found.publish([group_of("g", ["a:1"], {"__meta_ready": ready})])
        await bench.clock.advance(12)
        (status,) = manager.targets()
        assert status.discovered.get("__meta_ready") == ready
    assert "stale" not in str([bench.index.shown(batch) for batch in bench.store.batches])
    await manager.stop()


async def test_what_targets_say_of_metrics_is_handed_on_once() -> None:
    """The store of metadata hears of each change, and not of every scrape."""
    bench = Bench()
    told: list[Sequence[MetricMetadata]] = []
    rooms = replace(bench.rooms, statements=told.append)
    bench.answers.default = b"# TYPE m counter\n# HELP m Help.\nm 1\n"
    manager = ScrapeManager(rooms)
    await manager.apply(ScrapeSettings((ScrapeJob("web", ("a:1",), interval_ms=10_000),)))
    await bench.clock.advance(35)
    assert told == [[MetricMetadata("m", "counter", "Help.")]]
    await manager.stop()


async def test_static_groups_are_there_at_once() -> None:
    """What the configuration itself names needs no discovery; a changed group is replaced."""
    bench = Bench()
    manager = ScrapeManager(bench.rooms)
    for addresses in (["a:1", "b:1"], ["b:1"]):
        groups = (group_of("0", addresses, {}),)
        await manager.apply(job(discovery=(StaticDiscovery(groups),)))
        assert [status.instance for status in manager.targets()] == addresses
    await manager.stop()


async def test_a_defect_of_a_discovery_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the discovery begins again after a while."""
    bench = Bench()
    manager = ScrapeManager(bench.rooms)
    await manager.apply(job())
    await bench.clock.advance(61)
    assert caplog.text.count("failed by a defect") == 3
    await manager.stop()
