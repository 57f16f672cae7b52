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

    @property
    def is_buffered(self) -> bool:
        """The body comes in one message, after a reply to the headers."""
        return self in _BUFFERED

    @property
    def body_decides(self) -> bool:
        """The destination can wait for the body."""
        return self in _BUFFERED or self is BodyMode.FULL_DUPLEX_STREAMED


_BY_NUMBER = {pb.BodySendMode.Value(mode.name): mode for mode in BodyMode}
_BUFFERED = frozenset({BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL})
