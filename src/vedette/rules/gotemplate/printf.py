"""``printf`` as Go's ``fmt.Sprintf`` formats the values of templates.

A verb that does not fit its value is shown as Go shows it: ``%!d(string=x)``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vedette.rules.gotemplate.values import (
    TemplateError,
    Value,
    go_float,
    kind_of,
    special_float,
    text_of,
)

MAX_WIDTH = 1000
_VERB = re.compile(
    r"%(?P<flags>[-+# 0]*)(?P<width>\d+|\*)?(?:\.(?P<precision>\d+|\*)?)?(?P<verb>.?)"
)
_INTEGER = {"d": "d", "b": "b", "o": "o", "x": "x", "X": "X"}


def sprintf(layout: str, values: Sequence[Value]) -> str:
    """Return ``layout`` with its verbs replaced by ``values``.

    Raises:
        TemplateError: a width or precision is beyond ``MAX_WIDTH``.
    """
    remaining = list(values)

    def one(match: re.Match[str]) -> str:
        if match["verb"] == "%":
            return "%"
        if not match["verb"]:
            return "%!(NOVERB)"
        width = _size(match["width"], remaining)
        # "%.f" has a precision of nothing, which is 0.
        bare = "." in match[0] and match["precision"] is None
        precision = 0 if bare else _size(match["precision"], remaining)
        if not remaining:
            return f"%!{match['verb']}(MISSING)"
        body = _verb(match["verb"], match["flags"], precision, remaining.pop(0))
        return _padded(body, match["flags"], width or 0, match["verb"])

    text = _VERB.sub(one, layout)
    if remaining:
        extra = ", ".join(f"{kind_of(value)}={text_of(value, top=False)}" for value in remaining)
        text += f"%!(EXTRA {extra})"
    return text


def _size(text: str | None, remaining: list[Value]) -> int | None:
    if text is None:
        return None
    if text != "*":
        size = int(text[:6])
    else:
        given = remaining.pop(0) if remaining else 0
        size = given if isinstance(given, int) else 0
    if abs(size) > MAX_WIDTH:
        raise TemplateError(f"a width or precision of printf is beyond {MAX_WIDTH}")
    return size


def _padded(body: str, flags: str, width: int, verb: str) -> str:
    if "-" in flags:
        return body.ljust(width)
    if "0" in flags and verb not in "sqvT" and body[-1:] not in ("f", "N"):
        sign = body[:1] if body[:1] in ("+", "-") else ""
        return sign + body[len(sign) :].rjust(width - len(sign), "0")
    return body.rjust(width)


def _verb(verb: str, flags: str, precision: int | None, value: Value) -> str:
    if verb == "v":
        return text_of(value, top=False)
    if verb == "T":
        return kind_of(value)
    text: str | None = None
    if verb in "sq":
        text = _string(verb, precision, value)
    elif verb == "t" and isinstance(value, bool):
        text = text_of(value)
    elif isinstance(value, float):
        text = _float(verb, flags, precision, value)
    elif isinstance(value, int) and not isinstance(value, bool):
        text = _integer(verb, flags, value)
    elif isinstance(value, str) and verb in "xX":
        digits = value.encode().hex()
        text = digits.upper() if verb == "X" else digits
    return _misfit(verb, value) if text is None else text


def _misfit(verb: str, value: Value) -> str:
    if value is None:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({kind_of(value)}={text_of(value, top=False)})"


def _string(verb: str, precision: int | None, value: Value) -> str | None:
    if isinstance(value, list):
        return "[" + " ".join(_verb(verb, "", precision, one) for one in value) + "]"
    if verb == "q" and isinstance(value, int) and not isinstance(value, bool):
        return f"'{chr(value)}'" if 0 <= value < 0xD800 else None
    if not isinstance(value, str):
        return None
    body = value if precision is None else value[:precision]
    return quoted(body) if verb == "q" else body


def quoted(text: str) -> str:
    """Return ``text`` in double quotes, as Go's ``%q`` writes it."""
    known = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    body = "".join(
        known.get(char) or (char if char.isprintable() else f"\\u{ord(char):04x}") for char in text
    )
    return f'"{body}"'


def _float(verb: str, flags: str, precision: int | None, value: float) -> str | None:
    if verb not in "eEfFgG":
        return None
    sign = "+" if "+" in flags else " " if " " in flags else ""
    special = special_float(value)
    if special is not None:
        return special if "+" in flags else special.removeprefix("+")
    if precision is None and verb in "gG":
        text = go_float(value, plus="+" in flags)
        return text.upper() if verb == "G" else text
    return format(value, f"{sign}.{6 if precision is None else precision}{verb}")


def _integer(verb: str, flags: str, value: int) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else ""
    if verb == "c":
        return chr(value) if 0 <= value < 0x110000 else "\ufffd"
    if verb == "U":
        return f"U+{value:04X}"
    if verb not in _INTEGER:
        return None
    prefix = "#" if "#" in flags and verb in "xX" else ""
    return format(value, f"{sign}{prefix}{_INTEGER[verb]}")
