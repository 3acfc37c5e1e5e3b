"""How names of OpenTelemetry become names of Prometheus.

Source: "OTLP Metric points to Prometheus" of OpenTelemetry's specification (compatibility with
Prometheus and OpenMetrics), and ``otlp.translation_strategy`` of Prometheus' configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

_UNITS: Mapping[str, str] = {
    **{"d": "days", "h": "hours", "min": "minutes", "s": "seconds"},
    **{"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"},
    **{"By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes"},
    **{"TiBy": "tibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes"},
    **{"TBy": "terabytes", "m": "meters", "V": "volts", "A": "amperes", "J": "joules"},
    **{"W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent"},
}
_PER_UNITS: Mapping[str, str] = {
    **{"s": "second", "m": "minute", "h": "hour", "d": "day"},
    **{"w": "week", "mo": "month", "y": "year"},
}
_NO_METRIC_CHARS = re.compile(r"[^a-zA-Z0-9:]+")
_NO_PLAIN_METRIC_CHARS = re.compile(r"[^a-zA-Z0-9:_]+")
_NO_LABEL_CHAR = re.compile(r"[^a-zA-Z0-9_]")
_SEVERAL_UNDERSCORES = re.compile(r"__+")
_NO_UNIT_CHARS = re.compile(r"[^a-zA-Z0-9:]+")


class Strategy(StrEnum):
    """Whether names are escaped to the classic alphabet, and told unit and type by suffixes."""

    UNDERSCORES_WITH_SUFFIXES = "UnderscoreEscapingWithSuffixes"
    UNDERSCORES_WITHOUT_SUFFIXES = "UnderscoreEscapingWithoutSuffixes"
    UTF8_WITH_SUFFIXES = "NoUTF8EscapingWithSuffixes"
    NONE = "NoTranslation"

    @property
    def escapes(self) -> bool:
        """Whether names get the classic alphabet."""
        return self in (
            Strategy.UNDERSCORES_WITH_SUFFIXES,
            Strategy.UNDERSCORES_WITHOUT_SUFFIXES,
        )

    @property
    def suffixes(self) -> bool:
        """Whether unit and type become suffixes."""
        return self in (Strategy.UNDERSCORES_WITH_SUFFIXES, Strategy.UTF8_WITH_SUFFIXES)


class UnnamedError(ValueError):
    """A name has nothing left once it is translated."""


@lru_cache(maxsize=10_000)
def metric_name(name: str, unit: str, strategy: Strategy, *, counter: bool, gauge: bool) -> str:
    """Return the name of the metric ``name`` with ``unit``.

    ``counter`` is a monotonic sum; ``gauge`` a gauge, but not a sum that is not monotonic.

    Raises:
        UnnamedError: nothing is left of the name.
    """
    main, per = unit_words(unit)
    endings = (main, f"per_{per}" if per else "")
    kind = _kind_ending(unit, counter=counter, gauge=gauge) if strategy.suffixes else ""
    if not strategy.escapes:
        found = _with_utf8_endings(name, endings, kind) if strategy.suffixes else name
    elif strategy.suffixes:
        found = _with_words(name, endings, kind)
    else:
        found = "_".join(part for part in _NO_PLAIN_METRIC_CHARS.split(name) if part)
    if not found or (found != name and not found.strip("_")):
        raise UnnamedError(f'the metric name "{name[:80]}" has no letter or digit')
    if strategy.escapes and found[0].isdecimal():
        return f"_{found}"
    return found


def _kind_ending(unit: str, *, counter: bool, gauge: bool) -> str:
    if counter:
        return "total"
    # Counters often have the unit 1 though they count things; of gauges it tells a ratio.
    return "ratio" if gauge and unit == "1" else ""


def _with_words(name: str, endings: tuple[str, str], kind: str) -> str:
    words = [word for word in _NO_METRIC_CHARS.split(name) if word]
    main, per = _clean(endings[0]), _clean(endings[1]).rstrip("_")
    per = "" if per == "per" or per in words else per
    main = "" if main in words else main
    words += [word for word in (main.rstrip("_") if per else main, per) if word]
    if kind:
        words = [word for word in words if word != kind] + [kind]
    return "_".join(words)


def _with_utf8_endings(name: str, endings: tuple[str, str], kind: str) -> str:
    """Return the name as it is, with the endings behind it that it does not have yet."""
    if kind:
        name = _without_ending(name, kind)
    main, per = endings
    if per:
        name = _without_ending(name, per)
    if main and not name.endswith(main):
        name = f"{name}_{main}"
    return "_".join(part for part in (name, per, kind) if part)


def _without_ending(name: str, ending: str) -> str:
    """Return ``name`` less ``ending`` and the character before it, which parts the two."""
    if name.endswith(ending) and len(name) > len(ending) + 1:
        return name[: -len(ending) - 1]
    return name


def unit_words(unit: str) -> tuple[str, str]:
    """Return the words for a unit: that before the slash and that behind it; often empty.

    What stands in braces is an annotation, which tells no unit.
    """
    main, _, per = unit.partition("/")
    main, per = main.strip(), per.strip()
    main = "" if "{" in main or "}" in main else _UNITS.get(main, main)
    per = "" if "{" in per or "}" in per else _PER_UNITS.get(per, per)
    return main, per


def unit_name(unit: str, strategy: Strategy) -> str:
    """Return ``unit`` as metadata tells it."""
    main, per = unit_words(unit)
    text = "_".join(part for part in (main, f"per_{per}" if per else "") if part)
    return _clean(text) if strategy.escapes else text


def _clean(text: str) -> str:
    # Prometheus leaves what stands behind a unit, and so do we: it is part of a stored name.
    return _NO_UNIT_CHARS.sub("_", text).lstrip("_")


@lru_cache(maxsize=10_000)
def label_name(
    name: str, strategy: Strategy, key_prefix: bool = True, keep_underscores: bool = True
) -> str:
    """Return the name of the label that the attribute ``name`` becomes.

    ``key_prefix`` sets ``key`` before a name that would begin with one underscore;
    ``keep_underscores`` leaves several of them as they are.

    Raises:
        UnnamedError: nothing is left of the name.
    """
    if not strategy.escapes:
        found = name
    else:
        found = _NO_LABEL_CHAR.sub("_", name)
        if not keep_underscores:
            found = _SEVERAL_UNDERSCORES.sub("_", found)
        if found[:1].isdecimal():
            found = f"key_{found}"
        elif key_prefix and found.startswith("_") and not found.startswith("__"):
            found = f"key{found}"
    if not found or (found != name and not found.strip("_")):
        raise UnnamedError(f'the attribute name "{name[:80]}" has no letter or digit')
    return found
