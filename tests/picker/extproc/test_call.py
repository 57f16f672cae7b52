"""What the headers of a gRPC call say."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from picker.extproc.call import NotGrpc, read_call, status_trailers, timeout_seconds
from tests.support.grpc_client import grpc_headers


def test_an_ordinary_call() -> None:
    """Path, no compression, no timeout."""
    assert ("/a/b", "identity", None) == read_call(grpc_headers("/a/b"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"400m", 0.4), (b"5u", 5e-6), (b"99999999n", 0.1)],
)
def test_timeouts_have_six_units(text: bytes, seconds: float) -> None:
    """Hours to nanoseconds."""
    assert pytest.approx(seconds) == timeout_seconds(text)


@pytest.mark.parametrize("text", [b"", b"S", b"1", b"1.5S", b"-1S", b"123456789S", b"1s", b" 1S"])
def test_what_is_no_timeout_is_none(text: bytes) -> None:
    """A client that cannot spell gets no limit."""
    assert timeout_seconds(text) is None


@pytest.mark.parametrize("method", [b"GET", b"PUT", None])
def test_only_posts_are_calls(method: bytes | None) -> None:
    """Anything else is answered in HTTP."""
    with pytest.raises(NotGrpc) as caught:
        read_call(grpc_headers(method=method))
    assert 405 == caught.value.status


@given(st.text())
def test_messages_survive_the_trailers(text: str) -> None:
    """Percent-encoding keeps trailers printable ASCII and loses nothing."""
    trailers = dict(status_trailers(13, text))
    encoded = trailers.get(b"grpc-message", b"")
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert text == unquote(encoded.decode())
