"""ext_proc messages as a gateway sends them, and replies as it reads them."""

from collections.abc import Iterable, Mapping, Sequence

from picker.extproc.modes import BodyMode
from picker.proto import ext_proc_pb2 as pb

CHAT = (
    b'{"model":"tiny","stream":true,"messages":[{"role":"system","content":"You are helpful."},'
    b'{"role":"user","content":"Say hello."}]}'
)


def request_headers(
    headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] = (),
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    end_of_stream: bool = False,
    mode: BodyMode | None = None,
    response_mode: BodyMode = BodyMode.NONE,
    subset: str | Sequence[str] | None = None,
) -> bytes:
    """Return the first message of a stream; `mode` None leaves `protocol_config` out."""
    message = pb.ProcessingRequest()
    pairs = [(":method", method), (":path", path), (":authority", "gateway"), *_pairs(headers)]
    _fill(message.request_headers.headers, pairs)
    message.request_headers.end_of_stream = end_of_stream
    if mode is not None:
        message.protocol_config.request_body_mode = pb.BodySendMode.Value(mode.name)  # type: ignore[assignment]  # stub
        message.protocol_config.response_body_mode = pb.BodySendMode.Value(response_mode.name)  # type: ignore[assignment]
    if subset is not None:
        set_subset(message, subset)
    return message.SerializeToString()


def request_body(
    body: bytes = CHAT, *, end_of_stream: bool = True, subset: Sequence[str] | None = None
) -> bytes:
    """Return a piece of the request body, or all of it."""
    message = pb.ProcessingRequest()
    message.request_body.body = body
    message.request_body.end_of_stream = end_of_stream
    if subset is not None:
        set_subset(message, subset)
    return message.SerializeToString()


def request_trailers() -> bytes:
    """Return request trailers."""
    message = pb.ProcessingRequest()
    message.request_trailers.SetInParent()
    return message.SerializeToString()


def response_headers(
    status: int = 200,
    headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] = (),
    *,
    end_of_stream: bool = False,
    served: str | None = None,
) -> bytes:
    """Return the upstream's response headers."""
    message = pb.ProcessingRequest()
    _fill(message.response_headers.headers, [(":status", str(status)), *_pairs(headers)])
    message.response_headers.end_of_stream = end_of_stream
    if served is not None:
        fields = message.metadata_context.filter_metadata["envoy.lb"].fields
        fields["x-gateway-destination-endpoint-served"].string_value = served
    return message.SerializeToString()


def response_body(body: bytes, *, end_of_stream: bool = False) -> bytes:
    """Return a piece of the response body."""
    message = pb.ProcessingRequest()
    message.response_body.body = body
    message.response_body.end_of_stream = end_of_stream
    return message.SerializeToString()


def response_trailers() -> bytes:
    """Return response trailers."""
    message = pb.ProcessingRequest()
    message.response_trailers.SetInParent()
    return message.SerializeToString()


def set_subset(message: pb.ProcessingRequest, subset: str | Sequence[str]) -> None:
    """Write a subset hint into a message's metadata."""
    fields = message.metadata_context.filter_metadata["envoy.lb.subset_hint"].fields
    value = fields["x-gateway-destination-endpoint-subset"]
    if isinstance(subset, str):
        value.string_value = subset
    else:
        value.list_value.SetInParent()
        for item in subset:
            value.list_value.values.add().string_value = item


def read(reply: bytes) -> pb.ProcessingResponse:
    """Read one reply."""
    return pb.ProcessingResponse.FromString(reply)


def phases(replies: Iterable[bytes]) -> list[str | None]:
    """Return which phase each reply answers, in order."""
    return [read(reply).WhichOneof("response") for reply in replies]


def set_headers(common: pb.CommonResponse | pb.ImmediateResponse) -> dict[str, str]:
    """Return the headers that a reply sets."""
    if isinstance(common, pb.ImmediateResponse):
        mutation = common.headers
    else:
        mutation = common.header_mutation
    return {
        option.header.key.decode(): option.header.raw_value.decode()
        for option in mutation.set_headers
    }


def destination_in_metadata(reply: pb.ProcessingResponse) -> str:
    """Return the destination that a reply's dynamic metadata names."""
    namespace = reply.dynamic_metadata.fields["envoy.lb"].struct_value
    return namespace.fields["x-gateway-destination-endpoint"].string_value


def streamed(replies: Iterable[bytes], *, response: bool = False) -> list[tuple[bytes, bool]]:
    """Return body chunks and their end-of-stream flags from streamed replies."""
    chunks = []
    for reply in map(read, replies):
        body = reply.response_body if response else reply.request_body
        chunk = body.response.body_mutation.streamed_response
        chunks.append((chunk.body, chunk.end_of_stream))
    return chunks


def _pairs(
    headers: Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]],
) -> Iterable[tuple[str, str | bytes]]:
    return headers.items() if isinstance(headers, Mapping) else headers


def _fill(target: pb.HeaderMap, pairs: Iterable[tuple[str, str | bytes]]) -> None:
    for name, value in pairs:
        header = target.headers.add()
        header.key = name.encode()
        header.raw_value = value.encode() if isinstance(value, str) else value
