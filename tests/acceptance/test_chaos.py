"""Small versions of ``make chaos``: a full disk, a damaged segment, a damaged part of the store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.chaos.disk import full_disk, small_disk
from bench.chaos.outcome import Outcome, table
from bench.chaos.parts import damaged_part
from bench.chaos.segments import damaged_segment

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


def all_good(outcomes: Sequence[Outcome]) -> None:
    """Fail with the table unless every promise was kept."""
    assert outcomes
    assert all(outcome.good for outcome in outcomes), "\n" + table(outcomes)


def test_a_full_disk_is_told_and_passes() -> None:
    """Senders and readiness say why, nothing acknowledged is lost, and it goes on by itself."""
    with small_disk(600 << 20) as (folder, bounded):
        if not bounded:
            pytest.skip("needs root, for a file system of its own")
        all_good(full_disk(folder))


def test_what_is_readable_of_a_damaged_segment_is_there(tmp_path: Path) -> None:
    """Flipped bytes and a cut end cost just the requests they hit; log, file and counter tell."""
    all_good(damaged_segment(tmp_path, random.Random(3)))


def test_a_damaged_part_is_refused_and_the_other_days_go_on(tmp_path: Path) -> None:
    """A query of the damaged day fails and says so; other days and new samples are there."""
    all_good(damaged_part(tmp_path))


def test_the_table_fails_on_what_is_lost_doubled_or_unkept() -> None:
    """Only equal counts without faults are good."""
    outcomes = [Outcome("a", 2, 1), Outcome("b", 1, 2), Outcome("c", 1, 1, ("quiet",))]
    assert not any(outcome.good for outcome in outcomes)
    assert table([*outcomes, Outcome("d", 1, 1)]).count("FAILED") == 3
