"""ext_proc over libnghttp2: the default server."""

import asyncio
import socket
import ssl
from contextlib import suppress

from picker.extproc.connection import H2Connection
from picker.extproc.methods import Methods, served_methods
from picker.extproc.ports import ExchangeFactory
from picker.extproc.server import TransportLimits, Unary
from picker.extproc.tls import TlsFiles, server_context
from state.runtime.address import Address

BACKLOG = 1_024
FLUSH_SECONDS = 1.0
"""How long `close` waits for peers to take the last bytes."""


async def start(
    address: Address,
    factory: ExchangeFactory,
    *,
    unary: Unary,
    tls: TlsFiles | None,
    limits: TransportLimits,
    shared_port: bool = False,
) -> "H2Server":
    """Listen; raises OSError if the address cannot be used, InvalidTls for unusable files."""
    server = H2Server(served_methods(factory, unary), limits)
    context = None if tls is None else server_context(tls)
    await server.listen(address, context, shared_port=shared_port)
    return server


class H2Server:
    """The listening socket and its connections."""

    def __init__(self, methods: Methods, limits: TransportLimits) -> None:
        self.methods = methods
        self.limits = limits
        self.draining = False
        self._connections: set[H2Connection] = set()
        self._deserted = asyncio.Event()
        self._deserted.set()
        self._listener: asyncio.Server | None = None
        self._address = Address("", 0)

    @property
    def address(self) -> Address:
        return self._address

    @property
    def streams(self) -> int:
        return sum(connection.session.streams for connection in self._connections)

    @property
    def full(self) -> bool:
        """True if a further connection must be refused."""
        return len(self._connections) >= self.limits.max_connections

    def connected(self, connection: H2Connection) -> None:
        """A peer is there."""
        self._connections.add(connection)
        self._deserted.clear()

    def disconnected(self, connection: H2Connection) -> None:
        """A peer is gone, or never was taken."""
        self._connections.discard(connection)
        if not self._connections:
            self._deserted.set()

    async def listen(
        self, address: Address, context: ssl.SSLContext | None, *, shared_port: bool
    ) -> None:
        """Accept connections from here on."""
        loop = asyncio.get_running_loop()
        listening = await _bind(address, shared_port=shared_port)
        self._address = Address(address.host, listening.getsockname()[1])
        self._listener = await loop.create_server(
            lambda: H2Connection(self), sock=listening, ssl=context, backlog=BACKLOG
        )

    async def drain(self, seconds: float) -> None:
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.announce_end()
        await self._wait_until_deserted(seconds)
        for connection in list(self._connections):
            connection.end()

    async def close(self) -> None:
        await self.drain(0)
        await self._wait_until_deserted(FLUSH_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await self._deserted.wait()

    async def _wait_until_deserted(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._deserted.wait()


async def _bind(address: Address, *, shared_port: bool) -> socket.socket:
    """Return one socket, so that port 0 is one port; `::` takes IPv4 as well."""
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = found[0]
    both = family == socket.AF_INET6 and address.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        where, family=family, backlog=BACKLOG, reuse_port=shared_port, dualstack_ipv6=both
    )
