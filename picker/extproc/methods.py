"""The methods of the ext_proc port: the ext_proc stream, and unary ones in the same shape."""

from collections.abc import Callable, Mapping

from picker.extproc.ports import Exchange, ExchangeFactory, Outlet, StreamEnd, StreamFailed
from picker.extproc.server import PROCESS, GrpcStatus, Unary

Methods = Mapping[str, ExchangeFactory]


def served_methods(factory: ExchangeFactory, unary: Unary) -> Methods:
    """Return what is served, by path; anything else is UNIMPLEMENTED."""
    return {PROCESS: factory} | {path: _as_exchange(method) for path, method in unary.items()}


class UnaryExchange:
    """A call of a unary method: one message in, one out. Ends when the client half-closes."""

    finished = False

    def __init__(self, method: Callable[[bytes], bytes]) -> None:
        self._method = method
        self._called = False

    def receive(self, message: bytes) -> list[bytes]:
        if self._called:
            raise StreamFailed(GrpcStatus.INTERNAL, "a unary method takes one message")
        self._called = True
        return [self._method(message)]

    def close(self, end: StreamEnd) -> None:
        """Nothing is held."""


def _as_exchange(method: Callable[[bytes], bytes]) -> ExchangeFactory:
    def call(_: Outlet) -> Exchange:
        return UnaryExchange(method)

    return call
