"""`prefix-affinity-filter`: rendezvous hashing with bounded load."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from picker.plugins.filters.prefix_affinity import (
    PrefixAffinityFilter,
    PrefixAffinityParameters,
    RecentHeads,
    rendezvous_weights,
)
from picker.requests.model import InferenceRequest
from state.model import Endpoint, EndpointUid
from state.view import PoolView
from tests.support import builders
from tests.support.seeds import seeded

KEYS = st.integers(0, 2**64 - 1)
RATE = 8000


def affinity(**parameters: float) -> PrefixAffinityFilter:
    built = PrefixAffinityParameters(**parameters)  # type: ignore[arg-type]
    return PrefixAffinityFilter(built, builders.delay(), seeded(1))


def request(*prefix: int, tokens: int = 500) -> InferenceRequest:
    return builders.request(prefix=prefix, prompt_tokens=tokens)


def kept(
    pool: PoolView,
    asked: InferenceRequest,
    *,
    candidates: Sequence[int] | None = None,
    **parameters: float,
) -> list[int]:
    mask = builders.everybody(pool)
    if candidates is not None:
        mask[:] = False
        mask[list(candidates)] = True
    left: list[int] = np.flatnonzero(affinity(**parameters).filter(asked, pool, mask)).tolist()
    return left


def holder(pool: PoolView, key: int) -> EndpointUid:
    (slot,) = kept(pool, request(key))
    return pool.endpoints[slot].uid


def order(pool: PoolView, key: int) -> list[int]:
    """Return the slots in rendezvous order, the first holder first."""
    ordered: list[int] = np.argsort(rendezvous_weights(pool.uids, key))[::-1].tolist()
    return ordered


def pool(endpoints: Sequence[Endpoint]) -> PoolView:
    view = PoolView(endpoints)
    view.prefill_tokens_per_second[:] = RATE
    return view


def loaded(*pending_seconds: float) -> PoolView:
    """Return a pool with so much prefill pending on each endpoint."""
    return builders.view(
        prefill_tokens=[seconds * RATE for seconds in pending_seconds],
        prefill_tokens_per_second=[RATE] * len(pending_seconds),
    )


# Rendezvous


@given(key=KEYS, shuffled=st.permutations(builders.endpoints(12)))
@settings(max_examples=50)
def test_answer_does_not_depend_on_the_slot_order(key: int, shuffled: list[Endpoint]) -> None:
    """Replicas discover in different orders and agree all the same."""
    assert holder(pool(builders.endpoints(12)), key) == holder(pool(shuffled), key)


@given(keys=st.lists(KEYS, min_size=20, max_size=20, unique=True), gone=st.integers(0, 9))
@settings(max_examples=30)
def test_only_the_keys_of_a_removed_endpoint_move(keys: list[int], gone: int) -> None:
    """And when it comes back, only they come back."""
    everybody = builders.endpoints(10)
    removed = everybody[gone].uid
    with_it, without = pool(everybody), pool(everybody[:gone] + everybody[gone + 1 :])
    for key in keys:
        before, after = holder(with_it, key), holder(without, key)
        assert before in {after, removed}


def test_keys_spread_evenly() -> None:
    """No endpoint is everybody's favourite, and neither is one its second choice."""
    rng = seeded()
    view = pool(builders.endpoints(10))
    first, second = Counter[int](), Counter[int]()
    for _ in range(4000):
        best, next_best, *_ = order(view, rng.getrandbits(64))
        first[best] += 1
        second[next_best] += 1
    for counts in (first, second):
        assert 300 < min(counts.values()) <= max(counts.values()) < 500


@pytest.mark.parametrize("keys", [range(2000), [1 << bit for bit in range(64)] * 30])
def test_similar_keys_spread_too(keys: Sequence[int]) -> None:
    """Every bit of a key counts."""
    view = pool(builders.endpoints(4))
    holders = Counter(order(view, key)[0] for key in set(keys))
    assert 4 == len(holders)
    assert max(holders.values()) < 0.5 * len(set(keys))


def test_weights_are_pinned() -> None:
    """All replicas must agree on them, also over an upgrade."""
    weights = rendezvous_weights(np.array([1, 2**64 - 1], np.uint64), 12345)
    assert [1_094_972_123_760_715_653, 7_873_902_204_275_907_923] == weights.tolist()


# Heads


def test_request_without_a_prefix_goes_anywhere() -> None:
    """Nothing to be found in a cache."""
    assert [0, 1, 2] == kept(loaded(0, 0, 0), request())


def test_requests_that_share_the_head_meet() -> None:
    """What follows does not count."""
    view = loaded(*[0] * 8)
    one, other = request(1, 2, 3, 4, 5, 6), request(1, 2, 3, 4, 7)
    assert kept(view, one) == kept(view, other)


def test_last_block_of_the_head_is_the_key() -> None:
    """It stands for all blocks before it."""
    view = loaded(*[0] * 8)
    assert [order(view, 4)[0]] == kept(view, request(1, 2, 3, 4, 5))
    assert [order(view, 2)[0]] == kept(view, request(1, 2, 3, 4, 5), head_blocks=2)
    assert [order(view, 1)[0]] == kept(view, request(1))


def test_a_view_that_shows_everything_leaves_nothing_to_chance() -> None:
    """The same question has the same answer."""
    view = loaded(*[0.1] * 8)
    assert 1 == len({tuple(kept(view, request(7))) for _ in range(20)})


# Bounded load


@given(
    key=KEYS,
    pending=st.lists(st.floats(0, 10), min_size=2, max_size=8),
    tokens=st.integers(64, 20_000),
    bound=st.floats(1, 3),
)
@settings(max_examples=150)
def test_first_in_order_with_room_takes_it(
    key: int, pending: list[float], tokens: int, bound: float
) -> None:
    """Against the definition, one by one."""
    view = loaded(*pending)
    asked = request(key, tokens=tokens)
    costs = builders.delay().seconds(view) + tokens / RATE
    limit = bound * costs.min()
    with_prefix = costs - asked.tokens_in(1) / RATE
    near = np.abs(with_prefix - limit) < 1e-9
    if near.any():
        return
    expected = [slot for slot in order(view, key) if with_prefix[slot] <= limit][:1]
    assert (expected or list(range(len(view)))) == kept(view, asked, bound=bound)


def test_full_holder_spills_to_the_next_in_order() -> None:
    """Not to just anybody: the second holder's cache will be warm next time."""
    view = loaded(*[1.0] * 8)
    first, second, third, *_ = order(view, 7)
    view.prefill_tokens[first] = 4 * RATE
    assert [second] == kept(view, request(7))
    view.prefill_tokens[second] = 4 * RATE
    assert [third] == kept(view, request(7))


def test_a_warm_cache_is_worth_waiting_for() -> None:
    """What caches hold of an average request counts as held, up to the request's own prefix."""
    view = loaded(*[0.0] * 4)
    asked = request(*[1] * 3, 7, *[2] * 36, tokens=4000)
    first, second, *_ = order(view, 7)
    view.prefill_tokens[first] = 2500
    assert [second] == kept(view, asked)
    view.mean_prefill_tokens, view.prefix_hit_ratio = 1000.0, 0.75
    assert [first] == kept(view, asked)


def test_idle_holder_is_kept() -> None:
    """A mean of zero leaves room for those at zero."""
    view = loaded(*[0.0] * 8)
    assert [order(view, 7)[0]] == kept(view, request(7))


def test_cached_head_is_worth_waiting_for() -> None:
    """As long as it would take to compute."""
    view = loaded(0.0, 0.0, 0.0)
    first = order(view, 7)[0]
    view.prefill_tokens[first] = 250
    assert [first] == kept(view, request(7, 7, 7, 7, tokens=256))
    view.prefill_tokens[first] = 600
    assert [first] != kept(view, request(7, 7, 7, 7, tokens=256))


def test_mean_is_that_of_the_candidates() -> None:
    """Endpoints that may not serve say nothing."""
    view = loaded(*[1.0] * 4)
    first, second, *others = order(view, 7)
    view.prefill_tokens[first] = 3 * RATE
    view.prefill_tokens[others] = 50 * RATE
    assert [second] == kept(view, request(7), candidates=[first, second])


def test_only_candidates_hold() -> None:
    """The first in order may be filtered out."""
    view = loaded(*[0.0] * 4)
    _, *others = order(view, 7)
    assert [others[0]] == kept(view, request(7), candidates=others)


def test_popular_prefix_spreads_as_its_load_needs() -> None:
    """All requests share one head: no endpoint gets more than the bound allows."""
    view = loaded(*[0.0] * 8)
    chosen = Counter[int]()
    for _ in range(400):
        slots = kept(view, request(7, tokens=4000))
        slot = min(slots, key=lambda each: int(view.prefill_tokens[each]))
        chosen[slot] += 1
        view.add(view.endpoints[slot].uid, 1, 4000, 1)
    assert max(chosen.values()) <= 1.25 * 400 / 8 + 2
    assert len(chosen) >= 8 / 1.25


# Views that do not show everything


def beside_peers(view: PoolView, *, unseen: float, age: float) -> PoolView:
    """Let three peers place so many requests, of half a second each, that cannot be seen yet."""
    view.replicas = 4
    view.peers_age_seconds = age
    view.peer_picks_per_second = unseen / age
    view.mean_prefill_tokens = RATE / 2
    return view


def choices(view: PoolView, count: int, *heads: int) -> Counter[int]:
    """Ask for requests with these heads in turn; return what the first of them was given."""
    plugin, mask = affinity(), builders.everybody(view)
    given = Counter[int]()
    for number in range(count * len(heads)):
        asked = request(heads[number % len(heads)], tokens=4000)
        (slot,) = np.flatnonzero(plugin.filter(asked, view, mask)).tolist()
        if number % len(heads) == 0:
            given[slot] += 1
    return given


def test_rare_prefix_stays_with_its_holder_whatever_peers_place() -> None:
    """They place other prefixes: the first holder has room, and its cache is warm."""
    view = beside_peers(loaded(*[0.1] * 64), unseen=5, age=0.005)
    given = choices(view, 20, *range(100))
    assert given[order(view, 0)[0]] >= 17


def test_popular_prefix_is_spread_over_what_peers_fill_meanwhile() -> None:
    """Replicas with the same view do not all take the same holder."""
    view = beside_peers(loaded(*[0.1] * 64), unseen=5, age=0.005)
    given = choices(view, 400, 7)
    first = order(view, 7)[:20]
    assert len(given) >= 8
    assert sum(given[slot] for slot in first) >= 0.8 * given.total()


def test_unseen_work_raises_what_a_holder_is_compared_with() -> None:
    """The idle endpoint is not idle any more: waiting at the holder costs less than it seems."""
    view = loaded(*[0.0] * 4)
    first = order(view, 7)[0]
    view.prefill_tokens[first] = 1600
    asked = request(7, tokens=400)
    assert [first] != kept(view, asked)
    assert [first] == kept(beside_peers(view, unseen=4, age=0.0005), asked)


def test_old_view_spreads_further_than_a_young_one() -> None:
    """Nothing is known of where the frontier is, only of how many holders a prefix needs."""
    young = beside_peers(loaded(*[0.1] * 64), unseen=1, age=0.001)
    old = beside_peers(loaded(*[0.1] * 64), unseen=1, age=0.2)
    assert len(choices(young, 300, 7, 8)) < len(choices(old, 300, 7, 8))


def test_without_room_for_all_that_peers_took_it_starts_over() -> None:
    """There are only so many holders."""
    view = beside_peers(loaded(0.0, 0.0), unseen=20, age=0.01)
    assert {0, 1} == set(choices(view, 50, 7))


def test_popularity_is_measured_over_the_last_requests() -> None:
    """Before the first there is none, and what went out of the window counts for nothing."""
    recent = RecentHeads(most=4)
    assert [0.0, 1.0, 0.0] == [recent.share(head) for head in (1, 1, 2)]
    assert pytest.approx(2 / 3) == recent.share(1)
    assert [0.75, 0.25, 0.0] == [recent.share(head) for head in (1, 2, 3)]
    assert pytest.approx(0.5) == recent.share(1)
