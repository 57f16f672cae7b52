"""gRPC's length-prefixed messages, over byte streams cut anywhere."""

import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence

from picker.extproc.ports import StreamFailed
from picker.extproc.server import GrpcStatus

PREFIX_BYTES = 5
GZIP_WINDOW = zlib.MAX_WBITS | 16


class Held:
    """What the readers of one connection hold of messages that are incomplete, bounded."""

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._most = max_bytes

    def change(self, by: int) -> None:
        """Count; raises StreamFailed, and counts nothing, if it would be too much."""
        if by > 0 and self.bytes + by > self._most:
            raise StreamFailed(
                GrpcStatus.RESOURCE_EXHAUSTED,
                f"incomplete messages on one connection may hold {self._most} bytes",
            )
        self.bytes += by


class MessageReader:
    """Cuts a byte stream into messages and inflates compressed ones.

    Holds at most one incomplete message. Raises StreamFailed as soon as a prefix says that a
    message is too long, before any of it is kept.
    """

    def __init__(
        self, *, max_message_bytes: int, encoding: str = "identity", held: Held | None = None
    ) -> None:
        self._most = max_message_bytes
        self._encoding = encoding
        self._held = Held(sys.maxsize) if held is None else held
        self._buffer = bytearray()
        self._needed = PREFIX_BYTES

    @property
    def incomplete(self) -> bool:
        """True inside a message."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Take bytes, return the messages that they complete; each is made when it is asked for."""
        if not self._buffer:
            if self._is_one_message(data):
                return (data[PREFIX_BYTES:],)
            return self._cut(data)
        self._keep(data)
        if len(self._buffer) < self._needed:
            return ()
        whole, self._buffer = self._buffer, bytearray()
        self._held.change(-len(whole))
        return self._cut(whole)

    def discard(self) -> None:
        """Let go of what is incomplete."""
        self._held.change(-len(self._buffer))
        self._buffer = bytearray()

    def _is_one_message(self, data: bytes) -> bool:
        """The usual case, by far: one frame, one message, not compressed."""
        length = len(data) - PREFIX_BYTES
        return 0 <= length <= self._most and data[:PREFIX_BYTES] == b"\0" + length.to_bytes(
            4, "big"
        )

    def _keep(self, data: bytes | memoryview) -> None:
        self._held.change(len(data))
        self._buffer += data

    def _cut(self, data: bytes | bytearray) -> Iterator[bytes]:
        start, needed = 0, PREFIX_BYTES
        with memoryview(data) as view:
            while len(view) - start >= PREFIX_BYTES:
                needed = PREFIX_BYTES + self._length(view, start)
                end = start + needed
                if end > len(view):
                    break
                message = bytes(view[start + PREFIX_BYTES : end])
                yield self._inflate(message) if view[start] else message
                start, needed = end, PREFIX_BYTES
            self._needed = needed
            self._keep(view[start:])

    def _length(self, data: memoryview, start: int) -> int:
        flag = data[start]
        if flag > 1 or (flag and self._encoding == "identity"):
            raise StreamFailed(GrpcStatus.INTERNAL, f"unexpected compression flag {flag}")
        length = int.from_bytes(data[start + 1 : start + PREFIX_BYTES], "big")
        if length > self._most:
            raise _too_long(length, self._most)
        return length

    def _inflate(self, message: bytes) -> bytes:
        inflater = zlib.decompressobj(GZIP_WINDOW)
        try:
            inflated = inflater.decompress(message, self._most + 1)
        except zlib.error as error:
            raise StreamFailed(GrpcStatus.INTERNAL, "message is no valid gzip") from error
        if len(inflated) > self._most:
            raise _too_long(len(inflated), self._most)
        if not inflater.eof or inflater.unused_data:
            raise StreamFailed(GrpcStatus.INTERNAL, "message is no single gzip member")
        return inflated


def frame(messages: Sequence[bytes]) -> bytes:
    """Return messages with their prefixes, ready to send."""
    if len(messages) == 1:
        return b"\0" + len(messages[0]).to_bytes(4, "big") + messages[0]
    return b"".join(
        part for message in messages for part in (b"\0" + len(message).to_bytes(4, "big"), message)
    )


def _too_long(length: int, most: int) -> StreamFailed:
    return StreamFailed(
        GrpcStatus.RESOURCE_EXHAUSTED, f"message of {length} bytes or more, at most {most} allowed"
    )
