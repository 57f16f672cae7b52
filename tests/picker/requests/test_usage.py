import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.requests.usage import TAIL_BYTES, Usage, UsageReader

DATA = Path(__file__).parent / "data"
SSE = b"text/event-stream; charset=utf-8"
RECORDED = [
    ("chat.json", 0, Usage(prompt_tokens=21, output_tokens=8, total_tokens=29)),
    ("chat_stream_usage.sse", 8, Usage(prompt_tokens=21, output_tokens=6, total_tokens=27)),
    (
        "chat_stream_continuous_usage.sse",
        6,
        Usage(prompt_tokens=21, output_tokens=4, total_tokens=25),
    ),
    ("chat_stream_nousage.sse", 5, Usage()),
    ("completions_stream_usage.sse", 5, Usage(prompt_tokens=2, output_tokens=4, total_tokens=6)),
    ("messages.json", 0, Usage(prompt_tokens=21, output_tokens=8, total_tokens=29)),
    ("messages_stream.sse", 7, Usage(prompt_tokens=21, output_tokens=4, total_tokens=25)),
    (
        "responses.json",
        0,
        Usage(prompt_tokens=21, output_tokens=8, cached_tokens=0, total_tokens=29),
    ),
    (
        "responses_stream.sse",
        10,
        Usage(prompt_tokens=21, output_tokens=4, cached_tokens=0, total_tokens=25),
    ),
    ("err_unknown_model.json", 0, Usage()),
]
NAMES = [name for name, _, _ in RECORDED]


def reader(name: str, encoding: bytes = b"") -> UsageReader:
    kind = SSE if name.endswith(".sse") else b"application/json"
    return UsageReader(content_type=kind, content_encoding=encoding)


def observe(observer: UsageReader, body: bytes, size: int) -> tuple[int, Usage]:
    for at in range(0, len(body), size):
        observer.feed(body[at : at + size], end=at + size >= len(body))
    return observer.events, observer.usage


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def stream(*events: bytes) -> UsageReader:
    observer = UsageReader(content_type=SSE)
    observer.feed(b"".join(events), end=True)
    return observer


@pytest.mark.parametrize(("name", "events", "usage"), RECORDED)
def test_recorded_responses(name: str, events: int, usage: Usage) -> None:
    """What vLLM 0.32 sends is read in full."""
    seen, said = observe(reader(name), (DATA / name).read_bytes(), 10**6)
    assert (events, usage) == (seen, said)


@settings(deadline=None)
@given(
    st.sampled_from(NAMES),
    st.integers(1, 300),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.booleans(),
)
def test_chunk_boundaries_mean_nothing(
    name: str,
    size: int,
    ending: bytes,
    packed: bool,  # noqa: FBT001
) -> None:
    """Split anywhere, with any line ending, compressed or not: the same events and usage."""
    body = (DATA / name).read_bytes()
    expected = observe(reader(name), body, 10**6)
    if name.endswith(".sse"):
        body = body.replace(b"\n", ending)
    if packed:
        body = gzip.compress(body)
    assert expected == observe(reader(name, b"gzip" if packed else b""), body, size)


def test_usage_before_done_is_kept() -> None:
    """Usage in an earlier event than the last one counts (GAIE#1626)."""
    seen = stream(
        event({"choices": [{}], "usage": None}),
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
        event({"choices": [], "usage": None}),
        b"data: [DONE]\n\n",
    )
    assert Usage(prompt_tokens=3, output_tokens=2, total_tokens=5) == seen.usage
    assert 3 == seen.events


def test_last_count_that_is_not_null_wins() -> None:
    """Counts of one stream are merged field by field."""
    seen = stream(
        event({"usage": {"prompt_tokens": 3, "completion_tokens": 1}}),
        event({"usage": {"prompt_tokens": None, "completion_tokens": 2}}),
        event({"usage": {"prompt_tokens_details": {"cached_tokens": 1}}}),
    )
    expected = Usage(prompt_tokens=3, output_tokens=2, cached_tokens=1, total_tokens=5)
    assert expected == seen.usage


def test_anthropic_events_are_merged() -> None:
    """Input and cache reads come first, output last; the total is the sum of the three."""
    seen = stream(
        b"event: message_start\n",
        event({"message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 100}}}),
        event({"type": "message_delta", "usage": {"output_tokens": 7}}),
    )
    expected = Usage(prompt_tokens=5, output_tokens=7, cached_tokens=100, total_tokens=112)
    assert expected == seen.usage


def test_framing_details() -> None:
    """`data:` needs no space; comments, other fields and `[DONE]` are no events."""
    seen = stream(
        b': {"usage":{"prompt_tokens":9}}\n',
        b'id: 1\nretry: 5\ndata:{"usage":{"prompt_tokens":1}}\n\n',
        b"data:[DONE]\n\ndata: [DONE]\n\ndatum: x\n",
        b'data: {"choices":"[DONE]"}',
    )
    assert (2, 1) == (seen.events, seen.usage.prompt_tokens)


@pytest.mark.parametrize(
    "usage",
    [
        b'{"prompt_tokens":-1}',
        b'{"prompt_tokens":"5"}',
        b'{"prompt_tokens":1e300}',
        b'{"prompt_tokens":' + b"9" * 5000 + b"}",
        b'{"prompt_tokens":[' + b"[" * 5000 + b"]" * 5000 + b"]}",
        b'{"prompt_tokens":',
        b"[]",
        b"{{{",
        b"\xff",
    ],
)
def test_senseless_usage_is_ignored(usage: bytes) -> None:
    """No count, no error, and what comes later is still read."""
    seen = stream(b'data: {"usage":' + usage + b"}\n\n", event({"usage": {"output_tokens": 2}}))
    assert (None, 2) == (seen.usage.prompt_tokens, seen.usage.output_tokens)


def test_quoted_usage_is_text() -> None:
    """What a model writes about usage is not usage."""
    said = json.dumps({"usage": {"prompt_tokens": 666}})
    assert Usage() == stream(event({"choices": [{"delta": {"content": said}}]})).usage


@pytest.mark.parametrize("kind", [b"application/json", SSE])
def test_overlong_bodies_are_read_from_their_tail(kind: bytes) -> None:
    """Of a line or body of megabytes only the end is kept, and usage stands there."""
    body = b'data: {"text":"' + b"x" * (3 << 20) + b'","usage":{"prompt_tokens":4}}'
    observer = UsageReader(content_type=kind)
    most = 0
    for at in range(0, len(body), 1000):
        observer.feed(body[at : at + 1000])
        most = max(most, len(observer._tail))
    observer.feed(b"", end=True)
    assert most <= 2 * TAIL_BYTES
    assert 4 == observer.usage.prompt_tokens
    assert (kind == SSE) == observer.events


@settings(deadline=None)
@given(
    st.lists(st.binary() | st.sampled_from([b"data:", b"\n", b'"usage":{', b"}", b"[DONE]"])),
    st.sampled_from([b"", b"gzip", b"deflate", b"br"]),
    st.sampled_from([b"", SSE]),
)
def test_garbage_never_raises(chunks: list[bytes], encoding: bytes, kind: bytes) -> None:
    """A response is never harmed by being observed."""
    observer = UsageReader(content_type=kind, content_encoding=encoding)
    for chunk in chunks:
        observer.feed(chunk)
    observer.feed(b"", end=True)
    assert observer.events >= 0
    assert not observer.observing


def test_unreadable_bodies_are_not_observed() -> None:
    """An unknown encoding, or one that turns out not to be what it says, ends the observation."""
    assert not UsageReader(content_encoding=b"zstd").observing
    liar = UsageReader(content_type=SSE, content_encoding=b"gzip")
    liar.feed(b"data: 1\n\n")
    assert (False, 0) == (liar.observing, liar.events)


def test_nothing_is_read_after_the_end() -> None:
    """A chunk that comes after the last one is ignored."""
    observer = stream(event({}))
    observer.feed(event({}), end=True)
    assert 1 == observer.events
