"""A lean gateway over libnghttp2: plays scripted exchanges, many at a time."""

import asyncio
from collections.abc import Sequence

import msgspec
import ngh2

from picker.extproc.framing import MessageReader, frame
from picker.extproc.server import PROCESS

WINDOW_BYTES = 64 << 20


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Messages sent together, and how many replies must be there before the next step."""

    messages: Sequence[bytes]
    replies: int

    @property
    def data(self) -> bytes:
        """The messages, framed."""
        return frame(self.messages)


class Player(asyncio.Protocol):
    """One connection that plays a script a number of times."""

    def __init__(self, script: Sequence[Step], exchanges: int, at_once: int) -> None:
        self._frames = [step.data for step in script]
        self._replies = [step.replies for step in script]
        self._left = exchanges
        self._at_once = at_once
        self._open: dict[int, list[int]] = {}
        self._readers: dict[int, MessageReader] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._http2 = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's fits
        self._http2.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: 16 << 20})
        self._http2.set_local_window_size(WINDOW_BYTES)
        self._begin_some()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._http2.receive_data(data)
        for event in self._http2.events():
            if isinstance(event, ngh2.DataReceived):
                self._on_data(event)
            elif isinstance(event, ngh2.StreamClosed) and event.stream_id in self._open:
                self._fail(f"stream closed early: {event.error_code}")
            elif isinstance(event, ngh2.SettingsReceived):
                self._begin_some()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"connection lost: {exc}")

    def _on_data(self, event: ngh2.DataReceived) -> None:
        state = self._open.get(event.stream_id)
        if state is None:
            return
        state[1] += len(self._readers[event.stream_id].feed(event.data))
        while state[1] >= self._replies[state[0]]:
            state[1] -= self._replies[state[0]]
            state[0] += 1
            if state[0] == len(self._frames):
                self._finish(event.stream_id)
                return
            self._http2.send_data(event.stream_id, self._frames[state[0]])

    def _finish(self, stream_id: int) -> None:
        """Half-close and reset behind it, as Envoy does."""
        del self._open[stream_id], self._readers[stream_id]
        self._http2.end_stream(stream_id)
        self._begin_some()
        if not self._left and not self._open and not self.done.done():
            self.done.set_result(None)

    def _begin_some(self) -> None:
        while self._left and len(self._open) < self._at_once:
            self._left -= 1
            stream_id = self._http2.send_request(
                [
                    (b":method", b"POST"),
                    (b":scheme", b"http"),
                    (b":path", PROCESS.encode()),
                    (b":authority", b"picker"),
                    (b"te", b"trailers"),
                    (b"content-type", b"application/grpc"),
                ]
            )
            self._open[stream_id] = [0, 0]
            self._readers[stream_id] = MessageReader(max_message_bytes=64 << 20)
            self._http2.send_data(stream_id, self._frames[0])

    def _flush(self) -> None:
        data = self._http2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))


async def play(
    host: str, port: int, script: Sequence[Step], *, exchanges: int, at_once: int = 16
) -> None:
    """Play a script against a picker, that many times."""
    loop = asyncio.get_running_loop()
    transport, player = await loop.create_connection(
        lambda: Player(script, exchanges, at_once), host, port
    )
    try:
        async with asyncio.timeout(120):
            await player.done
    finally:
        transport.close()
