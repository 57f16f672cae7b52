"""The default server on the loop that it runs on in production."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from picker.extproc.ports import StreamEnd
from picker.extproc.tls import TlsFiles
from tests.support.grpc_client import trusting
from tests.support.transports import exchange, served


async def ordinary_exchanges() -> None:
    """Both directions, also longer than every window."""
    async with served("h2") as transport:
        async with transport.channel() as channel:
            replies = await asyncio.gather(*(exchange(channel, bytes(size)) for size in SIZES))
        assert [[bytes(size)] for size in SIZES] == replies
        assert {StreamEnd.COMPLETED} == set(await transport.settled())


async def a_lost_peer() -> None:
    """Its exchange is closed."""
    async with served("h2") as transport, transport.raw() as client:
        client.call(b"a")
        await client.flush()
        await transport.scripts.opened()
        client.vanish()
        assert [StreamEnd.DISCONNECTED] == await transport.settled()


async def a_reader_that_stops() -> None:
    """Writing pauses and goes on where it was."""
    async with served("h2") as transport, transport.raw() as client:
        stream_id = client.call(*[bytes(100_000)] * 200, end=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.flush())
            await transport.scripts.opened()
            await client.until(lambda: client.answers[stream_id].over)
        assert 200 == len(client.answers[stream_id].messages)


async def encrypted() -> None:
    """TLS has a transport of its own."""
    async with (
        served("h2", tls=TlsFiles()) as transport,
        transport.raw(tls=trusting("h2")) as client,
    ):
        stream_id = client.call(bytes(1_000_000), end=True)
        assert [bytes(1_000_000)] == (await client.answer(stream_id)).messages


async def a_drain_that_is_cut() -> None:
    """What is open is ended."""
    async with served("h2") as transport, transport.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        await transport.server.drain(0.01)
        assert [StreamEnd.DRAINED] == await transport.scripts.closed()


SIZES = [0, 1, 100_000, 20_000_000]


@pytest.mark.parametrize(
    "scene", [ordinary_exchanges, a_lost_peer, a_reader_that_stops, encrypted, a_drain_that_is_cut]
)
def test_on_uvloop(scene: Callable[[], Awaitable[None]]) -> None:
    """The transports of uvloop differ from asyncio's in small things."""

    async def play() -> None:
        await scene()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
