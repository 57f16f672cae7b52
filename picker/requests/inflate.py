"""Inflating an observed body piece by piece, and giving up before it costs too much."""

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 << 10
SLICE_BYTES = 16 << 10
"""Input per call: zlib copies what it leaves unread."""

MAX_RATIO = 200
"""Bytes out per byte in; event streams that repeat themselves reach about 50."""

FREE_BYTES = 1 << 20
"""Output that is allowed whatever the ratio."""

MAX_BYTES = 64 << 20
MAX_MEMBERS = 8
"""Gzip members in one body; servers that flush by member end a stream with few."""

_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


class InflateError(Exception):
    """The body is no such stream, or inflates beyond the limits."""


class Inflater:
    """One compressed body; memory is bounded by one piece and zlib's window."""

    def __init__(self, window_bits: int) -> None:
        """Start at the beginning of a body."""
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(window_bits)
        self._members = 1
        self.taken_bytes = 0
        self.given_bytes = 0

    def inflate(self, data: bytes) -> Iterator[bytes]:
        """Yield what a chunk inflates to; raises InflateError, after which the body is lost."""
        for start in range(0, len(data), SLICE_BYTES):
            rest = data[start : start + SLICE_BYTES]
            self.taken_bytes += len(rest)
            while rest:
                piece, rest = self._step(rest)
                self.given_bytes += len(piece)
                allowed = min(FREE_BYTES + MAX_RATIO * self.taken_bytes, MAX_BYTES)
                if self.given_bytes > allowed:
                    raise InflateError("inflates beyond the limit")
                yield piece

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        """Return one piece and the input that is left."""
        if self._stream.eof:
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise InflateError("too many members")
            self._stream = zlib.decompressobj(self._window_bits)
        try:
            piece = self._stream.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise InflateError(str(error)) from error
        return piece, self._stream.unused_data or self._stream.unconsumed_tail


def inflater_for(content_encoding: bytes) -> Inflater | None:
    """Return what reads this encoding, None if nothing here does."""
    bits = _WINDOW_BITS.get(content_encoding.strip().lower())
    return Inflater(bits) if bits else None
