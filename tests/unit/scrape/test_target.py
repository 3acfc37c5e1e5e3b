"""What one answer becomes: labels, the report, staleness, limits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.scrape.doubles import Index
from vedette.model.labels import Labels
from vedette.scrape.formats import Answer
from vedette.scrape.settings import ScrapeJob, ScrapeLimits
from vedette.scrape.target import (
    ScrapeError,
    SeriesLabels,
    TargetScrape,
    format_bound,
    with_target_labels,
)
from vedette.scrape.targets import Target

ADDRESS = "h:1"
OWN = 'instance="h:1", job="web"'
T0 = 1_767_225_600_000


def target(**changes: Any) -> Target:
    """Return a target of a job with ``changes``."""
    return Target(ScrapeJob("web", (ADDRESS,), **changes), ADDRESS)


class Bench:
    """A target that is scraped every second."""

    def __init__(self, **changes: Any) -> None:
        self.index = Index()
        self.scrape = TargetScrape(target(**changes), self.index)
        self.ts = T0
        self.rejected: dict[str, int] = {}

    def answer(self, text: str) -> dict[str, Any]:
        """Take ``text`` and return what is stored, without the target's labels and its report."""
        self.ts += 1000
        row = self.scrape.success(Answer(text.encode()), self.ts, 0.25)
        assert row.batches[0].ts.tolist() == [self.ts] * len(row.batches[0])
        self.scrape.commit(row)
        self.batches = row.batches
        self.rejected = dict(row.rejected)
        return self._shown(row.batches[0])

    def fail(self) -> dict[str, Any]:
        """Take a failure and return what is stored."""
        self.ts += 1000
        row = self.scrape.failure(self.ts, 0.25)
        self.scrape.commit(row)
        return self._shown(row.batches[0])

    def _shown(self, batch: Any) -> dict[str, Any]:
        shown = {
            name.replace(OWN, "").replace("{}", ""): value
            for name, value in self.index.shown(batch).items()
        }
        self.report = [shown.pop(name) for name in list(shown) if name in REPORT]
        return shown


REPORT = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)


def test_a_scrape_reports_about_itself() -> None:
    """up, duration, samples scraped and kept, and series added, in one batch with the samples."""
    bench = Bench()
    assert bench.answer("a 1\nb 2\nwrong\n") == {"a": 1.0, "b": 2.0}
    assert bench.report == [1.0, 0.25, 3.0, 2.0, 2.0]
    bench.answer("a 1\nb 2\nc 3\n")
    assert bench.report == [1.0, 0.25, 3.0, 3.0, 1.0]
    assert bench.batches[0].target == "web/h:1"


def test_a_series_that_vanishes_gets_one_staleness_marker() -> None:
    """The marker comes with the first scrape that lacks the series, and only then."""
    bench = Bench()
    bench.answer("a 1\nb 2\n")
    assert bench.answer("a 1\n") == {"a": 1.0, "b": "stale"}
    assert bench.answer("a 1\n") == {"a": 1.0}
    assert bench.answer("b 1\n") == {"a": "stale", "b": 1.0}


def test_a_failed_scrape_ends_every_series_and_says_down() -> None:
    """All series get a marker once, up is 0, and they come back afterwards."""
    bench = Bench()
    bench.answer("a 1\nb 2\n")
    assert bench.fail() == {"a": "stale", "b": "stale"}
    assert bench.report == [0.0, 0.25, 0.0, 0.0, 0.0]
    assert bench.fail() == {}
    assert bench.answer("a 1\nb 2\n") == {"a": 1.0, "b": 2.0}
    assert bench.report[-1] == 2.0


def test_a_row_that_was_not_stored_is_not_remembered() -> None:
    """Without commit, the series that were alive are still those stored before."""
    bench = Bench()
    bench.answer("a 1\nb 2\n")
    bench.scrape.success(Answer(b"a 1\n"), bench.ts + 1, 0.1)
    assert bench.answer("a 1\n") == {"a": 1.0, "b": "stale"}


def test_the_end_of_a_target_marks_series_and_report() -> None:
    """A removed target leaves nothing that looks alive."""
    bench = Bench()
    bench.answer("a 1\n")
    batch = bench.scrape.gone(bench.ts + 1)
    assert set(bench.index.shown(batch).values()) == {"stale"}
    assert len(batch) == 6


def test_duplicates_keep_the_first_and_are_counted() -> None:
    """Also when the labels stand in another order; a target cannot overwrite its own up."""
    bench = Bench()
    text = 'a{x="1",y="2"} 1\na{y="2",x="1"} 5\nup 0\n'
    assert bench.answer(text) == {f'a{{{OWN}, x="1", y="2"}}'.replace(OWN, ""): 1.0}
    assert bench.report[0] == 1.0
    assert bench.rejected == {"duplicate_series": 2}


def test_own_timestamps_make_a_batch_of_their_own() -> None:
    """Samples with a timestamp keep it, take no part in staleness, and can be told not to."""
    bench = Bench()
    text = "a 1 5000\na 2 6000\na 9 5000\nb 2\n"
    assert bench.answer(text) == {"b": 2.0}
    timed = bench.batches[1]
    assert (timed.target, timed.ts.tolist(), timed.values.tolist()) == ("", [5000, 6000], [1, 2])
    assert bench.rejected == {"duplicate_series": 1}
    assert bench.answer("b 2\n") == {"b": 2.0}
    assert Bench(honor_timestamps=False).answer("a 1 5000\nb 2\n") == {"a": 1.0, "b": 2.0}


def test_too_many_samples_fail_the_scrape() -> None:
    """The limit counts sample lines, not comments, and is exact."""
    bench = Bench(limits=ScrapeLimits(samples=2))
    bench.answer("# HELP a x\n# TYPE a gauge\na 1\nb 1")
    with pytest.raises(ScrapeError, match="3 samples"):
        bench.answer("a 1\nb 1\nc 1\n")


def test_too_many_lines_fail_the_scrape() -> None:
    """A flood of comments or empty lines is no way around the limit of samples."""
    for flood in ("#\n", "\n"):
        with pytest.raises(ScrapeError, match="lines"):
            Bench(limits=ScrapeLimits(samples=2)).answer(flood * 11_000)


def test_labels_beyond_the_limits_cost_only_their_line() -> None:
    """Too many or too long labels are refused by reason; the others are kept."""
    limits = ScrapeLimits(labels=4, name_length=8, value_length=8)
    bench = Bench(limits=limits)
    many = 'a{l1="",l2="",l3=""} 1\n'
    long = 'b{x="123456789"} 1\nb{x23456789=""} 1\n'
    assert bench.answer(f'{many}{long}ok{{x="1"}} 1\n') == {'ok{, x="1"}': 1.0}
    assert bench.rejected == {"label_limit": 1, "label_length": 2}


@pytest.mark.parametrize(
    ("scraped", "honor", "wanted"),
    [
        ({"job": "own"}, False, {"job": "web", "exported_job": "own"}),
        ({"job": "own"}, True, {"job": "own"}),
        ({"job": ""}, False, {"job": "web"}),
        ({"job": ""}, True, {"job": ""}),
        (
            {"job": "own", "exported_job": "x"},
            False,
            {"job": "web", "exported_job": "x", "exported_exported_job": "own"},
        ),
        ({"x": "y"}, True, {"x": "y", "job": "web"}),
    ],
)
def test_honor_labels(scraped: dict[str, str], honor: bool, wanted: dict[str, str]) -> None:
    """Conflicts of scraped and target labels end as in Prometheus."""
    assert with_target_labels(scraped, {"job": "web"}, honor) == wanted


def test_the_targets_labels_are_set() -> None:
    """job, instance and the job's further labels; these may replace the instance."""
    got = target(labels=(("env", "prod"), ("instance", "shop-1"))).labels
    assert got == Labels.of({"job": "web", "instance": "shop-1", "env": "prod"})
    assert target(params=(("a", "b c"),), path="/m").url == "http://h:1/m?a=b+c"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0"),
        (0.0, "0.0"),
        (0.25, "0.25"),
        (-2.0, "-2.0"),
        (100_000.0, "100000.0"),
        (1e6, "1e+06"),
        (1_048_576.0, "1.048576e+06"),
        (2.5e-5, "2.5e-05"),
        (1e-4, "0.0001"),
        (1e100, "1e+100"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_bounds_are_written_as_in_openmetrics(value: float, text: str) -> None:
    """The text that Prometheus 3 gives ``le`` and ``quantile``."""
    assert format_bound(value) == text


def test_buckets_are_normalised_by_type_alone() -> None:
    """``le`` of histograms and ``quantile`` of summaries only, and not in 2.x behaviour."""
    text = (
        "# TYPE h histogram\n# TYPE s summary\n# TYPE g gauge\n"
        'h_bucket{le="1"} 1\ns{quantile="1"} 1\ng{le="1",quantile="1"} 1\nh_bucket{le="x"} 1\n'
    )
    job = ScrapeJob("web", (ADDRESS,))
    seen = []
    for normalise in (True, False):
        index = Index()
        TargetScrape(Target(job, ADDRESS, normalise), index).success(Answer(text.encode()), T0, 0.1)
        wanted = ("h_bucket", "s", "g")
        seen.append(
            [
                labels.get("le") or labels.get("quantile")
                for labels in index.series
                if labels.metric in wanted
            ]
        )
    assert seen == [["1.0", "1.0", "1", "x"], ["1", "1", "1", "x"]]


def test_a_quoted_empty_name_is_refused() -> None:
    """Names may be any text in quotes, but not empty."""
    bench = Bench()
    assert bench.answer('{""} 1\n{"m",""="x"} 1\n') == {}
    assert bench.rejected == {"name": 2}
    assert SeriesLabels(target())({"__name__": "ü"}, "unknown").metric == "ü"
