"""HTTP/2 without I/O: bytes in, streams fed, bytes out."""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

import ngh2

from picker.extproc.call import Call, NotGrpc, read_call, status_trailers
from picker.extproc.framing import Held, MessageReader
from picker.extproc.methods import Methods
from picker.extproc.ports import StreamEnd, StreamFailed
from picker.extproc.server import GrpcStatus, TransportLimits
from picker.extproc.stream import GrpcStream
from picker.extproc.windows import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, Windows

FRAME_BYTES = 64 << 10

# Gateways reset a stream for every client that goes away, and behind every exchange: the library's
# 33 resets a second, and 330 frames for streams that are over, are meant for browsers.
MANY = (1_000_000, 1_000_000)

RESPONSE_HEADERS = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
]


class Session:
    """The HTTP/2 state of one connection and its streams. Fits the `Link` port of streams.

    `wake` is called when something may be there to send; `output` returns it. Both `receive` and
    `output` raise NGH2Error when the connection is beyond repair.
    """

    def __init__(self, methods: Methods, limits: TransportLimits, wake: Callable[[], None]) -> None:
        self.ended = False
        """True once both sides have said all: the connection is to be closed."""
        self.on_ping_acknowledged: Callable[[], None] = lambda: None
        self._methods = methods
        self._limits = limits
        self._wake = wake
        self._streams: dict[int, GrpcStream] = {}
        self._unended: set[int] = set()
        self._last_stream_id = 0
        self._held = Held(limits.max_buffered_bytes)
        self._http2 = ngh2.Connection(
            ngh2.Role.SERVER,
            ngh2.Configuration(
                stream_reset_rate_limit=MANY,
                glitch_rate_limit=MANY,
                max_inbound_header_list_size=limits.max_header_bytes,
            ),
        )
        self._windows = Windows(self._http2, limits)
        self._handlers: dict[type[ngh2.Event], Callable[..., None]] = {
            ngh2.RequestReceived: self._on_request,
            ngh2.DataReceived: self._on_data,
            ngh2.TrailersReceived: self._on_trailers,
            ngh2.StreamReset: self._on_reset,
            ngh2.StreamClosed: self._on_stream_closed,
            ngh2.PingAcknowledged: self._on_ping_acknowledged,
            ngh2.ConnectionClosed: self._on_connection_closed,
        }
        self._initiate()

    @property
    def streams(self) -> int:
        """Open streams."""
        return len(self._streams)

    @property
    def opened(self) -> int:
        """Streams that were ever opened: clients count in odd numbers."""
        return (self._last_stream_id + 1) // 2

    @property
    def unsent_bytes(self) -> int:
        """Replies that the peer's windows hold back."""
        return self._http2.queued_body_size()

    @property
    def held_bytes(self) -> int:
        """Requests that are incomplete."""
        return self._held.bytes

    def receive(self, data: bytes) -> None:
        """Take what the peer sent."""
        try:
            self._http2.receive_data(data)
        finally:  # streams may have completed in the bytes before a fault
            self._dispatch()

    def output(self, most: int) -> bytes:
        """Return what can be sent, up to `most` bytes."""
        data = self._http2.data_to_send(most)
        self._dispatch()
        return data

    def settle(self) -> bool:
        """Do what had to wait until all was sent; True if there is more to send."""
        try:
            return self._reset_unended() | self._windows.adjust()
        except ngh2.ConnectionStateError:  # while terminating
            return False

    # Shutdown

    def announce_end(self) -> None:
        """Ask the peer to open no further streams, and to tell that it heard."""
        with suppress(ngh2.NGH2Error):
            self._http2.send_shutdown_notice()
            self._http2.ping()

    def refuse_streams(self) -> None:
        """Take no further streams: the session ends with those that are open."""
        with suppress(ngh2.NGH2Error):
            self._http2.send_goaway()

    def drain_streams(self) -> None:
        """End the streams that are open."""
        for stream in list(self._streams.values()):
            stream.drain()

    def terminate(self) -> None:
        """Say goodbye; what is queued until now must have been sent."""
        with suppress(ngh2.NGH2Error):
            self._http2.terminate_connection()

    def close_streams(self) -> None:
        """The peer is gone."""
        for stream in list(self._streams.values()):
            stream.close(StreamEnd.DISCONNECTED)

    def last_words(self) -> bytes:
        """Return the GOAWAY frame for a peer beyond limits: the library has stopped by itself."""
        reason = ngh2.ErrorCode.ENHANCE_YOUR_CALM
        return b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", self._last_stream_id, reason)

    # Link

    def send(self, stream: GrpcStream, data: bytes) -> None:
        with suppress(ngh2.NGH2Error):  # reset by the peer behind what we are answering
            if not stream.headers_sent:
                stream.headers_sent = True
                self._http2.send_response(stream.id, RESPONSE_HEADERS)
            self._http2.send_data(stream.id, data)
            self._windows.sent(stream.id)
        self._wake()

    def finish(self, stream: GrpcStream, status: int, message: str) -> None:
        trailers = status_trailers(status, message)
        with suppress(ngh2.NGH2Error):
            if stream.headers_sent:
                self._http2.send_trailers(stream.id, trailers)
            else:
                headers = RESPONSE_HEADERS + trailers
                self._http2.send_response(stream.id, headers, end_stream=True)
        if not stream.half_closed:
            self._unended.add(stream.id)
        self._wake()

    def forget(self, stream: GrpcStream) -> None:
        self._streams.pop(stream.id, None)

    # Events

    def _dispatch(self) -> None:
        for event in self._http2.events():
            handler = self._handlers.get(type(event))
            if handler is not None:
                handler(event)

    def _on_request(self, event: ngh2.RequestReceived) -> None:
        self._last_stream_id = event.stream_id
        stream = GrpcStream(event.stream_id, self)
        try:
            self._open(stream, read_call(event.headers))
        except NotGrpc as error:
            self._refuse_http(stream, error.status)
        except StreamFailed as error:
            stream.fail(error)
        if event.end_stream:
            self._unended.discard(stream.id)
            stream.half_close()

    def _open(self, stream: GrpcStream, call: Call) -> None:
        factory = self._methods.get(call.path)
        if factory is None:
            raise StreamFailed(GrpcStatus.UNIMPLEMENTED, f"unknown method {call.path[:200]}")
        self._streams[stream.id] = stream
        if call.timeout_seconds is not None:
            loop = asyncio.get_running_loop()
            late = StreamFailed(GrpcStatus.DEADLINE_EXCEEDED, "deadline exceeded")
            stream.deadline = loop.call_later(call.timeout_seconds, stream.fail, late)
        reader = MessageReader(
            max_message_bytes=self._limits.max_message_bytes,
            encoding=call.encoding,
            held=self._held,
        )
        stream.open(factory, reader)

    def _on_data(self, event: ngh2.DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.receive(event.data)
        if event.end_stream:
            self._half_close(event.stream_id)

    def _on_trailers(self, event: ngh2.TrailersReceived) -> None:
        self._half_close(event.stream_id)

    def _half_close(self, stream_id: int) -> None:
        self._unended.discard(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.half_close()

    def _on_reset(self, event: ngh2.StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.close(StreamEnd.RESET)

    def _on_stream_closed(self, event: ngh2.StreamClosed) -> None:
        self._unended.discard(event.stream_id)
        self._windows.forget(event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None:  # not by the peer: the library found the stream at fault
            stream.close(StreamEnd.FAILED)

    def _on_ping_acknowledged(self, event: ngh2.PingAcknowledged) -> None:  # noqa: ARG002
        self.on_ping_acknowledged()

    def _on_connection_closed(self, event: ngh2.ConnectionClosed) -> None:  # noqa: ARG002
        self.ended = True

    # Helpers

    def _initiate(self) -> None:
        self._http2.initiate_connection(
            {
                ngh2.Setting.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
                ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES,
                ngh2.Setting.MAX_FRAME_SIZE: FRAME_BYTES,
                ngh2.Setting.MAX_HEADER_LIST_SIZE: self._limits.max_header_bytes,
            }
        )
        self._http2.set_local_window_size(CONNECTION_WINDOW_BYTES)

    def _refuse_http(self, stream: GrpcStream, status: int) -> None:
        headers = [(b":status", b"%d" % status)]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append((b"allow", b"POST"))
        with suppress(ngh2.NGH2Error):
            self._http2.send_response(stream.id, headers, end_stream=True)
        self._unended.add(stream.id)

    def _reset_unended(self) -> bool:
        """Tell peers to stop sending on streams that are over (RFC 9113, 8.1).

        A reset would overtake trailers that a closed window holds back. Such a stream is left to
        its peer, which ends it once it reads.
        """
        unended, self._unended = self._unended, set()
        for stream_id in unended:
            with suppress(ngh2.StreamUnavailableError):
                if self._all_is_sent(stream_id):
                    self._http2.reset_stream(stream_id, ngh2.ErrorCode.NO_ERROR)
        return bool(unended)

    def _all_is_sent(self, stream_id: int) -> bool:
        http2 = self._http2
        return (
            http2.queued_body_size(stream_id) == 0
            and http2.remote_window_size > 0
            and http2.stream_remote_window_size(stream_id) > 0
        )
