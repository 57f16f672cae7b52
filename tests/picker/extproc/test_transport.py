"""Ordinary calls, and faults of ours, over both ext_proc servers."""

import asyncio
import errno
from collections.abc import AsyncIterator

import grpc
import pytest
from structlog.testing import capture_logs

from picker.extproc.ports import StreamEnd, StreamFailed
from tests.support.exchanges import QUOTED, Scripts
from tests.support.transports import (
    CRASH,
    KINDS,
    REVERSE,
    Served,
    call,
    exchange,
    failure,
    listen,
    served,
    stream,
)

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with served(request.param) as transport:
        yield transport


async def test_replies_come_in_order_and_a_half_close_completes(transport: Served) -> None:
    """Every message is answered in turn; the peer's half-close ends the stream with OK."""
    async with transport.channel() as channel:
        replies = await exchange(channel, b"a", b"silence", b"twice", b"", b"b")
    assert [b"a", b"one", b"two", b"", b"b"] == replies
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_a_stream_without_messages_completes(transport: Served) -> None:
    """A stream that is opened and half-closed is an exchange as well."""
    async with transport.channel() as channel:
        assert [] == await exchange(channel)
    assert [StreamEnd.COMPLETED] == await transport.settled()


@pytest.mark.parametrize("size", [16 * KIBIBYTE, 400 * KIBIBYTE, 32 * MEBIBYTE])
async def test_messages_of_any_size_arrive_whole(transport: Served, size: int) -> None:
    """A message may be longer than every window, in both directions."""
    message = bytes(range(256)) * (size // 256)
    async with transport.channel() as channel:
        (reply,) = await exchange(channel, message)
    assert message == reply
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_streams_of_one_connection_are_apart(transport: Served) -> None:
    """Streams share a connection and nothing else."""
    async with transport.channel() as channel:
        words = [b"word %d" % number for number in range(100)]
        replies = await asyncio.gather(*(exchange(channel, word, word) for word in words))
    assert [[word, word] for word in words] == replies
    assert [StreamEnd.COMPLETED] * 100 == await transport.settled()


async def test_a_finished_exchange_ends_its_stream(transport: Served) -> None:
    """The peer need not half-close: the exchange decides that it is over."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"finish")
        assert [b"bye"] == [reply async for reply in opened]
        assert grpc.StatusCode.OK == await opened.code()
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_a_failed_exchange_ends_with_its_status(transport: Served) -> None:
    """The status and the text of StreamFailed reach the peer, whatever letters it has."""
    async with transport.channel() as channel:
        assert (grpc.StatusCode.INVALID_ARGUMENT, "50 % naïve\n") == await failure(channel, b"fail")
    assert [StreamEnd.FAILED] == await transport.settled()


async def test_replies_before_a_failure_are_sent(transport: Served) -> None:
    """A failure does not take back what was answered before it."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"a")
        assert b"a" == await opened.read()
        await opened.write(b"fail")
        assert grpc.StatusCode.INVALID_ARGUMENT == await opened.code()
    assert [StreamEnd.FAILED] == await transport.settled()


async def test_a_fault_is_logged_without_its_words(transport: Served) -> None:
    """An unexpected exception is INTERNAL and one log line that quotes nothing of the message."""
    with capture_logs() as logs:
        async with transport.channel() as channel:
            assert grpc.StatusCode.INTERNAL == (await failure(channel, b"crash"))[0]
            assert [b"a"] == await exchange(channel, b"a")  # the connection lives on
    (line,) = logs
    assert ("exchange failed", "ValueError") == (line["event"], line["error"])
    assert "exchanges.py" in line["at"]
    assert QUOTED.decode() not in str(line)
    assert [StreamEnd.FAILED, StreamEnd.COMPLETED] == await transport.settled()


async def test_a_fault_of_the_factory_fails_the_stream(transport: Served) -> None:
    """Without an exchange there is nothing to close, and the next stream is served."""
    transport.scripts.error = RuntimeError()
    with capture_logs():
        async with transport.channel() as channel:
            assert grpc.StatusCode.INTERNAL == (await failure(channel))[0]
    assert [] == await transport.settled()


async def test_a_factory_may_refuse(transport: Served) -> None:
    """StreamFailed from the factory is the stream's status."""
    transport.scripts.error = StreamFailed(14, "not yet")
    async with transport.channel() as channel:
        assert (grpc.StatusCode.UNAVAILABLE, "not yet") == await failure(channel)
    assert [] == await transport.settled()


async def test_the_outlet_works_before_the_exchange_exists(transport: Served) -> None:
    """What the factory sends through its outlet comes first."""
    transport.scripts.greeting = [b"hello"]
    async with transport.channel() as channel:
        assert [b"hello", b"a"] == await exchange(channel, b"a")
        transport.scripts.greeting = []


async def test_an_exchange_whose_stream_failed_at_birth_is_closed(transport: Served) -> None:
    """The factory may fail its own stream; the exchange that it then returns is closed."""
    transport.scripts.farewell = StreamFailed(14, "not now")
    async with transport.channel() as channel:
        assert (grpc.StatusCode.UNAVAILABLE, "not now") == await failure(channel)
    assert [StreamEnd.FAILED] == await transport.scripts.closed()
    transport.scripts.farewell = None
    await transport.settled()


async def test_replies_may_come_later(transport: Served) -> None:
    """A reply through the outlet needs no message from the peer."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"silence")
        script = await transport.scripts.opened()
        await script.heard.wait()
        script.outlet.send([b"late", b"later"])
        assert [b"late", b"later"] == [await opened.read(), await opened.read()]
        script.finished = True
        script.outlet.send([b"last"])
        assert b"last" == await opened.read()
        assert grpc.StatusCode.OK == await opened.code()
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_failures_may_come_later(transport: Served) -> None:
    """A stream can be failed at any time, once."""
    async with transport.channel() as channel:
        opened = stream(channel)
        await opened.write(b"silence")
        script = await transport.scripts.opened()
        script.outlet.fail(StreamFailed(8, "no room"))
        script.outlet.fail(StreamFailed(13, "too late"))
        script.outlet.send([b"too late"])
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == await opened.code()
        assert "no room" == await opened.details()
    assert [StreamEnd.FAILED] == await transport.settled()


async def test_an_outlet_outlives_its_stream(transport: Served) -> None:
    """After the end, calls do nothing."""
    async with transport.channel() as channel:
        await exchange(channel, b"a")
    script = await transport.only()
    script.outlet.send([b"late"])
    script.outlet.fail(StreamFailed(13, "late"))
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_what_the_outlet_sends_while_a_message_is_taken_comes_first(
    transport: Served,
) -> None:
    """Replies keep the order in which they were given away."""
    async with transport.channel() as channel:
        assert [b"outside", b"inside"] == await exchange(channel, b"send outside")


async def test_a_stream_failed_while_a_message_is_taken_sends_no_more(transport: Served) -> None:
    """What `receive` returns after its outlet has failed the stream is dropped."""
    async with transport.channel() as channel:
        status = await failure(channel, b"fail outside")
    assert (grpc.StatusCode.RESOURCE_EXHAUSTED, "outside") == status
    assert [StreamEnd.FAILED] == await transport.settled()


async def test_unary_methods_are_served_beside(transport: Served) -> None:
    """Health checks go to the ext_proc port."""
    async with transport.channel() as channel:
        assert b"cba" == await call(channel, REVERSE, b"abc")
    await transport.settled()


async def test_a_fault_of_a_unary_method_is_internal(transport: Served) -> None:
    """Faults of unary methods are treated as those of exchanges."""
    with capture_logs() as logs:
        async with transport.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, CRASH, QUOTED)
    assert grpc.StatusCode.INTERNAL == caught.value.code()
    assert QUOTED.decode() not in str(logs)
    await transport.settled()


async def test_unknown_methods_are_unimplemented(transport: Served) -> None:
    """Reflection, and whatever else a tool may try, gets a proper answer."""
    async with transport.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, "/nobody.Knows/This", b"")
    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
    assert [] == await transport.settled()


async def test_gzip_is_understood(transport: Served) -> None:
    """Clients may compress."""
    async with transport.channel(grpc.Compression.Gzip) as channel:
        assert [b"a" * 5000] == await exchange(channel, b"a" * 5000)
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_a_deadline_ends_a_stream(transport: Served) -> None:
    """A gateway's timeout is not waited for by its bookings."""
    async with transport.channel() as channel:
        opened = stream(channel, timeout=0.05)
        await opened.write(b"silence")
        await transport.scripts.opened()
        assert grpc.StatusCode.DEADLINE_EXCEEDED == await opened.code()
    await transport.settled()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["::1", "::", "localhost", "0.0.0.0"])
async def test_any_kind_of_address_is_served(kind: str, host: str) -> None:
    """IPv6, names and wildcards listen; port 0 becomes a real one."""
    async with served(kind, host=host) as transport:
        assert host == transport.server.address.host
        assert transport.server.address.port > 0
        await transport.settled()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_address_in_use_is_an_os_error(kind: str) -> None:
    """Two servers never share a port by accident."""
    async with served(kind) as transport:
        port = transport.server.address.port
        with pytest.raises(OSError, match="already in use") as caught:
            await listen(kind, Scripts(), port=port)
    assert errno.EADDRINUSE == caught.value.errno


@pytest.mark.parametrize("kind", KINDS)
async def test_an_address_of_another_host_is_an_os_error(kind: str) -> None:
    """The reason is the system's, whatever the server library says."""
    with pytest.raises(OSError, match="assign") as caught:
        await listen(kind, Scripts(), host="192.0.2.1")
    assert errno.EADDRNOTAVAIL == caught.value.errno
