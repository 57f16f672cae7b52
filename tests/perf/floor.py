"""`python -m tests.perf.floor h2|grpcio`: a transport whose exchange decides nothing."""

import asyncio
import sys

import uvloop

from picker.extproc import aio, h2
from picker.extproc.ports import Outlet, StreamEnd
from picker.extproc.server import Server, TransportLimits
from state.runtime.address import Address

REPLY_BYTES = 200
"""About a picker's reply; response chunks come back whole."""


class Echo:
    """Sends back the head of every message. Fits the `Exchange` port."""

    finished = False

    def __init__(self, outlet: Outlet) -> None:
        """Nothing is sent but from `receive`."""

    def receive(self, message: bytes) -> list[bytes]:
        return [message[:REPLY_BYTES]]

    def close(self, end: StreamEnd) -> None:
        """Nothing is held."""


async def serve(transport: str) -> None:
    """Serve until the process is ended."""
    start = h2.start if transport == "h2" else aio.start
    server: Server = await start(
        Address("127.0.0.1", 0), Echo, unary={}, tls=None, limits=TransportLimits()
    )
    sys.stdout.write(f"ready extproc={server.address}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
