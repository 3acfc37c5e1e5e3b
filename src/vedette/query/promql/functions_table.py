"""Every function and aggregation operator of PromQL with its arguments.

Source: the documentation of Prometheus, "Query functions" and "Aggregation operators".
``experimental`` marks what Prometheus 3 offers behind a feature flag only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

from vedette.query.promql.ast import ValueType

SCALAR, STRING = ValueType.SCALAR, ValueType.STRING
VECTOR, MATRIX = ValueType.VECTOR, ValueType.MATRIX


@dataclass(frozen=True, slots=True)
class Signature:
    """Arguments and result of a function.

    Arguments beyond ``arg_types`` have the last type named there. ``max_args`` is ``None`` when
    there is no limit.
    """

    name: str
    arg_types: tuple[ValueType, ...]
    min_args: int
    max_args: int | None
    returns: ValueType
    experimental: bool = False

    def arg_type(self, index: int) -> ValueType:
        """Return the type of argument ``index``, counted from 0."""
        return self.arg_types[min(index, len(self.arg_types) - 1)]


@dataclass(frozen=True, slots=True)
class AggregationSignature:
    """The parameter that an aggregation operator takes before its vector, if any."""

    name: str
    parameter: ValueType | None = None
    experimental: bool = False


_VECTOR_TO_VECTOR = (
    "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg "
    "histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin "
    "sinh sort sort_desc sqrt tan tanh timestamp"
)
_MATRIX_TO_VECTOR = (
    "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta "
    "increase irate last_over_time max_over_time min_over_time present_over_time rate resets "
    "stddev_over_time stdvar_over_time sum_over_time"
)
_MATRIX_TO_VECTOR_EXPERIMENTAL = (
    "mad_over_time ts_of_first_over_time ts_of_last_over_time "
    "ts_of_max_over_time ts_of_min_over_time"
)
_DATE = "day_of_month day_of_week day_of_year days_in_month hour minute month year"


def _fixed(
    name: str, *arg_types: ValueType, returns: ValueType = VECTOR, experimental: bool = False
) -> Signature:
    count = len(arg_types)
    return Signature(name, arg_types, count, count, returns, experimental)


def _signatures() -> Iterator[Signature]:
    for name in _VECTOR_TO_VECTOR.split():
        yield _fixed(name, VECTOR)
    for name in _MATRIX_TO_VECTOR.split():
        yield _fixed(name, MATRIX)
    for name in _MATRIX_TO_VECTOR_EXPERIMENTAL.split():
        yield _fixed(name, MATRIX, experimental=True)
    for name in _DATE.split():
        yield Signature(name, (VECTOR,), 0, 1, VECTOR)
    for name in ("pi", "time"):
        yield _fixed(name, returns=SCALAR)
    for name in ("start", "end", "step", "range"):
        yield _fixed(name, returns=SCALAR, experimental=True)
    yield _fixed("start_timestamp", VECTOR, experimental=True)
    for name in ("min_of", "max_of"):
        yield _fixed(name, SCALAR, SCALAR, returns=SCALAR, experimental=True)
    for name in ("clamp_min", "clamp_max"):
        yield _fixed(name, VECTOR, SCALAR)
    for name in ("sort_by_label", "sort_by_label_desc"):
        yield Signature(name, (VECTOR, STRING), 1, None, VECTOR, experimental=True)
    yield _fixed("scalar", VECTOR, returns=SCALAR)
    yield _fixed("vector", SCALAR)
    yield _fixed("clamp", VECTOR, SCALAR, SCALAR)
    yield Signature("round", (VECTOR, SCALAR), 1, 2, VECTOR)
    yield _fixed("predict_linear", MATRIX, SCALAR)
    yield _fixed("quantile_over_time", SCALAR, MATRIX)
    # Prometheus 3 renamed the first to the second; both are understood.
    yield _fixed("holt_winters", MATRIX, SCALAR, SCALAR)
    yield _fixed("double_exponential_smoothing", MATRIX, SCALAR, SCALAR, experimental=True)
    yield _fixed("histogram_quantile", SCALAR, VECTOR)
    yield _fixed("histogram_fraction", SCALAR, SCALAR, VECTOR)
    yield Signature(
        "histogram_quantiles", (VECTOR, STRING, SCALAR), 3, 12, VECTOR, experimental=True
    )
    yield _fixed("label_replace", VECTOR, STRING, STRING, STRING, STRING)
    yield Signature("label_join", (VECTOR, STRING), 3, None, VECTOR)
    yield Signature("info", (VECTOR, VECTOR), 1, 2, VECTOR, experimental=True)


FUNCTIONS = MappingProxyType({signature.name: signature for signature in _signatures()})

AGGREGATIONS = MappingProxyType(
    {
        name: AggregationSignature(name)
        for name in ("avg", "count", "group", "max", "min", "stddev", "stdvar", "sum")
    }
    | {
        "topk": AggregationSignature("topk", SCALAR),
        "bottomk": AggregationSignature("bottomk", SCALAR),
        "quantile": AggregationSignature("quantile", SCALAR),
        "count_values": AggregationSignature("count_values", STRING),
        "limitk": AggregationSignature("limitk", SCALAR, experimental=True),
        "limit_ratio": AggregationSignature("limit_ratio", SCALAR, experimental=True),
    }
)
