"""What can go wrong with a query that was understood."""

from __future__ import annotations


class QueryError(Exception):
    """A query cannot be answered.

    Attributes:
        kind: Prometheus' error type: bad_data, execution, timeout, canceled or internal.
        message: what is wrong.
        start, end: characters of the query text that it is about; both 0 when it is about all.
    """

    def __init__(self, kind: str, message: str, start: int = 0, end: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.start = start
        self.end = end
