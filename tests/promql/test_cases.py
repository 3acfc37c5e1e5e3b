"""The semantics of PromQL, as text cases that anyone can read: our own, and those of a peer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.needs import peer_data
from tests.promqltest.run import run_file

OWN = sorted(Path(__file__).parent.glob("*.test"))

# How many cases of each published file pass at least: all of them. The numbers only rise.
PUBLISHED = {
    "collision.test": 2,
    "duration_expression.test": 59,
    "extended_vectors.test": 169,
    "functions.test": 431,
    "histograms.test": 185,
    "info.test": 53,
    "literals.test": 25,
    "name_label_dropping.test": 30,
    "native_histograms.test": 522,
    "range_queries.test": 18,
    "selectors.test": 31,
    "staleness.test": 17,
}


@pytest.mark.parametrize("layout", ["shared", "ragged", "merged"])
@pytest.mark.parametrize("path", OWN, ids=lambda path: path.stem)
def test_own_cases(path: Path, layout: str) -> None:
    """Every case passes, whatever form the blocks have."""
    outcome = run_file(path, layout)
    assert outcome.failures == []
    assert outcome.passed > 0


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_cases(name: str) -> None:
    """As many of the published cases pass as ever did."""
    outcome = run_file(peer_data("promqltest", name))
    assert outcome.passed >= PUBLISHED[name], "\n".join(map(str, outcome.failures))
