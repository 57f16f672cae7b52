"""Every way an answer can end is told apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from chaos.load.client import Client
from chaos.load.results import Outcome, Record
from chaos.load.workload import CancelPoint, PlannedRequest

pytestmark = pytest.mark.integration
HEAD = b"HTTP/1.1 200 OK\r\nx-served-by: 10.0.0.1:8000\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
USAGE = b'data: {"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
Send = Callable[..., Awaitable[Record]]


def chunk(data: bytes) -> bytes:
    """Encode one chunk of a body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.fixture
async def send() -> AsyncIterator[Send]:
    """Send one request to a peer that answers with fixed bytes and closes or stays silent."""
    async with aiohttp.ClientSession() as session:

        async def exchange(
            answer: bytes,
            *,
            close: bool = True,
            stream: bool = True,
            cancel: CancelPoint = CancelPoint.NEVER,
        ) -> Record:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"{}")
                writer.write(answer)
                if not close:
                    await reader.read()
                writer.close()

            async with await asyncio.start_server(serve, "127.0.0.1", 0) as peer:
                host, port = peer.sockets[0].getsockname()
                client = Client(
                    session,
                    [f"http://{host}:{port}/"],
                    headers={},
                    timeout_seconds=0.2,
                    started=asyncio.get_running_loop().time(),
                )
                return await client.send(
                    PlannedRequest(
                        index=3,
                        at_seconds=0.0,
                        body=b"{}",
                        stream=stream,
                        cancel=cancel,
                        cancel_delay_seconds=0.01,
                    )
                )

        yield exchange


async def test_a_whole_stream_is_ok(send: Send) -> None:
    """Endpoint, usage and first byte are noted."""
    record = await send(CHUNKED + chunk(USAGE) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    assert (Outcome.OK, 200, "10.0.0.1:8000") == (record.outcome, record.status, record.served_by)
    assert (9, 4) == (record.prompt_tokens, record.cached_tokens)
    assert record.ttft_seconds is not None
    assert 0 <= record.ttft_seconds <= record.total_seconds


@pytest.mark.parametrize(
    ("answer", "close", "reason"),
    [
        (CHUNKED + chunk(b"data: {}\n\n") + b"0\r\n\r\n", True, "incomplete"),
        (CHUNKED + chunk(b"data: {}\n\n"), True, "truncated"),
        (CHUNKED + chunk(b'data: {"error":{}}\n\n') + b"0\r\n\r\n", True, "error_event"),
        (HEAD.replace(b"200 OK", b"503 Nope") + b"content-length: 0\r\n\r\n", True, "http_503"),
        (b"", True, "disconnected"),
        (b"", False, "timeout"),
        (CHUNKED + chunk(b"data: {}\n\n"), False, "timeout"),
    ],
)
async def test_a_broken_answer_is_an_error_with_its_reason(
    send: Send, answer: bytes, reason: str, *, close: bool
) -> None:
    """Only a stream with its end mark in a whole body counts as ok."""
    record = await send(answer, close=close)
    assert (Outcome.ERROR, reason) == (record.outcome, record.reason)


async def test_a_plain_answer_needs_no_end_mark(send: Send) -> None:
    """Content-Length says when a document is whole."""
    record = await send(HEAD + b"content-length: 2\r\n\r\n{}", stream=False)
    assert Outcome.OK is record.outcome


@pytest.mark.parametrize("point", [CancelPoint.AFTER_DELAY, CancelPoint.FIRST_BYTE])
async def test_a_planned_cancellation_is_no_error(send: Send, point: CancelPoint) -> None:
    """We left as planned, whatever the peer did by then."""
    answer = CHUNKED + chunk(b"data: {}\n\n") if point is CancelPoint.FIRST_BYTE else b""
    record = await send(answer, close=False, cancel=point)
    assert (Outcome.CANCELLED, None) == (record.outcome, record.reason)


async def test_nobody_listening_is_a_connect_error() -> None:
    """The reason names the phase."""
    async with aiohttp.ClientSession() as session:
        client = Client(
            session, ["http://127.0.0.1:1/"], headers={}, timeout_seconds=1.0, started=0.0
        )
        planned = PlannedRequest(
            index=0,
            at_seconds=0.0,
            body=b"{}",
            stream=True,
            cancel=CancelPoint.NEVER,
            cancel_delay_seconds=0.0,
        )
        assert "connect" == (await client.send(planned)).reason
