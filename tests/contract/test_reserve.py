"""The contract of every reserver: one place per request, caps that hold, nothing left behind."""

import asyncio
from collections.abc import Sequence

import pytest

from state.model import EndpointUid, Membership, ReplicaId
from state.ports import Candidate, Load, Refusal, Reservation, Reserver, Store
from tests.support.backends import Backend

A, B = ReplicaId("a"), ReplicaId("b")
X, Y = EndpointUid(2**64 - 1), EndpointUid(7)


@pytest.fixture
def reserver(backend: Backend, store: Store) -> Reserver:
    """Book as one process."""
    return backend.reserver(store)


@pytest.fixture
def other_reserver(backend: Backend, other: Store) -> Reserver:
    """Book as another process."""
    return backend.reserver(other)


def candidates(
    *costs: tuple[EndpointUid, float], cap: int | None = None, known: int = 0
) -> Sequence[Candidate]:
    return [
        Candidate(uid=uid, cost=cost, known_tokens=known, seconds_per_token=0.001, cap=cap)
        for uid, cost in costs
    ]


async def loads(reserver: Reserver) -> dict[int, tuple[int, int]]:
    return {uid: (load.requests, load.tokens) for uid, load in (await reserver.load()).items()}


# Choosing


async def test_least_cost_is_reserved(store: Store, reserver: Reserver) -> None:
    """In seconds, with fractions; a UID may be any 64-bit number."""
    member = await store.join(A)
    there = candidates((Y, 0.0021), (X, 0.002))
    assert X == await reserver.reserve(member, "r", there, tokens=10)
    assert {X: Load(requests=1, tokens=10)} == await reserver.load()


async def test_first_of_equals_is_reserved(store: Store, reserver: Reserver) -> None:
    """The caller's order breaks ties."""
    member = await store.join(A)
    assert Y == await reserver.reserve(member, "r", candidates((Y, 1), (X, 1)), tokens=0)


async def test_reserved_tokens_cost(
    store: Store, reserver: Reserver, other: Store, other_reserver: Reserver
) -> None:
    """Whoever reserved them, at once: a burst spreads without a word between replicas."""
    first, second = await store.join(A), await other.join(B)
    there = candidates((X, 0.0), (Y, 0.015))
    assert X == await reserver.reserve(first, "1", there, tokens=10)
    assert X == await other_reserver.reserve(second, "2", there, tokens=10)
    assert Y == await reserver.reserve(first, "1'", there, tokens=10)


async def test_tokens_that_the_caller_knows_cost_once(store: Store, reserver: Reserver) -> None:
    """They are in its cost."""
    member = await store.join(A)
    assert X == await reserver.reserve(member, "1", candidates((X, 0.0)), tokens=100)
    there = candidates((X, 0.1), (Y, 0.11), known=100)
    assert X == await reserver.reserve(member, "2", there, tokens=20)
    assert Y == await reserver.reserve(member, "3", there, tokens=20)


async def test_cap_holds_over_all_replicas(
    store: Store, reserver: Reserver, other: Store, other_reserver: Reserver
) -> None:
    """However many ask at once."""
    first, second = await store.join(A), await other.join(B)
    there = candidates((X, 0.0), (Y, 1.0), cap=3)
    pairs: list[tuple[Reserver, Membership]] = [(reserver, first), (other_reserver, second)]
    asked = [
        each.reserve(member, f"r{i}", there, tokens=0) for i in range(5) for each, member in pairs
    ]
    got = await asyncio.gather(*asked)
    assert (3, 3, 4) == (got.count(X), got.count(Y), got.count(Refusal.FULL))
    await reserver.release(first, [f"r{i}" for i in range(5)])
    assert X == await other_reserver.reserve(second, "later", there, tokens=0)


async def test_nothing_to_choose_from_is_full(store: Store, reserver: Reserver) -> None:
    """There is no place."""
    member = await store.join(A)
    assert Refusal.FULL is await reserver.reserve(member, "r", [], tokens=1)
    assert {} == await loads(reserver)


# Once


async def test_asking_again_returns_the_same(store: Store, reserver: Reserver) -> None:
    """An answer may have been lost; nothing counts twice."""
    member = await store.join(A)
    assert X == await reserver.reserve(member, "r", candidates((X, 0.0)), tokens=10)
    assert X == await reserver.reserve(member, "r", candidates((Y, 0.0), cap=0), tokens=99)
    assert {X: (1, 10)} == await loads(reserver)


async def test_two_replicas_may_use_one_name(
    store: Store, reserver: Reserver, other: Store, other_reserver: Reserver
) -> None:
    """Request ids come from clients."""
    first, second = await store.join(A), await other.join(B)
    await reserver.reserve(first, "r", candidates((X, 0.0)), tokens=10)
    await other_reserver.reserve(second, "r", candidates((X, 0.0)), tokens=10)
    await reserver.release(first, ["r"])
    assert {X: (1, 10)} == await loads(reserver)


async def test_releasing_twice_is_releasing_once(store: Store, reserver: Reserver) -> None:
    """Nothing goes below zero, and nothing is left."""
    member = await store.join(A)
    for request in ("1", "2"):
        await reserver.reserve(member, request, candidates((X, 0.0)), tokens=10)
    await reserver.release(member, ["1", "1"])
    await reserver.release(member, ["1"])
    assert {X: (1, 10)} == await loads(reserver)
    await reserver.release(member, ["2"])
    assert {} == await loads(reserver)


async def test_release_may_overtake(store: Store, reserver: Reserver) -> None:
    """A caller gave up waiting and released; its reservation arrives afterwards."""
    member = await store.join(A)
    await reserver.release(member, ["r"])
    assert Refusal.RELEASED is await reserver.reserve(member, "r", candidates((X, 0.0)), tokens=1)
    assert {} == await loads(reserver)


async def test_settled_tokens_stop_counting(store: Store, reserver: Reserver) -> None:
    """The request itself goes on."""
    member = await store.join(A)
    await reserver.reserve(member, "r", candidates((X, 0.0)), tokens=10)
    await reserver.settle(member, ["r", "unknown"])
    await reserver.settle(member, ["r"])
    assert {X: (1, 0)} == await loads(reserver)
    await reserver.release(member, ["r"])
    assert {} == await loads(reserver)


async def test_many_are_released_at_once(store: Store, reserver: Reserver) -> None:
    """More than one script takes."""
    member = await store.join(A)
    names = [f"r{i}" for i in range(2500)]
    held = [Reservation(request=each, uid=X, tokens=1) for each in names]
    assert await reserver.restore(member, held)
    assert {X: (2500, 2500)} == await loads(reserver)
    await reserver.settle(member, names)
    assert {X: (2500, 0)} == await loads(reserver)
    await reserver.release(member, names)
    assert {} == await loads(reserver)


# Membership


async def test_only_the_live_may_reserve(
    store: Store, reserver: Reserver, backend: Backend
) -> None:
    """Nobody else would be reaped."""
    stranger = Membership(replica=A, incarnation=1, epoch="none")
    there = candidates((X, 0.0))
    assert Refusal.FENCED is await reserver.reserve(stranger, "r", there, tokens=1)
    old = await store.join(A)
    new = await store.join(A)
    assert Refusal.FENCED is await reserver.reserve(old, "r", there, tokens=1)
    await backend.end_lease(A)
    assert Refusal.FENCED is await reserver.reserve(new, "r", there, tokens=1)
    assert not await reserver.restore(new, [Reservation(request="r", uid=X, tokens=1)])
    assert {} == await loads(reserver)


async def test_the_dead_are_reaped(store: Store, reserver: Reserver, backend: Backend) -> None:
    """In pieces; the living keep what they have."""
    dying, living = await store.join(A), await store.join(B)
    held = [Reservation(request=f"r{i}", uid=X, tokens=2) for i in range(1500)]
    assert await reserver.restore(dying, held)
    await reserver.reserve(living, "r", candidates((X, 0.0)), tokens=5)
    assert 0 == await reserver.reap()
    await backend.end_lease(A)
    assert 1000 == await reserver.reap()
    assert {X: (501, 1005)} == await loads(reserver)
    assert 500 == await reserver.reap()
    assert 0 == await reserver.reap()
    assert {X: (1, 5)} == await loads(reserver)


async def test_who_left_is_reaped(store: Store, reserver: Reserver) -> None:
    """With streams that it could not finish."""
    leaving = await store.join(A)
    await reserver.reserve(leaving, "r", candidates((X, 0.0)), tokens=5)
    await store.leave(leaving)
    assert 1 == await reserver.reap()
    assert {} == await loads(reserver)


async def test_who_joins_again_restores(store: Store, reserver: Reserver) -> None:
    """What the former incarnation had is reaped, whether before or after."""
    old = await store.join(A)
    await reserver.reserve(old, "r", candidates((X, 0.0)), tokens=5)
    new = await store.join(A)
    held = [Reservation(request="r", uid=X, tokens=5)]
    assert await reserver.restore(new, held)
    assert await reserver.restore(new, held)
    assert 1 == await reserver.reap()
    assert {X: (1, 5)} == await loads(reserver)
    await reserver.release(new, ["r"])
    assert {} == await loads(reserver)


async def test_released_is_not_restored(store: Store, reserver: Reserver) -> None:
    """The stream ended while the list travelled."""
    member = await store.join(A)
    await reserver.release(member, ["r"])
    assert await reserver.restore(member, [Reservation(request="r", uid=X, tokens=5)])
    assert {} == await loads(reserver)
