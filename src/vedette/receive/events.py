"""The endpoint ``POST /api/events``, without the web framework."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from vedette.kit.clock import Clock, iso
from vedette.model.events import Event
from vedette.receive.stats import IntakeStats
from vedette.receive.wire.errors import TooLargeError, WireError
from vedette.receive.wire.events import (
    EnvelopeError,
    EventLimits,
    gunzip,
    read_envelope,
    split_items,
)
from vedette.storage.interface import Ingest, OverloadedError, StorageError

WAY = "events"
_SHOWN_ERRORS = 100
_RETRY_SECONDS = 5.0
_ENVELOPE_HINT = 'send {"type": "<name>", "data": {…}}, an array of such objects, or one a line'


class EventIds:
    """Makes ids of 32 hexadecimal digits that sort by the time of receipt, as UUID version 7 does.

    Layout: 48 bits of milliseconds, 32 bits of a counter within them, 48 random bits.
    """

    def __init__(self) -> None:
        self._ms = 0
        self._count = 0

    def next(self, now_ms: int) -> str:
        """Return an id above all earlier ones, also when the clock went backwards."""
        if now_ms > self._ms:
            self._ms, self._count = now_ms, 0
        else:
            self._count += 1
        return f"{self._ms:012x}{self._count:08x}{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class EventsOutcome:
    """The answer to one request: status, JSON body, and the figures in it.

    ``retry_after`` is in seconds; 0 where coming again makes no sense.
    """

    status: int
    body: bytes
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    retry_after: float = 0.0


@dataclass(slots=True)
class _Taken:
    """What became of the items of a request."""

    events: list[Event] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    errors: list[dict[str, object]] = field(default_factory=list)

    def refuse(self, index: int, error: EnvelopeError) -> None:
        self.rejected[error.reason] = self.rejected.get(error.reason, 0) + 1
        if len(self.errors) < _SHOWN_ERRORS:
            self.errors.append({"index": index, "error": str(error)})


class EventsHandler:
    """Takes requests and gives every event its id."""

    def __init__(
        self,
        ingest: Ingest,
        stats: IntakeStats,
        clock: Clock,
        limits: EventLimits | None = None,
    ) -> None:
        self._ingest = ingest
        self._stats = stats
        self._clock = clock
        self._limits = limits or EventLimits()
        self._ids = EventIds()

    async def handle(
        self, body: bytes, headers: Mapping[str, str], sender: str, app: str
    ) -> EventsOutcome:
        """Store the events in ``body`` that are well-formed, and say of the others what is wrong.

        ``headers`` have lower-case names; ``app`` is the application that the events belong to.
        """
        encoding = headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            message = f'content encoding "{encoding[:40]}" is not supported'
            return self._refuse(415, "encoding", message, "send gzip or nothing")
        try:
            if encoding == "gzip":
                body = gunzip(body, self._limits.body_bytes)
            kind = headers.get("content-type", "").lower()
            items = split_items(body, "ndjson" in kind or "jsonl" in kind, self._limits)
        except TooLargeError as error:
            return self._refuse(413, error.reason, str(error), "send fewer events in a request")
        except WireError as error:
            return self._refuse(400, error.reason, str(error), _ENVELOPE_HINT)
        return await self._store(self._take(items, app))

    def _take(self, items: list[object], app: str) -> _Taken:
        taken = _Taken()
        now = self._clock.now_ms()
        for index, item in enumerate(items):
            try:
                envelope = read_envelope(item, self._limits)
            except EnvelopeError as error:
                taken.refuse(index, error)
                continue
            ts = now if envelope.ts is None else envelope.ts
            taken.events.append(Event(self._ids.next(now), app, envelope.type, ts, envelope.data))
        return taken

    async def _store(self, taken: _Taken) -> EventsOutcome:
        count = len(taken.events)
        if count:
            try:
                await self._ingest.append_events(taken.events)
            except OverloadedError as error:
                return self._later("overloaded", error, count, error.retry_after)
            except StorageError as error:
                return self._later("storage", error, count, _RETRY_SECONDS)
            self._stats.accepted(WAY, count)
        for reason, refused in taken.rejected.items():
            self._stats.rejected(WAY, reason, refused)
        figures = {
            "accepted": count,
            "rejected": sum(taken.rejected.values()),
            "errors": taken.errors,
        }
        if taken.rejected and not count:
            fault = _fault("nothing_accepted", str(taken.errors[0]["error"]), _ENVELOPE_HINT)
            answer = {"success": False, "error": fault, **figures}
            return self._answer(400, answer, rejected=taken.rejected)
        return self._answer(202, {"success": True, **figures}, count, taken.rejected)

    def _later(self, reason: str, error: StorageError, count: int, after: float) -> EventsOutcome:
        self._stats.rejected(WAY, reason, count)
        fault = _fault(reason, str(error), f"send the same again in {after:g} s")
        return self._answer(503, {"success": False, "error": fault}, retry_after=after)

    def _refuse(self, status: int, reason: str, message: str, hint: str) -> EventsOutcome:
        self._stats.rejected(WAY, reason)
        answer = {"success": False, "error": _fault(reason, message, hint)}
        return self._answer(status, answer, rejected={reason: 1})

    def _answer(
        self,
        status: int,
        answer: dict[str, object],
        accepted: int = 0,
        rejected: Mapping[str, int] | None = None,
        retry_after: float = 0.0,
    ) -> EventsOutcome:
        body = orjson.dumps({**answer, "timestamp": iso(self._clock.now_ms())})
        return EventsOutcome(status, body, accepted, rejected or {}, retry_after)


def _fault(code: str, message: str, hint: str) -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint}
