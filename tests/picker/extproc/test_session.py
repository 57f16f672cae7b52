"""HTTP/2 without sockets: the same bytes, cut anywhere, are the same exchanges."""

import itertools
import struct
from collections.abc import Iterator

import ngh2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from picker.extproc.methods import served_methods
from picker.extproc.ports import StreamEnd
from picker.extproc.server import TransportLimits
from picker.extproc.session import Session
from tests.support.exchanges import Scripts
from tests.support.grpc_client import Answer, grpc_headers, grpc_message, http2_frame

ACTIONS = [
    *["send", "send two", "send half", "send good and bad"],
    *["half-close", "reset", "finish", "fail", "crash"],
]


class Wire:
    """A client's bytes, made without a server, and what a session makes of them."""

    def __init__(self) -> None:
        self.client = ngh2.Connection(ngh2.Role.CLIENT)
        self.client.initiate_connection()
        self.bytes = b""

    def act(self, stream_id: int | None, action: str) -> int:
        """Add what a client may do; return the stream."""
        if stream_id is None:
            stream_id = self.client.send_request(grpc_headers(), end_stream=False)
            self.bytes += self.client.data_to_send()
        match action:
            case "half-close":
                self.bytes += http2_frame(0, 1, stream_id)
            case "reset":
                self.bytes += http2_frame(3, 0, stream_id, struct.pack(">I", 8))
            case "send two":
                self.bytes += http2_frame(0, 0, stream_id, grpc_message(b"a") + grpc_message(b"b"))
            case "send good and bad":
                bad = grpc_message(b"b", flag=9)
                self.bytes += http2_frame(0, 0, stream_id, grpc_message(b"a") + bad)
            case "send half":
                first, second = grpc_message(b"twice")[:7], grpc_message(b"twice")[7:]
                self.bytes += http2_frame(0, 0, stream_id, first)
                self.bytes += http2_frame(0, 0, stream_id, second)
            case "send":
                self.bytes += http2_frame(0, 0, stream_id, grpc_message(b"a"))
            case _:
                self.bytes += http2_frame(0, 0, stream_id, grpc_message(action.encode()))
        return stream_id


Outcome = tuple[list[list[bytes]], list[list[StreamEnd]], dict[int, tuple[list[bytes], int | None]]]


def play(pieces: Iterator[bytes]) -> Outcome:
    """Feed bytes to a session, read its output, and drop the connection."""
    scripts = Scripts()
    session = Session(served_methods(scripts, {}), TransportLimits(), lambda: None)
    output = session.output(1 << 20)
    for piece in pieces:
        session.receive(piece)
        output += session.output(1 << 20)
        if session.settle():
            output += session.output(1 << 20)
    session.close_streams()
    assert 0 == session.streams
    made = scripts.made
    return [each.received for each in made], [each.ends for each in made], answers(output)


def answers(output: bytes) -> dict[int, tuple[list[bytes], int | None]]:
    """Return messages and status by stream, from frames as they were sent."""
    found: dict[int, Answer] = {}
    client = ngh2.Connection(ngh2.Role.CLIENT)
    client.initiate_connection()
    for _ in range(8):
        found[client.send_request(grpc_headers(), end_stream=False)] = Answer()
    client.data_to_send()
    client.receive_data(output)
    for event in client.events():
        answer = found.get(getattr(event, "stream_id", 0))
        if answer is not None:
            answer.take(event)
    return {number: (answer.messages, answer.status) for number, answer in found.items()}


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Draw what a client with up to four streams may send."""
    wire = Wire()
    streams: dict[int, int] = {}
    over: set[int] = set()
    for index, action in draw(
        st.lists(st.tuples(st.integers(0, 3), st.sampled_from(ACTIONS)), max_size=12)
    ):
        if index in over:
            continue
        streams[index] = wire.act(streams.get(index), action)
        if action in {"half-close", "reset"}:
            over.add(index)
    return wire.bytes


@given(conversations(), st.lists(st.integers(0, 1_000), max_size=20))
def test_segmentation_does_not_matter(data: bytes, cuts: list[int]) -> None:
    """In pieces of any size the exchanges hear the same and end the same."""
    whole = play(iter([data]))
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    in_pieces = play(iter(pieces))
    assert whole[:2] == in_pieces[:2]
    assert all([1] == [len(ends)] for ends in whole[1])


def test_bytes_one_by_one() -> None:
    """The smallest segments there are, and every answer is read back."""
    wire = Wire()
    first = wire.act(None, "send half")
    second = wire.act(None, "send")
    for stream_id in (first, second):
        wire.act(stream_id, "half-close")
    received, ends, answered = play(bytes([byte]) for byte in wire.bytes)
    assert [[b"twice"], [b"a"]] == received
    assert [[StreamEnd.COMPLETED]] * 2 == ends
    assert ([b"one", b"two"], 0) == answered[first]
    assert ([b"a"], 0) == answered[second]


def session(scripts: Scripts, **limits: int) -> Session:
    return Session(served_methods(scripts, {}), TransportLimits(**limits), lambda: None)


def test_what_came_before_a_flood_is_heard() -> None:
    """A connection is given up for its flood; the exchange that completed in that read did so."""
    wire, scripts = Wire(), Scripts()
    stream_id = wire.act(None, "send")
    wire.act(stream_id, "half-close")
    serving = session(scripts)
    with pytest.raises(ngh2.DenialOfServiceError):
        serving.receive(wire.bytes + http2_frame(6, 0, 0, bytes(8)) * 3_000)
    assert [[StreamEnd.COMPLETED]] == [script.ends for script in scripts.made]
    assert not serving.settle()
    assert 0 == serving.streams


def test_incomplete_messages_are_bounded_together() -> None:
    """Streams that never finish their messages cannot fill the memory of a picker."""
    wire, scripts = Wire(), Scripts()
    half = grpc_message(b"a" * 10_000, length=20_000)
    ids = [wire.act(None, "send") for _ in range(4)]
    for stream_id in ids:
        wire.bytes += http2_frame(0, 0, stream_id, half)
    serving = session(scripts, max_buffered_bytes=35_000)
    output = serving.output(1 << 20)
    serving.receive(wire.bytes)
    output += serving.output(1 << 20)
    assert [None, None, None, 8] == [answers(output)[stream_id][1] for stream_id in ids]
    assert 3 * len(half) == serving.held_bytes
    serving.receive(
        http2_frame(3, 0, ids[0], struct.pack(">I", 8))  # reset
        + http2_frame(0, 0, ids[1], b"a" * 10_000)  # complete
    )
    assert len(half) == serving.held_bytes
    serving.close_streams()
    assert 0 == serving.held_bytes
