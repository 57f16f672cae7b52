"""A client and an HTTP/2 session without sockets, under any interleaving of what they may do."""

import ngh2
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from picker.extproc.methods import served_methods
from picker.extproc.ports import StreamFailed
from picker.extproc.server import TransportLimits
from picker.extproc.session import Session
from tests.support.exchanges import Script, Scripts
from tests.support.grpc_client import Answer, grpc_headers, grpc_message

LIMITS = TransportLimits(
    max_message_bytes=500_000,
    max_buffered_bytes=800_000,
    max_streams=6,
    max_unsent_stream_bytes=100_000,
    max_unsent_bytes=400_000,
)
WORDS = [b"a", b"silence", b"twice", b"finish", b"fail", b"fail outside"]
BAD = [grpc_message(b"", flag=7), grpc_message(b"", length=1 << 31)]

some = st.integers(0, 2)
amounts = st.sampled_from([1, 9, 100, 20_000, 1 << 20, 1 << 24])


class Pair(RuleBasedStateMachine):
    """Both ends, the bytes that are under way, and what each stream was told."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = Scripts()
        self.server = Session(served_methods(self.scripts, {}), LIMITS, lambda: None)
        self.client = ngh2.Connection(
            ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False)
        )
        self.client.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: 50_000})
        # The slow reader is modelled per stream: what is unread when a stream ends is credit that
        # the library never gives back for the connection, a fault of this client alone.
        self.client.set_local_window_size(1 << 30)
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.answers: dict[int, Answer] = {}
        self.unread: dict[int, int] = {}
        self.sent_all: set[int] = set()
        self.closed: set[int] = set()
        self.closing = False

    # The client

    @precondition(lambda self: not self.closing and len(self.answers) < 12)
    @rule()
    def open(self) -> None:
        if self.client_is_up() and self.client.can_send_request:
            stream_id = self.client.send_request(grpc_headers(), end_stream=False)
            self.answers[stream_id] = Answer()
            self.to_server += self.client.data_to_send()

    @rule(which=some, word=st.sampled_from(WORDS))
    def send(self, which: int, word: bytes) -> None:
        self.send_bytes(which, grpc_message(word))

    @rule(which=some, count=st.integers(1, 5))
    def send_more_than_windows_take(self, which: int, count: int) -> None:
        self.send_bytes(which, grpc_message(b"x" * 400_000) * count)

    @rule(which=some, bad=st.sampled_from(BAD))
    def send_bad(self, which: int, bad: bytes) -> None:
        self.send_bytes(which, grpc_message(b"a") + bad)

    @rule(which=some)
    def send_half(self, which: int) -> None:
        self.send_bytes(which, grpc_message(b"a" * 300_000, length=400_000))

    @rule(which=some)
    def half_close(self, which: int) -> None:
        stream_id = self.open_stream(which)
        if stream_id is not None:
            self.client.end_stream(stream_id)
            self.sent_all.add(stream_id)

    @rule(which=some)
    def reset(self, which: int) -> None:
        stream_id = self.open_stream(which)
        if stream_id is not None:
            self.client.reset_stream(stream_id)
            self.sent_all.add(stream_id)
            self.closed.add(stream_id)
            self.unread.pop(stream_id, None)

    @rule()
    def read_replies(self) -> None:
        """Give credit for what came."""
        if self.client_is_up():
            for stream_id, amount in self.unread.items():
                self.client.acknowledge_received_data(amount, stream_id)
        self.unread.clear()

    # The server

    @rule(which=some, word=st.sampled_from([b"late", b"y" * 200_000]))
    def reply_late(self, which: int, word: bytes) -> None:
        script = self.script(which)
        if script is not None:
            script.outlet.send([word])

    @rule(which=some)
    def finish_late(self, which: int) -> None:
        script = self.script(which)
        if script is not None:
            script.finished = True
            script.outlet.send([])

    @rule(which=some)
    def fail_late(self, which: int) -> None:
        script = self.script(which)
        if script is not None:
            script.outlet.fail(StreamFailed(8, "late"))

    @rule()
    def announce_end(self) -> None:
        self.closing = True
        self.server.announce_end()

    @precondition(lambda self: self.closing)
    @rule()
    def drain(self) -> None:
        self.server.drain_streams()

    # The network

    @rule(most=amounts)
    def carry_requests(self, most: int) -> None:
        if self.client_is_up():
            self.to_server += self.client.data_to_send()
        self.server.receive(take(self.to_server, most))

    @rule(most=amounts)
    def carry_replies(self, most: int) -> None:
        output = self.server.output(most)
        self.to_client += output
        if len(output) < most and self.server.settle():
            self.to_client += self.server.output(most)
        if self.to_client and self.client_is_up():
            self.client.receive_data(take(self.to_client, most))
        for event in self.client.events():
            self.hear(event)

    @invariant()
    def streams_are_the_exchanges_that_are_open(self) -> None:
        ends = [len(script.ends) for script in self.scripts.made]
        assert set(ends) <= {0, 1}
        assert ends.count(0) == self.server.streams <= LIMITS.max_streams
        assert 0 <= self.server.held_bytes <= LIMITS.max_buffered_bytes

    def teardown(self) -> None:
        """Everything that is sent arrives, every stream that was ended ends, nothing stays."""
        self.settle()
        for stream_id in self.answers.keys() - self.sent_all:
            self.client.end_stream(stream_id)
        self.settle()
        if self.client_is_up():
            assert 0 == self.client.queued_body_size()
        assert 0 == self.server.unsent_bytes
        assert 0 == self.server.held_bytes
        assert 0 == self.server.streams
        assert all([1] == [len(script.ends)] for script in self.scripts.made)
        assert self.answers.keys() == self.closed

    # Helpers

    def settle(self) -> None:
        for _ in range(4_000):  # 80 MB in bites of a stream window
            self.carry_requests(1 << 24)
            self.carry_replies(1 << 24)
            self.read_replies()
            if not (self.client_is_up() and self.client.want_write):
                return
        raise AssertionError("the client never comes to rest")

    def client_is_up(self) -> bool:
        """False once the client has heard GOAWAY and its last stream is over."""
        return self.client.want_read or self.client.want_write

    def hear(self, event: ngh2.Event) -> None:
        stream_id = getattr(event, "stream_id", 0)
        answer = self.answers.get(stream_id)
        if answer is None:
            return
        answer.take(event)
        if isinstance(event, ngh2.DataReceived) and stream_id not in self.closed:
            self.unread[stream_id] = self.unread.get(stream_id, 0) + len(event.data)
        if isinstance(event, ngh2.StreamClosed):
            self.sent_all.add(stream_id)
            self.closed.add(stream_id)
            self.unread.pop(stream_id, None)

    def send_bytes(self, which: int, data: bytes) -> None:
        stream_id = self.open_stream(which)
        if stream_id is not None:
            self.client.send_data(stream_id, data)

    def open_stream(self, which: int) -> int | None:
        """Return one of the streams that the client may still send on."""
        streams = sorted(self.answers.keys() - self.sent_all)
        return streams[which % len(streams)] if streams else None

    def script(self, which: int) -> Script | None:
        made = self.scripts.made
        return made[which % len(made)] if made else None


def take(data: bytearray, most: int) -> bytes:
    taken = bytes(data[:most])
    del data[:most]
    return taken


Pair.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPair = Pair.TestCase
