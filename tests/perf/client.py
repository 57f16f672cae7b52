"""A lean gateway over libnghttp2: plays scripted exchanges, many at a time."""

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple, cast

import msgspec
import ngh2

from picker.extproc.framing import MessageReader, frame
from picker.extproc.server import PROCESS

WINDOW_BYTES = 64 << 20
STREAM_WINDOW_BYTES = 16 << 20
PLAY_SECONDS = 60.0

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", PROCESS.encode()),
    (b":authority", b"ext_proc"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"x-envoy-internal", b"true"),
    (b"x-forwarded-for", b"127.0.0.1"),
]


class Step(NamedTuple):
    """Framed messages sent together, and how many replies the next step waits for."""

    data: bytes
    replies: int

    @classmethod
    def of(cls, messages: Sequence[bytes], *, replies: int = 1) -> "Step":
        """Frame messages once, outside the measurement."""
        return cls(frame(messages), replies)


Script = Sequence[Step]


class Stream(msgspec.Struct):
    """How far one exchange has come."""

    script: Script
    reader: MessageReader
    step: int = 0
    replies: int = 0


class Player(asyncio.Protocol):
    """One connection that plays scripts in turn, a number of times in all."""

    def __init__(self, scripts: Sequence[Script], exchanges: int, at_once: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._scripts = cycle(scripts)
        self._left = exchanges
        self._at_once = at_once
        self._open: dict[int, Stream] = {}
        self._over: list[int] = []
        self._http2 = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's does not inherit
        self._http2.initiate_connection({ngh2.Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES})
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
        stream = self._open.get(event.stream_id)
        if stream is None:
            return
        stream.replies += sum(1 for _ in stream.reader.feed(event.data))
        while stream.replies >= stream.script[stream.step].replies:
            stream.replies -= stream.script[stream.step].replies
            stream.step += 1
            if stream.step == len(stream.script):
                self._finish(event.stream_id)
                return
            self._http2.send_data(event.stream_id, stream.script[stream.step].data)

    def _finish(self, stream_id: int) -> None:
        del self._open[stream_id]
        self._http2.end_stream(stream_id)
        self._over.append(stream_id)
        self._begin_some()
        if not self._left and not self._open and not self.done.done():
            self.done.set_result(None)

    def _begin_some(self) -> None:
        while self._left and len(self._open) < self._at_once:
            self._left -= 1
            stream_id = self._http2.send_request(REQUEST)
            script = next(self._scripts)
            self._open[stream_id] = Stream(script, MessageReader(max_message_bytes=WINDOW_BYTES))
            self._http2.send_data(stream_id, script[0].data)

    def _flush(self) -> None:
        """Write; behind a half-close comes a reset, as from Envoy."""
        data = self._http2.data_to_send()
        for stream_id in self._over:
            self._http2.reset_stream(stream_id, ngh2.ErrorCode.NO_ERROR)
        self._over.clear()
        data += self._http2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))


async def play(
    host: str, port: int, scripts: Sequence[Script], *, exchanges: int, at_once: int = 16
) -> None:
    """Play scripts against a server, so many exchanges in all."""
    transport, player = await asyncio.get_running_loop().create_connection(
        lambda: Player(scripts, exchanges, at_once), host, port
    )
    try:
        async with asyncio.timeout(PLAY_SECONDS):
            await player.done
    finally:
        transport.close()
