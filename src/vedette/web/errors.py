"""How exceptions become HTTP answers: here, once.

ApiError                     says its own status, code, message and hint
PromQLSyntaxError, QueryError   → the Prometheus API's bad_data, execution, timeout, canceled
OverloadedError              → 503 with Retry-After
DamagedStoreError            → 500
StorageError                 → 503
"""

from __future__ import annotations

import math

import orjson

from vedette.kit.clock import Clock, iso
from vedette.storage.interface import DamagedStoreError, OverloadedError, StorageError

_PROMETHEUS_KINDS = {404: "not_found", 408: "timeout", 500: "internal", 503: "unavailable"}


class ApiError(Exception):
    """A request that cannot be answered as asked."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = 0.0


def as_api_error(error: StorageError) -> ApiError:
    """Return what a client is told of a storage fault."""
    if isinstance(error, DamagedStoreError):
        return ApiError(500, "damaged", str(error))
    answer = ApiError(503, "unavailable", str(error), "try again; see /-/ready for the cause")
    if isinstance(error, OverloadedError):
        answer.code = "overloaded"
        answer.hint = "send again after the time in Retry-After"
        answer.retry_after = error.retry_after
    return answer


def body(error: ApiError, clock: Clock) -> bytes:
    """Return the JSON of Vedette's own endpoints for ``error`` (API-11)."""
    return orjson.dumps(
        {
            "success": False,
            "error": {"code": error.code, "message": error.message, "hint": error.hint},
            "timestamp": iso(clock.now_ms()),
        }
    )


def prometheus_body(error: ApiError) -> bytes:
    """Return the JSON of Prometheus' endpoints for ``error``."""
    text = f"{error.message}; {error.hint}" if error.hint else error.message
    kind = _PROMETHEUS_KINDS.get(error.status, "bad_data")
    return orjson.dumps({"status": "error", "errorType": kind, "error": text})


def retry_header(error: ApiError) -> tuple[tuple[bytes, bytes], ...]:
    """Return the Retry-After header where the error names a time."""
    if not error.retry_after:
        return ()
    return ((b"retry-after", str(math.ceil(error.retry_after)).encode()),)
