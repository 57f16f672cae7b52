"""A whole picker replica in this process, on loopback, and a gateway's client of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import grpc
import msgspec

from picker.app import Listening, PickerReplica
from picker.extproc.server import PROCESS
from picker.settings import PickerSettings
from state.backends.memory.store import MemoryStore
from state.model import Endpoint
from state.ports import EndpointListener
from state.runtime.clock import SystemClock

RPC_SECONDS = 10.0


class FixedSource:
    """Discovery that a test moves by hand. Fits `EndpointSource`."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = endpoints
        self._listener: EndpointListener | None = None

    async def run(self, listener: EndpointListener) -> None:
        self._listener = listener
        listener(self._endpoints)
        await asyncio.Event().wait()

    def set(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints."""
        self._endpoints = endpoints
        if self._listener is not None:
            self._listener(endpoints)


@asynccontextmanager
async def serving(
    source: FixedSource, **settings: object
) -> AsyncIterator[tuple[PickerReplica, Listening]]:
    """Serve one replica on free ports."""
    clock = SystemClock()
    free = dict.fromkeys(("extproc_address", "health_address", "admin_address"), "127.0.0.1:0")
    replica = PickerReplica(
        PickerSettings(**(free | {"linger_seconds": 0.0} | settings)),  # type: ignore[arg-type]
        store=MemoryStore(clock),
        source=source,
        clock=clock,
        rng=random.Random(1),
    )
    async with replica.serve() as listening:
        yield replica, listening


class Gateway:
    """A gRPC client that sends ext_proc messages as bytes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._call = channel.stream_stream(PROCESS, bytes, bytes)

    def open(self, seconds: float = RPC_SECONDS) -> "grpc.aio.StreamStreamCall[Any, Any]":
        """Open a stream; it is ended in time whatever happens."""
        return self._call(timeout=seconds)

    async def exchange(self, *messages: bytes) -> tuple[list[bytes], grpc.StatusCode]:
        """Send messages, half-close, and return all replies and the status."""
        call = self.open()
        # The picker may end the stream before it has heard everything.
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            for message in messages:
                await call.write(message)
            await call.done_writing()
        return await rest_of(call), await call.code()


async def rest_of(call: "grpc.aio.StreamStreamCall[Any, Any]") -> list[bytes]:
    """Read replies until the stream ends, whatever its status."""
    replies: list[bytes] = []
    with suppress(grpc.aio.AioRpcError):
        while isinstance(reply := await call.read(), bytes):  # the other thing is EOF
            replies.append(reply)
    return replies


@asynccontextmanager
async def gateway(listening: Listening) -> AsyncIterator[Gateway]:
    """Connect to a replica's ext_proc port."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(str(listening.extproc), options=options) as channel:
        yield Gateway(channel)


async def debug_view(listening: Listening) -> dict[str, Any]:
    """Return `/debug/view`."""
    url = f"http://{listening.admin}/debug/view"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        view: dict[str, Any] = msgspec.json.decode(await response.read())
        return view


async def counts_reach_zero(listening: Listening) -> None:
    """Wait until nothing is booked; the test's own time limit ends a leak."""
    while any(endpoint["requests"] for endpoint in (await debug_view(listening))["endpoints"]):  # noqa: ASYNC110  another process's state, in effect
        await asyncio.sleep(0.01)
