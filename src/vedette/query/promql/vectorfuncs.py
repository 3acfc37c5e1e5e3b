"""Functions over instant vectors: mathematics, dates, labels, order.

Semantics: the documentation of Prometheus, "Query functions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import re2

from vedette.model.arrays import F64, I64
from vedette.model.labels import METRIC_NAME, Labels
from vedette.model.matchers import Matcher, MatchOp
from vedette.query.promql.ast import Span
from vedette.query.promql.budget import Budget
from vedette.query.promql.labeling import encode, label_order, with_column
from vedette.query.promql.remarks import execution_error
from vedette.query.promql.values import Vector, distinct


def _sgn(x: F64) -> F64:
    return np.where(x < 0, -1.0, np.where(x > 0, 1.0, x))


ELEMENTWISE: dict[str, Callable[[F64], F64]] = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "ln": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "rad": lambda x: x * np.pi / 180,
    "deg": lambda x: x * 180 / np.pi,
    "sgn": _sgn,
}
"""From float64[K, s] to the same shape."""


def round_to(values: F64, nearest: F64) -> F64:
    """Round float64[K, s] to multiples of ``nearest`` (float64[K]), halves upwards."""
    inverse = (1.0 / nearest)[:, None]
    return np.asarray(np.floor(values * inverse + 0.5) / inverse)


def clamp(values: F64, low: F64, high: F64) -> F64:
    """Clamp float64[K, s] between bounds float64[K]; a NaN bound gives NaN."""
    return np.asarray(np.maximum(low[:, None], np.minimum(high[:, None], values)))


# ---- dates


def _days(seconds: F64) -> tuple[I64, I64]:
    """Return days since 1970-01-01 and the second of the day of float64 seconds, cut to whole."""
    whole = np.nan_to_num(np.trunc(seconds), nan=0.0, posinf=0.0, neginf=0.0)
    stamp = np.clip(whole, -6e13, 6e13).astype(np.int64)
    return stamp // 86_400, stamp % 86_400


def _months(seconds: F64) -> I64:
    """Return months since January 1970."""
    return _days(seconds)[0].astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _days_in_month(seconds: F64) -> I64:
    month = _months(seconds)
    first = month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return (month + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) - first


def _day_of_month(seconds: F64) -> I64:
    first = _months(seconds).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return _days(seconds)[0] - first + 1


def _day_of_year(seconds: F64) -> I64:
    year = (_months(seconds) // 12).astype("datetime64[Y]").astype("datetime64[D]")
    return _days(seconds)[0] - year.astype(np.int64) + 1


DATES: dict[str, Callable[[F64], I64]] = {
    "year": lambda s: _months(s) // 12 + 1970,
    "month": lambda s: _months(s) % 12 + 1,
    "day_of_month": _day_of_month,
    "day_of_year": _day_of_year,
    # 1970-01-01 was a Thursday; Sunday is 0.
    "day_of_week": lambda s: (_days(s)[0] + 4) % 7,
    "days_in_month": _days_in_month,
    "hour": lambda s: _days(s)[1] // 3600,
    "minute": lambda s: _days(s)[1] % 3600 // 60,
}
"""From seconds since 1970 (UTC) to a part of the date."""


# ---- labels


_QUIET = re2.Options()
_QUIET.log_errors = False


_OLD_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def check_label_name(name: str, what: str, span: Span, old: bool) -> None:
    """Raise a :class:`QueryError` unless ``name`` can be the name of a label.

    Any UTF-8 text can since Prometheus 3; before (``old``) it was letters, digits and ``_``.
    """
    try:
        valid = bool(name.encode()) and "\ufffd" not in name
    except UnicodeEncodeError:
        valid = False
    if not valid or (old and not _OLD_NAME.fullmatch(name)):
        raise execution_error(f"invalid {what} {name}", span)


def label_replace(
    vector: Vector, texts: Sequence[str], span: Span, old: bool, budget: Budget
) -> Vector:
    """Return ``vector`` with label ``dst`` set from the match of a pattern on label ``src``.

    ``texts`` are dst, replacement, src and pattern (RE2, anchored; ``$1``, ``${name}``).
    """
    dst, replacement, src, pattern = texts
    check_label_name(dst, "destination label name in label_replace():", span, old)
    try:
        compiled = re2.compile(f"(?s:{pattern})", _QUIET)
    except re2.error as error:
        raise execution_error(
            f"invalid regular expression in label_replace(): {pattern}", span
        ) from error
    column = vector.labels.column(src)
    codes, values = (np.zeros(len(vector), np.int32), ("",)) if column is None else column
    # Each distinct value of the source is matched once.
    used = np.unique(codes)
    matches = {int(code): compiled.fullmatch(values[code]) for code in budget.paced(used)}
    new = {code: _expand(replacement, match) for code, match in matches.items() if match}
    if not new:
        return vector
    known = vector.labels.column(dst)
    old_codes, old_values = (np.zeros(len(vector), np.int32), ("",)) if known is None else known
    texts_new = {text: k for k, text in enumerate(dict.fromkeys(new.values()), len(old_values))}
    joint, dictionary = encode([*old_values, *texts_new])
    lookup = np.full(len(values), -1, np.int64)
    for code, text in new.items():
        lookup[code] = joint[texts_new[text]]
    replaced = lookup[codes]
    result = np.where(replaced >= 0, replaced, joint[old_codes]).astype(np.int32)
    unnamed = vector.unnamed
    if dst == METRIC_NAME and unnamed is not None:
        unnamed = unnamed & (replaced < 0)
    labels = with_column(vector.labels, dst, result, dictionary)
    return distinct(replace(vector, labels=labels, unnamed=unnamed), span, budget)


_REFERENCE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)\})")


def _expand(template: str, match: re2._Match) -> str:
    """Expand ``$1``, ``${1}``, ``$name`` and ``$$`` as Go's ``Regexp.Expand`` does."""
    groups = (match.group(0), *match.groups(""))
    named = match.groupdict("")

    def value(reference: re.Match[str]) -> str:
        name = reference[1] or reference[2]
        if name is None:
            return "$"
        if name.isdigit():
            return groups[int(name)] or "" if int(name) < len(groups) else ""
        return named.get(name) or ""

    return _REFERENCE.sub(value, template)


def label_join(
    vector: Vector, texts: Sequence[str], span: Span, old: bool, budget: Budget
) -> Vector:
    """Return ``vector`` with label ``dst`` set to the values of others, joined.

    ``texts`` are dst, separator, and the names of the sources.
    """
    dst, separator, *sources = texts
    for name in sources:
        check_label_name(name, "source label name in label_join():", span, old)
    check_label_name(dst, "destination label name in label_join():", span, old)
    columns = [vector.labels.column(name) for name in sources]
    parts = [
        [""] * len(vector) if column is None else [column[1][code] for code in column[0].tolist()]
        for column in columns
    ]
    joined = [separator.join(row) for row in budget.paced(zip(*parts, strict=True))] or [""] * len(
        vector
    )
    codes, dictionary = encode(joined)
    unnamed = None if dst == METRIC_NAME else vector.unnamed
    labels = with_column(vector.labels, dst, codes, dictionary)
    return distinct(replace(vector, labels=labels, unnamed=unnamed), span, budget)


def absent_labels(matchers: Sequence[Matcher]) -> Labels:
    """Return the labels of ``absent()``: those that the matchers fix to a single value."""
    fixed: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in matchers:
        if matcher.name == METRIC_NAME:
            continue
        if matcher.op is MatchOp.EQUAL and matcher.name not in seen:
            fixed[matcher.name] = matcher.value
            seen.add(matcher.name)
        else:
            fixed.pop(matcher.name, None)
    return Labels.of(fixed)


# ---- order


def sort_by_value(vector: Vector, descending: bool) -> Vector:
    """Return the series of an instant vector by value, NaN last."""
    rows = np.flatnonzero(vector.mask()[:, 0])
    values = vector.values[rows, 0]
    return vector.take(rows[np.argsort(-values if descending else values, kind="stable")])


def sort_by_label(vector: Vector, names: Sequence[str], descending: bool, budget: Budget) -> Vector:
    """Return the series by labels ``names`` in natural order (``a2`` before ``a10``), then all."""
    order = label_order(vector.labels)
    columns = [vector.labels.column(name) for name in names]
    keys = [
        [_natural(column[1][code]) for code in budget.paced(column[0][order].tolist())]
        for column in columns
        if column is not None
    ]
    rows = sorted(range(len(order)), key=lambda k: [key[k] for key in keys])
    if descending:
        rows.reverse()
    return vector.take(order[np.array(rows, np.int64)])


def _natural(text: str) -> list[tuple[bool, int, str]]:
    pieces = re.findall(r"\d+|\D+", text)
    return [(not p[0].isdigit(), int(p) if p[0].isdigit() else 0, p) for p in pieces]
