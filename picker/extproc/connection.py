"""One connection of a gateway: a socket around a sans-I/O `Session`.

Everything that one read brings is processed, then written out in one go. A peer that leaves TCP
unread gets no more credit, and after some patience is not read from either.
"""

import asyncio
import socket
from typing import Protocol, cast

import ngh2
import structlog

from picker.extproc.methods import Methods
from picker.extproc.server import TransportLimits
from picker.extproc.session import Session
from picker.extproc.windows import CONNECTION_WINDOW_BYTES

log = structlog.get_logger(__name__)

WRITE_BYTES = 256 << 10
"""Most that is handed to the transport before asking whether it wants more."""
PATIENCE_BYTES = CONNECTION_WINDOW_BYTES + (1 << 20)
"""What is taken from a peer that does not read. Peers may refuse to read until they have written
all that they have credit for: less patience could leave both sides waiting."""
STREAM_COST_BYTES = 1 << 10
"""What a stream counts against that: the answer that waits for its peer."""
LAST_CALL_SECONDS = 1.0
"""How long a peer may take to hear that it should open no further streams."""
CLOSE_SECONDS = 5.0
"""How long a closed transport may take to get rid of its last bytes."""

# A host that vanished says nothing: its streams must not be counted as load for hours.
KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


class Host(Protocol):
    """The server, as its connections see it."""

    @property
    def methods(self) -> Methods:
        """What is served."""

    @property
    def limits(self) -> TransportLimits:
        """What a peer may take."""

    @property
    def refusal(self) -> str | None:
        """Why a further connection must be refused, if it must."""

    @property
    def draining(self) -> bool:
        """True once no new streams are wanted."""

    def connected(self, connection: "H2Connection") -> None:
        """The connection begins."""

    def disconnected(self, connection: "H2Connection") -> None:
        """The connection is gone."""


class H2Connection(asyncio.Protocol):
    """Moves bytes between a transport and a session."""

    def __init__(self, host: Host) -> None:
        self.session = Session(host.methods, host.limits, self._flush_soon)
        self.session.on_ping_acknowledged = self.session.refuse_streams
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._writable = False
        self._patience = 0
        self._reading = False
        self._flush_scheduled = False
        self._last_call: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        tls = self._transport.get_extra_info("ssl_object")
        refusal = self._host.refusal
        if refusal is None and tls is not None and tls.selected_alpn_protocol() != "h2":
            refusal = "no h2"
        if refusal is not None:
            log.warning("connection refused", reason=refusal)
            self._transport.abort()
            return
        self._host.connected(self)
        self._writable = True
        _keep_alive(self._transport.get_extra_info("socket"))
        self._flush()
        if self._host.draining:
            self.announce_end()

    def data_received(self, data: bytes) -> None:
        self._reading = True
        opened = self.session.opened
        try:
            self.session.receive(data)
        except ngh2.NGH2Error as error:
            self._give_up(error)
        finally:
            self._reading = False
        if self._writable:
            self._flush()
        else:
            self._lose_patience(len(data) + STREAM_COST_BYTES * (self.session.opened - opened))

    def pause_writing(self) -> None:
        self._writable = False
        self._patience = PATIENCE_BYTES

    def resume_writing(self) -> None:
        self._writable = not self._transport.is_closing()
        self._transport.resume_reading()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the port's shape
        self._writable = False
        if self._last_call is not None:
            self._last_call.cancel()
        self.session.close_streams()
        self._host.disconnected(self)

    # Shutdown

    def announce_end(self) -> None:
        """Ask the gateway to open no further streams; those under way are still taken."""
        if self._last_call is None:
            self._last_call = self._loop.call_later(LAST_CALL_SECONDS, self._refuse_streams)
            self.session.announce_end()
            self._flush()

    def end(self) -> None:
        """End what is open and close."""
        self.session.drain_streams()
        self._flush()
        self.session.terminate()
        self._flush()
        self._close()

    def abort(self) -> None:
        """Let go of a peer that does not take its last bytes."""
        self._transport.abort()

    def _refuse_streams(self) -> None:
        self.session.refuse_streams()
        self._flush()

    def _give_up(self, error: ngh2.NGH2Error) -> None:
        log.info("connection ended for a protocol error", reason=str(error))
        if self._writable and isinstance(error, ngh2.DenialOfServiceError):
            self._transport.write(self.session.last_words())
        self._close()

    def _close(self) -> None:
        self._writable = False
        self.session.close_streams()
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(CLOSE_SECONDS, self._transport.abort)

    # Writing

    def _lose_patience(self, cost: int) -> None:
        self._patience -= cost
        if self._patience < 0:
            self._transport.pause_reading()

    def _flush_soon(self) -> None:
        """Write once the current callback is over, for replies from outside a read."""
        if not self._reading and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        self._write()
        if self._writable and self.session.settle():
            self._write()

    def _write(self) -> None:
        while self._writable:
            try:
                data = self.session.output(WRITE_BYTES)
            except ngh2.NGH2Error as error:
                self._give_up(error)
                return
            if data:
                self._transport.write(data)
            if len(data) < WRITE_BYTES:
                break
        if self._writable and self.session.ended:
            self._close()


def _keep_alive(connected: socket.socket) -> None:
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        option = getattr(socket, name, None)  # not every platform has all
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
