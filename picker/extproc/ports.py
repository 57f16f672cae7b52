"""The seam between bytes on the wire and decisions: what an ext_proc transport drives."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol


class StreamEnd(Enum):
    """Why a gRPC stream ended, seen from the transport."""

    COMPLETED = "completed"
    """The peer half-closed after its last message, or the exchange closed the stream itself."""
    RESET = "reset"
    """The peer reset the stream (RST_STREAM)."""
    DISCONNECTED = "disconnected"
    """The connection went away."""
    DRAINED = "drained"
    """This process is shutting down and the drain time is over."""
    FAILED = "failed"
    """The exchange, or the transport on its behalf, failed the stream."""


class StreamFailed(Exception):  # noqa: N818  the name says what happens to the stream
    """The stream must end with a gRPC status other than OK; the gateway's failure mode applies."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the gRPC status (a number of `grpc.StatusCode`) and the text of `grpc-message`."""
        super().__init__(message)
        self.status = status
        self.message = message


class Exchange(Protocol):
    """One HTTP request and its response on one ext_proc stream."""

    @property
    def finished(self) -> bool:
        """True once no further message is needed: the transport ends the stream with OK."""

    def receive(self, message: bytes) -> Sequence[bytes]:
        """Take one serialised ProcessingRequest, return the ProcessingResponses to send, in order.

        Raises StreamFailed; any other exception is a fault of ours and ends the stream as INTERNAL.
        """

    def close(self, end: StreamEnd) -> None:
        """The stream is over. Called exactly once, whatever happened, and never raises."""


class Outlet(Protocol):
    """The sending half of a stream, for replies that are decided outside `Exchange.receive`.

    Every call is on the event loop's thread. After the stream ended, calls do nothing.
    """

    def send(self, messages: Sequence[bytes]) -> None:
        """Send ProcessingResponses; afterwards `Exchange.finished` is looked at again."""

    def fail(self, error: StreamFailed) -> None:
        """End the stream with a gRPC status."""


ExchangeFactory = Callable[[Outlet], Exchange]
"""Called once per stream, when its request headers have been accepted."""
