"""ext_proc over grpc.aio: the alternative server, for those who trust one more library.

grpc.aio reads a reset, a deadline and a lost connection as the end of messages, so a waiting stream
ends as COMPLETED in all these cases. What the exchange has seen tells whether the response was
complete.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from picker.extproc.faults import log_fault
from picker.extproc.methods import Methods, served_methods
from picker.extproc.ports import Exchange, ExchangeFactory, StreamEnd, StreamFailed
from picker.extproc.server import GrpcStatus, TransportLimits, Unary
from picker.extproc.sockets import bound_socket
from picker.extproc.tls import TlsFiles, server_credentials
from picker.extproc.windows import STREAM_WINDOW_BYTES
from state.runtime.address import Address

STATUSES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

FLUSH_SECONDS = 1.0
"""How long peers may take to hear the end of their streams before they are cut off."""

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
    shared_port: bool = False,
) -> "AioServer":
    """Listen; raises OSError if the address cannot be used, InvalidTls for unusable files."""
    server = AioServer(served_methods(factory, unary), limits, shared_port=shared_port)
    await server.listen(address, tls)
    return server


class AioServer:
    """The grpc.aio server and the streams it carries."""

    def __init__(
        self, methods: Methods, limits: TransportLimits, *, shared_port: bool = False
    ) -> None:
        self._limits = limits
        self._shared_port = shared_port
        self._address = Address("", 0)
        self._streams: set[AioStream] = set()
        self._server = grpc.aio.server(options=_options(limits, shared_port=shared_port))
        self._server.add_generic_rpc_handlers((_Router(methods, self._carry),))

    @property
    def address(self) -> Address:
        return self._address

    @property
    def streams(self) -> int:
        return len(self._streams)

    async def listen(self, address: Address, tls: TlsFiles | None) -> None:
        """Accept connections from here on."""
        # grpc does not say why it cannot use an address: ask the system before.
        (await bound_socket(address, shared_port=self._shared_port)).close()
        try:
            port = self._add_port(str(address), tls)
        except RuntimeError as error:
            raise OSError(str(error)) from error
        self._address = Address(address.host, port)
        await self._server.start()

    async def drain(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self._drain_streams)
        await self._server.stop(seconds + FLUSH_SECONDS)
        timer.cancel()

    async def close(self) -> None:
        self._drain_streams()
        await self._server.stop(FLUSH_SECONDS)

    def _drain_streams(self) -> None:
        for stream in list(self._streams):
            stream.drain()

    def _add_port(self, address: str, tls: TlsFiles | None) -> int:
        if tls is None:
            return self._server.add_insecure_port(address)
        return self._server.add_secure_port(address, server_credentials(tls))

    async def _carry(self, factory: ExchangeFactory, context: Context) -> None:
        stream = AioStream(context, self._limits.max_unsent_stream_bytes, self._streams.discard)
        self._streams.add(stream)
        try:
            await stream.run(factory)
        finally:  # cancelled, if it is not over yet
            stream.close(StreamEnd.RESET)


class AioStream:
    """Feeds an exchange and closes it exactly once. Fits the `Outlet` port."""

    def __init__(
        self, context: Context, max_unsent_bytes: int, forget: "Callable[[AioStream], None]"
    ) -> None:
        self._context = context
        self._most = max_unsent_bytes
        self._forget = forget
        self._exchange: Exchange | None = None
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._news = asyncio.Event()
        """There is something to write, or the stream is over."""
        self._room = asyncio.Event()
        """Replies are read: the peer may send more."""
        self._room.set()
        self._end: StreamEnd | None = None
        self._failure: StreamFailed | None = None

    async def run(self, factory: ExchangeFactory) -> None:
        """Carry the stream to its end."""
        self._open(factory)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(), name="ext_proc reader")
            await self._write()
            reading.cancel()
        if self._failure is not None:
            await self._context.abort(STATUSES[self._failure.status], self._failure.message)

    def drain(self) -> None:
        """The drain time is over."""
        if self._end is None:
            self._failure = StreamFailed(GrpcStatus.UNAVAILABLE, "shutting down")
            self.close(StreamEnd.DRAINED)

    def close(self, end: StreamEnd) -> None:
        """Close the exchange; further calls do nothing."""
        if self._end is not None:
            return
        self._end = end
        self._news.set()
        self._forget(self)
        if self._exchange is not None:
            try:
                self._exchange.close(end)
            except Exception as error:  # noqa: BLE001  the stream's status is decided
                log_fault(error)

    # Outlet

    def send(self, messages: Sequence[bytes]) -> None:
        if self._end is not None:
            return
        self._queue(messages)
        if self._exchange is not None and self._exchange.finished:
            self.close(StreamEnd.COMPLETED)

    def fail(self, error: StreamFailed) -> None:
        if self._end is None:
            self._failure = error
            self.close(StreamEnd.FAILED)

    # The two directions

    def _open(self, factory: ExchangeFactory) -> None:
        with self._failing():
            exchange = self._exchange = factory(self)
            if self._end is not None:
                exchange.close(self._end)
            self.send([])

    async def _read(self) -> None:
        while True:
            await self._room.wait()
            message = await self._context.read()
            if message is grpc.aio.EOF:
                self.close(StreamEnd.COMPLETED)
            if self._end is not None or self._exchange is None:
                return
            with self._failing():
                self.send(self._exchange.receive(message))

    async def _write(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._unsent:
                await self._write_next()
            if self._end is not None:
                return

    async def _write_next(self) -> None:
        message = self._unsent.popleft()
        try:
            await self._context.write(message)
        except grpc.aio.BaseError:  # the peer is gone
            self._unsent.clear()
            self.close(StreamEnd.RESET)
        self._unsent_bytes -= len(message)
        if self._unsent_bytes <= self._most:
            self._room.set()

    def _queue(self, messages: Sequence[bytes]) -> None:
        self._unsent += messages
        self._unsent_bytes += sum(map(len, messages))
        if self._unsent_bytes > self._most:
            self._room.clear()
        self._news.set()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """A fault of one exchange ends its stream and nothing else."""
        try:
            yield
        except StreamFailed as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  as above
            self.fail(log_fault(error))


class _Router(grpc.GenericRpcHandler):
    """Routes by path; bytes stay bytes. What is not served is UNIMPLEMENTED."""

    def __init__(
        self, methods: Methods, carry: Callable[[ExchangeFactory, Context], Awaitable[None]]
    ) -> None:
        self._handlers = {path: _handler(factory, carry) for path, factory in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        return self._handlers.get(handler_call_details.method)


def _handler(
    factory: ExchangeFactory, carry: Callable[[ExchangeFactory, Context], Awaitable[None]]
) -> Handler:
    async def call(_: object, context: Context) -> None:
        await carry(factory, context)

    # Unary methods as well: on the wire they are streams of one message.
    return grpc.stream_stream_rpc_method_handler(call)


def _options(limits: TransportLimits, *, shared_port: bool) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", int(shared_port)),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.max_streams),
        ("grpc.max_metadata_size", limits.max_header_bytes),
        ("grpc.absolute_max_metadata_size", limits.max_header_bytes),
        # Fixed windows, as with h2: those that follow the link's speed may grow by many megabytes.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", STREAM_WINDOW_BYTES),
        # A host that vanished says nothing: its streams must not be counted as load for hours.
        ("grpc.keepalive_time_ms", 15_000),
        ("grpc.keepalive_timeout_ms", 15_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Gateways ask as often as they are configured to; the library allows it every 5 minutes.
        ("grpc.http2.max_ping_strikes", 0),
    ]
