"""Templates of labels and annotations: the part of Go's ``text/template`` that alert texts use.

``{{ $value }}``, ``{{ $labels.instance }}``, ``.Value`` and ``.Labels.instance``, literals,
pipelines, parentheses, trim markers, comments, and the functions of :data:`FUNCTIONS`. All else
(``range``, ``if``, ``query``, …) is refused when the rule is loaded. There are no loops, so time is
bounded by the length of the text; the size of the output is limited.

The functions follow Prometheus' documentation, "Template reference".
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from vedette.model.labels import Labels

MAX_TEMPLATE = 16_384
MAX_OUTPUT = 65_536
_MAX_DEPTH = 16
# Go's strconv turns to exponents from 1e6 on when it prints the shortest form ('g', -1).
_FIXED_BELOW = 6

Value: TypeAlias = float | str


class TemplateError(Exception):
    """A template cannot be read or expanded; ``offset`` is in characters of the text."""

    def __init__(self, message: str, offset: int = 0, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.fix = fix


@dataclass(frozen=True, slots=True)
class TemplateData:
    """What a template may insert: the series' labels (less the metric name) and the value."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Value


@dataclass(frozen=True, slots=True)
class _Label:
    name: str


@dataclass(frozen=True, slots=True)
class _Measured:
    pass


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    args: tuple[_Node, ...]


_Node: TypeAlias = _Literal | _Label | _Measured | _Call


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read without fault; ``text`` is its source."""

    text: str
    parts: tuple[str | _Node, ...]

    def expand(self, data: TemplateData) -> str:
        """Return the text for ``data``.

        Raises:
            TemplateError: a function does not take this value, or the output is too long.
        """
        pieces: list[str] = []
        size = 0
        for part in self.parts:
            piece = part if isinstance(part, str) else _text(_evaluate(part, data))
            size += len(piece)
            if size > MAX_OUTPUT:
                raise TemplateError(f"the text grew beyond {MAX_OUTPUT} characters")
            pieces.append(piece)
        return "".join(pieces)


def _evaluate(node: _Node, data: TemplateData) -> Value:
    match node:
        case _Literal(value):
            return value
        case _Label(name):
            return data.labels.get(name)
        case _Measured():
            return data.value
        case _Call(function, args):
            return FUNCTIONS[function].run(*[_evaluate(arg, data) for arg in args])


# --- functions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Function:
    """A function of templates; ``most`` is ``None`` where any number of arguments is fine."""

    run: Callable[..., Value]
    least: int = 1
    most: int | None = 1


def go_float(value: float) -> str:
    """Return ``value`` as Go's ``%v`` prints a float64: shortest, exponent from 1e+06 on."""
    special = _special(value)
    if special is not None:
        return special
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    digits, _, exponent = _shortest(value).partition("e")
    power = int(exponent)
    if -4 <= power < _FIXED_BELOW:
        places = len(digits.lstrip("-").replace(".", "")) - 1 - power
        return f"{value:.{max(0, places)}f}"
    return f"{digits}e{power:+03d}"


def _shortest(value: float) -> str:
    """Return d.ddde±x with the fewest digits that read back as ``value``."""
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    leading = len(whole + fraction) - len(digits)
    power = len(whole) - leading - 1 + int(exponent or 0)
    digits = digits.rstrip("0") or "0"
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{power}"


def _special(value: float) -> str | None:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return None


def _text(value: Value) -> str:
    return value if isinstance(value, str) else go_float(value)


def _number(value: Value) -> float:
    if isinstance(value, float):
        return value
    try:
        return float(value)
    except ValueError:
        raise TemplateError(f'"{value[:100]}" is not a number') from None


def _four(value: float) -> str:
    return _special(value) or f"{value:.4g}"


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
    value = _number(raw)
    if value == 0 or not math.isfinite(value):
        return _four(value)
    value, prefix = _scaled(value, "kMGTPEZY", "munpfazy")
    return _four(value) + prefix


def humanize1024(raw: Value) -> str:
    """Return the number with a binary prefix: 2048 → 2ki."""
    value = _number(raw)
    if abs(value) <= 1 or not math.isfinite(value):
        return _four(value)
    value, prefix = _scaled(value, "kMGTPEZY", "", 1024.0)
    return _four(value) + (prefix + "i" if prefix else "")


def humanize_duration(raw: Value) -> str:
    """Return seconds as a duration: 3725 → 1h 2m 5s, 0.25 → 250ms."""
    value = _number(raw)
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
    return f"{_four(_number(raw) * 100)}%"


_VERB = re.compile(r"%([-+# 0]*)(\d{0,3})(?:\.(\d{0,3}))?([a-zA-Z%])")
_VERBS = frozenset("vdeEfFgGsq%")


def _printf(raw: Value, *args: Value) -> str:
    remaining = list(args)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb == "%":
            return "%"
        return _verb(flags, width, precision, verb, remaining.pop(0))

    return _VERB.sub(one, _text(raw))


def _verb(flags: str, width: str, precision: str | None, verb: str, value: Value) -> str:
    if verb in "vsq":
        body = _text(value)
        body = body[: int(precision)] if precision and verb != "v" else body
        body = '"' + body.replace("\\", "\\\\").replace('"', '\\"') + '"' if verb == "q" else body
    elif verb == "d":
        number = _number(value)
        if not number.is_integer():
            raise TemplateError(f"%d does not take {_text(value)}", fix="use %.0f")
        body = f"{int(number):+d}" if "+" in flags else str(int(number))
    else:
        number = _number(value)
        sign = "+" if "+" in flags else ""
        places = "" if precision is None and verb in "gG" else f".{precision or 0}"
        places = ".6" if precision is None and verb in "eEfF" else places
        body = _special(number) or (
            format(number, f"{sign}{places}{verb}") if places else sign + go_float(number)
        )
    if "-" in flags:
        return body.ljust(int(width or 0))
    if "0" in flags and verb not in "vsq":
        return body.zfill(int(width or 0))
    return body.rjust(int(width or 0))


FUNCTIONS: Mapping[str, Function] = {
    "humanize": Function(humanize),
    "humanize1024": Function(humanize1024),
    "humanizeDuration": Function(humanize_duration),
    "humanizePercentage": Function(humanize_percentage),
    "printf": Function(_printf, 1, None),
    "print": Function(lambda *args: "".join(_text(arg) for arg in args), 1, None),
    "toUpper": Function(lambda text: _text(text).upper()),
    "toLower": Function(lambda text: _text(text).lower()),
    "title": Function(
        lambda text: re.sub(r"\b\w", lambda first: first.group().upper(), _text(text))
    ),
}


# --- reading -------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+))
    | (?P<field>[$.][\w.]*)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>[|()])
    )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "'": "'"}


def compile_template(text: str) -> Template:
    """Return ``text`` as a template.

    Raises:
        TemplateError: the text is not a template of the supported subset; says where.
    """
    if len(text) > MAX_TEMPLATE:
        raise TemplateError(f"the template is longer than {MAX_TEMPLATE} characters")
    parts: list[str | _Node] = []
    at = 0
    trim = False
    while (start := text.find("{{", at)) >= 0:
        end = _end(text, start + 2)
        inner_start, inner_end = start + 2, end
        plain = text[at:start]
        plain = plain.lstrip() if trim else plain
        if text[inner_start : inner_start + 2] in ("- ", "-\n", "-\t"):
            plain, inner_start = plain.rstrip(), inner_start + 1
        trim = text[inner_end - 2 : inner_end] in (" -", "\n-", "\t-")
        inner_end -= trim
        parts.append(plain)
        if not _is_comment(text[inner_start:inner_end]):
            parts.append(_Reader(text, inner_start, inner_end).pipeline())
        at = end + 2
    rest = text[at:]
    parts.append(rest.lstrip() if trim else rest)
    return Template(text, tuple(part for part in parts if part != ""))


def _is_comment(action: str) -> bool:
    action = action.strip()
    return action.startswith("/*") and action.endswith("*/")


def _end(text: str, start: int) -> int:
    """Return where the ``}}`` stands that closes the action; quotes may hold another one."""
    at = start
    while at < len(text):
        if text.startswith("}}", at):
            return at
        if text[at] in '"`':
            quote, at = text[at], at + 1
            while at < len(text) and text[at] != quote:
                at += 2 if text[at] == "\\" and quote == '"' else 1
        at += 1
    raise TemplateError('"{{" is not closed', start - 2, 'close it with "}}"')


class _Reader:
    """Recursive descent over one action: pipeline := command ("|" command)*."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self._start = start
        self._tokens: list[tuple[str, str, int]] = []
        at = start
        while text[at:end].strip():
            match = _TOKEN.match(text, at, end)
            if match is None or match.lastgroup is None:
                place = at + len(text[at:end]) - len(text[at:end].lstrip())
                raise TemplateError(f'unexpected "{text[place]}" in a template', place)
            group = match.lastgroup
            self._tokens.append((group, match.group(group), match.start(group)))
            at = match.end()
        self._at = 0
        self._depth = 0

    def _peek(self) -> tuple[str, str, int]:
        if self._at < len(self._tokens):
            return self._tokens[self._at]
        return "end", "", self._tokens[-1][2] if self._tokens else self._start

    def pipeline(self) -> _Node:
        node = self._pipe()
        kind, text, at = self._peek()
        if kind != "end":
            raise TemplateError(f'unexpected "{text}" in a template', at)
        return node

    def _pipe(self) -> _Node:
        node = self._command(())
        while self._peek()[1] == "|":
            self._at += 1
            if self._peek()[0] != "word":
                raise TemplateError('a function must follow "|"', self._peek()[2])
            node = self._command((node,))
        return node

    def _command(self, piped: tuple[_Node, ...]) -> _Node:
        kind, text, at = self._peek()
        if kind != "word" or text in ("true", "false", "nil"):
            return self._operand()
        self._at += 1
        if text not in FUNCTIONS:
            known = ", ".join(FUNCTIONS)
            raise TemplateError(f'"{text}" is not supported in templates', at, f"known: {known}")
        args = []
        while self._peek()[0] not in ("end", "word") and self._peek()[1] not in ("|", ")"):
            args.append(self._operand())
        call = _Call(text, (*args, *piped))
        _check(call, at)
        return call

    def _operand(self) -> _Node:
        kind, text, at = self._peek()
        self._at += 1
        if kind == "string":
            return _Literal(_unquote(text, at))
        if kind == "number":
            return _Literal(float(int(text, 16)) if "x" in text.lower() else float(text))
        if kind == "field":
            return _field(text, at)
        if text == "(" and self._depth < _MAX_DEPTH:
            self._depth += 1
            node = self._pipe()
            if self._peek()[1] != ")":
                raise TemplateError('"(" is not closed', at, 'close it with ")"')
            self._at += 1
            self._depth -= 1
            return node
        raise TemplateError(f'unexpected "{text}" in a template' if text else "empty action", at)


def _field(text: str, at: int) -> _Node:
    if text in ("$value", ".Value"):
        return _Measured()
    for prefix in ("$labels.", ".Labels."):
        if text.startswith(prefix) and re.fullmatch(r"\w+", text[len(prefix) :]):
            return _Label(text[len(prefix) :])
    fix = "use $value or $labels.NAME"
    raise TemplateError(f'"{text}" is not known in templates', at, fix)


def _unquote(text: str, at: int) -> str:
    if text.startswith("`"):
        return text[1:-1]

    def one(match: re.Match[str]) -> str:
        letter = match.group(1)
        if letter not in _ESCAPES:
            raise TemplateError(f'unknown escape "\\{letter}"', at)
        return _ESCAPES[letter]

    return _ESCAPE.sub(one, text[1:-1])


def _check(call: _Call, at: int) -> None:
    function = FUNCTIONS[call.function]
    given = len(call.args)
    if given < function.least or (function.most is not None and given > function.most):
        raise TemplateError(
            f"{call.function} takes {function.least} argument(s), not {given}",
            at,
            f"write {{{{ $value | {call.function} }}}}",
        )
    if call.function == "printf":
        _check_format(call, at)


def _check_format(call: _Call, at: int) -> None:
    layout = call.args[0]
    if not isinstance(layout, _Literal) or not isinstance(layout.value, str):
        raise TemplateError("printf needs its format as a literal text", at, 'printf "%.2f" $value')
    verbs = [match.group(4) for match in _VERB.finditer(layout.value)]
    if "%" in _VERB.sub("", layout.value) or not set(verbs) <= _VERBS:
        fix = "known verbs: %v %d %f %e %g %s %q %%"
        raise TemplateError(f'printf cannot read the format "{layout.value}"', at, fix)
    wanted = len([verb for verb in verbs if verb != "%"])
    if wanted != len(call.args) - 1:
        given = len(call.args) - 1
        raise TemplateError(f"the format of printf wants {wanted} value(s), not {given}", at)
