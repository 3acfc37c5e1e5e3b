"""The one exception that reading a PromQL text raises."""

from __future__ import annotations


def position(text: str, offset: int) -> tuple[int, int]:
    """Return line and column of the character at ``offset``, both counted from 1."""
    line = text.count("\n", 0, offset) + 1
    return line, offset - text.rfind("\n", 0, offset)


class PromQLSyntaxError(ValueError):
    """A text is not a PromQL expression, or its types do not fit.

    ``start`` and ``end`` bound the offending characters of ``text`` (half-open); ``str()`` reads
    ``line:column: parse error: message``.
    """

    def __init__(self, message: str, start: int, end: int, text: str) -> None:
        super().__init__(message, start, end, text)
        self.message = message
        self.start = start
        self.end = end
        self.text = text

    @property
    def line(self) -> int:
        """The line of the first offending character, counted from 1."""
        return position(self.text, self.start)[0]

    @property
    def column(self) -> int:
        """The column of the first offending character, counted in characters from 1."""
        return position(self.text, self.start)[1]

    def __str__(self) -> str:
        line, column = position(self.text, self.start)
        return f"{line}:{column}: parse error: {self.message}"
