"""One gRPC stream of the h2 server and the exchange that it carries."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from picker.extproc.faults import log_fault
from picker.extproc.framing import MessageReader, frame
from picker.extproc.ports import Exchange, ExchangeFactory, StreamEnd, StreamFailed
from picker.extproc.server import GrpcStatus


class Link(Protocol):
    """The HTTP/2 connection, as its streams see it. No call raises: the peer may be gone."""

    def send(self, stream: "GrpcStream", data: bytes) -> None:
        """Queue framed messages, behind response headers."""

    def finish(self, stream: "GrpcStream", status: int, message: str) -> None:
        """Queue trailers. Nothing goes out after them."""

    def forget(self, stream: "GrpcStream") -> None:
        """The exchange is closed: the stream takes no further input."""


class GrpcStream:
    """Feeds an exchange and closes it exactly once. Fits the `Outlet` port."""

    def __init__(self, stream_id: int, link: Link) -> None:
        self.id = stream_id
        self.headers_sent = False
        self.half_closed = False
        self.deadline: asyncio.TimerHandle | None = None
        self._link = link
        self._reader: MessageReader | None = None
        self._exchange: Exchange | None = None
        self._end: StreamEnd | None = None

    def open(self, factory: ExchangeFactory, reader: MessageReader) -> None:
        """Begin the exchange, which may use its outlet already."""
        self._reader = reader
        try:
            exchange = self._exchange = factory(self)
            if self._end is None:
                self._finish_with(exchange)
            else:
                exchange.close(self._end)
        except StreamFailed as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  a fault of one exchange ends its stream only
            self.fail(log_fault(error))

    def receive(self, data: bytes) -> None:
        """Take bytes of the request body."""
        if self._reader is None or self._exchange is None:
            return
        try:
            for message in self._reader.feed(data):
                self._answer(self._exchange, self._exchange.receive(message))
                if self._end is not None:
                    return
        except StreamFailed as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001  as above
            self.fail(log_fault(error))

    def half_close(self) -> None:
        """The gateway has sent everything: the exchange is over."""
        self.half_closed = True
        if self._end is not None:
            return
        if self._reader is not None and self._reader.incomplete:
            self.fail(StreamFailed(GrpcStatus.INTERNAL, "stream ended inside a message"))
        else:
            self._link.finish(self, GrpcStatus.OK, "")
            self.close(StreamEnd.COMPLETED)

    def drain(self) -> None:
        """The drain time is over."""
        if self._end is None:
            self._link.finish(self, GrpcStatus.UNAVAILABLE, "shutting down")
            self.close(StreamEnd.DRAINED)

    def close(self, end: StreamEnd) -> None:
        """Close the exchange; further calls do nothing."""
        if self._end is not None:
            return
        self._end = end
        self._link.forget(self)
        if self.deadline is not None:
            self.deadline.cancel()
        if self._reader is not None:
            self._reader.discard()
        if self._exchange is not None:
            try:
                self._exchange.close(end)
            except Exception as error:  # noqa: BLE001  must not take the connection along
                log_fault(error)

    # Outlet

    def send(self, messages: Sequence[bytes]) -> None:
        if self._end is not None:
            return
        if self._exchange is not None:
            self._answer(self._exchange, messages)
        elif messages:
            self._link.send(self, frame(messages))

    def fail(self, error: StreamFailed) -> None:
        if self._end is None:
            self._link.finish(self, error.status, error.message)
            self.close(StreamEnd.FAILED)

    def _answer(self, exchange: Exchange, messages: Sequence[bytes]) -> None:
        # The exchange may have ended the stream through its outlet while it made these replies.
        if messages and self._end is None:
            self._link.send(self, frame(messages))
        self._finish_with(exchange)

    def _finish_with(self, exchange: Exchange) -> None:
        if exchange.finished and self._end is None:
            self._link.finish(self, GrpcStatus.OK, "")
            self.close(StreamEnd.COMPLETED)
