"""`expected-delay-picker`: least delay, spread over what peers may have placed meanwhile."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from picker.plugins.pickers.expected_delay import (
    ExpectedDelayParameters,
    ExpectedDelayPicker,
)
from picker.scheduling.framework import Pick
from state.view import PoolView
from tests.support import builders
from tests.support.plugins import shares
from tests.support.seeds import seeded

RATE = 8000


def make(**parameters: float) -> ExpectedDelayPicker:
    built = ExpectedDelayParameters(**parameters)  # type: ignore[arg-type]
    return ExpectedDelayPicker(built, builders.delay(), seeded())


def loaded(*pending_seconds: float) -> PoolView:
    """Return a pool with so much prefill pending on each endpoint."""
    return builders.view(
        prefill_tokens=[seconds * RATE for seconds in pending_seconds],
        prefill_tokens_per_second=[RATE] * len(pending_seconds),
    )


def shared(view: PoolView, *, picks_per_second: float, age: float) -> PoolView:
    """Let another replica place so many mean prompts of one second each."""
    view.replicas = 2
    view.peers_age_seconds = age
    view.peer_picks_per_second = picks_per_second
    view.mean_prefill_tokens = RATE
    return view


def pick(
    picker: ExpectedDelayPicker,
    view: PoolView,
    *,
    candidates: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
    tokens: int = 500,
) -> Pick:
    mask = builders.everybody(view)
    if candidates is not None:
        mask[:] = False
        mask[list(candidates)] = True
    scored = np.zeros(len(view)) if scores is None else np.array(scores)
    return picker.pick(builders.request(prompt_tokens=tokens), view, mask, scored)


# The water level


# A replica alone


def test_least_delay_is_picked() -> None:
    """A view of its own bookings is never old."""
    answer = pick(make(), loaded(0.3, 0.1, 0.2))
    assert ((1,), "least-delay") == (answer.slots, answer.reason)


def test_own_prompt_time_counts() -> None:
    """A slow idle endpoint loses against a fast one with little to do."""
    view = builders.view(prefill_tokens_per_second=[1000, 8000], prefill_tokens=[0, 4000])
    assert (1,) == pick(make(), view, tokens=8000).slots


def test_equal_delays_are_chosen_at_random() -> None:
    """Or the first slot would get every lull."""
    picker, view = make(), loaded(0.5, 0.5, 0.9, 0.5)
    got = shares(lambda: pick(picker, view).slots, 4, 3000)
    assert 0.0 == got[2]
    assert all(0.25 < got[slot] < 0.42 for slot in (0, 1, 3))


def test_only_candidate_is_picked() -> None:
    """However loaded."""
    answer = pick(make(), loaded(0.0, 9.0), candidates=[1])
    assert ((1,), "only-candidate") == (answer.slots, answer.reason)


def test_only_candidates_are_picked() -> None:
    """An idle endpoint that may not serve does not."""
    assert (2,) == pick(make(), loaded(0.0, 0.3, 0.2), candidates=[1, 2]).slots


def test_scores_are_worth_seconds() -> None:
    """A score of zero costs as much as a second more delay than the best one."""
    view = loaded(0.0, 0.9)
    assert (1,) == pick(make(), view, scores=[0.0, 2.0]).slots
    assert (0,) == pick(make(), view, scores=[0.5, 2.0]).slots
    assert (0,) == pick(make(score_seconds=0.5), view, scores=[0.0, 2.0]).slots


def test_spares_come_in_order_of_delay() -> None:
    """For gateways that retry on the next."""
    view = loaded(0.3, 0.1, 0.2, 0.4)
    assert (1, 2, 0) == pick(make(max_num_of_endpoints=3), view).slots
    assert (1, 2, 0, 3) == pick(make(max_num_of_endpoints=9), view).slots


# Beside others


def test_fresh_view_is_least_delay() -> None:
    """Nothing can have been placed meanwhile."""
    view = shared(loaded(0.0, 0.1), picks_per_second=100, age=0.0)
    assert "least-delay" == pick(make(), view).reason


def test_share_of_each_endpoint_is_its_room_below_the_level() -> None:
    """Two seconds of work over 0, 1 and 2 seconds of load: the level is 1.5."""
    view = shared(loaded(0.0, 1.0, 2.0), picks_per_second=20, age=0.1)
    picker = make()
    assert "water-filling" == pick(picker, view, tokens=0).reason
    got = shares(lambda: pick(picker, view, tokens=0).slots, 3, 3000)
    assert [0.75, 0.25, 0.0] == pytest.approx(got, abs=0.04)


def test_own_rate_stands_for_silent_peers() -> None:
    """Replicas behind one balancer get about the same."""
    view = shared(loaded(0.0, 1.0, 2.0), picks_per_second=0, age=0.1)
    view.own_picks_per_second, view.replicas = 10, 3
    picker = make()
    got = shares(lambda: pick(picker, view, tokens=0).slots, 3, 3000)
    assert [0.75, 0.25, 0.0] == pytest.approx(got, abs=0.04)


def test_much_unseen_work_is_almost_uniform() -> None:
    """An old view says nothing."""
    view = shared(loaded(0.0, 1.0, 2.0), picks_per_second=1e6, age=10)
    picker = make()
    got = shares(lambda: pick(picker, view).slots, 3, 3000)
    assert all(0.28 < share < 0.39 for share in got)


@pytest.mark.parametrize("picks_per_second", [1e-18, 1e-12, 1e-300])
def test_rate_that_has_died_away_is_none(picks_per_second: float) -> None:
    """Averages decay for ever: less work than a float can add must not pick the last slot."""
    view = shared(loaded(0.1, 5.0, 9.0), picks_per_second=picks_per_second, age=0.005)
    picker = make()
    assert {(0,)} == {pick(picker, view).slots for _ in range(20)}


# Large pools


def test_large_pool_compares_samples() -> None:
    """Best of four."""
    view = loaded(*[0.1] * 17)
    assert "best-of-samples" == pick(make(), view).reason
    assert "least-delay" == pick(make(), view, candidates=range(16)).reason
    assert "best-of-samples" == pick(make(small_pool=3), view, candidates=range(4)).reason


def test_samples_are_candidates() -> None:
    """Of a filtered pool too."""
    view = loaded(*[0.0] * 10, *[1.0] * 30)
    picker = make()
    candidates = range(10, 40)
    chosen = {pick(picker, view, candidates=candidates).slots[0] for _ in range(300)}
    assert chosen <= set(candidates)
    assert len(chosen) > 20


def test_best_of_all_samples_is_the_best() -> None:
    """More samples than candidates are all of them."""
    view = loaded(*[1.0] * 39, 0.5)
    assert {(39,)} == {pick(make(samples=99), view).slots for _ in range(5)}


def test_share_of_the_best_is_that_of_being_sampled() -> None:
    """Four of forty."""
    view = loaded(0.0, *[1.0] * 39)
    picker = make()
    got = shares(lambda: pick(picker, view).slots, 40, 3000)
    assert pytest.approx(0.1, abs=0.025) == got[0]


def test_old_view_of_a_large_pool_is_filled() -> None:
    """Samples of old news would herd."""
    view = shared(loaded(*[0.1] * 40), picks_per_second=100, age=0.06)
    assert "water-filling" == pick(make(), view).reason


# Rules over many picks


@pytest.mark.parametrize("size", [8, 40])
def test_unscraped_endpoints_get_about_their_share(size: int) -> None:
    """Never the lion's share: the pool has load of others that they do not show."""
    view = builders.view(
        running=[20.0] * size,
        waiting=[10.0] * size,
        kv_usage=[0.95] * size,
        prefill_tokens_per_second=[RATE] * size,
    )
    unscraped = range(size // 4)
    for column in (
        view.running,
        view.waiting,
        view.kv_usage,
        view.prefill_tokens_per_second,
        view.observed_at,
    ):
        column[list(unscraped)] = math.nan
    picker, counts = make(), Counter[int]()
    for _ in range(40 * size):
        (slot,) = pick(picker, view, tokens=2000).slots
        counts[slot] += 1
        view.add(view.endpoints[slot].uid, 1, 2000, 100)
        view.running[slot] += 1
        view.open_at_cut[slot] += 1
    share = sum(counts[slot] for slot in unscraped) / counts.total()
    assert pytest.approx(0.25, abs=0.05) == share


def test_mirrored_pickers_on_one_stale_view_do_not_herd() -> None:
    """Eight replicas place a burst on the same picture: water-filling against least delay."""
    replicas, each = 8, 6
    view = loaded(*np.linspace(0.0, 0.2, 12).tolist())
    tokens = 800
    view.replicas = replicas
    view.own_picks_per_second = 100
    view.peer_picks_per_second = 100 * (replicas - 1)
    view.mean_prefill_tokens = tokens

    def most_loaded(age: float) -> float:
        view.peers_age_seconds = age
        placed = view.prefill_tokens.astype(float)
        for picker in [make() for _ in range(replicas)]:
            for _ in range(each):
                placed[pick(picker, view, tokens=tokens).slots[0]] += tokens
        return float(placed.max() / RATE)

    herd, spread = most_loaded(0.0), most_loaded(0.05)
    assert pytest.approx(replicas * each * tokens / RATE) == herd
    assert spread < herd / 3


def test_prompts_that_are_all_cached_still_count_as_something() -> None:
    """A mean of zero uncached tokens is no reason to think that peers place nothing."""
    view = shared(loaded(0.0, 0.01), picks_per_second=1000, age=0.05)
    view.mean_prefill_tokens = 0.0
    assert "water-filling" == pick(make(), view).reason
