"""Peers that break rules or ask for too much: mostly the h2 server, both where they agree."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import grpc
import ngh2
import pytest

from picker.extproc.aio import AioServer
from picker.extproc.connection import WRITE_BYTES, H2Connection
from picker.extproc.h2 import H2Server
from picker.extproc.ports import StreamEnd
from picker.extproc.server import TransportLimits
from picker.extproc.windows import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES
from tests.support.grpc_client import (
    Answer,
    Headers,
    grpc_headers,
    grpc_message,
    http2_frame,
)
from tests.support.transports import KINDS, Served, failure, served

INTERNAL, UNIMPLEMENTED, RESOURCE_EXHAUSTED = 13, 12, 8
DATA, PING = 0, 6
LARGEST_WINDOW = 2**31 - 1
NO_WINDOW = [(ngh2.Setting.INITIAL_WINDOW_SIZE, 0)]
LARGE_WINDOW = [(ngh2.Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW)]
SMALL = TransportLimits(
    max_message_bytes=10_000,
    max_header_bytes=8 << 10,
    max_streams=10,
    max_unsent_stream_bytes=100_000,
    max_unsent_bytes=1 << 20,
)


@pytest.fixture
async def h2() -> AsyncIterator[Served]:
    async with served("h2", limits=SMALL) as transport:
        yield transport


@pytest.fixture(params=KINDS)
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with served(request.param, limits=SMALL) as transport:
        yield transport


async def answer_to(transport: Served, data: bytes, headers: Headers | None = None) -> Answer:
    """Send bytes as a request body; return what came back, then see that the server is well."""
    async with transport.raw() as client:
        stream_id = client.call(headers=headers)
        client.http2.send_data(stream_id, data)
        answer = await client.answer(stream_id)
        again = client.call(b"again", end=True)
        assert [b"again"] == (await client.answer(again)).messages
    await transport.settled()
    return answer


# gRPC framing


@pytest.mark.parametrize("length", [10_001, 1 << 31, (1 << 32) - 1])
async def test_a_long_message_is_refused_at_its_prefix(transport: Served, length: int) -> None:
    """Nothing beyond the limit is waited for or kept."""
    answer = await answer_to(transport, grpc_message(b"", length=length))
    assert RESOURCE_EXHAUSTED == answer.status
    assert [] == answer.messages


async def test_a_message_of_the_longest_size_passes(transport: Served) -> None:
    """The limit itself is allowed."""
    answer = await answer_to(transport, grpc_message(b"a" * 10_000) + grpc_message(b"finish"))
    assert [b"a" * 10_000, b"bye"] == answer.messages


async def test_bytes_behind_a_refused_message_are_not_kept(h2: Served) -> None:
    """The stream is reset once its trailers are out, so that its peer stops sending."""
    async with h2.raw() as client:
        stream_id = client.call()
        client.http2.send_data(stream_id, grpc_message(b"a" * 300_000))
        answer = await client.answer(stream_id)
        await client.until(lambda: answer.reset is not None)
    assert (RESOURCE_EXHAUSTED, ngh2.ErrorCode.NO_ERROR) == (answer.status, answer.reset)
    assert [StreamEnd.FAILED] == await h2.settled()


@pytest.mark.parametrize("flag", [1, 2, 255])
async def test_an_unexpected_flag_is_internal(h2: Served, flag: int) -> None:
    """A compressed message needs a grpc-encoding, and other flags do not exist."""
    assert INTERNAL == (await answer_to(h2, grpc_message(b"a", flag=flag))).status


async def test_a_stream_that_ends_inside_a_message_is_internal(h2: Served) -> None:
    """A message cut short was not sent, and the exchange did not complete."""
    async with h2.raw() as client:
        stream_id = client.call()
        client.http2.send_data(stream_id, grpc_message(b"abc")[:-1], end_stream=True)
        assert INTERNAL == (await client.answer(stream_id)).status
    assert [StreamEnd.FAILED] == await h2.settled()


async def test_gzip_that_inflates_too_far_is_refused(h2: Served) -> None:
    """A small message may not become a large one."""
    bomb = grpc_message(gzip.compress(bytes(1_000_000)), flag=1)
    answer = await answer_to(h2, bomb, grpc_headers(grpc_encoding=b"gzip"))
    assert RESOURCE_EXHAUSTED == answer.status


async def test_gzip_that_inflates_too_far_is_refused_by_both() -> None:
    """A real client's zip bomb."""
    for kind in KINDS:
        async with served(kind, limits=SMALL) as transport:
            async with transport.channel(grpc.Compression.Gzip) as channel:
                status, _ = await failure(channel, bytes(1_000_000))
            assert grpc.StatusCode.RESOURCE_EXHAUSTED == status
            await transport.settled()


@pytest.mark.parametrize(
    "damaged",
    [
        b"no gzip",
        gzip.compress(b"abc", mtime=0)[:-3],
        gzip.compress(b"abc", mtime=0) + b"more",
        b"",
    ],
    ids=["other", "cut off", "followed by more", "empty"],
)
async def test_damaged_gzip_is_internal(h2: Served, damaged: bytes) -> None:
    """What cannot be inflated to its end is no message."""
    answer = await answer_to(h2, grpc_message(damaged, flag=1), grpc_headers(grpc_encoding=b"gzip"))
    assert INTERNAL == answer.status


async def test_plain_messages_pass_where_gzip_was_announced(h2: Served) -> None:
    """Each message says for itself whether it is compressed."""
    data = grpc_message(b"a") + grpc_message(gzip.compress(b"b"), flag=1) + grpc_message(b"finish")
    answer = await answer_to(h2, data, grpc_headers(grpc_encoding=b"gzip"))
    assert [b"a", b"b", b"bye"] == answer.messages


async def test_an_unknown_encoding_names_the_known_ones(h2: Served) -> None:
    """The client learns what it may use."""
    answer = await answer_to(h2, b"", grpc_headers(grpc_encoding=b"snappy"))
    assert UNIMPLEMENTED == answer.status
    assert b"identity,gzip" == answer.headers[b"grpc-accept-encoding"]


# Requests that are no gRPC calls


async def test_an_unknown_content_type_is_an_http_error(h2: Served) -> None:
    """Whoever does not speak gRPC gets an answer in HTTP."""
    for content_type in (b"application/json", b"application/grpcweb", None):
        assert (
            415 == (await answer_to(h2, b"", grpc_headers(content_type=content_type))).http_status
        )


async def test_grpc_content_types_may_have_a_suffix(h2: Served) -> None:
    """The specification allows a format and parameters."""
    for content_type in (b"application/grpc+proto", b"application/grpc;charset=utf-8"):
        answer = await answer_to(
            h2, grpc_message(b"finish"), grpc_headers(content_type=content_type)
        )
        assert 0 == answer.status


async def test_other_http_methods_are_refused(h2: Served) -> None:
    """A browser that finds the port gets 405."""
    answer = await answer_to(h2, b"", grpc_headers(method=b"PUT"))
    assert (405, b"POST") == (answer.http_status, answer.headers[b"allow"])


async def test_an_unknown_path_is_named(h2: Served) -> None:
    """The message says which method was asked for, in bounds."""
    async with h2.raw() as client:
        stream_id = client.call(headers=grpc_headers("/no/such%"), end=True)
        answer = await client.answer(stream_id)
    assert (UNIMPLEMENTED, "unknown method /no/such%") == (answer.status, answer.message)


async def test_malformed_requests_are_reset(transport: Served) -> None:
    """Headers that HTTP/2 forbids cost their stream, not the connection."""
    async with transport.raw() as client:
        bad = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b"connection", b"x"),
        ]
        stream_id = client.call(headers=bad)
        await client.answer(stream_id)
        assert client.answers[stream_id].reset is not None
    assert [] == await transport.settled()


async def test_trailers_are_a_half_close(h2: Served) -> None:
    """Unusual for clients of gRPC, but a valid end of a request."""
    async with h2.raw() as client:
        stream_id = client.call(b"a")
        client.http2.send_trailers(stream_id, [(b"x", b"y")])
        assert 0 == (await client.answer(stream_id)).status
    assert [StreamEnd.COMPLETED] == await h2.settled()


async def test_a_finished_stream_is_reset_gently(h2: Served) -> None:
    """A peer that was answered before it half-closed is told to stop, without an error."""
    async with h2.raw() as client:
        stream_id = client.call(b"finish")
        answer = await client.answer(stream_id)
        await client.until(lambda: answer.reset is not None)
    assert ([b"bye"], 0, ngh2.ErrorCode.NO_ERROR) == (answer.messages, answer.status, answer.reset)


async def test_a_timeout_that_is_none_is_ignored(h2: Served) -> None:
    """A malformed grpc-timeout is no reason to refuse a request."""
    for timeout in (b"", b"soon", b"1", b"999999999S", b"-1S"):
        answer = await answer_to(h2, grpc_message(b"finish"), grpc_headers(grpc_timeout=timeout))
        assert 0 == answer.status


# Connections


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ],
    ids=["HTTP/1", "TLS", "zeros", "no frames"],
)
async def test_other_protocols_are_hung_up_on(transport: Served, words: bytes) -> None:
    """What does not speak HTTP/2 is disconnected without a fuss."""
    async with transport.raw() as client:
        await client.write(words)
        await client.closed_by_server()
    assert [] == await transport.settled()


async def test_too_many_streams_are_refused(transport: Served) -> None:
    """A client that ignores our SETTINGS is stopped; the others' streams are not touched."""
    async with transport.raw() as other, transport.raw() as client:
        kept = other.call(b"a")
        await other.flush()
        await other.until(lambda: other.answers[kept].messages)
        ids = [client.call(b"a") for _ in range(30)]
        await client.flush()
        await client.until(lambda: sum(bool(client.answers[i].messages) for i in ids) >= 10)
        assert 1 + 10 >= transport.server.streams
        other.http2.send_data(kept, grpc_message(b"b"), end_stream=True)
        assert [b"a", b"b"] == (await other.answer(kept)).messages
    await transport.settled()


async def test_long_headers_end_the_connection(h2: Served) -> None:
    """The peer was told the limit; it is told why it is cut off."""
    async with h2.raw() as client:
        client.call(b"a", headers=[*grpc_headers(), (b"long", b"a" * 20_000)])
        await client.flush()
        await client.closed_by_server()
    (goaway,) = client.goaways
    assert ngh2.ErrorCode.ENHANCE_YOUR_CALM == goaway.error_code
    assert [] == await h2.settled()


async def test_broken_frames_end_the_connection_and_its_streams(h2: Served) -> None:
    """A DATA frame on stream 0 is a connection error: GOAWAY, and every exchange is closed."""
    async with h2.raw() as client:
        client.call(b"a")
        await client.flush()
        await h2.scripts.opened()
        await client.write(http2_frame(DATA, 0, 0, b"a"))
        await client.closed_by_server()
        assert client.goaways
    assert 1 == len(await h2.settled())


async def test_a_stream_at_fault_closes_its_exchange(h2: Served) -> None:
    """More bytes than content-length announced: the library resets the stream, nobody else."""
    async with h2.raw() as client:
        stream_id = client.call(headers=[*grpc_headers(), (b"content-length", b"6")])
        await client.flush()
        await h2.scripts.opened()
        await client.write(http2_frame(DATA, 0, stream_id, grpc_message(b"abc")))
        await client.until(lambda: client.answers[stream_id].reset is not None)
        assert [StreamEnd.FAILED] == await h2.scripts.closed()
        again = client.call(b"b", end=True)
        assert [b"b"] == (await client.answer(again)).messages
    await h2.settled()


async def test_pings_are_answered(h2: Served) -> None:
    """Gateways ask whether we are alive."""
    async with h2.raw() as client:
        await client.flush()
        for _ in range(20):
            await client.write(http2_frame(PING, 0, 0, b"12345678") * 100)
            heard = client.pongs
            await client.until(lambda: client.pongs >= heard + 100)  # noqa: B023  awaited here
    await h2.settled()


async def test_pings_on_an_idle_connection_are_no_offence(transport: Served) -> None:
    """Gateways are configured to ask every few seconds, also when nothing goes on."""
    async with transport.raw() as client:
        for _ in range(20):
            await client.ping()
        assert [] == client.goaways
    await transport.settled()


async def test_a_flood_of_pings_ends_the_connection(h2: Served) -> None:
    """Answers to pings are no place to make us hold memory."""
    async with h2.raw() as client:
        client.call(b"a")
        await client.flush()
        await h2.scripts.opened()
        await client.write(http2_frame(PING, 0, 0, b"12345678") * 10_000)
        await client.closed_by_server()
    assert [StreamEnd.DISCONNECTED] == await h2.settled()


async def test_further_connections_are_refused() -> None:
    """Beyond the limit a connection is closed; those that are open go on."""
    limits = TransportLimits(max_connections=1)
    async with served("h2", limits=limits) as transport, transport.raw() as first:
        stream_id = first.call(b"a")
        await first.flush()
        await first.until(lambda: first.answers[stream_id].messages)
        async with transport.raw() as second:
            await second.closed_by_server()
        first.http2.end_stream(stream_id)
        assert 0 == (await first.answer(stream_id)).status


async def test_a_connection_survives_frames_that_are_cut_off_by_a_reset(h2: Served) -> None:
    """Credit for half a frame is not lost when its stream ends there: windows stay open."""
    size, half = 16_000, 9_000
    async with h2.raw() as client:
        await client.ping()
        client.silent = True
        for _ in range(3 * CONNECTION_WINDOW_BYTES // size):
            stream_id = client.call(b"finish")
            frame = http2_frame(DATA, 0, stream_id, bytes(size))
            await client.write(client.bytes_to_send() + frame[:half])
            await client.until(lambda: client.answers[stream_id].over)  # noqa: B023  awaited here
            await client.write(frame[half:])
            await client.until(lambda: client.answers[stream_id].reset is not None)  # noqa: B023
        client.silent = False
        last = client.call(b"a", end=True)
        assert [b"a"] == (await client.answer(last)).messages
    await h2.settled()


# Peers that do not read


async def test_a_stream_that_grants_no_window_may_not_send_for_ever(h2: Served) -> None:
    """What waits for one stream is bounded, and all of it arrives once the peer reads."""
    async with h2.raw(settings=NO_WINDOW) as client:
        client.http2.set_local_window_size(LARGEST_WINDOW)
        stuck = client.call()
        client.http2.send_data(stuck, grpc_message(b"a" * 10_000) * 1_000)
        await client.flush()
        await client.until(lambda: client.http2.stream_remote_window_size(stuck) <= 0)
        await client.ping()
        held = only_connection(h2).session.unsent_bytes
        assert SMALL.max_unsent_stream_bytes < held < 2 * STREAM_WINDOW_BYTES
        assert client.http2.queued_body_size(stuck) > 0
        other = client.call(b"small", end=True)
        await client.flush()
        client.http2.set_local_window_size(LARGEST_WINDOW, stream_id=other)
        assert [b"small"] == (await client.answer(other)).messages
        client.http2.set_local_window_size(LARGEST_WINDOW, stream_id=stuck)
        await client.flush()
        await client.until(lambda: len(client.answers[stuck].messages) == 1_000)
    await h2.settled()


async def test_a_grpcio_stream_that_is_not_read_is_not_read_from() -> None:
    """The same over grpc.aio: its reader waits until replies are taken."""
    async with (
        served("grpcio", limits=SMALL) as transport,
        transport.raw(settings=NO_WINDOW) as client,
    ):
        client.http2.set_local_window_size(LARGEST_WINDOW)
        stuck = client.call()
        client.http2.send_data(stuck, grpc_message(b"a" * 10_000) * 1_000)
        await client.flush()
        await transport.scripts.opened()
        assert isinstance(transport.server, AioServer)
        (stream,) = transport.server._streams
        while stream._room.is_set():
            await client.ping()
        for _ in range(20):
            await client.ping()
        assert stream._unsent_bytes <= SMALL.max_unsent_stream_bytes + 10_000
        assert client.http2.queued_body_size(stuck) > 0
        client.http2.set_local_window_size(LARGEST_WINDOW, stream_id=stuck)
        await client.flush()
        await client.until(lambda: len(client.answers[stuck].messages) == 1_000)
        client.http2.end_stream(stuck)
        assert 0 == (await client.answer(stuck)).status
        assert [StreamEnd.COMPLETED] == await transport.settled()


@pytest.mark.parametrize("size", [999, 65_536])
async def test_messages_longer_than_windows_come_in_frames_of_any_size(size: int) -> None:
    """Credit is given for what has come, so that the rest can come."""
    data = grpc_message(b"a" * (20 << 20))
    async with served("h2") as transport, transport.raw(settings=LARGE_WINDOW) as client:
        client.http2.set_local_window_size(LARGEST_WINDOW)
        ids = [client.call(b"first") for _ in range(3)]
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            for stream_id in ids:
                client.http2.send_data(stream_id, piece)
                await client.flush()
                await client.until(lambda: client.http2.queued_body_size() < 2 << 20)
        for stream_id in ids:
            client.http2.end_stream(stream_id)
            answer = await client.answer(stream_id)
            assert [5, 20 << 20] == [len(message) for message in answer.messages]
        assert [StreamEnd.COMPLETED] * 3 == await transport.settled()


async def test_a_connection_that_grants_no_window_may_not_send_for_ever(h2: Served) -> None:
    """Streams that wait are bounded together, and all of it arrives once the peer reads."""
    async with h2.raw(settings=LARGE_WINDOW) as client:
        await client.ping()
        stuck = [client.call() for _ in range(10)]
        for stream_id in stuck:
            client.http2.send_data(stream_id, grpc_message(b"a" * 10_000) * 1_000)
        await client.flush()
        await client.ping()
        await client.ping()
        held = only_connection(h2).session.unsent_bytes
        assert SMALL.max_unsent_bytes < held < CONNECTION_WINDOW_BYTES + SMALL.max_unsent_bytes
        client.http2.set_local_window_size(LARGEST_WINDOW)
        await client.flush()
        for stream_id in stuck:
            answer = client.answers[stream_id]
            await client.until(lambda: len(answer.messages) == 1_000)  # noqa: B023  awaited here
    await h2.settled()


async def test_a_peer_that_leaves_tcp_unread_is_not_read_from(h2: Served) -> None:
    """Windows of 2 GiB do not help a peer that does not read its socket."""
    async with h2.raw(settings=LARGE_WINDOW) as client:
        client.http2.set_local_window_size(LARGEST_WINDOW)
        stream_id = client.call()
        await client.flush()
        script = await h2.scripts.opened()
        connection = only_connection(h2)
        while connection._writable:
            script.outlet.send([bytes(10_000)] * 10)
            await asyncio.sleep(0)
        assert connection._transport.get_write_buffer_size() < 2 * WRITE_BYTES
        script.finished = True
        script.outlet.send([bytes(10_000)] * 100)
        assert 0 == (await client.answer(stream_id)).status
    await h2.settled()


async def test_a_flood_of_streams_that_nobody_hears_about_is_not_read(h2: Served) -> None:
    """Streams that are opened and reset by a peer that does not read are not piled up."""
    async with h2.raw(settings=LARGE_WINDOW) as client:
        client.http2.set_local_window_size(LARGEST_WINDOW)
        client.call()
        await client.flush()
        script = await h2.scripts.opened()
        connection = only_connection(h2)
        while connection.session.unsent_bytes < 1 << 20:
            script.outlet.send([bytes(10_000)] * 10)
            await asyncio.sleep(0)
        flood = bytearray()
        for _ in range(30_000):
            stream_id = client.call(headers=grpc_headers("/no/such"))
            flood += client.bytes_to_send()
            client.http2.reset_stream(stream_id)
            flood += client.bytes_to_send()
        client.writer.write(flood)
        while connection._transport.is_reading():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        assert connection.session.opened < 25_000
    await h2.settled()


def only_connection(transport: Served) -> H2Connection:
    """Return the one connection of an h2 server."""
    assert isinstance(transport.server, H2Server)
    (connection,) = transport.server._connections
    return connection
