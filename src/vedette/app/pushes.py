"""Ways in for pushed metrics, besides remote write: built and handed to the web room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial

import orjson

from vedette.app.import_reader import import_readers
from vedette.app.push_reader import read_push
from vedette.app.storage import StorageRooms
from vedette.config.settings import Settings
from vedette.kit.clock import Clock
from vedette.receive.imports import ImportHandler
from vedette.receive.otlp import OtlpHandler
from vedette.receive.push import PushHandler
from vedette.receive.push_file import GroupFile
from vedette.receive.stats import IntakeStats
from vedette.web.auth import Guard
from vedette.web.errors import ApiError
from vedette.web.http import JSON, TEXT
from vedette.web.services import IntakeAnswer, IntakeHandler

GROUPS_FILE = "push-groups.json"
"""Of the data folder: the groups that were pushed."""


class Pushes:
    """Handlers by path, and the listener of gRPC."""

    def __init__(
        self, settings: Settings, storage: StorageRooms, stats: IntakeStats, clock: Clock
    ) -> None:
        otlp = settings.otlp
        self._otlp = OtlpHandler(
            storage.index, storage.ingest, stats, otlp.options, storage.metadata
        )
        self._grpc = otlp.grpc
        self._clock = clock
        self._imports = ImportHandler(
            storage.ingest, stats, import_readers(storage.index, clock, storage.metadata)
        )
        self._groups = PushHandler(
            storage.index,
            storage.ingest,
            stats,
            clock,
            partial(read_push, stats=stats),
            GroupFile(settings.server.data_dir / GROUPS_FILE),
            settings.push,
            storage.metadata,
        )

    def handlers(self) -> Mapping[str, IntakeHandler]:
        """Return the handlers of what is POSTed."""

        async def otlp(
            body: bytes, headers: Mapping[str, str], sender: str, app: str
        ) -> IntakeAnswer:
            said = await self._otlp.handle(body, headers, sender, app)
            return IntakeAnswer(
                said.status, said.body, said.content_type.encode(), said.retry_after
            )

        return {"/v1/metrics": otlp, "/api/v1/otlp/v1/metrics": otlp}

    async def push(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        sender: str,
        app: str,
    ) -> IntakeAnswer:
        """Take a push of a group, or delete one; ``path`` stands behind ``/metrics/``."""
        said = await self._groups.handle(method, path, body, headers, app)
        return IntakeAnswer(said.status, said.message.encode(), TEXT)

    async def take(
        self,
        chunks: AsyncIterator[bytes],
        headers: Mapping[str, str],
        labels: Mapping[str, str],
        timestamp: int,
        app: str,
    ) -> IntakeAnswer:
        """Import a body of any length; ``timestamp`` 0 is now."""
        now = timestamp or self._clock.now_ms()
        said = await self._imports.take(chunks, headers, labels, now, app)
        return IntakeAnswer(said.status, said.body(), JSON, said.retry_after)

    def groups(self) -> bytes:
        """Return all groups as Pushgateway's API shows them."""
        return orjson.dumps({"status": "success", "data": self._groups.shown()})

    async def wipe(self) -> None:
        """Delete all groups."""
        await self._groups.wipe()

    async def run(self) -> None:
        """Store all groups at every interval."""
        await self._groups.load()
        await self._groups.run()

    async def start(self, stack: AsyncExitStack, guard: Guard) -> None:
        """Listen for gRPC if that is on, until ``stack`` ends.

        Raises:
            ModuleNotFoundError: grpcio is not installed.
            ListenError: the address cannot be listened on.
        """
        if not self._grpc:
            return
        from vedette.receive.otlp_grpc import OtlpGrpcServer

        server = OtlpGrpcServer(self._otlp, lambda headers: _admit(guard, headers), self._grpc)
        await server.start()
        stack.push_async_callback(server.stop)


def _admit(guard: Guard, headers: Mapping[str, str]) -> str:
    """Return the application of a caller by gRPC, which no browser can be."""
    told = {"host": "localhost", "authorization": headers.get("authorization", "")}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/metrics",
        "headers": [(name.encode(), text.encode()) for name, text in told.items() if text],
    }
    try:
        return guard.admit(scope).app or headers.get("x-vedette-app", "")
    except ApiError as error:
        raise PermissionError(error.message) from None
