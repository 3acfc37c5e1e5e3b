"""What rules ask: selections of one round are read once."""

from __future__ import annotations

import numpy as np
import pytest

from vedette.app.rules import RoundQueries
from vedette.model.labels import Labels
from vedette.query.promql.engine import EngineOptions
from vedette.query.promql.notation import NotationError, points
from vedette.query.source import MemorySamples
from vedette.storage.interface import NO_LIMITS


def test_a_round_reads_a_selection_once() -> None:
    """Two rules that read the same series ask storage once; another time asks again."""
    asked = []

    class Counting(MemorySamples):
        def select(self, matchers, start: int, end: int, limits=NO_LIMITS):
            asked.append((start, end))
            return super().select(matchers, start, end, limits)

    source = Counting([(Labels.of({"__name__": "x"}), np.array([1000]), np.array([2.0]))])
    queries = RoundQueries(source, EngineOptions(), lambda: None)
    for query in ("x > 1", "x * 2", "sum(x)"):
        assert len(queries.instant(query, 1000).values) == 1
    assert len(asked) == 1
    queries.instant("x", 2000)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "text", ["1x1000001", "_x99999999999", "1+1x9999999", "{{count:1}}x9999999"]
)
def test_a_repetition_is_bounded(text: str) -> None:
    """A few characters of a test file cannot fill the memory."""
    with pytest.raises(NotationError, match="more than"):
        points(text)
