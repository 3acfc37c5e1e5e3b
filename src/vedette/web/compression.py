"""Answers in gzip, for clients that take it."""

from __future__ import annotations

import cramjam

from vedette.web.http import Response, Scope, headers_of

WORTH_COMPRESSING = 1_024


def accepts_gzip(scope: Scope) -> bool:
    """Return whether the client takes gzip."""
    return "gzip" in headers_of(scope).get("accept-encoding", "")


def compressed(answer: Response) -> Response:
    """Return the answer in gzip; quick rather than small, as it travels on the same machine."""
    body = bytes(cramjam.gzip.compress(answer.body, level=1))
    extra = ((b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
    return Response(answer.status, body, answer.content_type, (*answer.headers, *extra))
