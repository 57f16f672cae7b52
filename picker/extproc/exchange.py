"""One HTTP request and its response as a state machine: ext_proc messages in, replies out.

The gateway's body mode decides when the destination is named and in which form bodies go back:

    mode                 destination in       body goes back as
    no body, NONE        headers reply        -
    STREAMED             headers reply        "continue" per chunk
    BUFFERED, _PARTIAL   body reply           a body mutation if it was changed, else "continue"
    FULL_DUPLEX          headers reply, held  streamed chunks, after the last one came in
                         back until the end
                         of the body

Model servers send the headers of an event stream before the first token. So the prompt counts as
processed at the first body chunk where we see it, at the headers of any other response, and else
when the ledger expects it.

Replies come in the order headers, body, trailers. What comes after the end of the body is ignored:
one decision and one booking per exchange.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field

from picker.extproc import codec
from picker.extproc.codec import Mutation, Phase
from picker.extproc.modes import BodyMode
from picker.extproc.ports import StreamEnd, StreamFailed
from picker.extproc.refusal import body_too_large, refusal_reply
from picker.flow.director import Placed, RequestParts
from picker.flow.errors import Refused
from picker.proto import ext_proc_pb2 as pb
from picker.requests.errors import RequestError
from picker.requests.headers import announced_length
from picker.requests.usage import Usage, UsageReader
from state.ledger import Booking
from state.model import EndpointUid

RESPONSE_HEADERS = frozenset({b":status", b"content-type", b"content-encoding"})

GRPC_INVALID_ARGUMENT = 3
GRPC_UNIMPLEMENTED = 12


class ExchangeSettings(BaseModel):
    """How exchanges treat what the gateway sends."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_request_body_bytes: int = Field(default=32 << 20, ge=1)
    """Longer request bodies are answered 413; nothing is kept beyond."""
    assumed_body_mode: BodyMode = BodyMode.FULL_DUPLEX_STREAMED
    """Mode of gateways whose first message carries no `protocol_config` (Envoy before 1.34)."""


class Director(Protocol):
    """Places requests."""

    def place(self, parts: RequestParts) -> Placed:
        """Decide and book; raises RequestError or Refused."""

    def uid_of(self, endpoint_id: str) -> EndpointUid | None:
        """Return the identity behind an `ip:port`; None if unknown."""


class ExchangeObserver(Protocol):
    """Hears how exchanges go, for metrics."""

    def first_byte(self, *, status: int) -> None:
        """The model server's response headers passed."""

    def refused(self, *, status: int, code: str) -> None:
        """The client was answered by us."""

    def ended(self, *, end: StreamEnd, complete: bool, usage: Usage | None) -> None:
        """The stream is over; `complete`: the response had ended."""


class ExtProcExchange:
    """Fits the `Exchange` port of the transports."""

    def __init__(
        self,
        *,
        director: Director,
        observer: ExchangeObserver,
        settings: ExchangeSettings,
        new_request_id: Callable[[], str],
    ) -> None:
        self.finished = False
        self._director = director
        self._observer = observer
        self._settings = settings
        self._new_request_id = new_request_id
        self._request_mode = settings.assumed_body_mode
        self._response_mode = settings.assumed_body_mode
        self._configured = False
        self._headers: dict[str, bytes] | None = None
        self._subset: Sequence[str] | None = None
        self._body = bytearray()
        self._request_over = False
        self._response_over = False
        self._booking: Booking | None = None
        self._decided = False
        self._usage: UsageReader | None = None
        self._echo: codec.ResponseEcho | None = None

    def receive(self, message: bytes) -> list[bytes]:
        try:
            request = pb.ProcessingRequest.FromString(message)
        except DecodeError as error:
            raise StreamFailed(GRPC_INVALID_ARGUMENT, "no ProcessingRequest") from error
        phase = request.WhichOneof("request")
        if self.finished or phase is None or request.observability_mode:
            return []  # in observability mode Envoy neither waits for replies nor heeds them
        if not self._decided:
            self._configure(request)
        try:
            return _PHASES[phase](self, request)
        except (RequestError, Refused) as error:
            return [self._refuse(error)]

    def close(self, end: StreamEnd) -> None:
        self._release()
        self.finished = True
        self._body.clear()
        usage = None if self._usage is None else self._usage.usage
        self._observer.ended(end=end, complete=self._response_over, usage=usage)

    def _configure(self, request: pb.ProcessingRequest) -> None:
        if not self._configured and request.HasField("protocol_config"):
            self._request_mode = BodyMode.of(request.protocol_config.request_body_mode)
            self._response_mode = BodyMode.of(request.protocol_config.response_body_mode)
            if self._request_mode is BodyMode.GRPC or self._response_mode is BodyMode.GRPC:
                raise StreamFailed(GRPC_UNIMPLEMENTED, "body mode GRPC is not supported")
        self._configured = True
        hint = codec.subset_hint(request)
        if hint is not None:
            self._subset = hint

    # Request

    def _on_request_headers(self, message: pb.ProcessingRequest) -> list[bytes]:
        if self._headers is not None or self._request_over:
            return []
        self._headers = codec.lower_headers(message.request_headers.headers)
        if message.request_headers.end_of_stream:
            self._request_over = True
            return self._decide_in_headers(None)
        self._check_length(announced_length(self._headers))
        if self._request_mode.body_decides:
            return [Phase.REQUEST_HEADERS] if self._request_mode.is_buffered else []
        return self._decide_in_headers(None)

    def _on_request_body(self, message: pb.ProcessingRequest) -> list[bytes]:
        if self._request_over:
            return []
        chunk = message.request_body
        self._request_over = chunk.end_of_stream
        if not self._request_mode.body_decides:
            return [Phase.REQUEST_BODY]
        if self._request_mode.is_buffered:
            self._request_over = True
            return self._decide_in_body(chunk.body, whole=chunk.end_of_stream)
        self._check_length(len(self._body) + len(chunk.body))
        self._body += chunk.body
        return self._decide_streamed(end_of_stream=True) if chunk.end_of_stream else []

    def _on_request_trailers(self, message: pb.ProcessingRequest) -> list[bytes]:  # noqa: ARG002
        self._request_over = True
        if self._decided:
            return [Phase.REQUEST_TRAILERS]
        if self._request_mode is BodyMode.FULL_DUPLEX_STREAMED:
            return [*self._decide_streamed(end_of_stream=False), Phase.REQUEST_TRAILERS]
        placed, _ = self._place(None)
        return [codec.destination_in_trailers(placed.destination)]

    def _decide_in_headers(self, body: bytes | None) -> list[bytes]:
        placed, mutation = self._place(body)
        return [codec.destination_reply(placed.destination, mutation, in_headers=True)]

    def _decide_in_body(self, body: bytes, *, whole: bool) -> list[bytes]:
        self._check_length(len(body))
        partial = self._request_mode is BodyMode.BUFFERED_PARTIAL and not whole
        placed, mutation = self._place(body, partial=partial)
        return [codec.destination_reply(placed.destination, mutation, in_headers=False)]

    def _decide_streamed(self, *, end_of_stream: bool) -> list[bytes]:
        body = bytes(self._body)
        self._body.clear()
        placed, mutation = self._place(body)
        body = body if placed.rewritten_body is None else placed.rewritten_body
        return [
            codec.destination_reply(placed.destination, mutation, in_headers=True),
            *codec.streamed_request_body(body, end_of_stream=end_of_stream),
        ]

    def _place(self, body: bytes | None, *, partial: bool = False) -> tuple[Placed, Mutation]:
        headers = self._headers if self._headers is not None else {}
        added = [] if headers.get("x-request-id") else self._add_request_id(headers)
        self._decided = True
        placed = self._director.place(
            RequestParts(headers=headers, body=body, partial=partial, subset=self._subset)
        )
        self._booking = placed.booking
        return placed, self._mutation(placed, headers, added, body)

    def _add_request_id(self, headers: dict[str, bytes]) -> list[tuple[str, bytes]]:
        headers["x-request-id"] = self._new_request_id().encode()
        return [("x-request-id", headers["x-request-id"])]

    def _mutation(
        self,
        placed: Placed,
        headers: dict[str, bytes],
        added: list[tuple[str, bytes]],
        body: bytes | None,
    ) -> Mutation:
        rewritten = placed.rewritten_body
        streamed = self._request_mode is BodyMode.FULL_DUPLEX_STREAMED
        if body and (rewritten is not None or streamed):
            grown = 0 if rewritten is None else len(rewritten) - len(body)
            length = len(body) if streamed else announced_length(headers)
            if length:
                added.append(("content-length", str(length + grown).encode()))
        removed = codec.ROUTING_HEADERS.intersection(headers)
        if not added and not removed:
            return codec.NO_CHANGE
        return Mutation(
            set_headers=added,
            remove_headers=sorted(removed),
            body=None if streamed else rewritten,
        )

    def _check_length(self, length: int) -> None:
        """Partial bodies are short whatever was announced; a body that we never see is not ours."""
        if self._request_mode.is_whole and length > self._settings.max_request_body_bytes:
            raise body_too_large(self._settings.max_request_body_bytes)

    def _refuse(self, error: RequestError | Refused) -> bytes:
        self.finished = True
        self._release()
        self._body.clear()
        code = error.code if isinstance(error, Refused) else error.code.value
        self._observer.refused(status=error.status, code=code)
        return refusal_reply(error)

    # Response

    def _on_response_headers(self, message: pb.ProcessingRequest) -> list[bytes]:
        headers = codec.chosen_headers(message.response_headers.headers, RESPONSE_HEADERS)
        self._follow(codec.served_endpoint(message))
        streams = b"text/event-stream" in headers.get(b"content-type", b"")
        if self._booking is not None and not streams:
            self._booking.prefilled()
        status = headers.get(b":status", b"")
        self._observer.first_byte(status=int(status) if status.isdigit() else 0)
        if message.response_headers.end_of_stream:
            self._complete()
        elif self._response_mode is not BodyMode.NONE:
            self._usage = UsageReader(
                content_type=headers.get(b"content-type", b""),
                content_encoding=headers.get(b"content-encoding", b""),
            )
        return [Phase.RESPONSE_HEADERS]

    def _on_response_body(self, message: pb.ProcessingRequest) -> list[bytes]:
        if self._response_over:
            return []
        chunk = message.response_body
        if self._booking is not None and chunk.body:
            self._booking.prefilled()
        if self._usage is not None:
            self._usage.feed(chunk.body, end=chunk.end_of_stream)
        if chunk.end_of_stream:
            self._complete()
        if self._response_mode is BodyMode.FULL_DUPLEX_STREAMED:
            if self._echo is None:
                self._echo = codec.ResponseEcho()
            return self._echo.replies(chunk.body, end_of_stream=chunk.end_of_stream)
        return [Phase.RESPONSE_BODY]

    def _on_response_trailers(self, message: pb.ProcessingRequest) -> list[bytes]:  # noqa: ARG002
        self._complete()
        return [Phase.RESPONSE_TRAILERS]

    def _follow(self, served: str | None) -> None:
        """Count the request where the gateway says it went: it may have had to fall back."""
        uid = None if served is None else self._director.uid_of(served)
        if uid is not None and self._booking is not None:
            self._booking.move(uid)

    def _complete(self) -> None:
        self._response_over = True
        self._release()

    def _release(self) -> None:
        if self._booking is not None:
            self._booking.release()
            self._booking = None


# A table of bound methods on each exchange would make every exchange a reference cycle.
_PHASES: dict[str, Callable[[ExtProcExchange, pb.ProcessingRequest], list[bytes]]] = {
    "request_headers": ExtProcExchange._on_request_headers,  # noqa: SLF001  of this module
    "request_body": ExtProcExchange._on_request_body,  # noqa: SLF001
    "request_trailers": ExtProcExchange._on_request_trailers,  # noqa: SLF001
    "response_headers": ExtProcExchange._on_response_headers,  # noqa: SLF001
    "response_body": ExtProcExchange._on_response_body,  # noqa: SLF001
    "response_trailers": ExtProcExchange._on_response_trailers,  # noqa: SLF001
}
