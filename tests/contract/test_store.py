"""The contract of every store backend: membership, gauges, shard leases, snapshots, events."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from state.model import Gauge, Membership, Observation, ReplicaId, ShardId, Snapshot
from state.ports import Lease, Store, StoreEvent
from tests.support import builders
from tests.support.backends import Backend

A, B = ReplicaId("a"), ReplicaId("b")
SHARD, OTHER_SHARD = ShardId("0"), ShardId("1")


def gauge(membership: Membership, seq: int, requests: int = 1) -> Gauge:
    built = builders.gauge(
        membership.replica, seq, {0: (requests, 10, 1)}, incarnation=membership.incarnation
    )
    fields = {name: getattr(built, name) for name in built.__struct_fields__}
    return Gauge(**fields | {"epoch": membership.epoch})


def snapshot(lease: Lease, version: int, *, running: float = 0.0) -> Snapshot:
    observation = Observation(uid=builders.endpoint(0).uid, age_seconds=0.1, running=running)
    return Snapshot(
        shard=lease.shard, fence=lease.fence, version=version, observations=(observation,)
    )


async def acquire(store: Store, owner: str, shard: ShardId = SHARD) -> Lease:
    lease = await store.acquire_shard(shard, owner)
    assert lease is not None
    return lease


async def gauges(store: Store) -> dict[str, tuple[int, int]]:
    return {each.replica: each.order for each in (await store.read()).gauges}


async def versions(store: Store) -> dict[str, tuple[int, int]]:
    return {each.shard: each.order for each in (await store.read()).snapshots}


def outline(event: StoreEvent) -> object:
    """Return what identifies an event."""
    if isinstance(event, Gauge):
        return (event.replica, *event.order)
    return event.order if isinstance(event, Snapshot) else event


async def next_events(events: AsyncIterator[StoreEvent], count: int) -> list[object]:
    async with asyncio.timeout(2):
        return [outline(await anext(events)) for _ in range(count)]


# Membership


async def test_each_join_raises_the_incarnation(store: Store, other: Store) -> None:
    """Whichever process asks: it is the fencing token."""
    first, second = await store.join(A), await other.join(A)
    assert first.incarnation < second.incarnation
    assert A == second.replica


async def test_all_members_share_the_epoch(store: Store, other: Store) -> None:
    """It names the store's content."""
    assert (await store.join(A)).epoch == (await other.join(B)).epoch


async def test_renewal_returns_the_live_replicas(store: Store) -> None:
    """The asking one included."""
    membership = await store.join(A)
    await store.join(B)
    assert frozenset({A, B}) == await store.renew(membership)


async def test_renewal_of_a_fenced_incarnation_is_lost(store: Store, other: Store) -> None:
    """Somebody joined under the same name."""
    old = await store.join(A)
    await other.join(A)
    assert None is await store.renew(old)


async def test_replica_that_does_not_renew_is_not_live(store: Store, backend: Backend) -> None:
    """Leases end by themselves."""
    quiet, alive = await store.join(A), await store.join(B)
    await backend.pass_time(backend.lease_seconds * 0.8)
    assert frozenset({A, B}) == await store.renew(alive)
    await backend.pass_time(backend.lease_seconds * 0.4)
    assert frozenset({B}) == await store.renew(alive)
    assert None is await store.renew(quiet)


async def test_gauge_of_a_replica_whose_lease_is_over_is_gone(
    store: Store, backend: Backend
) -> None:
    """Gauges of dead replicas count nothing (C6)."""
    membership = await store.join(A)
    assert await store.publish_gauge(gauge(membership, 1))
    await backend.pass_time(backend.lease_seconds * 1.2)
    assert {} == await gauges(store)
    assert not await store.publish_gauge(gauge(membership, 2))


async def test_published_gauge_extends_the_lease(store: Store, backend: Backend) -> None:
    """It is a sign of life."""
    membership = await store.join(A)
    await backend.pass_time(backend.lease_seconds * 0.8)
    assert await store.publish_gauge(gauge(membership, 1))
    await backend.pass_time(backend.lease_seconds * 0.8)
    assert frozenset({A}) == await store.renew(membership)


async def test_incarnation_grows_after_a_lease_ended(store: Store, backend: Backend) -> None:
    """Peers remember what they merged of the older one."""
    first = await store.join(A)
    await backend.pass_time(backend.lease_seconds * 1.2)
    assert first.incarnation < (await store.join(A)).incarnation


async def test_incarnation_grows_after_leaving(store: Store) -> None:
    """Messages of the former life may still be on their way."""
    first = await store.join(A)
    await store.leave(first)
    assert first.incarnation < (await store.join(A)).incarnation


async def test_replica_that_left_is_gone_at_once(store: Store) -> None:
    """With its gauge."""
    leaving, staying = await store.join(A), await store.join(B)
    await store.publish_gauge(gauge(leaving, 1))
    await store.leave(leaving)
    await store.leave(leaving)
    assert {} == await gauges(store)
    assert frozenset({B}) == await store.renew(staying)
    assert None is await store.renew(leaving)
    assert not await store.publish_gauge(gauge(leaving, 2))


async def test_fenced_replica_drops_nothing_by_leaving(store: Store, other: Store) -> None:
    """The place belongs to the newer incarnation."""
    old = await store.join(A)
    new = await other.join(A)
    await other.publish_gauge(gauge(new, 1))
    await store.leave(old)
    assert {A: (new.incarnation, 1)} == await gauges(other)
    assert frozenset({A}) == await other.renew(new)


# Gauges


async def test_newest_gauge_is_read(store: Store, other: Store) -> None:
    """A newcomer starts from it."""
    membership = await store.join(A)
    await store.publish_gauge(gauge(membership, 1, requests=1))
    await store.publish_gauge(gauge(membership, 2, requests=5))
    (read,) = (await other.read()).gauges
    expected = gauge(membership, 2, requests=5)
    assert (expected.replica, expected.epoch, expected.order) == (
        read.replica,
        read.epoch,
        read.order,
    )
    for column in ("uids", "requests", "prefill_tokens", "decode_tokens", "assigned_total"):
        assert getattr(expected, column).tolist() == getattr(read, column).tolist(), column


async def test_fenced_gauge_writes_nothing(store: Store, other: Store) -> None:
    """A paused process that wakes up must not overwrite its successor."""
    old = await store.join(A)
    new = await other.join(A)
    await other.publish_gauge(gauge(new, 1))
    assert not await store.publish_gauge(gauge(old, 99))
    assert {A: (new.incarnation, 1)} == await gauges(store)


async def test_seq_never_goes_back(store: Store) -> None:
    """A write that was retried may come after the next one (C2)."""
    membership = await store.join(A)
    await store.publish_gauge(gauge(membership, 2))
    await store.publish_gauge(gauge(membership, 1))
    assert {A: (membership.incarnation, 2)} == await gauges(store)


async def test_gauge_without_joining_is_refused(store: Store) -> None:
    """Nobody has fenced it, nobody knows it."""
    stranger = Membership(replica=A, incarnation=1, epoch="none")
    assert not await store.publish_gauge(gauge(stranger, 1))


async def test_join_again_starts_without_a_gauge(store: Store) -> None:
    """What the former process had open is not open in the new one."""
    membership = await store.join(A)
    await store.publish_gauge(gauge(membership, 1))
    await store.join(A)
    assert {} == await gauges(store)


# Shard leases


async def test_shard_has_one_owner(store: Store, other: Store) -> None:
    """Others get nothing while the lease lasts."""
    await acquire(store, "x")
    assert None is await other.acquire_shard(SHARD, "y")
    assert (await acquire(other, "y", OTHER_SHARD)).owner == "y"


async def test_many_ask_and_one_gets_it(store: Store, other: Store) -> None:
    """Acquiring is atomic."""
    leases = await asyncio.gather(
        *(each.acquire_shard(SHARD, f"owner-{i}") for i, each in enumerate([store, other] * 8))
    )
    assert 1 == sum(lease is not None for lease in leases)


async def test_each_new_owner_has_a_higher_fence(store: Store, backend: Backend) -> None:
    """After release and after expiry, also for the same owner."""
    first = await acquire(store, "x")
    await store.release_shard(first)
    second = await acquire(store, "x")
    await backend.pass_time(backend.shard_lease_seconds * 1.1)
    third = await acquire(store, "y")
    assert first.fence < second.fence < third.fence


async def test_renewed_shard_stays_owned(store: Store, backend: Backend) -> None:
    """For another full lease from the renewal."""
    lease = await acquire(store, "x")
    await backend.pass_time(backend.shard_lease_seconds * 0.8)
    assert await store.renew_shard(lease)
    await backend.pass_time(backend.shard_lease_seconds * 0.8)
    assert None is await store.acquire_shard(SHARD, "y")
    assert await store.renew_shard(lease)


async def test_expired_shard_cannot_be_renewed(store: Store, backend: Backend) -> None:
    """Even if nobody took it yet: the owner must take a new fence."""
    lease = await acquire(store, "x")
    await backend.pass_time(backend.shard_lease_seconds * 1.1)
    assert not await store.renew_shard(lease)


async def test_former_owner_cannot_touch_the_shard(store: Store, backend: Backend) -> None:
    """Not renew it, not release it, not write it."""
    old = await acquire(store, "x")
    await backend.pass_time(backend.shard_lease_seconds * 1.1)
    new = await acquire(store, "y")
    assert not await store.renew_shard(old)
    await store.release_shard(old)
    assert not await store.publish_snapshot(old, snapshot(old, 99))
    assert await store.renew_shard(new)
    assert {} == await versions(store)


async def test_released_shard_is_free_at_once(store: Store, other: Store) -> None:
    """Releasing twice harms nobody."""
    lease = await acquire(store, "x")
    await store.release_shard(lease)
    new = await acquire(other, "y")
    await store.release_shard(lease)
    assert await other.renew_shard(new)


# Snapshots


async def test_snapshot_is_replaced_whole(store: Store, other: Store) -> None:
    """A reader sees one version."""
    lease = await acquire(store, "x")
    assert await store.publish_snapshot(lease, snapshot(lease, 1, running=1.0))
    assert await store.publish_snapshot(lease, snapshot(lease, 2, running=2.0))
    assert (snapshot(lease, 2, running=2.0),) == (await other.read()).snapshots


@pytest.mark.parametrize("version", [1, 2])
async def test_version_never_goes_back(store: Store, version: int) -> None:
    """Not newer is refused (C2)."""
    lease = await acquire(store, "x")
    await store.publish_snapshot(lease, snapshot(lease, 2))
    assert not await store.publish_snapshot(lease, snapshot(lease, version, running=9.0))
    assert {SHARD: (lease.fence, 2)} == await versions(store)


async def test_new_owner_starts_versions_anew(store: Store) -> None:
    """The fence orders them."""
    first = await acquire(store, "x")
    await store.publish_snapshot(first, snapshot(first, 9))
    await store.release_shard(first)
    second = await acquire(store, "y")
    assert {SHARD: (first.fence, 9)} == await versions(store)
    assert await store.publish_snapshot(second, snapshot(second, 1))
    assert {SHARD: (second.fence, 1)} == await versions(store)


async def test_snapshot_must_carry_its_lease(store: Store) -> None:
    """Neither another shard's nor another fence."""
    lease, other_lease = await acquire(store, "x"), await acquire(store, "x", OTHER_SHARD)
    forged = Lease(shard=SHARD, owner="x", fence=lease.fence + 1)
    assert not await store.publish_snapshot(lease, snapshot(other_lease, 1))
    assert not await store.publish_snapshot(lease, snapshot(forged, 1))
    assert not await store.publish_snapshot(forged, snapshot(forged, 1))
    assert {} == await versions(store)


async def test_snapshot_survives_its_owner(store: Store, backend: Backend) -> None:
    """Old news is better than none; its age tells."""
    lease = await acquire(store, "x")
    await store.publish_snapshot(lease, snapshot(lease, 1))
    await backend.pass_time(backend.shard_lease_seconds * 1.1)
    assert {SHARD: (lease.fence, 1)} == await versions(store)


# Events


async def test_events_come_in_order_of_writing(store: Store, other: Store) -> None:
    """Gauges, snapshots and departures on one stream."""
    async with store.events() as events:
        membership = await other.join(A)
        lease = await acquire(other, "x")
        await other.publish_gauge(gauge(membership, 1))
        await other.publish_snapshot(lease, snapshot(lease, 1))
        await other.publish_gauge(gauge(membership, 2))
        await other.leave(membership)
        inc, fence = membership.incarnation, lease.fence
        expected: list[object] = [(A, inc, 1), (fence, 1), (A, inc, 2), A]
        assert expected == await next_events(events, 4)


async def test_every_subscriber_gets_every_event(store: Store, other: Store) -> None:
    """The writer's own too."""
    async with store.events() as mine, other.events() as theirs:
        membership = await store.join(A)
        await store.publish_gauge(gauge(membership, 1))
        expected: list[object] = [(A, membership.incarnation, 1)]
        assert expected == await next_events(mine, 1)
        assert expected == await next_events(theirs, 1)


async def test_refused_writes_are_no_events(store: Store, other: Store) -> None:
    """Nothing was written, so nothing is told."""
    old = await store.join(A)
    lease = await acquire(store, "x")
    await store.publish_snapshot(lease, snapshot(lease, 5))
    new = await store.join(A)
    async with other.events() as events:
        await store.publish_gauge(gauge(old, 1))
        await store.leave(old)
        await store.publish_snapshot(lease, snapshot(lease, 5))
        await store.publish_gauge(gauge(new, 2))
        await store.publish_gauge(gauge(new, 1))
        await store.publish_gauge(gauge(new, 3))
        expected: list[object] = [(A, new.incarnation, 2), (A, new.incarnation, 3)]
        assert expected == await next_events(events, 2)


async def test_subscription_ends_with_its_context(store: Store) -> None:
    """A subscriber that is gone costs nothing."""
    async with store.events():
        pass
    membership = await store.join(A)
    assert await store.publish_gauge(gauge(membership, 1))


async def test_closing_twice_is_safe(store: Store) -> None:
    """Shutdown paths meet."""
    await store.close()
    await store.close()
