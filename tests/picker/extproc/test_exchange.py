"""The exchange as playbooks: gateway messages in, replies and bookings out."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.extproc.exchange import ExchangeSettings
from picker.extproc.modes import BodyMode
from picker.extproc.ports import StreamEnd, StreamFailed
from picker.proto import ext_proc_pb2 as pb
from state.model import make_endpoint
from tests.support import builders
from tests.support import ext_proc as gw
from tests.support.picker import Bench

DESTINATION = "x-gateway-destination-endpoint"
BUFFERED = [BodyMode.BUFFERED, BodyMode.BUFFERED_PARTIAL]
EARLY = [BodyMode.NONE, BodyMode.STREAMED]
FULL = BodyMode.FULL_DUPLEX_STREAMED


def start(bench: Bench, mode: BodyMode | None = FULL, **message: object) -> list[bytes]:
    """Return the replies to request headers on a new exchange."""
    return bench.exchange().receive(gw.request_headers(mode=mode, **message))  # type: ignore[arg-type]


def decide(bench: Bench, mode: BodyMode, **headers: str) -> list[bytes]:
    """Return all replies up to the decision."""
    exchange = bench.exchange()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return [
        *exchange.receive(gw.request_headers(names, mode=mode, response_mode=mode)),
        *exchange.receive(gw.request_body()),
    ]


def immediate(replies: list[bytes]) -> pb.ImmediateResponse:
    """Return the only reply, which answers the client."""
    (reply,) = replies
    return gw.read(reply).immediate_response


def error_of(replies: list[bytes]) -> dict[str, str]:
    """Return the error object of an answer to the client."""
    error: dict[str, str] = json.loads(immediate(replies).body)["error"]
    return error


# Where the destination is named


@pytest.mark.parametrize("mode", BUFFERED)
def test_buffered_names_the_destination_in_the_body_reply(mode: BodyMode) -> None:
    """Envoy waits for the headers reply before it sends the body, and still holds the headers."""
    bench = Bench()
    replies = decide(bench, mode)
    assert ["request_headers", "request_body"] == gw.phases(replies)
    assert not gw.read(replies[0]).request_headers.response.HasField("header_mutation")
    reply = gw.read(replies[1])
    destination = gw.set_headers(reply.request_body.response)[DESTINATION]
    assert destination == gw.destination_in_metadata(reply)
    assert destination in {e.id for e in bench.merge.view.endpoints}
    assert reply.request_body.response.clear_route_cache
    assert not reply.request_body.response.HasField("body_mutation")


def test_full_duplex_answers_nothing_before_the_body_is_complete() -> None:
    """Headers reply, then the body streamed back byte for byte."""
    bench = Bench()
    exchange = bench.exchange()
    assert [] == exchange.receive(gw.request_headers(mode=FULL))
    assert [] == exchange.receive(gw.request_body(gw.CHAT[:40], end_of_stream=False))
    replies = exchange.receive(gw.request_body(gw.CHAT[40:]))
    assert ["request_headers", "request_body"] == gw.phases(replies)
    common = gw.read(replies[0]).request_headers.response
    assert str(len(gw.CHAT)) == gw.set_headers(common)["content-length"]
    assert [(gw.CHAT, True)] == gw.streamed(replies[1:])


@pytest.mark.parametrize("mode", EARLY)
def test_a_body_that_cannot_decide_is_not_waited_for(mode: BodyMode) -> None:
    """In NONE and STREAMED the headers leave at once, so the choice is by load."""
    bench = Bench()
    exchange = bench.exchange()
    (reply,) = exchange.receive(gw.request_headers(mode=mode))
    assert gw.set_headers(gw.read(reply).request_headers.response)[DESTINATION]
    later = exchange.receive(gw.request_body(b"x" * 10, end_of_stream=False))
    assert ["request_body"] == gw.phases(later)
    assert 1 == bench.open_requests


@pytest.mark.parametrize("mode", [*BUFFERED, *EARLY, FULL, None])
def test_a_request_without_a_body_is_placed_by_load(mode: BodyMode | None) -> None:
    """GET /v1/models gets one headers reply with a destination, in every mode."""
    bench = Bench()
    (reply,) = start(bench, mode, method="GET", path="/v1/models", end_of_stream=True)
    assert gw.set_headers(gw.read(reply).request_headers.response)[DESTINATION]


def test_gateways_without_protocol_config_get_the_assumed_mode() -> None:
    """Older gateways do not say; the field's standard is full duplex."""
    assert [] == start(Bench(), None)
    bench = Bench(settings=ExchangeSettings(assumed_body_mode=BodyMode.BUFFERED))
    assert ["request_headers"] == gw.phases(start(bench, None))


def test_grpc_body_mode_is_refused() -> None:
    """What we cannot serve fails the stream, so that the gateway's failure mode applies."""
    with pytest.raises(StreamFailed) as caught:
        start(Bench(), BodyMode.GRPC)
    assert 12 == caught.value.status


# Chunks, trailers, repeats


@pytest.mark.parametrize(
    ("size", "chunks"), [(1, 1), (61_000, 1), (62_000, 1), (62_001, 2), (125_000, 3)]
)
def test_streamed_bodies_are_cut_below_the_limit(size: int, chunks: int) -> None:
    """At most 62,000 bytes a reply, end of stream on the last only, and every byte comes back."""
    body = gw.CHAT[:-2] + b" " * max(size - len(gw.CHAT), 0) + gw.CHAT[-2:]
    if size < len(gw.CHAT):
        body = b'{"a":1}' if size > 7 else b"{"
    bench = Bench()
    exchange = bench.exchange()
    path = "/unknown"  # passed through, whatever it holds
    exchange.receive(gw.request_headers(mode=FULL, path=path))
    sent = gw.streamed(exchange.receive(gw.request_body(body))[1:])
    assert chunks == len(sent)
    assert body == b"".join(chunk for chunk, _ in sent)
    assert [False] * (chunks - 1) + [True] == [end for _, end in sent]


def test_an_empty_streamed_body_is_one_empty_chunk() -> None:
    """Zero bytes still end the stream."""
    exchange = Bench().exchange()
    exchange.receive(gw.request_headers(mode=FULL, path="/unknown"))
    assert [(b"", True)] == gw.streamed(exchange.receive(gw.request_body(b""))[1:])


def test_trailers_end_a_streamed_body() -> None:
    """Headers, body without end of stream, then trailers."""
    exchange = Bench().exchange()
    exchange.receive(gw.request_headers(mode=FULL))
    assert [] == exchange.receive(gw.request_body(end_of_stream=False))
    replies = exchange.receive(gw.request_trailers())
    assert ["request_headers", "request_body", "request_trailers"] == gw.phases(replies)
    assert [(gw.CHAT, False)] == gw.streamed(replies[1:2])


def test_trailers_behind_a_buffered_body_are_answered() -> None:
    """The decision came with the body."""
    exchange = Bench().exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    exchange.receive(gw.request_body(end_of_stream=False))
    assert ["request_trailers"] == gw.phases(exchange.receive(gw.request_trailers()))


def test_trailers_in_place_of_a_buffered_body_decide_by_metadata() -> None:
    """Headers can no more be changed behind trailers."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    (reply,) = exchange.receive(gw.request_trailers())
    assert gw.destination_in_metadata(gw.read(reply))
    assert 1 == bench.open_requests


@pytest.mark.parametrize("mode", [*BUFFERED, FULL])
def test_what_comes_after_the_end_is_ignored(mode: BodyMode) -> None:
    """Envoy may send the last chunk again: one decision, one booking, no error."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=mode))
    exchange.receive(gw.request_body())
    assert [] == exchange.receive(gw.request_body())
    assert [] == exchange.receive(gw.request_headers(mode=mode))
    assert 1 == bench.open_requests
    assert 1 == len(bench.observer.picks)


def test_observability_mode_is_only_watched() -> None:
    """Envoy heeds no reply there, so nothing is booked."""
    bench = Bench()
    message = pb.ProcessingRequest.FromString(gw.request_headers(end_of_stream=True))
    message.observability_mode = True
    assert [] == bench.exchange().receive(message.SerializeToString())
    assert 0 == bench.open_requests


# Headers


def test_only_what_changes_is_set_and_overwrites() -> None:
    """No header of the client's is echoed, hop-by-hop ones least of all."""
    replies = decide(Bench(), BodyMode.BUFFERED, x_request_id="mine", transfer_encoding="chunked")
    common = gw.read(replies[1]).request_body.response
    assert {DESTINATION} == set(gw.set_headers(common))
    actions = {option.append_action for option in common.header_mutation.set_headers}
    assert {pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD} == actions


def test_a_request_id_is_made_where_none_came() -> None:
    """So that logs and picks can be joined."""
    replies = decide(Bench(), BodyMode.BUFFERED)
    common = gw.read(replies[1]).request_body.response
    assert "made-up-id" == gw.set_headers(common)["x-request-id"]


def test_routing_headers_of_clients_are_stripped() -> None:
    """A client may not name servers; the destination it sends is overwritten."""
    exchange = Bench().exchange()
    sent = [
        ("X-Prefiller-Host-Port", "10.0.0.9:22"),
        ("x-gateway-destination-endpoint", "10.0.0.9:22"),
        ("x-gateway-destination-endpoint", "10.0.0.8:22"),
        ("x-gateway-destination-endpoint-subset", "10.0.0.9"),
    ]
    exchange.receive(gw.request_headers(sent, mode=BodyMode.BUFFERED))
    (reply,) = exchange.receive(gw.request_body())
    common = gw.read(reply).request_body.response
    removed = {name.decode() for name in common.header_mutation.remove_headers}
    assert {"x-prefiller-host-port", "x-gateway-destination-endpoint-subset"} == removed
    assert gw.set_headers(common)[DESTINATION].startswith("10.0.0.")
    assert gw.set_headers(common)[DESTINATION].endswith(":8000")


def test_header_bytes_that_are_no_utf8_are_survived() -> None:
    """Envoy passes raw bytes on; they concern nobody here."""
    bench = Bench()
    replies = decide(bench, BodyMode.BUFFERED)
    exchange = bench.exchange()
    exchange.receive(gw.request_headers({"x-odd": b"\xff\xfe\x80"}, mode=BodyMode.BUFFERED))
    assert gw.phases(replies[1:]) == gw.phases(exchange.receive(gw.request_body()))


def test_the_model_is_rewritten_where_a_header_asks() -> None:
    """Only the value changes; the length follows in buffered and in streamed bodies."""
    renamed = gw.CHAT.replace(b'"tiny"', b'"tiny-v2-large"')
    header = {"x_llm_d_model_name_rewrite": "tiny-v2-large", "content_length": str(len(gw.CHAT))}
    buffered = gw.read(decide(Bench(), BodyMode.BUFFERED, **header)[1]).request_body.response
    assert renamed == buffered.body_mutation.body
    assert str(len(renamed)) == gw.set_headers(buffered)["content-length"]
    replies = decide(Bench(), FULL, **header)
    assert [(renamed, True)] == gw.streamed(replies[1:])
    common = gw.read(replies[0]).request_headers.response
    assert str(len(renamed)) == gw.set_headers(common)["content-length"]


# Subsets


@pytest.mark.parametrize("where", ["headers", "body"])
def test_the_subset_hint_counts_from_either_message(where: str) -> None:
    """Whichever message carries it, only named endpoints are candidates."""
    bench = Bench()
    wanted = bench.merge.view.endpoints[2].id
    exchange = bench.exchange()
    hint = [wanted]
    in_headers = hint if where == "headers" else None
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED, subset=in_headers))
    in_body = hint if where == "body" else None
    (reply,) = exchange.receive(gw.request_body(subset=in_body))
    assert wanted == gw.destination_in_metadata(gw.read(reply))


@pytest.mark.parametrize("subset", [[], ["192.0.2.1:80"], "not an address"])
def test_a_subset_that_names_nobody_is_503(subset: list[str]) -> None:
    """Present but empty is no candidate, for requests without a body too."""
    bench = Bench()
    answer = immediate(start(bench, FULL, subset=subset, end_of_stream=True, method="GET"))
    assert 503 == answer.status.code
    assert "rejected-no-endpoints" == gw.set_headers(answer)["x-llm-d-request-dropped-reason"]
    assert 0 == bench.open_requests


def test_ipv6_destinations_are_bracketed() -> None:
    """As the gateway needs them."""
    bench = Bench([make_endpoint(name="six", address="fd00::1", port=8000)])
    (reply,) = start(bench, FULL, end_of_stream=True, method="GET")
    assert "[fd00::1]:8000" == gw.destination_in_metadata(gw.read(reply))


# Refusals


BAD_BODIES = {
    "garbage": (b"<html>" * 1000, "invalid_json"),
    "truncated": (gw.CHAT[:50], "invalid_json"),
    "empty": (b"", "invalid_json"),
    "no messages": (b'{"model":"tiny"}', "missing_field"),
    "no model": (b'{"messages":[{"role":"user","content":"hi"}]}', "model_not_found"),
}


@pytest.mark.parametrize("mode", [BodyMode.BUFFERED, FULL])
@pytest.mark.parametrize("kind", BAD_BODIES)
def test_unreadable_bodies_are_400_in_the_openai_form(mode: BodyMode, kind: str) -> None:
    """A short message, nothing booked, the stream over."""
    body, code = BAD_BODIES[kind]
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=mode))
    replies = exchange.receive(gw.request_body(body))
    assert 400 == immediate(replies).status.code
    assert code == error_of(replies)["code"]
    assert "invalid_request_error" == error_of(replies)["type"]
    assert 256 >= len(error_of(replies)["message"])
    assert "application/json" == gw.set_headers(immediate(replies))["content-type"]
    assert exchange.finished
    assert 0 == bench.open_requests


def test_a_partial_body_is_never_refused() -> None:
    """BUFFERED_PARTIAL shows the head only: JSON cut off, the model beyond the cut."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED_PARTIAL))
    body = b'{"messages":[{"role":"user","content":"' + b"words " * 100
    (reply,) = exchange.receive(gw.request_body(body, end_of_stream=False))
    assert gw.destination_in_metadata(gw.read(reply))


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(announced: bool) -> None:  # noqa: FBT001
    """Refused by its announced length, or as soon as the limit is passed; nothing is kept."""
    bench = Bench(settings=ExchangeSettings(max_request_body_bytes=100))
    exchange = bench.exchange()
    headers = {"content-length": "101"} if announced else {}
    replies = exchange.receive(gw.request_headers(headers, mode=FULL))
    if not announced:
        assert [] == exchange.receive(gw.request_body(b"x" * 100, end_of_stream=False))
        replies = exchange.receive(gw.request_body(b"x", end_of_stream=False))
    assert 413 == immediate(replies).status.code
    assert exchange.finished
    assert [] == exchange.receive(gw.request_body(b"x", end_of_stream=True))


def test_a_long_prompt_in_partial_mode_is_no_413() -> None:
    """Only its head passes through us."""
    bench = Bench(settings=ExchangeSettings(max_request_body_bytes=1000))
    exchange = bench.exchange()
    long = {"content-length": "1000000"}
    replies = exchange.receive(gw.request_headers(long, mode=BodyMode.BUFFERED_PARTIAL))
    assert ["request_headers"] == gw.phases(replies)


def test_an_empty_pool_is_503_with_retry_after() -> None:
    """No capacity exists: worth a retry, unlike contention."""
    answer = immediate(decide(Bench([]), BodyMode.BUFFERED)[1:])
    assert 503 == answer.status.code
    assert "1" == gw.set_headers(answer)["retry-after"]
    assert "rejected-no-endpoints" == gw.set_headers(answer)["x-llm-d-request-dropped-reason"]


def test_no_protobuf_fails_the_stream() -> None:
    """INVALID_ARGUMENT, and nothing is booked."""
    bench = Bench()
    with pytest.raises(StreamFailed) as caught:
        bench.exchange().receive(b"\xff\xff\xff\xff")
    assert 3 == caught.value.status
    assert 0 == bench.open_requests


# Response


def test_response_bodies_go_back_as_they_came() -> None:
    """In full duplex every chunk is echoed, a large one split; usage is read on the way."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=FULL, response_mode=FULL))
    exchange.receive(gw.request_body())
    headers = {"content-type": "text/event-stream"}
    assert ["response_headers"] == gw.phases(exchange.receive(gw.response_headers(200, headers)))
    event = b'data: {"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
    echoed = exchange.receive(gw.response_body(event + b"x" * 70_000))
    assert event + b"x" * 70_000 == b"".join(c for c, _ in gw.streamed(echoed, response=True))
    last = exchange.receive(gw.response_body(b"data: [DONE]\n\n", end_of_stream=True))
    assert [(b"data: [DONE]\n\n", True)] == gw.streamed(last, response=True)
    assert [] == exchange.receive(gw.response_body(b"", end_of_stream=True))
    exchange.close(StreamEnd.COMPLETED)
    (usage,) = bench.observer.usages
    assert usage is not None
    assert (7, 3) == (usage.prompt_tokens, usage.output_tokens)


@pytest.mark.parametrize("mode", [BodyMode.STREAMED, BodyMode.BUFFERED])
def test_other_response_modes_are_answered_with_continue(mode: BodyMode) -> None:
    """No mutation, so Envoy keeps what it has."""
    exchange = Bench().exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED, response_mode=mode))
    exchange.receive(gw.request_body())
    exchange.receive(gw.response_headers())
    (reply,) = exchange.receive(gw.response_body(b"x", end_of_stream=True))
    assert not gw.read(reply).response_body.response.HasField("body_mutation")


def test_a_response_without_a_request_phase_is_tolerated() -> None:
    """Some gateways only send the response phase."""
    exchange = Bench().exchange()
    assert ["response_headers"] == gw.phases(exchange.receive(gw.response_headers(500)))
    assert ["response_trailers"] == gw.phases(exchange.receive(gw.response_trailers()))


# Bookings


def booked(bench: Bench) -> tuple[int, int, int]:
    """Return the pool's totals: requests, prefill tokens, decode tokens."""
    pool = bench.merge.view
    columns = (pool.requests, pool.prefill_tokens, pool.decode_tokens)
    requests, prefill, decode = (int(column.sum()) for column in columns)
    return requests, prefill, decode


def test_prefill_is_freed_at_the_headers_of_a_whole_answer() -> None:
    """An answer that is no stream begins when the prompt has long been processed."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    exchange.receive(gw.request_body())
    requests, prefill, decode = booked(bench)
    assert (1, True, True) == (requests, prefill > 0, decode > 0)
    exchange.receive(gw.response_headers())
    assert (1, 0, decode) == booked(bench)
    exchange.close(StreamEnd.COMPLETED)
    assert (0, 0, 0) == booked(bench)


def test_prefill_outlives_the_headers_of_a_stream() -> None:
    """Servers send them before the first token: the first chunk, or the expected time, counts."""
    headers = {"content-type": "text/event-stream"}
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=FULL, response_mode=FULL))
    exchange.receive(gw.request_body())
    exchange.receive(gw.response_headers(200, headers))
    assert booked(bench)[1] > 0
    exchange.receive(gw.response_body(b"data: 1\n\n"))
    assert 0 == booked(bench)[1]
    unseen = bench.exchange()
    unseen.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    unseen.receive(gw.request_body())
    unseen.receive(gw.response_headers(200, headers))
    assert booked(bench)[1] > 0
    bench.clock.advance(10)
    bench.merge.ledger.settle(bench.clock.monotonic())
    assert 0 == booked(bench)[1]


ENDINGS: dict[str, Callable[[], list[bytes]]] = {
    "headers only response": lambda: [gw.response_headers(204, end_of_stream=True)],
    "body": lambda: [gw.response_headers(), gw.response_body(b"x", end_of_stream=True)],
    "trailers": lambda: [gw.response_headers(), gw.response_trailers()],
    "nothing": list,
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("end", StreamEnd)
def test_every_ending_releases_exactly_once(ending: str, end: StreamEnd) -> None:
    """Response end, client cancel, upstream reset, gateway gone, drain: the count is zero."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=FULL, response_mode=FULL))
    exchange.receive(gw.request_body())
    for message in ENDINGS[ending]():
        exchange.receive(message)
    exchange.close(end)
    assert (0, 0, 0) == booked(bench)
    assert [(end, ending != "nothing")] == bench.observer.ends
    assert [] == exchange.receive(gw.response_headers())


def test_a_booking_follows_the_endpoint_that_served() -> None:
    """The gateway may fall back to another endpoint than ours; unknown ones change nothing."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    (reply,) = exchange.receive(gw.request_body())
    chosen = gw.destination_in_metadata(gw.read(reply))
    other = next(e for e in bench.merge.view.endpoints if e.id != chosen)
    exchange.receive(gw.response_headers(served=other.id))
    assert 1 == bench.merge.view.requests[bench.merge.view.slots[other.uid]]
    exchange.receive(gw.response_headers(served="192.0.2.7:1"))
    assert 1 == bench.open_requests
    exchange.close(StreamEnd.COMPLETED)
    assert 0 == bench.open_requests


def test_an_endpoint_removed_while_serving_leaves_no_trace() -> None:
    """Release finds nothing to make negative, also after the endpoint came back."""
    bench = Bench()
    exchange = bench.exchange()
    exchange.receive(gw.request_headers(mode=BodyMode.BUFFERED))
    exchange.receive(gw.request_body())
    bench.merge.set_endpoints([])
    bench.merge.set_endpoints(builders.endpoints(4))
    assert 1 == booked(bench)[0]
    exchange.close(StreamEnd.RESET)
    assert (0, 0, 0) == booked(bench)


MESSAGES = st.one_of(
    st.builds(
        gw.request_headers,
        mode=st.sampled_from([None, *BodyMode]),
        end_of_stream=st.booleans(),
        response_mode=st.sampled_from(BodyMode),
        path=st.sampled_from(["/v1/chat/completions", "/v1/models", "/"]),
    ),
    st.builds(
        gw.request_body,
        st.sampled_from([gw.CHAT, gw.CHAT[:30], gw.CHAT[30:], b"", b"\x00"]),
        end_of_stream=st.booleans(),
    ),
    st.builds(gw.request_trailers),
    st.builds(gw.response_headers, end_of_stream=st.booleans()),
    st.builds(gw.response_body, st.binary(max_size=20), end_of_stream=st.booleans()),
    st.builds(gw.response_trailers),
    st.binary(max_size=30),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MESSAGES, max_size=12), st.sampled_from(StreamEnd))
def test_any_sequence_of_messages_ends_with_all_counts_zero(
    messages: list[bytes], end: StreamEnd
) -> None:
    """Whatever a gateway sends: replies or a stream error, at most one booking, none at the end."""
    bench = Bench()
    exchange = bench.exchange()
    for message in messages:
        try:
            for reply in exchange.receive(message):
                gw.read(reply)
        except StreamFailed:
            break
        assert 1 >= bench.open_requests
    exchange.close(end)
    assert (0, 0, 0) == booked(bench)
    assert 1 >= len(bench.observer.picks)
