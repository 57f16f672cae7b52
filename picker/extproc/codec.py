"""ext_proc messages: reading what matters of a request, writing replies."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec

from picker.proto import ext_proc_pb2 as pb

DESTINATION = "x-gateway-destination-endpoint"
SERVED = "x-gateway-destination-endpoint-served"
SUBSET = "x-gateway-destination-endpoint-subset"
LB_NAMESPACE = "envoy.lb"
SUBSET_NAMESPACE = "envoy.lb.subset_hint"
DROPPED_REASON = "x-llm-d-request-dropped-reason"

ROUTING_HEADERS = frozenset(
    {
        "x-gateway-destination-endpoint-fallback",
        "x-gateway-destination-endpoint-scores",
        SERVED,
        SUBSET,
        DROPPED_REASON,
        "x-prefiller-url",
        "x-prefiller-host-port",
        "x-encoder-hosts-ports",
        "x-kv-cache-source-host-port",
        "x-data-parallel-host-port",
    }
)
"""Only gateways and pickers may set these; a client that sends one is not heard (SSRF)."""

CHUNK_BYTES = 62_000
"""Most body bytes in one streamed reply: Envoy refuses replies of 64 KiB."""


def lower_headers(headers: pb.HeaderMap) -> dict[str, bytes]:
    """Return headers by lower-cased name; of repeated ones the last counts."""
    return {_name(header.key): header.raw_value or header.value for header in headers.headers}


@lru_cache(maxsize=1024)
def _name(key: bytes) -> str:
    return key.decode("latin-1").lower()


def chosen_headers(headers: pb.HeaderMap, names: frozenset[bytes]) -> dict[bytes, bytes]:
    """Return a few headers by their lower-case name, as gateways write names."""
    return {
        header.key: header.raw_value or header.value
        for header in headers.headers
        if header.key in names
    }


def subset_hint(message: pb.ProcessingRequest) -> list[str] | None:
    """Return the subset that the gateway allows, None if it says nothing about one."""
    if not message.HasField("metadata_context"):
        return None
    filters = message.metadata_context.filter_metadata
    if SUBSET_NAMESPACE not in filters:
        return None
    fields = filters[SUBSET_NAMESPACE].fields
    if SUBSET not in fields:
        return None
    value = fields[SUBSET]
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return [value.string_value]
    if kind == "list_value":
        return [item.string_value for item in value.list_value.values if item.string_value]
    return None


def served_endpoint(message: pb.ProcessingRequest) -> str | None:
    """Return which endpoint the gateway says has served the request."""
    filters = message.metadata_context.filter_metadata
    if LB_NAMESPACE not in filters:
        return None
    fields = filters[LB_NAMESPACE].fields
    return (fields[SERVED].string_value or None) if SERVED in fields else None


class Phase:
    """Constant replies, and the field of ProcessingResponse that each phase uses."""

    REQUEST_HEADERS = pb.ProcessingResponse(
        request_headers=pb.HeadersResponse(response=pb.CommonResponse())
    ).SerializeToString()
    REQUEST_BODY = pb.ProcessingResponse(
        request_body=pb.BodyResponse(response=pb.CommonResponse())
    ).SerializeToString()
    REQUEST_TRAILERS = pb.ProcessingResponse(
        request_trailers=pb.TrailersResponse()
    ).SerializeToString()
    RESPONSE_HEADERS = pb.ProcessingResponse(
        response_headers=pb.HeadersResponse(response=pb.CommonResponse())
    ).SerializeToString()
    RESPONSE_BODY = pb.ProcessingResponse(
        response_body=pb.BodyResponse(response=pb.CommonResponse())
    ).SerializeToString()
    RESPONSE_TRAILERS = pb.ProcessingResponse(
        response_trailers=pb.TrailersResponse()
    ).SerializeToString()


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in a request besides its destination."""

    set_headers: Sequence[tuple[str, bytes]] = ()
    remove_headers: Sequence[str] = ()
    body: bytes | None = None
    """Replaces a buffered body."""


NO_CHANGE = Mutation()


@lru_cache(maxsize=4096)
def _destination_in_headers(destination: str) -> bytes:
    reply = pb.ProcessingResponse()
    _set_destination(reply.request_headers.response, destination)
    _set_metadata(reply, destination)
    return reply.SerializeToString()


@lru_cache(maxsize=4096)
def _destination_in_body(destination: str) -> bytes:
    reply = pb.ProcessingResponse()
    _set_destination(reply.request_body.response, destination)
    _set_metadata(reply, destination)
    return reply.SerializeToString()


@lru_cache(maxsize=4096)
def destination_in_trailers(destination: str) -> bytes:
    """Reply to trailers behind which headers can no more be changed: metadata carries it alone."""
    reply = pb.ProcessingResponse(request_trailers=pb.TrailersResponse())
    _set_metadata(reply, destination)
    return reply.SerializeToString()


def destination_reply(destination: str, mutation: Mutation, *, in_headers: bool) -> bytes:
    """Return the reply to request headers or to a buffered body that names the destination.

    Serialised messages concatenate to their merge, so the constant part is made once per endpoint.
    """
    if in_headers:
        constant = _destination_in_headers(destination)
    else:
        constant = _destination_in_body(destination)
    if mutation is NO_CHANGE:
        return constant
    reply = pb.ProcessingResponse()
    common = reply.request_headers.response if in_headers else reply.request_body.response
    _set_headers(common.header_mutation, mutation.set_headers)
    common.header_mutation.remove_headers.extend(n.encode() for n in mutation.remove_headers)
    if mutation.body is not None:
        common.body_mutation.body = mutation.body
    return constant + reply.SerializeToString()


def streamed_request_body(body: bytes, *, end_of_stream: bool) -> list[bytes]:
    """Return the body in chunks that Envoy accepts; an empty one is one empty chunk."""
    starts = range(0, len(body), CHUNK_BYTES) or range(1)
    last = starts[-1]
    return [
        pb.ProcessingResponse(
            request_body=_streamed(
                body[start : start + CHUNK_BYTES], end=end_of_stream and start == last
            )
        ).SerializeToString()
        for start in starts
    ]


class ResponseEcho:
    """Sends the chunks of one response body back as they came.

    One reply object serves all of them: building it anew would cost more than the rest of a chunk.
    """

    def __init__(self) -> None:
        self._reply = pb.ProcessingResponse()
        common = self._reply.response_body.response
        self._streamed = common.body_mutation.streamed_response

    def replies(self, body: bytes, *, end_of_stream: bool) -> list[bytes]:
        """Return the replies for a chunk, which is split if Envoy would refuse it."""
        if len(body) <= CHUNK_BYTES:
            return [self._one(body, end=end_of_stream)]
        return [
            self._one(
                body[start : start + CHUNK_BYTES],
                end=end_of_stream and start + CHUNK_BYTES >= len(body),
            )
            for start in range(0, len(body), CHUNK_BYTES)
        ]

    def _one(self, body: bytes, *, end: bool) -> bytes:
        self._streamed.body = body
        self._streamed.end_of_stream = end
        return self._reply.SerializeToString()


def immediate_reply(
    *, status: int, headers: Iterable[tuple[str, bytes]], body: bytes, details: str
) -> bytes:
    """Return the reply with which Envoy answers the client itself."""
    reply = pb.ProcessingResponse()
    immediate = reply.immediate_response
    immediate.status.code = status
    immediate.body = body
    immediate.details = details.encode()
    _set_headers(immediate.headers, headers)
    return reply.SerializeToString()


def _streamed(chunk: bytes, *, end: bool) -> pb.BodyResponse:
    streamed = pb.StreamedBodyResponse(body=chunk, end_of_stream=end)
    mutation = pb.BodyMutation(streamed_response=streamed)
    return pb.BodyResponse(response=pb.CommonResponse(body_mutation=mutation))


def _set_destination(common: pb.CommonResponse, destination: str) -> None:
    common.clear_route_cache = True
    _set_headers(common.header_mutation, [(DESTINATION, destination.encode())])


def _set_metadata(reply: pb.ProcessingResponse, destination: str) -> None:
    namespace = reply.dynamic_metadata.fields[LB_NAMESPACE].struct_value
    namespace.fields[DESTINATION].string_value = destination


def _set_headers(mutation: pb.HeaderMutation, headers: Iterable[tuple[str, bytes]]) -> None:
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key = name.encode()
        option.header.raw_value = value
        option.append_action = pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
