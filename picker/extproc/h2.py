"""ext_proc over libnghttp2: the default server."""

import asyncio
import ssl
from contextlib import suppress

from picker.extproc.connection import H2Connection
from picker.extproc.methods import Methods, served_methods
from picker.extproc.ports import ExchangeFactory
from picker.extproc.server import TransportLimits, Unary
from picker.extproc.sockets import bound_socket
from picker.extproc.tls import TlsFiles, server_context
from state.runtime.address import Address

BACKLOG = 1_024
HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take; connections count from its end."""
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
        self._over = False
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
    def refusal(self) -> str | None:
        """Why a further connection must be refused, if it must."""
        if self._over:  # a TLS handshake may have taken as long as that
            return "shut down"
        full = len(self._connections) >= self.limits.max_connections
        return "too many connections" if full else None

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
        listening = await bound_socket(address, shared_port=shared_port)
        self._address = Address(address.host, listening.getsockname()[1])
        self._listener = await loop.create_server(
            lambda: H2Connection(self),
            sock=listening,
            ssl=context,
            ssl_handshake_timeout=None if context is None else HANDSHAKE_SECONDS,
            backlog=BACKLOG,
        )

    async def drain(self, seconds: float) -> None:
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.announce_end()
        await self._wait_until_deserted(seconds)
        self._over = True
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
