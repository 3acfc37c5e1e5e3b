"""OTLP metrics over gRPC. Imported only when its listener is on: the library is optional."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
import grpc.aio

from vedette.receive.otlp import BODY_BYTES, OtlpHandler

_SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
_GRACE_SECONDS = 2.0

Admit = Callable[[Mapping[str, str]], str]
"""Returns the application that a caller with these headers writes for, "" for the default one;
raises ``PermissionError`` when it may not write."""


class ListenError(Exception):
    """The address cannot be listened on."""


class OtlpGrpcServer:
    """Serves ``MetricsService/Export``."""

    def __init__(self, handler: OtlpHandler, admit: Admit, address: str) -> None:
        self._handler = handler
        self._admit = admit
        self._address = address
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", BODY_BYTES)])
        methods = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        generic = grpc.method_handlers_generic_handler(_SERVICE, methods)
        self._server.add_generic_rpc_handlers((generic,))
        self.port = 0

    async def start(self) -> None:
        """Begin to listen; ``port`` then tells where.

        Raises:
            ListenError: the address is taken or none of this machine.
        """
        try:
            self.port = self._server.add_insecure_port(self._address)
        except RuntimeError as error:
            raise ListenError(f"cannot listen on {self._address} for gRPC: {error}") from None
        await self._server.start()

    async def stop(self) -> None:
        """End, leaving requests two seconds to be answered."""
        await self._server.stop(_GRACE_SECONDS)

    async def _export(self, data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        headers = {
            str(key).lower(): value
            for key, value in context.invocation_metadata() or ()
            if isinstance(value, str)
        }
        try:
            app = self._admit(headers)
        except PermissionError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        export = await self._handler.export(data, app or "default")
        if export.code:
            await context.abort(_CODES.get(export.code, grpc.StatusCode.UNKNOWN), export.message)
        return export.response().SerializeToString()


_CODES = {code.value[0]: code for code in grpc.StatusCode}
