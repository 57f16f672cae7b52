"""Workloads are reproducible and have the shape that was asked for."""

import json

import pytest

from chaos.load.workload import Arrivals, CancelPoint, Mix, plan

SMALL = Mix(requests=200, rate=100.0)


def contents(body: bytes) -> list[str]:
    """Return the messages' texts."""
    return [message["content"] for message in json.loads(body)["messages"]]


def test_the_same_seed_gives_the_same_requests() -> None:
    """A run can be repeated; another seed gives another one."""
    mix = Mix(requests=50, cancel_share=0.5, long_share=0.1, stream_share=0.5)
    assert list(plan(mix)) == list(plan(mix))
    assert list(plan(mix)) != list(plan(Mix(requests=50, seed=1)))


def test_constant_arrivals_are_evenly_spaced() -> None:
    """The rate is exact."""
    mix = Mix(requests=4, rate=10.0, arrivals=Arrivals.CONSTANT)
    assert pytest.approx([0.0, 0.1, 0.2, 0.3]) == [r.at_seconds for r in plan(mix)]


def test_poisson_arrivals_have_the_rate_as_their_mean() -> None:
    """A thousand arrivals at 100/s take about ten seconds."""
    *_, last = plan(Mix(requests=1000, rate=100.0))
    assert pytest.approx(10.0, rel=0.15) == last.at_seconds


@pytest.mark.parametrize(("requests", "expected"), [(5, 5), (None, 20), (500, 20)])
def test_the_first_limit_ends_the_workload(requests: int | None, expected: int) -> None:
    """Duration and number of requests are both limits."""
    mix = Mix(rate=10.0, duration_seconds=1.95, requests=requests, arrivals=Arrivals.CONSTANT)
    assert expected == len(list(plan(mix)))


def test_system_prompts_are_shared_and_users_are_not() -> None:
    """Prefixes repeat, whole prompts do not."""
    texts = [contents(r.body) for r in plan(Mix(requests=200, system_prompts=3))]
    assert 3 == len({system for system, _ in texts})
    assert 200 == len({user for _, user in texts})
    assert {1200} == {len(system) for system, _ in texts}
    assert all(200 <= len(user) <= 1200 for _, user in texts)


def test_without_system_prompts_there_is_one_message() -> None:
    """Zero turns them off."""
    (request,) = plan(Mix(requests=1, system_prompts=0))
    assert 1 == len(contents(request.body))


def test_long_prompts_have_their_length() -> None:
    """With share 1 every user prompt is long."""
    (request,) = plan(Mix(requests=1, long_share=1.0))
    assert 100_000 == len(contents(request.body)[-1])


def test_streams_ask_for_usage() -> None:
    """The client learns cached tokens from every answer."""
    streams = {r.stream: json.loads(r.body) for r in plan(Mix(requests=50, stream_share=0.5))}
    assert {"include_usage": True} == streams[True]["stream_options"]
    assert "stream" not in streams[False]


def test_cancellations_are_drawn_by_share() -> None:
    """Some before the first byte, some at it, the rest never."""
    points = [r.cancel for r in plan(Mix(requests=400, cancel_share=0.5))]
    assert pytest.approx(200, abs=40) == points.count(CancelPoint.NEVER)
    assert pytest.approx(100, abs=40) == points.count(CancelPoint.AFTER_DELAY)
    assert {CancelPoint.NEVER} == {r.cancel for r in plan(SMALL)}
