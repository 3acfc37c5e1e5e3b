"""Fits the receivers of pushed data to what the web room serves."""

from __future__ import annotations

from collections.abc import Mapping

from vedette.app.storage import StorageRooms
from vedette.kit.clock import Clock
from vedette.receive.events import EventsHandler
from vedette.receive.stats import IntakeStats
from vedette.receive.write import RemoteWriteHandler
from vedette.web.http import JSON, TEXT
from vedette.web.services import IntakeAnswer, IntakeHandler


def write_handler(storage: StorageRooms, stats: IntakeStats) -> IntakeHandler:
    """Return the endpoint of remote write."""
    handler = RemoteWriteHandler(storage.index, storage.ingest, storage.metadata, stats)

    async def take(body: bytes, headers: Mapping[str, str], sender: str, app: str) -> IntakeAnswer:
        outcome = await handler.handle(body, headers, sender, app)
        told = tuple((name.encode(), value.encode()) for name, value in outcome.headers())
        message = outcome.message.encode()
        return IntakeAnswer(outcome.status, message, TEXT, outcome.retry_after, told)

    return take


def events_handler(storage: StorageRooms, stats: IntakeStats, clock: Clock) -> IntakeHandler:
    """Return the endpoint of typed events."""
    handler = EventsHandler(storage.ingest, stats, clock)

    async def take(body: bytes, headers: Mapping[str, str], sender: str, app: str) -> IntakeAnswer:
        outcome = await handler.handle(body, headers, sender, app)
        return IntakeAnswer(outcome.status, outcome.body, JSON, outcome.retry_after)

    return take
