import gzip
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.requests.inflate import (
    FREE_BYTES,
    MAX_MEMBERS,
    MAX_RATIO,
    PIECE_BYTES,
    InflateError,
    Inflater,
    inflater_for,
)


def inflate(inflater: Inflater, chunks: list[bytes]) -> bytes:
    return b"".join(piece for chunk in chunks for piece in inflater.inflate(chunk))


@settings(deadline=None)
@given(
    st.binary(max_size=5000), st.integers(1, 50), st.sampled_from([b"gzip", b" GZIP", b"deflate"])
)
def test_any_chunking_gives_the_body(body: bytes, size: int, encoding: bytes) -> None:
    """Chunk boundaries mean nothing."""
    packed = zlib.compress(body) if encoding == b"deflate" else gzip.compress(body)
    inflater = inflater_for(encoding)
    assert inflater is not None
    assert body == inflate(inflater, [packed[at : at + size] for at in range(0, len(packed), size)])


def test_pieces_are_bounded_and_bombs_end_early() -> None:
    """What inflates a thousandfold is given up long before it is inflated."""
    inflater = Inflater(15)
    pieces: list[int] = []
    with pytest.raises(InflateError):
        pieces.extend(len(piece) for piece in inflater.inflate(zlib.compress(bytes(50 << 20))))
    assert max(pieces) <= PIECE_BYTES
    assert inflater.given_bytes <= FREE_BYTES + MAX_RATIO * inflater.taken_bytes + PIECE_BYTES


def test_members_are_counted() -> None:
    """A few members in a row are one body, thousands are an attack."""
    assert b"ab" == inflate(Inflater(31), [gzip.compress(b"a") + gzip.compress(b"b")])
    with pytest.raises(InflateError):
        inflate(Inflater(31), [gzip.compress(b"") * (MAX_MEMBERS + 1)])


@given(st.binary(min_size=1))
def test_garbage_is_an_error_of_ours(body: bytes) -> None:
    """Nothing of zlib's comes through."""
    with suppress(InflateError):
        inflate(Inflater(31), [b"\x1f\x8b" + body])


def test_unknown_encodings_have_no_reader() -> None:
    """Brotli and zstd are not observed."""
    assert (None, None) == (inflater_for(b"br"), inflater_for(b"zstd"))
