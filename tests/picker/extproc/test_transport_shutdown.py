"""Draining and closing, over both ext_proc servers."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import ngh2
import pytest

from picker.extproc.ports import StreamEnd
from picker.extproc.tls import TlsFiles
from tests.support.grpc_client import RawClient, grpc_message, trusting
from tests.support.transports import KINDS, Served, served, stream

LONG = 1_000.0
UNAVAILABLE = 14


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with served(request.param) as transport:
        yield transport


@pytest.fixture
async def h2() -> AsyncIterator[Served]:
    async with served("h2") as transport:
        yield transport


async def test_an_idle_server_drains_at_once(transport: Served) -> None:
    """Nothing is waited for when nothing is open."""
    await transport.server.drain(LONG)
    assert 0 == transport.server.streams


async def test_open_streams_may_finish(transport: Served) -> None:
    """Draining lets the exchanges that are under way come to their end."""
    async with transport.channel() as channel, asyncio.TaskGroup() as tasks:
        opened = stream(channel)
        await opened.write(b"a")
        assert b"a" == await opened.read()
        draining = tasks.create_task(transport.server.drain(LONG))
        await asyncio.sleep(0)
        await opened.write(b"b")
        assert b"b" == await opened.read()
        await opened.done_writing()
        assert grpc.StatusCode.OK == await opened.code()
        await draining
    assert [StreamEnd.COMPLETED] == await transport.scripts.closed()


async def test_streams_that_take_too_long_are_drained(transport: Served) -> None:
    """When the time is over the rest is ended, and the gateway may ask another replica."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"a")
        assert b"a" == await opened.read()
        await transport.server.drain(0.05)
        assert grpc.StatusCode.UNAVAILABLE == await opened.code()
    assert [StreamEnd.DRAINED] == await transport.scripts.closed()
    assert 0 == transport.server.streams


async def test_a_second_drain_cuts_the_first_short(transport: Served) -> None:
    """A second signal ends at once."""
    async with transport.channel() as channel, asyncio.TaskGroup() as tasks:
        opened = stream(channel)
        await opened.write(b"a")
        assert b"a" == await opened.read()
        first = tasks.create_task(transport.server.drain(LONG))
        await asyncio.sleep(0)
        await transport.server.drain(0)
        await first
    assert [StreamEnd.DRAINED] == await transport.scripts.closed()


async def test_closing_ends_everything(transport: Served) -> None:
    """Close does not wait, may be repeated, and closes every exchange."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"a")
        assert b"a" == await opened.read()
        await transport.server.close()
        await transport.server.close()
        assert grpc.StatusCode.UNAVAILABLE == await opened.code()
    assert [StreamEnd.DRAINED] == await transport.scripts.closed()
    assert 0 == transport.server.streams


async def test_a_drained_server_takes_no_connections(transport: Served) -> None:
    """The port is free for the next process."""
    await transport.server.drain(0)
    with pytest.raises(ConnectionRefusedError):
        async with transport.raw():
            pass


async def test_a_handshake_that_ends_after_closing_is_not_served() -> None:
    """A closed server carries no stream, also not for a peer that was slow to say hello."""
    async with served("h2", tls=TlsFiles()) as transport:
        address = transport.server.address
        reader, writer = await asyncio.open_connection(address.host, address.port)
        received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting("h2").wrap_bio(received, sent)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(sent.read())
        await transport.server.drain(0)
        greeted = False
        while not greeted:
            received.write(await reader.read(1 << 16))
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                greeted = True
        await transport.server.close()
        client = RawClient(reader, writer, {})
        client.call(b"a", end=True)
        tls.write(client.bytes_to_send())
        await client.write(sent.read())
        with suppress(ConnectionError):
            await reader.read()
        writer.transport.abort()
        assert [] == transport.scripts.made


async def test_streams_under_way_when_draining_begins_are_served(h2: Served) -> None:
    """A gateway is told twice: a stream that it opened before it heard is still taken."""
    async with h2.raw() as client, asyncio.TaskGroup() as tasks:
        await client.ping()
        draining = tasks.create_task(h2.server.drain(LONG))
        late = client.call(b"a")  # opened before the announcement was read
        await client.flush()
        await client.until(lambda: client.answers[late].messages)
        await client.until(lambda: len(client.goaways) == 2)
        assert [2**31 - 1, late] == [goaway.last_stream_id for goaway in client.goaways]
        client.http2.send_data(late, grpc_message(b"b"), end_stream=True)
        answer = await client.answer(late)
        assert ([b"a", b"b"], 0) == (answer.messages, answer.status)
        await client.closed_by_server()
        await draining
    assert [StreamEnd.COMPLETED] == await h2.scripts.closed()


async def test_the_end_of_draining_is_said_in_grpc(h2: Served) -> None:
    """Trailers with UNAVAILABLE come before the connection is closed."""
    async with h2.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        await h2.server.drain(0)
        await client.closed_by_server()
        answer = client.answers[stream_id]
        assert (UNAVAILABLE, "shutting down") == (answer.status, answer.message)
        assert ngh2.ErrorCode.NO_ERROR == client.goaways[-1].error_code


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(h2: Served) -> None:
    """Last bytes that nobody takes are given up."""
    settings = [(ngh2.Setting.INITIAL_WINDOW_SIZE, 2**31 - 1)]
    async with h2.raw(settings=settings) as client:
        client.http2.set_local_window_size(2**31 - 1)
        client.call()
        await client.flush()
        script = await h2.scripts.opened()
        script.outlet.send([bytes(1 << 20)] * 32)
        await h2.server.close()
        assert [StreamEnd.DRAINED] == await h2.scripts.closed()
