"""What a gateway says in one exchange, in each mode that is measured."""

import json
from collections.abc import Sequence

from picker.extproc.modes import BodyMode
from tests.perf.client import Step
from tests.support import ext_proc as gw

HEADERS = {
    ":scheme": "http",
    "user-agent": "OpenAI/Python 2.1.0",
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",
    "content-type": "application/json",
    "authorization": "Bearer sk-0123456789abcdef0123456789abcdef",
    "x-stainless-lang": "python",
    "x-stainless-package-version": "2.1.0",
    "x-stainless-os": "Linux",
    "x-stainless-arch": "x64",
    "x-stainless-runtime": "CPython",
    "x-stainless-runtime-version": "3.11.7",
    "x-stainless-retry-count": "0",
    "x-forwarded-proto": "http",
    "x-request-id": "8f1b2c3d-0000-4000-8000-000000000000",
    "x-envoy-expected-rq-timeout-ms": "86400000",
}
STREAM = {"content-type": "text/event-stream", "server": "uvicorn", "x-served-by": "10.0.0.1"}
CHUNK_BYTES = 100
DUPLEX_BYTES = 64 << 10
"""Envoy's pieces of a request body in full duplex."""


def chat(size: int) -> bytes:
    """Return a chat request of about that many bytes, half of it system prompt."""
    half = (size - 150) // 2
    messages = [
        {"role": "system", "content": ("You are a helpful assistant. " * (half // 29 + 1))[:half]},
        {"role": "user", "content": ("Tell me about starlings. " * (half // 25 + 1))[:half]},
    ]
    body = {"model": "tiny", "stream": True, "max_tokens": 64, "messages": messages}
    return json.dumps(body).encode()


def resilient(body: bytes) -> list[Step]:
    """Whole body in one message, no response body."""
    return _buffered(body, BodyMode.BUFFERED, whole=True)


def long_context(body: bytes, head: int = 64 << 10) -> list[Step]:
    """The head of the body in one message, no response body."""
    return _buffered(body[:head], BodyMode.BUFFERED_PARTIAL, whole=False, length=len(body))


def full_duplex(body: bytes, chunks: int) -> list[Step]:
    """Both bodies streamed through the picker."""
    mode = BodyMode.FULL_DUPLEX_STREAMED
    pieces = [body[i : i + DUPLEX_BYTES] for i in range(0, len(body), DUPLEX_BYTES)]
    last = len(pieces) - 1
    request = [
        gw.request_headers(_headers(len(body)), mode=mode, response_mode=mode),
        *(gw.request_body(piece, end_of_stream=i == last) for i, piece in enumerate(pieces)),
    ]
    replies = 1 + max(1, -(-len(body) // 62_000))
    chunk = b"data: " + b"x" * (CHUNK_BYTES - 8) + b"\n\n"
    response: Sequence[bytes] = [gw.response_body(chunk) for _ in range(chunks - 1)]
    end = gw.response_body(b"data: [DONE]\n\n", end_of_stream=True)
    return [
        Step(messages=request, replies=replies),
        Step(messages=[gw.response_headers(200, STREAM)], replies=1),
        *(Step(messages=[message], replies=1) for message in [*response, end]),
    ]


def _buffered(body: bytes, mode: BodyMode, *, whole: bool, length: int | None = None) -> list[Step]:
    headers = _headers(len(body) if length is None else length)
    return [
        Step(messages=[gw.request_headers(headers, mode=mode)], replies=1),
        Step(messages=[gw.request_body(body, end_of_stream=whole)], replies=1),
        Step(messages=[gw.response_headers(200, STREAM)], replies=1),
    ]


def _headers(length: int) -> dict[str, str]:
    return HEADERS | {"content-length": str(length)}
