"""Both ext_proc servers in this process, on loopback, carrying scripted exchanges."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from picker.extproc import aio, h2
from picker.extproc.ports import StreamEnd
from picker.extproc.server import PROCESS, Server, TransportLimits
from picker.extproc.tls import TlsFiles
from state.runtime.address import Address
from tests.support.exchanges import Script, Scripts
from tests.support.grpc_client import RawClient, raw_client

KINDS = ("h2", "grpcio")
REVERSE = "/test.Words/Reverse"
CRASH = "/test.Words/Crash"


class Served:
    """A server and the exchanges that it made."""

    def __init__(self, server: Server, scripts: Scripts) -> None:
        self.server = server
        self.scripts = scripts

    @asynccontextmanager
    async def channel(
        self, compression: grpc.Compression | None = None
    ) -> AsyncIterator[grpc.aio.Channel]:
        """Connect a channel of its own."""
        options: list[tuple[str, Any]] = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        address = str(self.server.address)
        async with grpc.aio.insecure_channel(
            address, options=options, compression=compression
        ) as channel:
            yield channel

    @asynccontextmanager
    async def raw(self, **settings: Any) -> AsyncIterator[RawClient]:
        """Connect a client that may misbehave."""
        async with raw_client(self.server.address, **settings) as client:
            yield client

    async def settled(self) -> list[StreamEnd]:
        """Wait until every exchange is closed; serve one more; return how the others ended."""
        ends = await self.scripts.closed()
        async with self.channel() as channel:
            assert [b"still here"] == await exchange(channel, b"still here")
        await self.scripts.closed()
        assert 0 == self.server.streams
        return ends

    async def only(self) -> Script:
        """Return the one exchange, once it is closed."""
        await self.scripts.opened()
        await self.scripts.closed()
        (script,) = self.scripts.made
        return script


async def listen(
    kind: str,
    scripts: Scripts,
    *,
    limits: TransportLimits | None = None,
    tls: TlsFiles | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Server:
    """Start a server."""
    start = h2.start if kind == "h2" else aio.start
    return await start(
        Address(host, port),
        scripts,
        unary={REVERSE: lambda request: request[::-1], CRASH: _crash},
        tls=tls,
        limits=limits or TransportLimits(),
    )


@asynccontextmanager
async def served(kind: str, **options: Any) -> AsyncIterator[Served]:
    """Serve on a free port; options are those of `listen`."""
    scripts = Scripts()
    server = await listen(kind, scripts, **options)
    try:
        yield Served(server, scripts)
    finally:
        await server.close()


def stream(channel: grpc.aio.Channel, **options: Any) -> "grpc.aio.StreamStreamCall[Any, Any]":
    """Open an ext_proc stream that sends and receives bytes."""
    return channel.stream_stream(PROCESS)(**options)


async def exchange(channel: grpc.aio.Channel, *messages: bytes) -> list[bytes]:
    """Send messages, half-close, and return all replies; raises AioRpcError."""
    opened = stream(channel)
    for message in messages:
        await opened.write(message)
    await opened.done_writing()
    return [reply async for reply in opened]


async def failure(channel: grpc.aio.Channel, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    """Send messages, and return the status that the stream ends with.

    For a server that fails before any message, send none: a write that comes too late makes the
    client forget the status.
    """
    opened = stream(channel)
    for message in messages:
        await opened.write(message)
    return await opened.code(), await opened.details() or ""


async def call(channel: grpc.aio.Channel, method: str, request: bytes) -> bytes:
    """Call a unary method; raises AioRpcError."""
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return await unary(request)


def _crash(request: bytes) -> bytes:
    raise ValueError(request)
