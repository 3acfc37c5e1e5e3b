"""The functions that every template of Go knows, besides ``and`` and ``or``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote_plus

from vedette.rules.gotemplate.execute import Callee
from vedette.rules.gotemplate.printf import sprintf
from vedette.rules.gotemplate.values import (
    Struct,
    TemplateError,
    Texts,
    Value,
    kind_of,
    text_of,
    truth,
)

_HTML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\ufffd"}
)


def text(value: Value) -> str:
    """Return ``value`` where a function wants a string.

    Raises:
        TemplateError: it is another kind of value.
    """
    if not isinstance(value, str):
        raise TemplateError(f"wrong type for value; expected string; got {kind_of(value)}")
    return value


def _joined(*values: Value) -> str:
    """As ``fmt.Sprint``: a space between two values of which none is a string."""
    out = ""
    for k, value in enumerate(values):
        apart = k and not isinstance(value, str) and not isinstance(values[k - 1], str)
        out += (" " if apart else "") + text_of(value, top=False)
    return out


def _println(*values: Value) -> str:
    return " ".join(text_of(value, top=False) for value in values) + "\n"


def _html(*values: Value) -> str:
    return _joined(*values).translate(_HTML)


def _js(*values: Value) -> str:
    known = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E"}
    known |= {"&": "\\u0026", "=": "\\u003D"}
    return "".join(
        known.get(char) or (f"\\u{ord(char):04X}" if ord(char) < 32 else char)
        for char in _joined(*values)
    )


def _urlquery(*values: Value) -> str:
    return quote_plus(_joined(*values), safe="-_.~")


def _call(value: Value, *_: Value) -> Value:
    raise TemplateError(f"call of non-function type {kind_of(value)}")


def _len(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise TemplateError(f"len of type {kind_of(value)}")


def _position(value: Value, size: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateError(f"cannot index slice/array with type {kind_of(value)}")
    if not 0 <= value <= size:
        raise TemplateError(f"index out of range: {value}")
    return value


def _index(value: Value, *keys: Value) -> Value:
    for key in keys:
        if isinstance(value, dict):
            absent = "" if isinstance(value, Texts) else None
            value = dict(value).get(text(key), absent)
        elif isinstance(value, list | str):
            members: list[Value] = list(value.encode()) if isinstance(value, str) else value
            at = _position(key, len(members) - 1)
            value = members[at]
        else:
            raise TemplateError(f"can't index item of type {kind_of(value)}")
    return value


def _slice(value: Value, *ends: Value) -> Value:
    if len(ends) > 3 or not isinstance(value, list | str):
        raise TemplateError(f"can't slice item of type {kind_of(value)}")
    size = len(value.encode()) if isinstance(value, str) else len(value)
    places = [_position(end, size) for end in ends]
    start, stop = (*places, 0)[0], places[1] if len(places) > 1 else size
    if start > stop:
        raise TemplateError(f"invalid slice index: {start} > {stop}")
    if isinstance(value, str):
        return value.encode()[start:stop].decode(errors="replace")
    return value[start:stop]


def _comparable(left: Value, right: Value) -> None:
    kinds = {kind_of(left), kind_of(right)}
    if len(kinds) > 1 and None not in (left, right):
        raise TemplateError("incompatible types for comparison")
    if any(isinstance(one, list | dict | Struct) for one in (left, right)):
        raise TemplateError("non-comparable types")


def _eq(first: Value, *others: Value) -> bool:
    for other in others:
        _comparable(first, other)
    return any(first == other for other in others)


def _ne(left: Value, right: Value) -> bool:
    return not _eq(left, right)


def _less(left: Value, right: Value) -> bool:
    _comparable(left, right)
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        raise TemplateError("invalid type for comparison")
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left < right
    raise TemplateError("invalid type for comparison")


BUILTINS: Mapping[str, Callee] = {
    # The executor evaluates these two itself; they stand here for their names.
    "and": Callee(lambda *values: values[-1], 1, None),
    "or": Callee(lambda *values: values[-1], 1, None),
    "not": Callee(lambda value: not truth(value)),
    "print": Callee(_joined, 0, None),
    "println": Callee(_println, 0, None),
    "printf": Callee(lambda layout, *values: sprintf(text(layout), values), 1, None),
    "call": Callee(_call, 1, None),
    "html": Callee(_html, 0, None),
    "js": Callee(_js, 0, None),
    "urlquery": Callee(_urlquery, 0, None),
    "len": Callee(_len),
    "index": Callee(_index, 1, None),
    "slice": Callee(_slice, 1, None),
    "eq": Callee(_eq, 2, None),
    "ne": Callee(_ne, 2, 2),
    "lt": Callee(_less, 2, 2),
    "le": Callee(lambda left, right: _less(left, right) or _eq(left, right), 2, 2),
    "gt": Callee(lambda left, right: not _less(left, right) and _ne(left, right), 2, 2),
    "ge": Callee(lambda left, right: not _less(left, right), 2, 2),
}
