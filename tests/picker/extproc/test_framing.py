"""gRPC messages over byte streams cut anywhere."""

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picker.extproc.framing import Held, MessageReader, frame
from picker.extproc.ports import StreamFailed
from tests.support.grpc_client import grpc_message

PLAIN = st.binary(max_size=40).map(lambda message: (message, grpc_message(message)))
ZIPPED = st.binary(max_size=40).map(
    lambda message: (message, grpc_message(gzip.compress(message), flag=1))
)


def reader(most: int = 1_000) -> MessageReader:
    return MessageReader(max_message_bytes=most, encoding="gzip")


@given(st.lists(PLAIN | ZIPPED, max_size=8), st.lists(st.integers(0, 400), max_size=12))
def test_cuts_do_not_matter(messages: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    """However the bytes are segmented, the same messages come out."""
    data = b"".join(framed for _, framed in messages)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reading = reader()
    found: list[bytes] = []
    for start, end in itertools.pairwise(edges):
        found += reading.feed(data[start:end])
    assert [message for message, _ in messages] == found
    assert not reading.incomplete


def test_bytes_one_by_one() -> None:
    """The smallest segments there are."""
    reading = reader()
    data = frame([b"", b"abc", b""])
    found = [message for byte in data for message in reading.feed(bytes([byte]))]
    assert [b"", b"abc", b""] == found


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_frames_are_read_back(messages: list[bytes]) -> None:
    """What is framed is what is read."""
    assert messages == list(reader().feed(frame(messages)))


def test_an_unfinished_message_is_incomplete() -> None:
    """A stream may not end inside a message, nor inside a prefix."""
    for kept in range(1, 8):
        reading = reader()
        assert [] == list(reading.feed(grpc_message(b"abc")[:kept]))
        assert reading.incomplete


@pytest.mark.parametrize("length", [11, (1 << 32) - 1])
def test_a_long_message_fails_at_its_prefix(length: int) -> None:
    """Five bytes are enough to know."""
    reading = reader(most=10)
    with pytest.raises(StreamFailed, match="at most 10 allowed"):
        list(reading.feed(grpc_message(b"", length=length)))


def test_the_longest_message_passes_compressed_too() -> None:
    """The limit is for what the exchange gets."""
    framed = grpc_message(gzip.compress(bytes(1_000)), flag=1)
    assert [bytes(1_000)] == list(reader(most=1_000).feed(framed))
    with pytest.raises(StreamFailed, match="at most 999 allowed"):
        list(reader(most=999).feed(framed))


def test_messages_before_a_bad_one_come_out() -> None:
    """What was sent before a fault is not taken back by it, also within one segment."""
    messages = iter(reader().feed(frame([b"a", b"b"]) + grpc_message(b"", flag=2)))
    assert [b"a", b"b"] == [next(messages), next(messages)]
    with pytest.raises(StreamFailed, match="unexpected compression flag 2"):
        next(messages)


def test_messages_are_inflated_one_at_a_time() -> None:
    """Many zip bombs in one segment are not held inflated together."""
    bomb = grpc_message(gzip.compress(bytes(1_000)), flag=1)
    messages = reader().feed(bomb * 3)
    assert not isinstance(messages, list | tuple)
    assert [1_000] * 3 == [len(message) for message in messages]


def test_readers_share_what_they_may_hold() -> None:
    """The one that would go beyond fails; completing and discarding make room again."""
    held = Held(25)
    readers = [MessageReader(max_message_bytes=100, held=held) for _ in range(3)]
    first, second, third = readers
    for reading in (first, second):
        assert [] == list(reading.feed(grpc_message(b"12345", length=10)))
    with pytest.raises(StreamFailed, match="incomplete messages"):
        list(third.feed(grpc_message(b"12345", length=10)))
    assert [b"1234567890"] == list(first.feed(b"67890"))
    assert 10 == held.bytes
    assert [] == list(third.feed(grpc_message(b"12345", length=10)))
    for reading in readers:
        reading.discard()
    assert 0 == held.bytes


def test_whole_messages_are_not_held() -> None:
    """What comes in one piece needs no room, compressed or not."""
    held = Held(0)
    reading = MessageReader(max_message_bytes=100, encoding="gzip", held=held)
    assert [b"a" * 50] == list(reading.feed(grpc_message(b"a" * 50)))


@given(st.lists(PLAIN, max_size=5), st.lists(st.integers(0, 200), max_size=8), st.integers(0, 200))
def test_what_is_held_is_what_is_incomplete(
    messages: list[tuple[bytes, bytes]], cuts: list[int], kept: int
) -> None:
    """The account agrees with the buffer after every segment."""
    held = Held(1_000)
    reading = MessageReader(max_message_bytes=100, held=held)
    data = b"".join(framed for _, framed in messages)[:kept]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    fed = 0
    for start, end in itertools.pairwise(edges):
        fed += end - start - sum(5 + len(message) for message in reading.feed(data[start:end]))
        assert fed == held.bytes
        assert reading.incomplete == (fed > 0)
