"""Tokens of PromQL, and the stream that the parser reads them from.

Words are not split into keywords and names here, because nearly every keyword may also be the
name of a metric or a label: only the parser knows which of them it is looking at. The one state
is the square bracket, inside which a colon separates range from step; outside it belongs to names.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from vedette.query.promql.syntax_error import PromQLSyntaxError

# Levels of parentheses, calls and signs. Each costs five frames of Python's stack at most, so
# that a hostile text meets this limit long before it meets Python's.
MAX_NESTING = 100


class TokenKind(StrEnum):
    """What a token is; the value is how an error names it."""

    WORD = "identifier"
    NUMBER = "number"
    DURATION = "duration"
    STRING = "string"
    SYMBOL = "symbol"
    END = "end of input"


class Token(NamedTuple):
    """A piece of the text; a string still has its quotes and escapes."""

    kind: TokenKind
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """The word in lower case (keywords ignore case), or the empty string."""
        return self.text.lower() if self.kind is TokenKind.WORD else ""

    def __str__(self) -> str:
        if self.kind is TokenKind.END:
            return str(self.kind)
        shown = self.text if len(self.text) <= 40 else self.text[:40] + "…"
        if self.kind is TokenKind.STRING:
            return f"string {shown}"
        quoted = f'"{shown}"'
        return quoted if self.kind is TokenKind.SYMBOL else f"{self.kind} {quoted}"


# Every repeat is possessive or over one class: linear time and no backtracking on any input.
_SKIP = re.compile(r"(?:[ \t\r\n]++|#[^\r\n]*+)*+")
_COMMON = r"""
    | (?P<NUMBER> 0[xX][0-9A-Za-z_]*+ | \.?[0-9](?:[eE][+-](?=[0-9])|[0-9A-Za-z_.])*+ )
    | (?P<STRING> "(?:[^"\\\n]|\\[^\n])*+" | '(?:[^'\\\n]|\\[^\n])*+' | `[^`]*+` )
    | (?P<SYMBOL> ==|=~|!=|!~|<=|>=|</|>/|[-+*/%^<>=(){}\[\],@:] )
"""
_TOKEN = re.compile(r"(?P<WORD> [A-Za-z_:][A-Za-z0-9_:]*+ )" + _COMMON, re.VERBOSE)
_TOKEN_IN_BRACKETS = re.compile(r"(?P<WORD> [A-Za-z_][A-Za-z0-9_]*+ )" + _COMMON, re.VERBOSE)

_DIGITS = r"[0-9]++(?:_[0-9]++)*+"
_NUMBER = re.compile(
    rf"0[xX]_?[0-9a-fA-F]++(?:_[0-9a-fA-F]++)*+"
    rf"|(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?"
)
_DURATION = re.compile(r"(?:[0-9]++(?:ms|[smhdwy]))++")
_FRACTION_WITH_UNIT = re.compile(r"[0-9]*\.[0-9]+(?:ms|[smhdwy])")

_ESCAPE = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\'\"])|(?P<octal>[0-7]{3})|x(?P<hex>[0-9a-fA-F]{2})"
    r"|u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8}))"
)
_PLAIN_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"',
}  # fmt: skip

_REMEDIES = {
    "&": 'write "and" for the intersection of two vectors',
    "|": 'write "or" for the union of two vectors',
    "!": 'write "!=" to compare, or "unless" for the complement of two vectors',
    "“": "use straight quotes",
    "”": "use straight quotes",
    "‘": "use straight quotes",  # noqa: RUF001 (this very character is the mistake)
    "$": "variables must be replaced before the query is sent",
    ";": "one query holds one expression",
}


class TokenStream:
    """Reads a text token by token, one token of look-ahead (``current``).

    Raises:
        PromQLSyntaxError: the next characters are no token.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.last_end = 0
        self._position = 0
        self._in_brackets = False
        self._nesting = 0
        self.current = self._scan()

    def advance(self) -> Token:
        """Return the current token and move on to the next."""
        token = self.current
        self.last_end = token.end
        self.current = self._scan()
        return token

    def at_end(self) -> bool:
        """Tell whether the whole text has been read."""
        return self.current.kind is TokenKind.END

    def at(self, *symbols: str) -> bool:
        """Tell whether the current token is one of ``symbols``."""
        return self.current.kind is TokenKind.SYMBOL and self.current.text in symbols

    def followed_by(self, symbol: str) -> bool:
        """Tell whether ``symbol`` comes right after the current token."""
        skipped = _SKIP.match(self.text, self.current.end)
        return self.text.startswith(symbol, skipped.end() if skipped else self.current.end)

    def accept(self, symbol: str) -> bool:
        """Move past ``symbol`` if it is the current token, and tell whether it was."""
        found = self.at(symbol)
        if found:
            self.advance()
        return found

    def expect(self, symbol: str, context: str, expected: str = "") -> Token:
        """Move past ``symbol``; raises :class:`PromQLSyntaxError` if it is not there."""
        if not self.at(symbol):
            raise self.unexpected(context, expected or f'"{symbol}"')
        return self.advance()

    def error(self, message: str, start: int, end: int) -> PromQLSyntaxError:
        """Return the error that ``message`` describes at ``[start, end)``."""
        return PromQLSyntaxError(message, start, end, self.text)

    def unexpected(self, context: str, expected: str = "") -> PromQLSyntaxError:
        """Return the error that the current token has no place here."""
        token = self.current
        message = f"unexpected {token} {context}"
        if expected:
            message += f", expected {expected}"
        return self.error(message, token.start, token.end)

    def enter(self) -> None:
        """Go one level deeper; raises :class:`PromQLSyntaxError` beyond :data:`MAX_NESTING`."""
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self.error(
                f"expression is nested deeper than {MAX_NESTING} levels; "
                "split it, for example with recording rules",
                self.current.start,
                self.current.end,
            )

    def leave(self) -> None:
        """Come back from the level that :meth:`enter` went to."""
        self._nesting -= 1

    def _scan(self) -> Token:
        skipped = _SKIP.match(self.text, self._position)
        start = skipped.end() if skipped else self._position
        if start == len(self.text):
            return Token(TokenKind.END, "", start, start)
        pattern = _TOKEN_IN_BRACKETS if self._in_brackets else _TOKEN
        match = pattern.match(self.text, start)
        if match is None or match.lastgroup is None:
            raise self._no_token(start)
        self._position = match.end()
        text = match[0]
        kind = TokenKind[match.lastgroup]
        if kind is TokenKind.NUMBER:
            kind = self._number_or_duration(text, start)
        elif text == "[":
            self._in_brackets = True
        elif text == "]":
            self._in_brackets = False
        return Token(kind, text, start, match.end())

    def _number_or_duration(self, text: str, start: int) -> TokenKind:
        if _NUMBER.fullmatch(text):
            return TokenKind.NUMBER
        if _DURATION.fullmatch(text):
            return TokenKind.DURATION
        message = f'bad number or duration "{text[:40]}"'
        if _FRACTION_WITH_UNIT.fullmatch(text):
            message += "; durations have no fractions, write 1h30m for 1.5h"
        raise self.error(message, start, start + len(text))

    def _no_token(self, start: int) -> PromQLSyntaxError:
        character = self.text[start]
        if character in "\"'`":
            end = len(self.text) if character == "`" else self.text.find("\n", start)
            end = len(self.text) if end < 0 else end
            message = f"string is never closed; add {character} at its end"
            return self.error(message, start, end)
        message = f"unexpected character {character!r}"
        remedy = _REMEDIES.get(character)
        return self.error(f"{message}; {remedy}" if remedy else message, start, start + 1)


def unquote(token: Token, text: str) -> str:
    r"""Return the value of a string token.

    Escapes are those of Go: ``\n`` and its like, ``\101``, ``\x41``, ``\u0041``, ``\U00000041``;
    octal and hexadecimal escapes are bytes of UTF-8. Between backticks nothing is escaped.

    Raises:
        PromQLSyntaxError: an escape is unknown or stands for no character.
    """
    quote, body = token.text[0], token.text[1:-1]
    if quote == "`" or "\\" not in body:
        return body
    pieces = bytearray()
    at = 0
    while (slash := body.find("\\", at)) >= 0:
        pieces += body[at:slash].encode()
        escape = _ESCAPE.match(body, slash)
        value = _unescape(escape, quote) if escape else None
        if escape is None or value is None:
            start = token.start + 1 + slash
            message = f'unknown escape "{body[slash : slash + 2]}"; write \\\\ for a backslash'
            raise PromQLSyntaxError(message, start, start + 2, text)
        pieces += value
        at = escape.end()
    pieces += body[at:].encode()
    try:
        return pieces.decode()
    except UnicodeDecodeError:
        message = "the escaped bytes of this string are not UTF-8"
        raise PromQLSyntaxError(message, token.start, token.end, text) from None


def _unescape(escape: re.Match[str], quote: str) -> bytes | None:
    if plain := escape["plain"]:
        # The other kind of quote needs no escape, and Prometheus takes none.
        return None if plain in "\"'" and plain != quote else _PLAIN_ESCAPES[plain].encode()
    if escape["octal"] or escape["hex"]:
        byte = int(escape["octal"], 8) if escape["octal"] else int(escape["hex"], 16)
        return bytes([byte]) if byte < 256 else None
    code = int(escape["u4"] or escape["u8"], 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return None
    return chr(code).encode()
