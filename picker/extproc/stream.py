"""gRPC over one HTTP/2 stream of the h2 server: an exchange, or a call of a unary method."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol
from urllib.parse import quote

import ngh2
import structlog

from picker.extproc.framing import MessageReader, frame
from picker.extproc.ports import Exchange, ExchangeFactory, StreamEnd, StreamFailed
from picker.extproc.server import GrpcStatus

log = structlog.get_logger(__name__)

GONE = (ngh2.StreamProtocolError, ngh2.ConnectionStateError, ngh2.ConnectionClosingError)
"""Raised by every send once the peer has reset the stream or the connection is closing."""

RESPONSE_HEADERS = [
    (b":status", b"200"),
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity,gzip"),
]


class GrpcStream:
    """The sending half of a stream: response headers, messages, trailers, in that order."""

    def __init__(self, http2: ngh2.Connection, stream_id: int) -> None:
        self.ended = False
        """True once trailers or a reset went out, or nothing can go out any more."""
        self._http2 = http2
        self._id = stream_id
        self._headers_sent = False

    def send(self, messages: Sequence[bytes]) -> None:
        """Queue messages; a peer that is gone gets none."""
        if self.ended or not messages:
            return
        try:
            if not self._headers_sent:
                self._http2.send_response(self._id, RESPONSE_HEADERS)
                self._headers_sent = True
            self._http2.send_data(self._id, frame(messages))
        except GONE:
            self.ended = True

    def end(self, status: int, message: str = "") -> None:
        """Queue the trailers, the last that goes out."""
        if self.ended:
            return
        self.ended = True
        trailers = [(b"grpc-status", str(int(status)).encode())]
        if message:
            trailers.append((b"grpc-message", quote(message, safe=" ").encode()))
        with suppress(*GONE):
            if self._headers_sent:
                self._http2.send_trailers(self._id, trailers)
            else:
                self._http2.send_response(self._id, RESPONSE_HEADERS + trailers, end_stream=True)


class StreamHost(Protocol):
    """The server, as its streams see it."""

    factory: ExchangeFactory

    def stream_opened(self) -> None:
        """An exchange began."""

    def stream_closed(self) -> None:
        """An exchange was closed."""


class ExtProcStream:
    """An exchange on a stream. Fits the `Outlet` port; closes its exchange exactly once."""

    def __init__(
        self,
        grpc: GrpcStream,
        reader: MessageReader,
        host: StreamHost,
        flush_soon: Callable[[], None],
    ) -> None:
        self._grpc = grpc
        self._reader = reader
        self._host = host
        self._flush_soon = flush_soon
        self._exchange: Exchange | None = None

    def open(self) -> None:
        """Begin the exchange."""
        with self._failing_the_stream():
            self._exchange = self._host.factory(self)
            self._host.stream_opened()

    def feed(self, data: bytes) -> None:
        """Take bytes of the request body."""
        with self._failing_the_stream():
            for message in self._reader.feed(data):
                if self._exchange is None:
                    return
                self._answer(self._exchange, self._exchange.receive(message))

    def half_close(self) -> None:
        """The gateway has sent everything: the exchange is over."""
        if self._reader.incomplete:
            self.fail(StreamFailed(GrpcStatus.INTERNAL, "stream ended inside a message"))
        else:
            self._grpc.end(GrpcStatus.OK)
            self.close(StreamEnd.COMPLETED)

    def send(self, messages: Sequence[bytes]) -> None:
        if self._exchange is not None:
            self._answer(self._exchange, messages)
            self._flush_soon()

    def fail(self, error: StreamFailed) -> None:
        self._grpc.end(error.status, error.message)
        self._flush_soon()
        self.close(StreamEnd.FAILED)

    def drain(self) -> None:
        """The drain time is over."""
        self._grpc.end(GrpcStatus.UNAVAILABLE, "shutting down")
        self.close(StreamEnd.DRAINED)

    def close(self, end: StreamEnd) -> None:
        """Close the exchange; further calls do nothing."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._host.stream_closed()
            exchange.close(end)

    def _answer(self, exchange: Exchange, messages: Sequence[bytes]) -> None:
        self._grpc.send(messages)
        if exchange.finished:
            self._grpc.end(GrpcStatus.OK)
            self.close(StreamEnd.COMPLETED)

    @contextmanager
    def _failing_the_stream(self) -> Iterator[None]:
        """A fault of one exchange ends its stream and nothing else."""
        try:
            yield
        except StreamFailed as error:
            self.fail(error)
        except Exception:
            log.exception("exchange failed")
            self.fail(StreamFailed(GrpcStatus.INTERNAL, "internal error"))


class UnaryStream:
    """A call of a unary method: one message in, one out."""

    def __init__(
        self, grpc: GrpcStream, reader: MessageReader, method: Callable[[bytes], bytes]
    ) -> None:
        self._grpc = grpc
        self._reader = reader
        self._method = method
        self._messages: list[bytes] = []

    def feed(self, data: bytes) -> None:
        try:
            self._messages += self._reader.feed(data)
        except StreamFailed as error:
            self._grpc.end(error.status, error.message)

    def half_close(self) -> None:
        if len(self._messages) != 1 or self._reader.incomplete:
            self._grpc.end(GrpcStatus.INTERNAL, "expected one message")
            return
        try:
            answer = self._method(self._messages[0])
        except Exception:
            log.exception("unary method failed")
            self._grpc.end(GrpcStatus.INTERNAL, "internal error")
        else:
            self._grpc.send([answer])
            self._grpc.end(GrpcStatus.OK)

    def close(self, end: StreamEnd) -> None:
        """Nothing is held."""

    def drain(self) -> None:
        """A call is answered at once; there is nothing to wait for."""
