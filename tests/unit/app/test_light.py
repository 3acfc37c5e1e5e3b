"""Which queries run on the event loop."""

from __future__ import annotations

import pytest

from vedette.app.light import MOST_SERIES, is_light


def recent(metric: str, since: int) -> int:
    """Know a few metrics; memory goes back to 1,000 ms."""
    sizes = {"up": 3, "big": MOST_SERIES, "huge": MOST_SERIES + 1}
    return sizes.get(metric, 0) if since >= 1_000 else -1


@pytest.mark.parametrize(
    "query", ["1", "up", "sum by (job) (up == 1) * 2", "nothing", "absent(up)", "-(up)", "big"]
)
def test_few_series_at_one_instant_are_light(query: str) -> None:
    """Instant selectors of small metrics, and what is computed from them, are light."""
    assert is_light(query, 10_000, 5_000, recent)


@pytest.mark.parametrize(
    "query",
    [
        "huge",
        "big + up",
        "rate(up[5m])",
        "max_over_time(up[5m:1m])",
        "up offset 1h",
        "up @ 0",
        '{__name__=~"up.*"}',
        '{job="a"}',
        "info(up)",
        "up{",
        " + ".join(["up"] * 20),
        "up" + " " * 1_000,
    ],
)
def test_others_are_not(query: str) -> None:
    """Ranges, many series, other times, unnamed metrics and broken queries go to a thread."""
    assert not is_light(query, 10_000, 5_000, recent)


def test_what_is_not_in_memory_is_not_light() -> None:
    """A query that needs the column store waits on a thread."""
    assert not is_light("up", 5_000, 5_000, recent)
