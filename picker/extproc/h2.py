"""ext_proc over libnghttp2: the default server.

One `asyncio.Protocol` per gateway connection around a sans-I/O `ngh2.Connection`. Everything that
one read brings is processed, then written out in one go.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import ngh2
import structlog

from picker.extproc.framing import MessageReader
from picker.extproc.ports import ExchangeFactory, StreamEnd
from picker.extproc.server import PROCESS, GrpcStatus, TransportLimits, Unary
from picker.extproc.stream import GONE, ExtProcStream, GrpcStream, UnaryStream
from picker.extproc.tls import TlsFiles, server_context
from state.runtime.address import Address

log = structlog.get_logger(__name__)

STREAM_WINDOW_BYTES = 1 << 20
CONNECTION_WINDOW_BYTES = 16 << 20
FRAME_BYTES = 64 << 10

# Gateways reset a stream for every client that goes away, and behind every exchange; the library's
# 33 resets a second are meant for browsers.
RESETS = (1_000_000, 1_000_000)

SETTINGS = ngh2.Setting


async def start(
    address: Address,
    factory: ExchangeFactory,
    *,
    unary: Unary,
    tls: TlsFiles | None,
    limits: TransportLimits,
) -> "H2Server":
    """Listen; raises OSError if the address cannot be used, InvalidTls for unusable files."""
    server = H2Server(factory, unary, limits)
    await server.listen(address, None if tls is None else server_context(tls))
    return server


class H2Server:
    """The listening socket and its connections."""

    def __init__(self, factory: ExchangeFactory, unary: Unary, limits: TransportLimits) -> None:
        self.factory = factory
        self.unary = unary
        self.limits = limits
        self.connections: set[H2Connection] = set()
        self.streams = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._listener: asyncio.Server | None = None
        self._address = Address("", 0)

    @property
    def address(self) -> Address:
        return self._address

    def stream_opened(self) -> None:
        """An exchange began."""
        self.streams += 1
        self._idle.clear()

    def stream_closed(self) -> None:
        """An exchange was closed."""
        self.streams -= 1
        if not self.streams:
            self._idle.set()

    async def listen(self, address: Address, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: H2Connection(self), address.host, address.port, ssl=context, backlog=1024
        )
        port = self._listener.sockets[0].getsockname()[1]
        self._address = Address(address.host, port)

    async def drain(self, seconds: float) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.announce_end()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        for connection in list(self.connections):
            connection.end()

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in list(self.connections):
            connection.end()


class H2Connection(asyncio.Protocol):
    """One connection of a gateway."""

    def __init__(self, server: H2Server) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, ExtProcStream | UnaryStream] = {}
        self._unacknowledged: list[tuple[int, int]] = []
        self._writable = True
        self._flush_scheduled = False
        self.http2 = ngh2.Connection(
            ngh2.Role.SERVER,
            ngh2.Configuration(
                auto_window_update=False,
                stream_reset_rate_limit=RESETS,
                max_inbound_header_list_size=server.limits.max_header_bytes,
            ),
        )
        self._handlers: dict[type[ngh2.Event], Callable[..., None]] = {
            ngh2.RequestReceived: self._on_request,
            ngh2.DataReceived: self._on_data,
            ngh2.TrailersReceived: self._on_trailers,
            ngh2.StreamReset: self._on_reset,
            ngh2.StreamClosed: self._on_stream_closed,
            ngh2.ConnectionClosed: self._on_connection_closed,
        }

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._server.connections.add(self)
        tls = self._transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            log.info("peer did not negotiate h2, closing")
            self._transport.close()
            return
        self.http2.initiate_connection(
            {
                SETTINGS.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
                SETTINGS.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                SETTINGS.MAX_FRAME_SIZE: FRAME_BYTES,
                SETTINGS.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
            }
        )
        self.http2.set_local_window_size(CONNECTION_WINDOW_BYTES)
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            self.http2.receive_data(data)
        except ngh2.NGH2Error as error:
            self._dispatch()
            log.info("connection ended for a protocol error", reason=str(error))
            self._flush()
            self._close()
            return
        self._dispatch()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the port's shape
        self._server.connections.discard(self)
        self._transport = None
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.close(StreamEnd.DISCONNECTED)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._flush()

    # Shutdown

    def announce_end(self) -> None:
        """Ask the gateway to open no further streams here."""
        with suppress(*GONE):
            self.http2.send_shutdown_notice()
        self._flush()

    def end(self) -> None:
        """End what is open and close."""
        for stream in list(self._streams.values()):
            stream.drain()
        with suppress(*GONE):
            self.http2.send_goaway()
        self._flush()
        self._close()

    # Events

    def _dispatch(self) -> None:
        for event in self.http2.events():
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)

    def _on_request(self, event: ngh2.RequestReceived) -> None:
        headers = dict(event.headers)
        grpc = GrpcStream(self.http2, event.stream_id)
        path = headers.get(b":path", b"").decode("latin-1")
        if headers.get(b":method") != b"POST" or not _speaks_grpc(headers):
            self._refuse_http(event.stream_id)
            return
        encoding = headers.get(b"grpc-encoding", b"identity").decode("latin-1")
        if encoding not in {"identity", "gzip"}:
            grpc.end(GrpcStatus.UNIMPLEMENTED, f"grpc-encoding {encoding} is not supported")
            return
        reader = MessageReader(max_message_bytes=self._limits.max_message_bytes, encoding=encoding)
        if path == PROCESS:
            exchange = ExtProcStream(grpc, reader, self._server, self._flush_soon)
            exchange.open()
            stream: ExtProcStream | UnaryStream = exchange
        elif path in self._server.unary:
            stream = UnaryStream(grpc, reader, self._server.unary[path])
        else:
            grpc.end(GrpcStatus.UNIMPLEMENTED, f"unknown method {path[:200]}")
            return
        self._streams[event.stream_id] = stream
        if event.end_stream:
            stream.half_close()

    def _on_data(self, event: ngh2.DataReceived) -> None:
        self._unacknowledged.append((len(event.data), event.stream_id))
        stream = self._streams.get(event.stream_id)
        if stream is None:
            if not event.end_stream:
                self._refuse_more(event.stream_id)
            return
        stream.feed(event.data)
        if event.end_stream:
            stream.half_close()

    def _on_trailers(self, event: ngh2.TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.half_close()

    def _on_reset(self, event: ngh2.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.close(StreamEnd.RESET)

    def _on_stream_closed(self, event: ngh2.StreamClosed) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is not None:
            stream.close(StreamEnd.RESET)

    def _on_connection_closed(self, event: ngh2.ConnectionClosed) -> None:  # noqa: ARG002
        self._flush()
        self._close()

    def _refuse_http(self, stream_id: int) -> None:
        """Not gRPC at all: an HTTP status, as the gRPC specification asks."""
        with suppress(*GONE):
            self.http2.send_response(stream_id, [(b":status", b"415")], end_stream=True)

    def _refuse_more(self, stream_id: int) -> None:
        """A stream that has been answered to its end needs no further data."""
        with suppress(*GONE):
            self.http2.reset_stream(stream_id, ngh2.ErrorCode.NO_ERROR)

    # Writing

    def _flush_soon(self) -> None:
        """Write once the current callback is over: for replies from outside a read."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._acknowledge()
        if self._transport is None or not self._writable:
            return
        data = self.http2.data_to_send()
        if data:
            self._transport.write(data)

    def _acknowledge(self) -> None:
        """Let the peer send more, unless it does not read what we have for it."""
        if not self._unacknowledged:
            return
        if self.http2.queued_body_size() > self._limits.max_unsent_bytes:
            return
        taken, self._unacknowledged = self._unacknowledged, []
        for amount, stream_id in taken:
            if amount:
                with suppress(*GONE):
                    self.http2.acknowledge_received_data(amount, stream_id)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _speaks_grpc(headers: dict[bytes, bytes]) -> bool:
    content_type = headers.get(b"content-type", b"")
    return content_type == b"application/grpc" or content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    )
