"""An HTTP/2 client that does as it is told, also what no gateway should."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import unquote

import ngh2

from picker.extproc.framing import MessageReader
from picker.extproc.server import PROCESS
from state.runtime.address import Address

Headers = list[tuple[bytes, bytes]]

ROOM = 2**31 - 1


def grpc_headers(path: str = PROCESS, **changed: bytes | None) -> Headers:
    """Return the headers of a gRPC call; keywords add, change or (None) leave out."""
    headers: dict[bytes, bytes | None] = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path.encode(),
        b":authority": b"picker",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    for name, value in changed.items():
        key = name.replace("_", "-").encode()
        headers[b":method" if key == b"method" else key] = value
    return [(name, value) for name, value in headers.items() if value is not None]


def grpc_message(message: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """Return a message behind its prefix; the prefix may lie."""
    return struct.pack(">BI", flag, len(message) if length is None else length) + message


def http2_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a frame as it is on the wire."""
    return (
        struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload
    )


def trusting(*protocols: str) -> ssl.SSLContext:
    """Return a client's context that verifies nothing, as gateways do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


class Answer:
    """What came on one stream."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.messages: list[bytes] = []
        self.trailers: dict[bytes, bytes] = {}
        self.reset: int | None = None
        self.over = False
        self._reader = MessageReader(max_message_bytes=ROOM)

    @property
    def status(self) -> int | None:
        """The gRPC status, from trailers or from headers that say it all."""
        text = self.trailers.get(b"grpc-status", self.headers.get(b"grpc-status"))
        return None if text is None else int(text)

    @property
    def http_status(self) -> int:
        return int(self.headers[b":status"])

    @property
    def message(self) -> str:
        """The text of `grpc-message`."""
        text = self.trailers.get(b"grpc-message", self.headers.get(b"grpc-message", b""))
        return unquote(text.decode())

    def take(self, event: ngh2.Event) -> None:
        """Take an event of this stream."""
        match event:
            case ngh2.ResponseReceived(_, headers, end_stream):
                self.headers = dict(headers)
                self.over |= end_stream
            case ngh2.DataReceived(_, data, end_stream):
                self.messages += self._reader.feed(data)
                self.over |= end_stream
            case ngh2.TrailersReceived(_, headers):
                self.trailers = dict(headers)
                self.over = True
            case ngh2.StreamReset(_, code):
                self.reset = code
            case ngh2.StreamClosed():
                self.over = True


class RawClient:
    """One connection. `http2` queues; nothing is written before `flush`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: dict[int, int]
    ) -> None:
        self.answers: dict[int, Answer] = {}
        self.goaways: list[ngh2.GoAwayReceived] = []
        self.pongs = 0
        self.silent = False
        """Reading makes no writing: for frames that are sent in pieces."""
        self.http2 = ngh2.Connection(ngh2.Role.CLIENT)
        self.http2.initiate_connection(settings)
        self._reader = reader
        self.writer = writer

    def call(self, *messages: bytes, end: bool = False, headers: Headers | None = None) -> int:
        """Queue a request with messages; return its stream."""
        stream_id = self.http2.send_request(headers or grpc_headers(), end_stream=False)
        self.answers[stream_id] = Answer()
        self.http2.send_data(stream_id, b"".join(map(grpc_message, messages)), end_stream=end)
        return stream_id

    def bytes_to_send(self) -> bytes:
        """Return what is queued, for tests that send it their own way."""
        return self.http2.data_to_send()

    async def flush(self) -> None:
        """Write what is queued."""
        await self.write(self.http2.data_to_send())

    async def write(self, data: bytes) -> None:
        """Write any bytes; a server that has hung up is noticed when reading."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def read(self) -> bool:
        """Process one read; False at the end of the connection."""
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:
            return False
        if data:
            self.http2.receive_data(data)
            for event in self.http2.events():
                self._take(event)
            if not self.silent:
                await self.flush()
        return bool(data)

    async def until(self, condition: Callable[[], object]) -> None:
        """Read until something has come about; the test's time limit ends a vain wait."""
        while not condition():
            assert await self.read(), "the server closed the connection"

    async def answer(self, stream_id: int) -> Answer:
        """Flush, and return what came on a stream once it is over."""
        await self.flush()
        answer = self.answers[stream_id]
        await self.until(lambda: answer.over)
        return answer

    async def ping(self) -> None:
        """Flush, and return once the server has worked off everything."""
        heard = self.pongs
        self.http2.ping()
        await self.flush()
        await self.until(lambda: self.pongs > heard)

    async def closed_by_server(self) -> None:
        """Read on until the server closes."""
        while await self.read():
            pass

    def vanish(self) -> None:
        """Be gone without a word (TCP reset)."""
        self.writer.transport.abort()

    def _take(self, event: ngh2.Event) -> None:
        if isinstance(event, ngh2.GoAwayReceived):
            self.goaways.append(event)
        self.pongs += isinstance(event, ngh2.PingAcknowledged)
        answer = self.answers.get(getattr(event, "stream_id", 0))
        if answer is not None:
            answer.take(event)


@asynccontextmanager
async def raw_client(
    address: Address,
    *,
    tls: ssl.SSLContext | None = None,
    settings: Iterable[tuple[int, int]] = (),
) -> AsyncIterator[RawClient]:
    """Connect; the preface and settings are queued."""
    host = None if tls is None else ""
    reader, writer = await asyncio.open_connection(
        address.host, address.port, ssl=tls, server_hostname=host
    )
    try:
        yield RawClient(reader, writer, dict(settings))
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)
