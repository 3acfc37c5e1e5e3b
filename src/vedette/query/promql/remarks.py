"""What a query has to say besides its result: errors with their place, and annotations."""

from __future__ import annotations

from vedette.model.results import Annotation
from vedette.query.errors import QueryError
from vedette.query.promql.ast import Span


def execution_error(message: str, span: Span | None = None) -> QueryError:
    """Return the error of a query that is well-formed but fails on this data."""
    return QueryError("execution", message, *_place(span))


def bad_data(message: str, span: Span | None = None) -> QueryError:
    """Return the error of a query that can never be answered."""
    return QueryError("bad_data", message, *_place(span))


def _place(span: Span | None) -> tuple[int, int]:
    return (0, 0) if span is None else (span.start, span.end)


class Remarks:
    """Collects annotations, each text at each position once."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], Annotation] = {}

    def warn(self, text: str, span: Span) -> None:
        """Add a warning."""
        self._add(Annotation(f"PromQL warning: {text}", False, span.start, span.end))

    def info(self, text: str, span: Span) -> None:
        """Add a milder remark."""
        self._add(Annotation(f"PromQL info: {text}", True, span.start, span.end))

    def _add(self, annotation: Annotation) -> None:
        self._seen.setdefault((annotation.text, annotation.start), annotation)

    def all(self) -> tuple[Annotation, ...]:
        """Return what was collected, in order."""
        return tuple(self._seen.values())


def describe(annotation: Annotation, query: str) -> str:
    """Return the text of ``annotation`` with its place in ``query`` as ``(line:column)``."""
    before = query[: annotation.start]
    line = before.count("\n") + 1
    column = annotation.start - (before.rfind("\n") + 1) + 1
    return f"{annotation.text} ({line}:{column})"


def number(value: float) -> str:
    """Return ``value`` as Prometheus writes it in messages and labels: shortest, no exponent."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = repr(float(value)).partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    digits, point = whole + fraction, len(whole) + int(exponent or 0)
    if point <= 0:
        digits, point = "0" * (1 - point) + digits, 1
    digits = digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}".rstrip("0").rstrip(".")
