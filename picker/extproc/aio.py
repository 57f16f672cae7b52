"""ext_proc over grpc.aio: the alternative server, for those who trust one more library."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import grpc
import structlog

from picker.extproc.ports import Exchange, ExchangeFactory, StreamEnd, StreamFailed
from picker.extproc.server import PROCESS, GrpcStatus, TransportLimits, Unary
from picker.extproc.tls import TlsFiles, read_pair
from state.runtime.address import Address

log = structlog.get_logger(__name__)

STATUSES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# Generic for type checkers only.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


async def start(
    address: Address,
    factory: ExchangeFactory,
    *,
    unary: Unary,
    tls: TlsFiles | None,
    limits: TransportLimits,
) -> "AioServer":
    """Listen; raises OSError if the address cannot be used, InvalidTls for unusable files."""
    server = AioServer(factory, unary, limits)
    await server.listen(address, tls)
    return server


class AioServer:
    """The grpc.aio server and the streams it carries."""

    def __init__(self, factory: ExchangeFactory, unary: Unary, limits: TransportLimits) -> None:
        self._factory = factory
        self._draining = False
        self._address = Address("", 0)
        self.streams = 0
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.max_message_bytes),
                ("grpc.max_send_message_length", limits.max_message_bytes),
                ("grpc.max_concurrent_streams", limits.max_streams),
                ("grpc.max_metadata_size", limits.max_header_bytes),
                ("grpc.absolute_max_metadata_size", limits.max_header_bytes),
            ]
        )
        self._server.add_generic_rpc_handlers((_Methods(self._process, unary),))

    @property
    def address(self) -> Address:
        return self._address

    async def listen(self, address: Address, tls: TlsFiles | None) -> None:
        try:
            port = self._add_port(str(address), tls)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._address = Address(address.host, port)
        await self._server.start()

    async def drain(self, seconds: float) -> None:
        self._draining = True
        await self._server.stop(seconds)

    async def close(self) -> None:
        self._draining = True
        await self._server.stop(None)

    def _add_port(self, address: str, tls: TlsFiles | None) -> int:
        if tls is None:
            return self._server.add_insecure_port(address)
        pair = read_pair(tls)
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
        return self._server.add_secure_port(address, credentials)

    async def _process(self, _: object, context: Context) -> None:
        """Carry one stream. Whatever ends it, its exchange is closed exactly once."""
        self.streams += 1
        stream = _AioStream(context)
        try:
            failure = await stream.run(self._factory)
        except asyncio.CancelledError:
            stream.close(StreamEnd.DRAINED if self._draining else StreamEnd.RESET)
            raise
        finally:
            stream.close(StreamEnd.FAILED)
            self.streams -= 1
        if failure is not None:
            await context.abort(STATUSES[failure.status], failure.message)


class _Finished(Exception):  # noqa: N818  ends a stream's tasks
    """The exchange needs no further message."""


class _AioStream:
    """An exchange on a grpc.aio stream. Fits the `Outlet` port."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._exchange: Exchange | None = None
        self._tasks = asyncio.TaskGroup()
        self._writing = asyncio.Lock()

    async def run(self, factory: ExchangeFactory) -> StreamFailed | None:
        """Read until the peer half-closes or the exchange is finished; return why it failed."""
        failure: StreamFailed | None = None
        try:
            async with self._tasks:
                self._exchange = factory(self)
                await self._read(self._exchange)
        except* _Finished:
            self.close(StreamEnd.COMPLETED)
        except* StreamFailed as group:
            failure = next(e for e in group.exceptions if isinstance(e, StreamFailed))
        except* Exception:
            log.exception("exchange failed")
            failure = StreamFailed(GrpcStatus.INTERNAL, "internal error")
        return failure

    async def _read(self, exchange: Exchange) -> None:
        while True:
            message = await self._context.read()
            if message is grpc.aio.EOF:
                raise _Finished
            await self._write(exchange.receive(message))
            if exchange.finished:
                raise _Finished

    async def _write(self, messages: Sequence[bytes]) -> None:
        async with self._writing:
            for message in messages:
                await self._context.write(message)

    def send(self, messages: Sequence[bytes]) -> None:
        if self._exchange is not None:
            self._tasks.create_task(self._write_late(self._exchange, messages), name="late reply")

    def fail(self, error: StreamFailed) -> None:
        if self._exchange is not None:
            self._tasks.create_task(_raise(error), name="late failure")

    def close(self, end: StreamEnd) -> None:
        """Close the exchange; further calls do nothing."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close(end)

    async def _write_late(self, exchange: Exchange, messages: Sequence[bytes]) -> None:
        await self._write(messages)
        if exchange.finished:
            raise _Finished


async def _raise(error: Exception) -> None:
    raise error


class _Methods(grpc.GenericRpcHandler):
    """Routes by path; bytes stay bytes. What is not named here is UNIMPLEMENTED."""

    def __init__(self, process: Callable[[object, Context], Awaitable[None]], unary: Unary) -> None:
        self._handlers: dict[str, Handler] = {
            PROCESS: grpc.stream_stream_rpc_method_handler(process)
        } | {
            path: grpc.unary_unary_rpc_method_handler(_answering(method))
            for path, method in unary.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        return self._handlers.get(handler_call_details.method)


def _answering(method: Callable[[bytes], bytes]) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def answer(request: bytes, _: Context) -> bytes:
        return method(request)

    return answer
