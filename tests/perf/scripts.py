"""What a gateway says in one exchange, in each mode that is measured. Seeded: runs are alike."""

import json
import random

from picker.extproc.modes import BodyMode
from tests.perf.client import Script, Step
from tests.support import ext_proc as gw

REQUEST_HEADERS = {
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
    "x-envoy-expected-rq-timeout-ms": "86400000",
}
"""With method, path, authority, length and request id these are twenty."""

RESPONSE_HEADERS = {
    "date": "Wed, 25 Nov 2026 09:00:00 GMT",
    "server": "uvicorn",
    "cache-control": "no-cache",
    "content-type": "text/event-stream; charset=utf-8",
    "x-request-id": "8f1b2c3d-0000-4000-8000-000000000000",
    "transfer-encoding": "chunked",
    "x-envoy-upstream-service-time": "41",
}

CHUNK_BYTES = 100
HEAD_BYTES = 64 << 10
"""What long-context mode shows of a body."""
DUPLEX_BYTES = 64 << 10
"""Envoy's pieces of a request body in full duplex."""
REPLY_BYTES = 62_000
"""The picker's pieces of it."""
SYSTEM_PROMPTS = 8
TEXT = (
    "the starling turns with seven neighbours and a falcon finds no centre to the flock so that "
    "every wing says where it is and none says where to go"
)


def chats(size: int, count: int, seed: int = 1) -> list[bytes]:
    """Return chat requests of about `size` bytes over a few system prompts, a third of each."""
    rng = random.Random(seed)
    systems = [_text(rng, size // 3) for _ in range(min(count, SYSTEM_PROMPTS))]
    return [_chat(rng, systems[number % len(systems)], size) for number in range(count)]


def resilient(body: bytes) -> Script:
    """Whole body in one message, no response body."""
    return _buffered(body, BodyMode.BUFFERED, length=len(body))


def long_context(body: bytes) -> Script:
    """The head of the body in one message, no response body."""
    return _buffered(body[:HEAD_BYTES], BodyMode.BUFFERED_PARTIAL, length=len(body))


def full_duplex(body: bytes, chunks: int) -> Script:
    """Both bodies streamed through the picker."""
    mode = BodyMode.FULL_DUPLEX_STREAMED
    pieces = [body[i : i + DUPLEX_BYTES] for i in range(0, len(body), DUPLEX_BYTES)]
    last = len(pieces) - 1
    request = [
        gw.request_headers(_headers(len(body)), mode=mode, response_mode=mode),
        *(gw.request_body(piece, end_of_stream=i == last) for i, piece in enumerate(pieces)),
    ]
    chunk = gw.response_body(b"data: " + b"x" * (CHUNK_BYTES - 8) + b"\n\n")
    end = gw.response_body(b"data: [DONE]\n\n", end_of_stream=True)
    return [
        Step.of(request, replies=1 + -(-len(body) // REPLY_BYTES)),
        Step.of([gw.response_headers(200, RESPONSE_HEADERS)]),
        *[Step.of([chunk])] * (chunks - 1),
        Step.of([end]),
    ]


def _buffered(body: bytes, mode: BodyMode, *, length: int) -> Script:
    whole = len(body) == length
    return [
        Step.of([gw.request_headers(_headers(length), mode=mode)]),
        Step.of([gw.request_body(body, end_of_stream=whole)]),
        Step.of([gw.response_headers(200, RESPONSE_HEADERS)]),
    ]


def _headers(length: int) -> dict[str, str]:
    own = {"content-length": str(length), "x-request-id": f"8f1b2c3d-0000-4000-8000-{length:012}"}
    return REQUEST_HEADERS | own


def _chat(rng: random.Random, system: str, size: int) -> bytes:
    messages = [{"role": "system", "content": system}]
    left = size - len(system) - 150
    while left > 0:
        role = "user" if len(messages) % 2 else "assistant"
        messages.append({"role": role, "content": _text(rng, min(left, 4000))})
        left -= 4000
    body = {"model": "tiny", "stream": True, "max_tokens": 64, "messages": messages}
    return json.dumps(body).encode()


def _text(rng: random.Random, size: int) -> str:
    """Lines of words: JSON escapes their ends."""
    words = rng.choices(TEXT.split(), k=size // 4)
    lines = [" ".join(words[start : start + 12]) for start in range(0, len(words), 12)]
    return "\n".join(lines)[:size]
