"""gRPC's length-prefixed messages, over byte streams cut anywhere."""

import zlib
from collections.abc import Iterable

from picker.extproc.ports import StreamFailed
from picker.extproc.server import GrpcStatus

PREFIX_BYTES = 5
GZIP_WINDOW = zlib.MAX_WBITS | 16


class MessageReader:
    """Cuts a byte stream into messages and inflates compressed ones.

    Holds at most one incomplete message. Raises StreamFailed as soon as a prefix says that a
    message is too long, before any of it is kept.
    """

    def __init__(self, *, max_message_bytes: int, encoding: str = "identity") -> None:
        self._most = max_message_bytes
        self._encoding = encoding
        self._buffer = bytearray()
        self._needed = PREFIX_BYTES

    @property
    def incomplete(self) -> bool:
        """True inside a message."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes, return the messages that they complete."""
        if not self._buffer and self._is_one_message(data):
            return [data[PREFIX_BYTES:]]
        if not self._buffer:
            messages, used = self._cut(data)
            self._buffer += data[used:]
            return messages
        self._buffer += data
        if len(self._buffer) < self._needed:
            return []
        with memoryview(self._buffer) as view:
            messages, used = self._cut(view)
        del self._buffer[:used]
        return messages

    def _is_one_message(self, data: bytes) -> bool:
        """The usual case, by far: one frame, one message, not compressed."""
        length = len(data) - PREFIX_BYTES
        return 0 <= length <= self._most and data[:PREFIX_BYTES] == b"\0" + length.to_bytes(
            4, "big"
        )

    def _cut(self, data: bytes | memoryview) -> tuple[list[bytes], int]:
        """Return the complete messages and how many bytes they took."""
        messages = []
        start, self._needed = 0, PREFIX_BYTES
        while len(data) - start >= PREFIX_BYTES:
            body = start + PREFIX_BYTES
            end = body + self._length(data, start)
            if end > len(data):
                self._needed = end - start
                break
            message = bytes(data[body:end])
            messages.append(self._inflate(message) if data[start] else message)
            start = end
        return messages, start

    def _length(self, data: bytes | memoryview, start: int) -> int:
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


def frame(messages: Iterable[bytes]) -> bytes:
    """Return messages with their prefixes, ready to send."""
    return b"".join(
        part
        for message in messages
        for part in (b"\x00" + len(message).to_bytes(4, "big"), message)
    )


def _too_long(length: int, most: int) -> StreamFailed:
    return StreamFailed(
        GrpcStatus.RESOURCE_EXHAUSTED, f"message of {length} bytes or more, at most {most} allowed"
    )
