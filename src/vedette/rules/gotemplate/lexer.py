"""Text and actions of a template, and the tokens of an action."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vedette.rules.gotemplate.values import TemplateError

_SPACES = " \t\r\n"
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\.[0-9a-fA-F]*)')
    | (?P<number>[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
                  |(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W\d]\w*)
    | (?P<sign>:=|[|(),=])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL
)
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an action; ``spaced`` says whether space stands before it."""

    kind: str
    text: str
    at: int
    spaced: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """Either plain text, or the tokens of one action."""

    text: str
    tokens: tuple[Token, ...]
    at: int

    @property
    def is_action(self) -> bool:
        """Whether it is an action; one without tokens is a fault of the reader's to name."""
        return self.text == ""


def pieces(text: str) -> Iterator[Piece]:
    """Yield the pieces of a template in order; comments and trimmed space are gone.

    Raises:
        TemplateError: an action or a comment is not closed, or holds what no token is.
    """
    at, trim = 0, False
    while (start := text.find("{{", at)) >= 0:
        plain = text[at:start].lstrip(_SPACES) if trim else text[at:start]
        inner = start + 2
        if text[inner : inner + 1] == "-" and text[inner + 1 : inner + 2] in tuple(_SPACES):
            plain, inner = plain.rstrip(_SPACES), inner + 2
        if plain:
            yield Piece(plain, (), at)
        if text.startswith("/*", inner):
            at, trim = _comment(text, start, inner)
            continue
        end = _end(text, start)
        at, trim = end + 2, False
        if end - 2 >= inner and text[end - 1] == "-" and text[end - 2] in _SPACES:
            end, trim = end - 2, True
        yield Piece("", tuple(_tokens(text, inner, end)), start)
    rest = text[at:].lstrip(_SPACES) if trim else text[at:]
    if rest:
        yield Piece(rest, (), at)


def _comment(text: str, start: int, inner: int) -> tuple[int, bool]:
    """Return where the text goes on behind a comment, and whether space is trimmed there."""
    end = text.find("*/", inner + 2)
    if end < 0:
        raise TemplateError("a comment is not closed", start, 'close it with "*/}}"')
    if text.startswith("}}", end + 2):
        return end + 4, False
    if text[end + 2 : end + 3] in tuple(_SPACES) and text.startswith("-}}", end + 3):
        return end + 6, True
    raise TemplateError("a comment must end its action", end, 'write "*/}}"')


def _end(text: str, start: int) -> int:
    """Return where the ``}}`` stands that closes the action; quotes may hold another one."""
    at = start + 2
    while at < len(text):
        if text.startswith("}}", at):
            return at
        if text[at] in "\"`'":
            quote, at = text[at], at + 1
            while at < len(text) and text[at] != quote:
                at += 2 if text[at] == "\\" and quote != "`" else 1
        at += 1
    raise TemplateError('"{{" is not closed', start, 'close it with "}}"')


def _tokens(text: str, at: int, end: int) -> Iterator[Token]:
    spaced = True
    while at < end:
        match = _TOKEN.match(text, at, end)
        if match is None or match.lastgroup is None:
            raise TemplateError(f'unexpected "{text[at]}" in a template', at)
        if match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), at, spaced)
        spaced = match.lastgroup == "space"
        at = match.end()


def unquote(token: Token) -> str:
    """Return the text that a string or character constant stands for.

    Raises:
        TemplateError: it holds an escape that Go does not know.
    """
    if token.text.startswith("`"):
        return token.text[1:-1]

    def one(match: re.Match[str]) -> str:
        digits = match[1] or match[2] or match[3]
        code = int(digits, 16) if digits else int(match[4], 8) if match[4] else -1
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise TemplateError(f'no such character: "{match[0]}"', token.at)
        if code >= 0:
            return chr(code)
        if match[5] not in _ESCAPES:
            raise TemplateError(f'unknown escape "\\{match[5]}"', token.at)
        return _ESCAPES[match[5]]

    return _ESCAPE.sub(one, token.text[1:-1])


def number(token: Token) -> int | float:
    """Return the value of a number.

    Raises:
        TemplateError: Go would not read it.
    """
    text = token.text.replace("_", "")
    try:
        if not any(sign in text.lower() for sign in (".", "e")) or "0x" in text.lower():
            return int(text, 0) if not text.lstrip("+-").isdecimal() else int(text)
        return float(text)
    except ValueError:
        raise TemplateError(f'bad number "{token.text}"', token.at) from None
