"""Any order of steps, repeats, crashes and lost leases: Redis answers as the reference does."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from state.model import EndpointUid, Gauge, Membership, Observation, ReplicaId, ShardId, Snapshot
from state.ports import Candidate, Lease, Reservation, Reserver
from tests.support import builders
from tests.support.backends import Backend, MemoryBackend, RedisBackend
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.integration

SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)
REPLICAS = st.sampled_from([ReplicaId("a"), ReplicaId("b"), ReplicaId("c\n")])
SHARDS = st.sampled_from([ShardId("0"), ShardId("1")])
OWNERS = st.sampled_from(["x", "y"])
WRITES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=4)
"""Numbers of what is written, in the order in which it arrives, and what it says."""
UIDS = [EndpointUid(2**63 + number) for number in range(3)]
WHICH = st.sampled_from([1, 1, 1, 2])
"""How a process remembers its place: the last one, or the one before."""
REQUESTS = st.sampled_from(["r0", "r1", "r2", "r:3"])
SOME_REQUESTS = st.lists(REQUESTS, max_size=3)
TOKENS = st.integers(0, 50)
COSTS = st.lists(st.floats(0, 1), min_size=3, max_size=3)
CAP = 2

_Each = TypeVar("_Each")
Members = tuple[Membership, Membership]
Leases = tuple[Lease, Lease]


class Pair(RuleBasedStateMachine):
    """The reference and a store under test, which are asked the same."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # Leases end where a rule says so, not while a slow machine thinks.
        tested = RedisBackend(self.url, lease_seconds=3600, shard_lease_seconds=3600)
        self.backends: tuple[Backend, Backend] = (MemoryBackend(), tested)
        self.stores = (self.backends[0].connect(), self.backends[1].connect())
        self.members: dict[ReplicaId, list[Members]] = {}

    def both(self, step: Callable[[int], Awaitable[_Each]]) -> tuple[_Each, _Each]:
        """Take one step on each."""

        async def steps() -> tuple[_Each, _Each]:
            return await step(0), await step(1)

        return self.runner.run(steps())

    def same(self, step: Callable[[int], Awaitable[_Each]]) -> _Each:
        """Take one step on each, with the same result."""
        expected, found = self.both(step)
        assert expected == found
        return expected

    def member(self, replica: ReplicaId, which: int) -> Members:
        """Return a membership as a process remembers it, maybe one that was fenced."""
        if replica not in self.members:
            self.join(replica)
        return self.members[replica][-which:][0]

    @rule(replica=REPLICAS)
    def join(self, replica: ReplicaId) -> None:
        joined = self.both(lambda i: self.stores[i].join(replica))
        self.members.setdefault(replica, []).append(joined)

    @rule(replica=REPLICAS)
    def lease_ends(self, replica: ReplicaId) -> None:
        self.both(lambda i: self.backends[i].end_lease(replica))

    @rule(replica=REPLICAS, which=WHICH)
    def leave(self, replica: ReplicaId, which: int) -> None:
        member = self.member(replica, which)
        self.both(lambda i: self.stores[i].leave(member[i]))

    @rule(replica=REPLICAS, which=WHICH)
    def renew(self, replica: ReplicaId, which: int) -> None:
        member = self.member(replica, which)
        self.same(lambda i: self.stores[i].renew(member[i]))

    def teardown(self) -> None:
        self.both(lambda i: self.stores[i].close())
        self.runner.close()


class Stores(Pair):
    """Membership, gauges, shards and snapshots."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: dict[ShardId, list[Leases]] = {}

    @rule(replica=REPLICAS, which=WHICH, writes=WRITES)
    def publish_gauges(self, replica: ReplicaId, which: int, writes: list[tuple[int, int]]) -> None:
        member = self.member(replica, which)

        async def publish(i: int) -> list[bool]:
            gauges = [_gauge(member[i], seq, requests) for seq, requests in writes]
            return [await self.stores[i].publish_gauge(each) for each in gauges]

        self.same(publish)

    @rule(shard=SHARDS, owner=OWNERS)
    def acquire(self, shard: ShardId, owner: str) -> None:
        reference, tested = self.both(lambda i: self.stores[i].acquire_shard(shard, owner))
        assert (reference is None) == (tested is None)
        if reference is not None and tested is not None:
            self.leases.setdefault(shard, []).append((reference, tested))

    def lease(self, shard: ShardId, which: int) -> Leases:
        """Return a lease as an owner remembers it, maybe one that is over."""
        if shard not in self.leases:
            self.acquire(shard, "x")
        return self.leases[shard][-which:][0]

    @rule(shard=SHARDS)
    def shard_lease_ends(self, shard: ShardId) -> None:
        self.both(lambda i: self.backends[i].end_shard_lease(shard))

    @rule(shard=SHARDS, which=WHICH)
    def renew_shard(self, shard: ShardId, which: int) -> None:
        lease = self.lease(shard, which)
        self.same(lambda i: self.stores[i].renew_shard(lease[i]))

    @rule(shard=SHARDS, which=WHICH)
    def release_shard(self, shard: ShardId, which: int) -> None:
        lease = self.lease(shard, which)
        self.both(lambda i: self.stores[i].release_shard(lease[i]))

    @rule(shard=SHARDS, which=WHICH, writes=WRITES)
    def publish_snapshots(self, shard: ShardId, which: int, writes: list[tuple[int, int]]) -> None:
        lease = self.lease(shard, which)

        async def publish(i: int) -> list[bool]:
            snapshots = [_at(lease[i], version, running) for version, running in writes]
            return [await self.stores[i].publish_snapshot(lease[i], each) for each in snapshots]

        self.same(publish)

    @invariant()
    def both_hold_the_same(self) -> None:
        async def outline(i: int) -> object:
            contents = await self.stores[i].read()
            gauges = sorted((g.replica, g.seq, g.requests.tolist()) for g in contents.gauges)
            snapshots = sorted((s.shard, s.version, s.observations) for s in contents.snapshots)
            return gauges, snapshots

        self.same(outline)


class Reservations(Pair):
    """Bookings in the store."""

    def __init__(self) -> None:
        super().__init__()
        self.reservers: tuple[Reserver, Reserver] = (
            self.backends[0].reserver(self.stores[0]),
            self.backends[1].reserver(self.stores[1]),
        )
        self.restored = False

    @rule(replica=REPLICAS, which=WHICH, request=REQUESTS, tokens=TOKENS, costs=COSTS, known=TOKENS)
    def reserve(
        self,
        replica: ReplicaId,
        which: int,
        request: str,
        tokens: int,
        costs: list[float],
        known: int,
    ) -> None:
        member = self.member(replica, which)
        there = [
            Candidate(uid=uid, cost=cost, known_tokens=known, seconds_per_token=0.01, cap=CAP)
            for uid, cost in zip(UIDS, costs, strict=True)
        ]
        self.same(lambda i: self.reservers[i].reserve(member[i], request, there, tokens=tokens))

    @rule(replica=REPLICAS, which=WHICH, requests=SOME_REQUESTS)
    def release(self, replica: ReplicaId, which: int, requests: list[str]) -> None:
        member = self.member(replica, which)
        self.both(lambda i: self.reservers[i].release(member[i], requests))

    @rule(replica=REPLICAS, which=WHICH, requests=SOME_REQUESTS)
    def settle(self, replica: ReplicaId, which: int, requests: list[str]) -> None:
        member = self.member(replica, which)
        self.both(lambda i: self.reservers[i].settle(member[i], requests))

    @rule(replica=REPLICAS, which=WHICH, request=REQUESTS, tokens=TOKENS)
    def restore(self, replica: ReplicaId, which: int, request: str, tokens: int) -> None:
        member = self.member(replica, which)
        held = [Reservation(request=request, uid=UIDS[0], tokens=tokens)]
        self.restored |= self.same(lambda i: self.reservers[i].restore(member[i], held))

    @rule()
    def reap(self) -> None:
        self.same(self._reap_all)

    @invariant()
    def both_hold_the_same(self) -> None:
        load = self.same(lambda i: self.reservers[i].load())
        for each in load.values():
            assert each.requests > 0
            assert each.tokens >= 0
            assert self.restored or each.requests <= CAP

    def teardown(self) -> None:
        """Whoever crashed after whichever step: once all are dead nothing is left."""
        for replica in self.members:
            self.lease_ends(replica)
        self.reap()
        assert {} == self.same(lambda i: self.reservers[i].load())
        super().teardown()

    async def _reap_all(self, i: int) -> int:
        total = 0
        while reaped := await self.reservers[i].reap():
            total += reaped
        return total


def _gauge(member: Membership, seq: int, requests: int) -> Gauge:
    loads = {0: (requests, 1, 1)}
    return builders.gauge(member.replica, seq, loads, incarnation=member.incarnation)


def _at(lease: Lease, version: int, running: int) -> Snapshot:
    seen = Observation(uid=EndpointUid(1), age_seconds=0.1, running=float(running))
    return Snapshot(shard=lease.shard, fence=lease.fence, version=version, observations=(seen,))


@pytest.mark.timeout(400)  # a failure takes minutes to be made small
def test_redis_keeps_what_the_reference_keeps(redis_server: RedisServer) -> None:
    """Gauges, snapshots and who may write them (C1, C2, C6)."""

    class OnServer(Stores):
        url = redis_server.url

    run_state_machine_as_test(OnServer, settings=SETTINGS)


@pytest.mark.timeout(400)  # a failure takes minutes to be made small
def test_redis_reserves_as_the_reference_does(redis_server: RedisServer) -> None:
    """Once, within caps, and all of it ends (C8)."""

    class OnServer(Reservations):
        url = redis_server.url

    run_state_machine_as_test(OnServer, settings=SETTINGS)
