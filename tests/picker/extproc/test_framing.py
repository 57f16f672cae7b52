"""gRPC messages over byte streams cut anywhere."""

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picker.extproc.framing import MessageReader, frame
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
    found = []
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
    assert messages == reader().feed(frame(messages))


def test_an_unfinished_message_is_incomplete() -> None:
    """A stream may not end inside a message, nor inside a prefix."""
    for kept in range(1, 8):
        reading = reader()
        reading.feed(grpc_message(b"abc")[:kept])
        assert reading.incomplete


@pytest.mark.parametrize("length", [11, (1 << 32) - 1])
def test_a_long_message_fails_at_its_prefix(length: int) -> None:
    """Five bytes are enough to know."""
    reading = reader(most=10)
    with pytest.raises(StreamFailed, match="at most 10 allowed"):
        reading.feed(grpc_message(b"", length=length))


def test_the_longest_message_passes_compressed_too() -> None:
    """The limit is for what the exchange gets."""
    framed = grpc_message(gzip.compress(bytes(1_000)), flag=1)
    assert [bytes(1_000)] == reader(most=1_000).feed(framed)
    with pytest.raises(StreamFailed, match="at most 999 allowed"):
        reader(most=999).feed(framed)
