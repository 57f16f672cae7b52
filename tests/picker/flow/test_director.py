"""From a request to a booked placement, over real state and a real scheduler."""

import json
from collections.abc import Callable

import pytest

from picker.flow.director import DEFAULT_OUTPUT_TOKENS, RequestParts
from picker.flow.errors import Refused
from picker.requests.errors import RequestError
from picker.requests.model import Api
from state.model import EndpointUid, Observation, ShardId, Snapshot
from tests.support import builders
from tests.support.picker import Bench

SECRET = "the quick brown fox"
QUEUE_CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}]
"""


def chat(prompt: str = "Say hello.", **fields: object) -> bytes:
    body: dict[str, object] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": prompt}],
    }
    return json.dumps(body | fields).encode()


def parts(
    body: bytes | None = None,
    *,
    path: str = "/v1/chat/completions",
    subset: list[str] | None = None,
    partial: bool = False,
    **headers: str,
) -> RequestParts:
    named = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
    return RequestParts(
        headers={":path": path.encode(), **named}, body=body, subset=subset, partial=partial
    )


def booked(bench: Bench) -> tuple[int, int, int]:
    """Return requests, prefill and decode tokens booked in all."""
    view = bench.merge.view
    return (
        int(view.requests.sum()),
        int(view.prefill_tokens.sum()),
        int(view.decode_tokens.sum()),
    )


def long_prompt(tokens: int) -> str:
    return "".join(f"word {i:03} " for i in range(tokens * 4 // 9 + 1))[: tokens * 4]


# Booking


def test_placed_request_is_booked_at_its_destination() -> None:
    """The caller owns the booking."""
    bench = Bench()
    placed = bench.director.place(parts(chat(max_tokens=77)))
    (slot,) = bench.merge.view.requests.nonzero()[0]
    assert bench.merge.view.endpoints[slot].id == placed.destination
    assert bench.merge.view.endpoints[slot].uid == placed.booking.uid
    assert (1, placed.request.prompt_tokens, 77) == booked(bench)
    placed.booking.release()
    assert (0, 0, 0) == booked(bench)


def test_output_without_a_limit_is_booked_at_a_guess() -> None:
    """Unknown is not zero."""
    bench = Bench()
    bench.director.place(parts(chat()))
    assert DEFAULT_OUTPUT_TOKENS == booked(bench)[2]


def test_only_uncached_tokens_are_booked() -> None:
    """A prompt that was sent there before costs what it adds."""
    bench = Bench()
    prompt = long_prompt(2000)
    first = bench.director.place(parts(chat(prompt)))
    first.booking.release()
    second = bench.director.place(parts(chat(prompt + " and more")))
    assert first.destination == second.destination
    tokens = second.request.prompt_tokens
    assert 0 < booked(bench)[1] < 0.1 * tokens
    (record,) = bench.picks.last(1)
    assert tokens - record["cached_tokens"] == booked(bench)[1]


def test_cached_tokens_are_those_of_the_chosen_endpoint() -> None:
    """Sent to one is not cached on another."""
    bench = Bench()
    prompt = long_prompt(2000)
    first = bench.director.place(parts(chat(prompt)))
    first.booking.release()
    others = [e.id for e in bench.merge.view.endpoints if e.id != first.destination]
    second = bench.director.place(parts(chat(prompt), subset=[str(other) for other in others]))
    assert second.request.prompt_tokens == booked(bench)[1]


def test_what_a_departed_endpoint_was_sent_is_forgotten() -> None:
    """When it comes back its cache is cold."""
    bench = Bench(builders.endpoints(1))
    prompt = long_prompt(2000)
    bench.director.place(parts(chat(prompt))).booking.release()
    bench.merge.set_endpoints([])
    with pytest.raises(Refused):
        bench.director.place(parts(chat(prompt)))
    bench.merge.set_endpoints(builders.endpoints(1))
    placed = bench.director.place(parts(chat(prompt)))
    assert placed.request.prompt_tokens == booked(bench)[1]


def test_prompt_is_freed_when_its_prefill_should_be_over() -> None:
    """Nothing else may tell; the next decision reads it."""
    bench = Bench(builders.endpoints(1))
    bench.director.place(parts(chat(long_prompt(8000))))
    bench.clock.advance(0.5)
    bench.director.place(parts(chat()))
    assert booked(bench)[1] > 8000
    bench.clock.advance(2.0)
    placed = bench.director.place(parts(chat()))
    assert (3, placed.request.prompt_tokens) == booked(bench)[:2]


def test_requests_without_a_common_head_spread() -> None:
    """Each decision reads the bookings of those before it."""
    bench = Bench()
    for _ in range(8):
        bench.director.place(parts(chat()))
    assert [2, 2, 2, 2] == bench.merge.view.requests.tolist()


def test_decision_is_counted_with_its_reason() -> None:
    """For the metrics."""
    bench = Bench()
    bench.director.place(parts(chat()))
    bench.director.place(parts(chat(long_prompt(1000))))
    assert ["least-delay", "prefix-affinity-filter"] == bench.observer.picks


def test_spares_are_named_behind_the_destination() -> None:
    """The first is booked."""
    bench = Bench(config=QUEUE_CONFIG)
    placed = bench.director.place(parts(chat()))
    first, second = placed.destination.split(",")
    assert first != second
    assert bench.director.uid_of(first) == placed.booking.uid


# Refusals: nothing is booked, and the next request works


def test_empty_pool_is_unavailable() -> None:
    """503, no endpoints."""
    bench = Bench([])
    with pytest.raises(Refused) as caught:
        bench.director.place(parts(chat()))
    assert (503, "no_endpoints") == (caught.value.status, caught.value.code)


def refuse(**of: object) -> Callable[[Bench], object]:
    return lambda bench: bench.director.place(parts(**of))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "status"),
    [
        (refuse(body=chat(), subset=[]), 503),
        (refuse(body=chat(), subset=["10.9.9.9:8000"]), 503),
        (refuse(body=b""), 400),
        (refuse(body=b"", path="/v1/completions?x=1"), 400),
        (refuse(body=b"{"), 400),
        (refuse(body=b"\xff\xfe"), 400),
        (refuse(body=b"[]"), 400),
        (refuse(body=b'{"messages": []}'), 400),
        (refuse(body=chat(model="")), 400),
        (refuse(body=b'{"model": "tiny"}'), 400),
    ],
)
def test_refused_request_books_nothing(place: Callable[[Bench], object], status: int) -> None:
    """Nor is it recorded or counted as a pick."""
    bench = Bench()
    with pytest.raises((Refused, RequestError)) as caught:
        place(bench)
    assert status == getattr(caught.value, "status", None)
    assert (0, 0, 0) == booked(bench)
    assert 0 == bench.open_requests
    assert [] == bench.picks.last(9)
    assert [] == bench.observer.picks
    bench.director.place(parts(chat()))
    assert 1 == bench.open_requests


def test_filters_that_leave_nobody_are_contention() -> None:
    """429: endpoints exist."""
    bench = Bench()
    bench.director._scheduler = NobodyMay()  # type: ignore[assignment]
    with pytest.raises(Refused) as caught:
        bench.director.place(parts(chat()))
    assert (429, "saturated") == (caught.value.status, caught.value.code)
    assert (0, 0, 0) == booked(bench)


class NobodyMay:
    """A scheduler whose filters leave nobody."""

    def schedule(self, *arguments: object) -> dict[str, object]:
        """Return no placements."""
        assert 3 == len(arguments)
        return {}


def test_empty_body_says_so() -> None:
    """Not something about JSON positions."""
    with pytest.raises(RequestError, match="the body is empty"):
        Bench().director.place(parts(b""))


# What is read


def test_subset_limits_the_choice() -> None:
    """Whatever the load."""
    bench = Bench()
    only = builders.endpoint(2)
    for _ in range(3):
        assert only.id == bench.director.place(parts(chat(), subset=[only.address])).destination


@pytest.mark.parametrize("path", ["/v1/models", "/", "/health?x=1"])
def test_request_without_a_body_is_placed_by_load(path: str) -> None:
    """It has no prompt to find in a cache."""
    bench = Bench(builders.endpoints(2))
    first = bench.director.place(parts(None, path=path))
    second = bench.director.place(parts(None, path=path))
    assert first.destination != second.destination
    assert (Api.OTHER, None) == (first.request.api, first.rewritten_body)
    assert (2, 0) == booked(bench)[:2]


def test_body_that_does_not_pass_through_us_is_placed_by_load() -> None:
    """Only headers are shown: no reason to refuse."""
    bench = Bench()
    assert 1 == len(bench.director.place(parts(None)).destination.split(","))
    assert 1 == bench.open_requests


def test_empty_body_of_an_unknown_path_passes() -> None:
    """Its API may want none."""
    Bench().director.place(parts(b"", path="/tokenize"))


def test_partial_empty_body_passes() -> None:
    """What is hidden is unknown."""
    Bench().director.place(parts(b"", partial=True))


def test_model_rewrite_changes_the_model_alone() -> None:
    """The rest of the body stays as it came, byte for byte."""
    body = chat("Say hello.", model="front", temperature=0.70)
    placed = Bench().director.place(parts(body, x_gateway_model_name_rewrite="back"))
    assert body.replace(b'"front"', b'"back"') == placed.rewritten_body
    assert ("front", "back") == (placed.request.model, placed.request.target_model)


def test_body_is_left_alone_without_a_rewrite() -> None:
    """Also if the rewrite says what is there."""
    for same in ("", "tiny"):
        shown = parts(chat(), x_gateway_model_name_rewrite=same)
        assert None is Bench().director.place(shown).rewritten_body


def test_prefix_is_that_of_the_target_model() -> None:
    """Two names of one model share a cache."""
    bench = Bench()
    prompt = long_prompt(1000)
    one = bench.director.place(parts(chat(prompt, model="a"), x_gateway_model_name_rewrite="back"))
    one.booking.release()
    other = bench.director.place(parts(chat(prompt, model="back")))
    assert one.request.prefix == other.request.prefix
    assert one.destination == other.destination


# What is recorded


def test_record_says_what_was_decided_on() -> None:
    """Versions, candidates, scores; and no prompt."""
    bench = Bench(config=QUEUE_CONFIG)
    observations = tuple(
        Observation(uid=builders.endpoint(i).uid, age_seconds=0.0, running=0.0, waiting=float(i))
        for i in range(4)
    )
    snapshot = Snapshot(shard=ShardId("0"), fence=3, version=9, observations=observations)
    bench.merge.apply_snapshot(snapshot, bench.clock.monotonic())
    bench.director.place(parts(chat(SECRET), x_request_id="r-1"))
    (record,) = bench.picks.last(1)
    assert {"0": [3, 9]} == record["view_versions"]
    assert ("r-1", "tiny", "/v1/chat/completions", "default", "max-score") == tuple(
        record[name] for name in ("request_id", "model", "path", "profile", "reason")
    )
    assert "10.0.0.1:8000" == record["endpoint"]
    scores = {each["id"]: each["score"] for each in record["candidates"]}
    assert [1.0, pytest.approx(2 / 3), pytest.approx(1 / 3), 0.0] == [
        scores[e.id] for e in bench.merge.view.endpoints
    ]
    assert SECRET not in json.dumps(record)


def test_record_is_of_the_state_before_the_booking() -> None:
    """Later bookings do not change what was recorded."""
    bench = Bench(builders.endpoints(1))
    bench.director.place(parts(chat(long_prompt(8000))))
    bench.director.place(parts(chat()))
    later, first = bench.picks.last(2)
    assert 0.0 == first["candidates"][0]["delay_seconds"]
    assert later["candidates"][0]["delay_seconds"] > 0.9


def test_endpoint_that_served_is_found_by_its_address() -> None:
    """None for an address that is not in the pool."""
    bench = Bench([builders.endpoint(0), builders.endpoint(1, address="fd00::1")])
    uid: EndpointUid | None = builders.endpoint(1, address="fd00::1").uid
    assert uid == bench.director.uid_of("[fd00::1]:8000")
    assert None is bench.director.uid_of("10.9.9.9:8000")
    assert None is bench.director.uid_of("")


def test_a_holder_is_expected_to_have_what_caches_hold() -> None:
    """Peers sent their prompts there too: the average share counts as cached on a prefix holder."""
    bench = Bench()
    bench.merge.view.mean_prefill_tokens, bench.merge.view.prefix_hit_ratio = 100.0, 0.75
    body = b'{"model":"tiny","messages":[{"role":"user","content":"' + b"words " * 500 + b'"}]}'
    placed = bench.director.place(
        RequestParts(headers={":path": b"/v1/chat/completions"}, body=body)
    )
    (pick,) = bench.picks.last(1)
    assert "prefix-affinity-filter" == pick["reason"]
    assert 300 == pick["cached_tokens"]
    placed.booking.release()
