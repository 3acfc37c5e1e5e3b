"""Values of templates, and how Go prints them.

======================  =============================================
Go                      here
======================  =============================================
nil, bool, string       ``None``, ``bool``, ``str``
int, float64            ``int``, ``float``
slice                   ``list``
map[string]string       :class:`Texts` (a missing key gives "")
map[string]any          ``dict`` (a missing key gives nil)
struct                  :class:`Struct`
======================  =============================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


class TemplateError(Exception):
    """A template cannot be read or executed; ``offset`` is in characters of its text."""

    def __init__(self, message: str, offset: int = 0, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.fix = fix


class Texts(dict[str, str]):
    """A map of strings to strings, such as labels."""


@dataclass(frozen=True, slots=True)
class Struct:
    """A struct: fields, and methods that take further arguments.

    Attributes:
        kind: Go's name of the type, for messages.
        text: how ``%v`` prints it; empty prints the fields.
    """

    kind: str
    fields: Mapping[str, Value]
    methods: Mapping[str, Callable[..., Value]] = field(default_factory=dict)
    text: str = ""


Value: TypeAlias = (
    "bool | int | float | str | list[Value] | dict[str, Value] | Texts | Struct | None"
)

# Go's strconv turns to exponents from 1e6 on when it prints the shortest form ('g', -1).
_FIXED_BELOW = 6


def go_float(value: float, plus: bool = False) -> str:
    """Return ``value`` as Go's ``%v`` prints a float64: shortest, exponent from 1e+06 on."""
    special = special_float(value)
    if special is not None:
        return special
    sign = "-" if math.copysign(1, value) < 0 else "+" if plus else ""
    value = abs(value)
    if value == 0:
        return f"{sign}0"
    digits, _, exponent = _shortest(value).partition("e")
    power = int(exponent)
    if -4 <= power < _FIXED_BELOW:
        places = len(digits.replace(".", "")) - 1 - power
        return f"{sign}{value:.{max(0, places)}f}"
    return f"{sign}{digits}e{power:+03d}"


def special_float(value: float) -> str | None:
    """Return how Go prints NaN and the infinities, ``None`` for other numbers."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return None


def _shortest(value: float) -> str:
    """Return d.ddde±x with the fewest digits that read back as the positive ``value``."""
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    power = len(whole) - leading - 1 + int(exponent or 0)
    digits = digits.rstrip("0") or "0"
    return f"{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{power}"


def text_of(value: Value, top: bool = True) -> str:
    """Return ``value`` as Go's ``%v`` prints it; a bare nil in an action is ``<no value>``."""
    if value is None:
        return "<no value>" if top else "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, list):
        return "[" + " ".join(text_of(one, top=False) for one in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{key}:{text_of(value[key], top=False)}" for key in sorted(value))
        return "map[" + " ".join(pairs) + "]"
    if isinstance(value, Struct):
        fields = (text_of(one, top=False) for one in value.fields.values())
        return value.text or "{" + " ".join(fields) + "}"
    return str(value)


def kind_of(value: Value) -> str:
    """Return Go's name of the type of ``value``."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float64"
        case str():
            return "string"
        case list():
            return "[]interface {}"
        case Texts():
            return "map[string]string"
        case dict():
            return "map[string]interface {}"
        case Struct():
            return value.kind


def truth(value: Value) -> bool:
    """Return whether ``if`` takes ``value``: neither zero nor empty."""
    if isinstance(value, Struct):
        return True
    return bool(value)
