"""Every function and operator meets empty, odd and mixed input without crash or warning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vedette.model.labels import Labels
from vedette.query.errors import QueryError
from vedette.query.promql.ast import ValueType
from vedette.query.promql.engine import Engine, EngineOptions
from vedette.query.promql.functions_table import AGGREGATIONS, FUNCTIONS
from vedette.query.promql.parser import PromQLSyntaxError
from vedette.query.source import MemorySamples

VECTORS = ["v", "none", "empty", '{__name__=~"v|w"}', "v @ 60", "v > 1e9"]
ARGUMENTS = {
    ValueType.SCALAR: ["0.5", "scalar(v)"],
    ValueType.STRING: ['"a"'],
    ValueType.VECTOR: VECTORS,
    ValueType.MATRIX: ["v[1m]", "none[1m]", "empty[1m]", "v[2m:20s]", '{a=~".*1|"}[1m]'],
}
OPERANDS = ["v", "none", '{__name__=~"v|w"}', "1"]
OPERATORS = ["+", "==", "== bool", "and", "or", "unless", "> on(a) group_left()", "^", "atan2"]


def samples(layout: str) -> MemorySamples:
    """Return series with every odd value, of different lengths, one without samples."""
    ts = np.arange(0, 300_000, 15_000)
    odd = np.array([np.nan, 1.0, np.inf, -np.inf, 1.7e308, -1.7e308, -0.0])
    data = MemorySamples(layout=layout)
    data.add(Labels.of({"__name__": "v", "a": "1"}), ts, np.arange(len(ts)) % 7.0)
    data.add(Labels.of({"__name__": "v", "a": "2", "le": "1"}), ts[: len(odd)], odd)
    data.add(Labels.of({"__name__": "v", "a": "3", "le": "+Inf"}), ts[: len(odd)], odd[::-1])
    data.add(Labels.of({"__name__": "w"}), ts[:1], np.ones(1))
    data.add(Labels.of({"__name__": "empty"}), ts[:0], np.ones(0))
    return data


def calls() -> Iterator[str]:
    """Yield calls of every function."""
    for name, signature in FUNCTIONS.items():
        kinds = [signature.arg_type(k) for k in range(signature.min_args)]
        for arguments in itertools.product(*(ARGUMENTS[kind] for kind in kinds)):
            yield f"{name}({', '.join(arguments)})"


def aggregations() -> Iterator[str]:
    """Yield every aggregation over every kind of vector."""
    for op, signature in AGGREGATIONS.items():
        parameter = f"{ARGUMENTS[signature.parameter][0]}, " if signature.parameter else ""
        for vector, grouping in itertools.product(VECTORS, ("", "by (a)", "without (a)")):
            yield f"{op} {grouping} ({parameter}{vector})"


def operations() -> Iterator[str]:
    """Yield every kind of operator between every kind of operands."""
    for op, left, right in itertools.product(OPERATORS, OPERANDS, OPERANDS):
        yield f"({left}) {op} ({right})"


@pytest.mark.parametrize("queries", [calls, aggregations, operations], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("layout", "delayed"), [("shared", False), ("merged", True)])
def test_no_query_crashes(queries: Callable[[], Iterator[str]], delayed: bool, layout: str) -> None:
    """A query gives a result or an error that says what is wrong; numpy warns of nothing."""
    engine = Engine(samples(layout), EngineOptions(delayed_name_removal=delayed))
    answered = refused = 0
    for query in queries():
        try:
            engine.range(query, 0, 330_000, 30_000)
            engine.instant(query, 60_000)
            answered += 1
        except (QueryError, PromQLSyntaxError):
            refused += 1
    assert answered > 2 * refused
