"""Peers that go away at any moment, over both ext_proc servers."""

import asyncio
import random
from collections.abc import AsyncIterator

import ngh2
import pytest

from picker.extproc.ports import StreamEnd
from tests.support.grpc_client import RawClient, grpc_message, http2_frame
from tests.support.transports import KINDS, Served, served

END_STREAM = 1
DATA, RST_STREAM = 0, 3
CANCEL = b"\0\0\0\x08"


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with served(request.param) as transport:
        yield transport


def ends_over(transport: Served, h2_end: StreamEnd) -> set[StreamEnd]:
    """Return how a stream may end: grpc.aio does not tell why messages stopped."""
    if type(transport.server).__name__ == "H2Server":
        return {h2_end}
    return {StreamEnd.COMPLETED, StreamEnd.RESET}


async def test_gone_before_any_byte(transport: Served) -> None:
    """A connection without a word, such as a TCP health check, leaves nothing behind."""
    async with transport.raw() as client:
        client.vanish()
    assert [] == await transport.settled()


@pytest.mark.parametrize("kept", [1, 10, 24, 30, 60])
async def test_gone_inside_preface_and_headers(transport: Served, kept: int) -> None:
    """Half a preface, half a SETTINGS frame, half a HEADERS frame: no stream begins."""
    async with transport.raw() as client:
        client.call(b"a")
        await client.write(client.bytes_to_send()[:kept])
        client.vanish()
    assert [] == await transport.settled()


async def test_gone_after_headers(transport: Served) -> None:
    """A stream without messages ends with its connection."""
    async with transport.raw() as client:
        client.call()
        await client.flush()
        await transport.scripts.opened()
        client.vanish()
        (end,) = await transport.settled()
    assert end in ends_over(transport, StreamEnd.DISCONNECTED)


async def test_gone_inside_a_message(transport: Served) -> None:
    """Half a message is not delivered."""
    async with transport.raw() as client:
        stream_id = client.call()
        client.http2.send_data(stream_id, grpc_message(b"abc")[:6])
        await client.flush()
        script = await transport.scripts.opened()
        client.vanish()
        (end,) = await transport.settled()
    assert end in ends_over(transport, StreamEnd.DISCONNECTED)
    assert [] == script.received


async def test_gone_after_a_reply(transport: Served) -> None:
    """A stream in mid-conversation ends with its connection."""
    async with transport.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        client.vanish()
        (end,) = await transport.settled()
    assert end in ends_over(transport, StreamEnd.DISCONNECTED)


async def test_gone_after_half_close(transport: Served) -> None:
    """The exchange was complete; nobody is left to hear so."""
    async with transport.raw() as client:
        client.call(b"a", end=True)
        await client.flush()
        await transport.scripts.opened()
        client.vanish()
        (end,) = await transport.settled()
    assert end in ends_over(transport, StreamEnd.COMPLETED) | {StreamEnd.DISCONNECTED}


async def test_a_reset_ends_the_stream(transport: Served) -> None:
    """RST_STREAM without a half-close: the HTTP exchange was cut."""
    async with transport.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        client.http2.reset_stream(stream_id)
        await client.flush()
        (end,) = await transport.scripts.closed()
        assert end in ends_over(transport, StreamEnd.RESET)
        again = client.call(b"b", end=True)
        assert [b"b"] == (await client.answer(again)).messages
    await transport.settled()


async def test_a_reset_right_behind_the_half_close_is_completion(transport: Served) -> None:
    """This is how Envoy ends every exchange; both frames come in one read."""
    async with transport.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        end = http2_frame(DATA, END_STREAM, stream_id)
        await client.write(end + http2_frame(RST_STREAM, 0, stream_id, CANCEL))
        assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_a_whole_stream_and_its_reset_in_one_read(transport: Served) -> None:
    """Headers, message, half-close and reset may be there before anything could be answered."""
    async with transport.raw() as client:
        await client.flush()
        stream_id = client.call(b"a", end=True)
        await client.write(client.bytes_to_send() + http2_frame(RST_STREAM, 0, stream_id, CANCEL))
        again = client.call(b"b", end=True)
        assert [b"b"] == (await client.answer(again)).messages
        ends = await transport.settled()
    assert set(ends) <= {StreamEnd.COMPLETED, StreamEnd.RESET}


async def test_replies_to_a_stream_that_was_reset_go_nowhere(transport: Served) -> None:
    """A late reply finds its stream gone, and nothing happens."""
    async with transport.raw() as client:
        stream_id = client.call(b"silence")
        await client.flush()
        script = await transport.scripts.opened()
        await script.heard.wait()
        client.http2.reset_stream(stream_id)
        await client.flush()
        script.outlet.send([b"late"])  # before the server has read the reset
        await transport.scripts.closed()
        script.outlet.send([b"too late"])
        assert 1 == len(await transport.settled())


async def test_a_peer_may_say_goodbye_while_streams_are_open(transport: Served) -> None:
    """GOAWAY means no new streams; open ones go on to their end."""
    async with transport.raw() as client:
        stream_id = client.call(b"a")
        await client.flush()
        await client.until(lambda: client.answers[stream_id].messages)
        client.http2.send_goaway()
        client.http2.send_data(stream_id, grpc_message(b"b"), end_stream=True)
        assert [b"a", b"b"] == (await client.answer(stream_id)).messages
        assert 0 == client.answers[stream_id].status
    assert [StreamEnd.COMPLETED] == await transport.settled()


async def test_thousands_of_streams_most_of_them_aborted(transport: Served) -> None:
    """Whatever the moment of an abort, every exchange is closed once and no stream stays open."""
    rng = random.Random(20)
    async with transport.raw() as patient, transport.raw() as client:
        for _ in range(30):
            ids = [client.call(b"a", end=rng.random() < 0.2) for _ in range(80)]
            await client.flush()
            for stream_id in ids:
                await abort_mostly(client, stream_id, rng)
            last = client.call(b"last", end=True)
            assert [b"last"] == (await client.answer(last)).messages
        kept = patient.call(b"kept", end=True)
        assert [b"kept"] == (await patient.answer(kept)).messages
    ends = await transport.settled()
    assert 1_000 < len(ends)


async def abort_mostly(client: RawClient, stream_id: int, rng: random.Random) -> None:
    """Reset four streams of five, some after they could be answered; end the rest."""
    if rng.random() < 0.3:
        await asyncio.sleep(0)
    if rng.random() < 0.8:
        client.http2.reset_stream(stream_id)
    else:
        try:
            client.http2.end_stream(stream_id)
        except ngh2.StreamProtocolError:  # half-closed already
            return
