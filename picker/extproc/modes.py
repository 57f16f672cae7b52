"""ext_proc body modes."""

from enum import Enum

from picker.proto import ext_proc_pb2 as pb


class BodyMode(Enum):
    """How the gateway shows us a body; values are those of its configuration."""

    NONE = "NONE"
    STREAMED = "STREAMED"
    BUFFERED = "BUFFERED"
    BUFFERED_PARTIAL = "BUFFERED_PARTIAL"
    FULL_DUPLEX_STREAMED = "FULL_DUPLEX_STREAMED"
    GRPC = "GRPC"

    @classmethod
    def of(cls, number: int) -> "BodyMode":
        """Return the mode of a protobuf number; what we do not know cannot be served."""
        return _BY_NUMBER.get(number, cls.GRPC)

    # Identity, not membership: hashing an enum member is a call into Python, and this is hot.

    @property
    def is_buffered(self) -> bool:
        """The body comes in one message, after a reply to the headers."""
        return self is BodyMode.BUFFERED or self is BodyMode.BUFFERED_PARTIAL

    @property
    def is_whole(self) -> bool:
        """All of the body passes through us before the destination is named."""
        return self is BodyMode.BUFFERED or self is BodyMode.FULL_DUPLEX_STREAMED

    @property
    def body_decides(self) -> bool:
        """The destination can wait for the body."""
        return self.is_buffered or self is BodyMode.FULL_DUPLEX_STREAMED


_BY_NUMBER = {pb.BodySendMode.Value(mode.name): mode for mode in BodyMode}
