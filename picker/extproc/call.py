"""What the request headers of a gRPC call say."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

from picker.extproc.ports import StreamFailed
from picker.extproc.server import GrpcStatus

UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
TIMEOUT_DIGITS = 8

Headers = Iterable[tuple[bytes, bytes]]


class NotGrpc(Exception):  # noqa: N818  says what the request is
    """The request is answered with an HTTP status, as the gRPC specification asks."""

    def __init__(self, status: int) -> None:
        """Keep the HTTP status."""
        super().__init__(status)
        self.status = status


class Call(NamedTuple):
    """A gRPC call that may be served."""

    path: str
    encoding: str
    timeout_seconds: float | None


def read_call(headers: Headers) -> Call:
    """Read request headers; raises NotGrpc, or StreamFailed for an unknown encoding."""
    named = dict(headers)
    if named.get(b":method") != b"POST":
        raise NotGrpc(405)
    if not _is_grpc(named.get(b"content-type", b"")):
        raise NotGrpc(415)
    encoding = named.get(b"grpc-encoding", b"identity").decode("latin-1")
    if encoding not in {"identity", "gzip"}:
        raise StreamFailed(GrpcStatus.UNIMPLEMENTED, f"grpc-encoding {encoding} is not supported")
    timeout = named.get(b"grpc-timeout")
    return Call(
        path=named.get(b":path", b"").decode("latin-1"),
        encoding=encoding,
        timeout_seconds=None if timeout is None else timeout_seconds(timeout),
    )


def timeout_seconds(text: bytes) -> float | None:
    """Read a `grpc-timeout`; None for what is none, which is then no limit."""
    digits, unit = text[:-1], UNITS.get(text[-1:])
    if unit is None or not digits.isdigit() or len(digits) > TIMEOUT_DIGITS:
        return None
    return int(digits) * unit


def status_trailers(status: int, message: str) -> list[tuple[bytes, bytes]]:
    """Return the trailers that end a stream; the message is percent-encoded."""
    trailers = [(b"grpc-status", b"%d" % status)]
    if message:
        trailers.append((b"grpc-message", quote(message, safe=" !#$&'()*+,/:;=?@[]").encode()))
    return trailers


def _is_grpc(content_type: bytes) -> bool:
    return content_type == b"application/grpc" or content_type.startswith(
        (b"application/grpc+", b"application/grpc;")
    )
