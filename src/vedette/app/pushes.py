"""Ways in for pushed metrics, besides remote write: built and handed to the web room."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from vedette.app.storage import StorageRooms
from vedette.receive.otlp import OtlpHandler
from vedette.receive.settings import OtlpSettings
from vedette.receive.stats import IntakeStats
from vedette.web.auth import Guard
from vedette.web.errors import ApiError
from vedette.web.services import IntakeAnswer, IntakeHandler


class Pushes:
    """Handlers by path, and the listener of gRPC."""

    def __init__(self, otlp: OtlpSettings, storage: StorageRooms, stats: IntakeStats) -> None:
        self._otlp = OtlpHandler(storage.index, storage.ingest, stats, otlp.options)
        self._grpc = otlp.grpc

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
