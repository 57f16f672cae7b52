"""Many model servers in one process, each on its own port."""

import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from chaos.errors import ChaosError
from chaos.modelserver.server import ModelServer, ServerSpec
from chaos.process import reason_of

BACKLOG = 1024
SHUTDOWN_SECONDS = 1.0


class AddressUnavailable(ChaosError):  # noqa: N818  reads as the state it reports
    """An address cannot be listened on; the message names it and the reason."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        """Keep the address."""
        super().__init__(f"cannot listen on {host}:{port}: {reason}")
        self.host = host
        self.port = port


def listen(host: str, ports: Sequence[int]) -> list[socket.socket]:
    """Listen on all ports, or on none. Raises AddressUnavailable."""
    sockets: list[socket.socket] = []
    for port in ports:
        try:
            sockets.append(socket.create_server((host, port), backlog=BACKLOG))
        except OSError as error:
            for opened in sockets:
                opened.close()
            raise AddressUnavailable(host, port, reason_of(error)) from error
    return sockets


@asynccontextmanager
async def serve_fleet(
    spec: ServerSpec,
    sockets: Sequence[socket.socket],
    *,
    speeds: Sequence[float],
    seed: int,
    wall: Callable[[], float],
) -> AsyncIterator[list[ModelServer]]:
    """Serve on each socket until the block is left; speeds are dealt out in turn."""
    async with AsyncExitStack() as stack:
        servers: list[ModelServer] = []
        for index, listener in enumerate(sockets):
            host, port = listener.getsockname()[:2]
            server = ModelServer(
                spec,
                served_by=f"{host}:{port}",
                speed=speeds[index % len(speeds)],
                rng=random.Random(f"{seed}/{index}"),
                wall=wall,
            )
            await stack.enter_async_context(_serving(server, listener))
            servers.append(server)
        yield servers


@asynccontextmanager
async def _serving(server: ModelServer, listener: socket.socket) -> AsyncIterator[None]:
    runner = web.ServerRunner(
        web.Server(server.handle, handler_cancellation=True, access_log=None),
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        server.driver.stop()
        await runner.cleanup()
