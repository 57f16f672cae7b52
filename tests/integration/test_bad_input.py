"""Every kind of bad input against a whole replica, over both transports.

Each gets its status or a clean stream error; afterwards all counts are zero and the next request
works. What happens below gRPC messages is in tests/picker/extproc/.
"""

import json
from collections.abc import AsyncIterator

import grpc
import pytest

from picker.app import Listening
from picker.extproc.modes import BodyMode
from picker.proto import ext_proc_pb2 as pb
from tests.support import builders
from tests.support import ext_proc as gw
from tests.support.serving import FixedSource, Gateway, counts_reach_zero, gateway, rest_of, serving

pytestmark = pytest.mark.integration

BUFFERED = BodyMode.BUFFERED
FULL = BodyMode.FULL_DUPLEX_STREAMED
LIMIT = 1 << 20
OTHER_METHOD = "/envoy.service.ext_proc.v3.ExternalProcessor/Other"


class Served:
    """A replica under test and a gateway connected to it."""

    def __init__(self, client: Gateway, listening: Listening, source: FixedSource) -> None:
        self.gateway = client
        self.listening = listening
        self.source = source

    async def refused(self, *messages: bytes) -> pb.ImmediateResponse:
        """Send messages and return the answer to the client; the stream must end with OK."""
        replies, status = await self.gateway.exchange(*messages)
        assert grpc.StatusCode.OK is status
        immediate = gw.read(replies[-1])
        assert "immediate_response" == immediate.WhichOneof("response")
        return immediate.immediate_response

    async def is_sound(self) -> None:
        """All counts are zero, and the next request is placed."""
        await counts_reach_zero(self.listening)
        self.source.set(builders.endpoints(3))
        replies, status = await self.gateway.exchange(
            gw.request_headers(mode=BUFFERED), gw.request_body(), gw.response_headers()
        )
        assert grpc.StatusCode.OK is status
        assert ["request_headers", "request_body", "response_headers"] == gw.phases(replies)
        assert gw.destination_in_metadata(gw.read(replies[1]))
        await counts_reach_zero(self.listening)


@pytest.fixture(params=["h2", "grpcio"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """One replica over three endpoints."""
    source = FixedSource(builders.endpoints(3))
    limit = {"max_request_body_bytes": LIMIT}
    async with (
        serving(source, transport=request.param, exchange=limit) as (_, listening),
        gateway(listening) as client,
    ):
        yield Served(client, listening, source)


BAD_BODIES = {
    "broken JSON": b'{"model":"tiny","messages":[',
    "no JSON": b"<html><body>hello</body></html>",
    "garbage": bytes(range(256)) * 2000,
    "empty": b"",
    "missing model": b'{"messages":[{"role":"user","content":"hi"}]}',
    "missing messages": b'{"model":"tiny"}',
    "deep nesting": b"[" * 100_000,
}


@pytest.mark.parametrize("mode", [BUFFERED, FULL])
@pytest.mark.parametrize("kind", BAD_BODIES)
async def test_unreadable_bodies(served: Served, kind: str, mode: BodyMode) -> None:
    """400 with an OpenAI-style error of at most 256 characters."""
    answer = await served.refused(gw.request_headers(mode=mode), gw.request_body(BAD_BODIES[kind]))
    assert 400 == answer.status.code
    assert 256 >= len(json.loads(answer.body)["error"]["message"])
    await served.is_sound()


async def test_garbage_beyond_the_limit_in_chunks(served: Served) -> None:
    """413 in full duplex with the chunk that passes the limit, although more was announced."""
    chunks = [gw.request_body(b"\x00" * 65_536, end_of_stream=False)] * (LIMIT // 65_536 + 1)
    answer = await served.refused(gw.request_headers(mode=FULL), *chunks)
    assert 413 == answer.status.code
    await served.is_sound()


async def test_ten_megabytes_of_garbage_within_the_limit() -> None:
    """400, read once and let go."""
    source = FixedSource(builders.endpoints(3))
    async with serving(source) as (_, listening), gateway(listening) as client:
        served = Served(client, listening, source)
        body = gw.request_body(bytes(range(256)) * 40_960)
        answer = await served.refused(gw.request_headers(mode=BUFFERED), body)
        assert 400 == answer.status.code
        await served.is_sound()


async def test_a_buffered_body_over_the_limit(served: Served) -> None:
    """413, by the body itself and by what content-length announces."""
    body = gw.request_body(b" " * (LIMIT + 1))
    answer = await served.refused(gw.request_headers(mode=BUFFERED), body)
    assert 413 == answer.status.code
    announced = {"content-length": str(LIMIT + 1)}
    answer = await served.refused(gw.request_headers(announced, mode=BUFFERED))
    assert 413 == answer.status.code
    await served.is_sound()


async def test_a_message_beyond_all_limits_is_a_clean_stream_error(served: Served) -> None:
    """The gateway's failure mode applies."""
    body = gw.request_body(b" " * (LIMIT + (2 << 20)))
    _, status = await served.gateway.exchange(gw.request_headers(mode=BUFFERED), body)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is status
    await served.is_sound()


@pytest.mark.parametrize("mode", [BUFFERED, FULL])
async def test_an_unknown_path_is_passed_through(served: Served, mode: BodyMode) -> None:
    """Any bytes to any path are placed by load."""
    replies, _ = await served.gateway.exchange(
        gw.request_headers(mode=mode, path="/some/thing?x=1"), gw.request_body(b"\x00\xff")
    )
    assert "request_body" == gw.phases(replies)[1]
    await served.is_sound()


async def test_a_get_without_a_body(served: Served) -> None:
    """Placed by load, one reply."""
    replies, _ = await served.gateway.exchange(
        gw.request_headers(mode=FULL, method="GET", path="/v1/models", end_of_stream=True)
    )
    assert ["request_headers"] == gw.phases(replies)
    await served.is_sound()


async def test_a_body_ended_by_trailers(served: Served) -> None:
    """Body, then trailers are answered."""
    replies, _ = await served.gateway.exchange(
        gw.request_headers(mode=FULL), gw.request_body(end_of_stream=False), gw.request_trailers()
    )
    assert ["request_headers", "request_body", "request_trailers"] == gw.phases(replies)
    await served.is_sound()


@pytest.mark.parametrize("mode", [BUFFERED, FULL])
async def test_a_repeated_end_of_stream(served: Served, mode: BodyMode) -> None:
    """One decision; the repetition is not answered."""
    replies, status = await served.gateway.exchange(
        gw.request_headers(mode=mode), gw.request_body(), gw.request_body()
    )
    assert grpc.StatusCode.OK is status
    assert 2 == len(replies)
    await served.is_sound()


PHASES = {
    "nothing": 0,
    "request headers": 1,
    "request body": 2,
    "response headers": 3,
    "a piece of the response": 4,
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_gone(served: Served, phase: str) -> None:
    """The stream is reset at any phase: the booking goes with it."""
    messages = [
        gw.request_headers(mode=FULL, response_mode=FULL),
        gw.request_body(),
        gw.response_headers(),
        gw.response_body(b"x"),
    ][: PHASES[phase]]
    call = served.gateway.open()
    for message in messages:
        await call.write(message)
    for _ in range(max(len(messages), 1) if len(messages) > 1 else 0):
        await call.read()
    call.cancel()
    await served.is_sound()


async def test_headers_that_are_no_utf8_and_come_twice(served: Served) -> None:
    """Raw bytes and repetitions concern nobody here; the last one counts."""
    headers = [("x-odd", b"\xff\xfe"), ("x-odd", b"\x80"), ("X-Request-ID", b"\xffid")]
    replies, _ = await served.gateway.exchange(
        gw.request_headers(headers, mode=BUFFERED), gw.request_body()
    )
    assert gw.destination_in_metadata(gw.read(replies[1]))
    await served.is_sound()


async def test_routing_headers_of_a_client(served: Served) -> None:
    """Its destination is overwritten, the others are removed."""
    headers = {"x-gateway-destination-endpoint": "10.9.9.9:22", "x-prefiller-host-port": "10.9.9.9"}
    replies, _ = await served.gateway.exchange(
        gw.request_headers(headers, mode=BUFFERED), gw.request_body()
    )
    common = gw.read(replies[1]).request_body.response
    assert "10.9.9.9:22" != gw.set_headers(common)["x-gateway-destination-endpoint"]
    assert [b"x-prefiller-host-port"] == list(common.header_mutation.remove_headers)
    await served.is_sound()


async def test_an_empty_pool(served: Served) -> None:
    """503 with a reason and a time to retry; the pool recovers."""
    served.source.set([])
    answer = await served.refused(gw.request_headers(mode=BUFFERED), gw.request_body())
    assert 503 == answer.status.code
    assert {"retry-after", "x-llm-d-request-dropped-reason"} <= set(gw.set_headers(answer))
    await served.is_sound()


async def test_a_subset_that_names_nobody(served: Served) -> None:
    """503: the gateway allowed none of ours."""
    answer = await served.refused(
        gw.request_headers(mode=BUFFERED, subset=["192.0.2.1:80"]), gw.request_body()
    )
    assert 503 == answer.status.code
    await served.is_sound()


async def test_protobuf_garbage_in_a_message(served: Served) -> None:
    """INVALID_ARGUMENT for that stream alone."""
    _, status = await served.gateway.exchange(b"\xff\xff\xff\xff garbage")
    assert grpc.StatusCode.INVALID_ARGUMENT is status
    await served.is_sound()


async def test_an_unknown_method(served: Served) -> None:
    """UNIMPLEMENTED."""
    async with grpc.aio.insecure_channel(str(served.listening.extproc)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(OTHER_METHOD, bytes, bytes)(b"")
    assert grpc.StatusCode.UNIMPLEMENTED is caught.value.code()
    await served.is_sound()


async def test_thousands_of_streams_with_most_clients_gone(served: Served) -> None:
    """Nothing is left of 400 streams of which four in five are reset half-way."""
    calls = []
    for number in range(400):
        call = served.gateway.open()
        await call.write(gw.request_headers(mode=BUFFERED))
        await call.write(gw.request_body())
        if number % 5:
            call.cancel()
        else:
            calls.append(call)
    for call in calls:
        await call.done_writing()
        assert 2 == len(await rest_of(call))
        assert grpc.StatusCode.OK is await call.code()
    await served.is_sound()
