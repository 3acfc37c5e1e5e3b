"""The functions of Prometheus' templates; described in its documentation, "Template reference"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from urllib.parse import quote_plus, urlsplit

import re2

from vedette.kit.duration import parse_duration
from vedette.rules.gotemplate.builtins import BUILTINS, text
from vedette.rules.gotemplate.execute import Callee
from vedette.rules.gotemplate.moments import duration, moment, time_text
from vedette.rules.gotemplate.values import (
    Struct,
    TemplateError,
    Value,
    go_float,
    kind_of,
    special_float,
)

MAX_PATTERN = 4096
MAX_QUERIES = 64


def number(value: Value) -> float:
    """Return the number that ``value`` is, or that its text says.

    Raises:
        TemplateError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Struct) and value.kind == "time.Duration":
        seconds = value.methods["Seconds"]()
        return float(seconds) if isinstance(seconds, float) else 0.0
    if not isinstance(value, str):
        raise TemplateError(f"can't convert {kind_of(value)} to float")
    try:
        return float(value)
    except ValueError:
        raise TemplateError(f'"{value[:100]}" is not a number') from None


def _four(value: float) -> str:
    return special_float(value) or f"{value:.4g}"


def _scaled(value: float, big: str, small: str, base: float = 1000.0) -> tuple[float, str]:
    prefix = ""
    if abs(value) >= 1:
        for letter in big:
            if abs(value) < base:
                break
            prefix, value = letter, value / base
    else:
        for letter in small:
            if abs(value) >= 1:
                break
            prefix, value = letter, value * base
    return value, prefix


def humanize(raw: Value) -> str:
    """Return the number with a metric prefix: 1234567 → 1.235M."""
    value = number(raw)
    if value == 0 or not math.isfinite(value):
        return _four(value)
    value, prefix = _scaled(value, "kMGTPEZY", "munpfazy")
    return _four(value) + prefix


def humanize1024(raw: Value) -> str:
    """Return the number with a binary prefix: 2048 → 2ki."""
    value = number(raw)
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    value, prefix = _scaled(value, "kMGTPEZY", "", 1024.0)
    return _four(value) + (prefix + "i" if prefix else "")


def humanize_duration(raw: Value) -> str:
    """Return seconds as a duration: 3725 → 1h 2m 5s, 0.25 → 250ms."""
    value = number(raw)
    if not math.isfinite(value):
        return _four(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        value, prefix = _scaled(value, "", "munpfazy")
        return f"{_four(value)}{prefix}s"
    sign, value = ("-", -value) if value < 0 else ("", value)
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{_four(value)}s"


def humanize_percentage(raw: Value) -> str:
    """Return a ratio as per cent: 0.0123 → 1.23%."""
    return f"{_four(number(raw) * 100)}%"


def _timestamp(raw: Value) -> str:
    value = number(raw)
    if not math.isfinite(value):
        return _four(value)
    return moment(value).text


def _seconds(raw: Value) -> float:
    value = number(raw)
    if not math.isfinite(value):
        raise TemplateError(f"{go_float(value)} cannot be represented as a time")
    return value


def _pattern(source: Value) -> re2.Pattern:
    body = text(source)
    if len(body) > MAX_PATTERN:
        raise TemplateError(f"a pattern is longer than {MAX_PATTERN} characters")
    try:
        return re2.compile(body)
    except re2.error:
        raise TemplateError(f'not a regular expression: "{body[:100]}"') from None


_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _replace_all(source: Value, replacement: Value, subject: Value) -> str:
    pattern, layout = _pattern(source), text(replacement)

    def one(match: re.Match[str]) -> str:
        def group(reference: re.Match[str]) -> str:
            name = reference[1] or reference[2]
            if name is None:
                return "$"
            try:
                return match.group(int(name) if name.isdecimal() else name) or ""
            except (IndexError, re2.error, KeyError):
                return ""

        return _REFERENCE.sub(group, layout)

    return str(pattern.sub(one, text(subject)))


def _title(value: Value) -> str:
    return re.sub(r"(?<![\w'])\w", lambda first: first.group().upper(), text(value))


def _strip_port(value: Value) -> str:
    host, colon, port = text(value).rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or "]" in port:
        return text(value)
    return host.removeprefix("[").removesuffix("]")


def _strip_domain(value: Value) -> str:
    whole = text(value)
    host = _strip_port(whole)
    port = whole[len(host) + 2 if whole.startswith("[") else len(host) :]
    try:
        ip_address(host)
    except ValueError:
        return host.partition(".")[0] + port
    return whole


def _parse_duration(value: Value) -> float:
    try:
        return parse_duration(text(value)) / 1000
    except ValueError as error:
        raise TemplateError(str(error)) from None


def _link(tab: int, expr: Value) -> str:
    return f"/graph?g0.expr={quote_plus(text(expr))}&g0.tab={tab}"


def _args(*values: Value) -> Value:
    return {f"arg{k}": value for k, value in enumerate(values)}


def _sample(value: Value) -> Struct:
    if not isinstance(value, Struct) or value.kind != "*template.sample":
        raise TemplateError(f"wrong type for value; expected a sample; got {kind_of(value)}")
    return value


def _samples(value: Value) -> list[Struct]:
    if not isinstance(value, list):
        raise TemplateError(f"wrong type for value; expected samples; got {kind_of(value)}")
    return [_sample(one) for one in value]


def _first(value: Value) -> Value:
    found = _samples(value)
    if not found:
        raise TemplateError("first() called on vector with no elements")
    return found[0]


def _label(name: Value, sample: Value) -> str:
    labels = _sample(sample).fields["Labels"]
    return str(labels.get(text(name), "")) if isinstance(labels, dict) else ""


def _sort_by_label(name: Value, samples: Value) -> Value:
    found: list[Value] = sorted(_samples(samples), key=lambda one: _label(name, one))
    return found


FUNCTIONS: Mapping[str, Callee] = {
    **BUILTINS,
    "first": Callee(_first),
    "label": Callee(_label, 2, 2),
    "value": Callee(lambda sample: _sample(sample).fields["Value"]),
    "strvalue": Callee(lambda sample: _label("__value__", sample)),
    "sortByLabel": Callee(_sort_by_label, 2, 2),
    "humanize": Callee(humanize),
    "humanize1024": Callee(humanize1024),
    "humanizeDuration": Callee(humanize_duration),
    "humanizePercentage": Callee(humanize_percentage),
    "humanizeTimestamp": Callee(_timestamp),
    "toTime": Callee(lambda value: moment(_seconds(value))),
    "toDuration": Callee(lambda value: duration(_seconds(value))),
    "title": Callee(_title),
    "toUpper": Callee(lambda value: text(value).upper()),
    "toLower": Callee(lambda value: text(value).lower()),
    "stripPort": Callee(_strip_port),
    "stripDomain": Callee(_strip_domain),
    "match": Callee(
        lambda pattern, subject: _pattern(pattern).search(text(subject)) is not None, 2, 2
    ),
    "reReplaceAll": Callee(_replace_all, 3, 3),
    "graphLink": Callee(lambda expr: _link(0, expr)),
    "tableLink": Callee(lambda expr: _link(1, expr)),
    "parseDuration": Callee(_parse_duration),
    "urlQueryEscape": Callee(lambda value: quote_plus(text(value), safe="-_.~")),
    "safeHtml": Callee(text),
    "args": Callee(_args, 0, None),
}
"""All functions that need nothing but their arguments."""

Query = Callable[[str], Sequence[Struct]]
"""Returns the samples of a query at the evaluation's time; raises ``TemplateError``."""


def bound(query: Query, external_url: str, now_seconds: float) -> Mapping[str, Callee]:
    """Return the functions that hang on the evaluation: ``query``, ``externalURL``, ``now``, ….

    One execution may query ``MAX_QUERIES`` times.
    """
    asked = 0

    def ask(expr: Value) -> Value:
        nonlocal asked
        asked += 1
        if asked > MAX_QUERIES:
            raise TemplateError(f"a template queries more than {MAX_QUERIES} times")
        return list(query(text(expr)))

    return {
        "query": Callee(ask),
        "externalURL": Callee(lambda: external_url, 0, 0),
        "pathPrefix": Callee(lambda: urlsplit(external_url).path, 0, 0),
        "now": Callee(lambda: now_seconds, 0, 0),
    }


BOUND = ("query", "externalURL", "pathPrefix", "now", "tmpl")
"""Names of the functions that are bound at execution."""

__all__ = ["BOUND", "FUNCTIONS", "Query", "bound", "number", "time_text"]
