"""What one query may cost: said before it is spent."""

from __future__ import annotations

import numpy as np
import pytest

from vedette.model.labels import Labels
from vedette.query.errors import QueryError
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.source import MemorySamples

TS = np.arange(0, 600_000, 15_000, dtype=np.int64)
SAMPLES = MemorySamples(
    [(Labels.of({"__name__": "x", "n": str(n)}), TS, np.arange(len(TS), dtype=float)) for n in "ab"]
)


@pytest.mark.parametrize(
    "query",
    [
        "sum_over_time(vector(1)[30d:1ms])",
        "max_over_time(x[100y:1ms])",
        "max_over_time(sum_over_time(x[1h:1s])[100y:1m])",
        "count_over_time((x + x)[200y:7ms] offset 3d)",
    ],
)
def test_hostile_subqueries_are_refused_before_memory_is_taken(query: str) -> None:
    """Billions of inner steps are counted, not allocated."""
    with pytest.raises(QueryError, match="values at once") as caught:
        Engine(SAMPLES).instant(query, 600_000)
    assert caught.value.kind == "execution"


def test_results_are_bounded() -> None:
    """Series times steps beyond the limit are refused."""
    engine = Engine(SAMPLES, EngineOptions(max_cells=50))
    assert engine.range("x", 0, 20 * 15_000, 15_000).values.shape[0] == 2
    with pytest.raises(QueryError, match="values at once"):
        engine.range("x", 0, 30 * 15_000, 15_000)


def test_long_queries_are_refused() -> None:
    """A query text has a limit, so that parsing takes no seconds."""
    with pytest.raises(QueryError, match="characters") as caught:
        Engine(SAMPLES).instant("x" * 70_000, 0)
    assert caught.value.kind == "bad_data"


def test_a_range_vector_has_no_range() -> None:
    """A range query of a range vector is the caller's fault, as in Prometheus."""
    with pytest.raises(QueryError, match='"range vector" for range query') as caught:
        Engine(SAMPLES).range("x[5m]", 0, 1_000, 100)
    assert caught.value.kind == "bad_data"
