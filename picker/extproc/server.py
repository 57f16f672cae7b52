"""What both ext_proc servers share: their shape, limits, and gRPC's words."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Protocol

import msgspec

from state.runtime.address import Address

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

Unary = Mapping[str, Callable[[bytes], bytes]]
"""Further methods of the port, by path: from a serialised request to a serialised response."""


class GrpcStatus(IntEnum):
    """The gRPC status codes that we send."""

    OK = 0
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class TransportLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on what a peer can make us hold."""

    max_message_bytes: int = 33 << 20
    """Longest gRPC message, also after decompression."""
    max_connections: int = 1_024
    """Concurrent connections (h2 only); further ones are closed at once."""
    max_buffered_bytes: int = 512 << 20
    """Incomplete messages on all streams of one connection (h2 only); the stream that would go
    beyond fails."""
    max_streams: int = 16_384
    """Concurrent streams of one connection."""
    max_header_bytes: int = 64 << 10
    """Longest header list of a stream."""
    max_unsent_stream_bytes: int = 1 << 20
    """Replies queued on one stream, beyond which its peer may send nothing until it reads."""
    max_unsent_bytes: int = 16 << 20
    """The same for all streams of one connection (h2 only)."""


class Server(Protocol):
    """An ext_proc server that listens."""

    @property
    def address(self) -> Address:
        """Where it listens, with the real port."""

    @property
    def streams(self) -> int:
        """Open streams, calls of unary methods included."""

    async def drain(self, seconds: float) -> None:
        """Take no new connections and let streams finish; end the rest as DRAINED in time.

        A call while another one waits may cut it short.
        """

    async def close(self) -> None:
        """End at once. Safe to call twice."""
