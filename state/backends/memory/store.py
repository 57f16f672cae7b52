"""The store of one process: reference for the others, and all that an embedded pool needs."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from state.backends.memory.reserve import MemoryReserver
from state.model import Gauge, Membership, ReplicaId, ShardId, Snapshot
from state.ports import Contents, Lease, StoreEvent
from state.runtime.clock import Clock

LONGEST_BACKLOG = 4096


class Member(msgspec.Struct, kw_only=True):
    """A replica's row: its fencing token, lease end in store seconds, and gauge."""

    incarnation: int
    expires_at: float
    gauge: Gauge | None = None


class Shard(msgspec.Struct, kw_only=True):
    """A shard's row: who may write it until when, and what was written last."""

    lease: Lease
    expires_at: float
    snapshot: Snapshot | None = None


class MemoryStore:
    """Shared by the replicas and collectors of one process; every method is atomic."""

    def __init__(
        self, clock: Clock, *, lease_seconds: float = 1.5, shard_lease_seconds: float = 2.0
    ) -> None:
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._shard_lease_seconds = shard_lease_seconds
        self._epoch = secrets.token_hex(8)
        self._incarnations: dict[ReplicaId, int] = {}
        self._members: dict[ReplicaId, Member] = {}
        self._shards: dict[ShardId, Shard] = {}
        self._subscribers: set[Subscription] = set()
        self.reserver = MemoryReserver(self._is_live)

    async def join(self, replica: ReplicaId) -> Membership:
        incarnation = self._incarnations.get(replica, 0) + 1
        self._incarnations[replica] = incarnation
        self._members[replica] = Member(incarnation=incarnation, expires_at=self._lease_end())
        return Membership(replica=replica, incarnation=incarnation, epoch=self._epoch)

    async def renew(self, membership: Membership) -> frozenset[ReplicaId] | None:
        if self._incarnations.get(membership.replica) != membership.incarnation:
            return None
        self._reap()
        member = self._members.get(membership.replica)
        if member is None:
            return None
        member.expires_at = self._lease_end()
        return frozenset(self._members)

    async def publish_gauge(self, gauge: Gauge) -> bool:
        self._reap()
        member = self._members.get(gauge.replica)
        if member is None or member.incarnation != gauge.incarnation:
            return False
        if member.gauge is None or gauge.order > member.gauge.order:
            member.gauge = gauge
            member.expires_at = self._lease_end()
            self._tell(gauge)
        return True

    async def leave(self, membership: Membership) -> None:
        member = self._members.get(membership.replica)
        if member is not None and member.incarnation == membership.incarnation:
            del self._members[membership.replica]
            self._tell(membership.replica)

    async def read(self) -> Contents:
        self._reap()
        return Contents(
            gauges=tuple(m.gauge for m in self._members.values() if m.gauge is not None),
            snapshots=tuple(s.snapshot for s in self._shards.values() if s.snapshot is not None),
        )

    async def acquire_shard(self, shard: ShardId, owner: str) -> Lease | None:
        now = self._clock.monotonic()
        row = self._shards.get(shard)
        if row is not None and row.expires_at > now:
            return None
        fence = 1 if row is None else row.lease.fence + 1
        lease = Lease(shard=shard, owner=owner, fence=fence)
        end = now + self._shard_lease_seconds
        snapshot = None if row is None else row.snapshot
        self._shards[shard] = Shard(lease=lease, expires_at=end, snapshot=snapshot)
        return lease

    async def renew_shard(self, lease: Lease) -> bool:
        row = self._owned(lease)
        if row is None:
            return False
        row.expires_at = self._clock.monotonic() + self._shard_lease_seconds
        return True

    async def release_shard(self, lease: Lease) -> None:
        row = self._owned(lease)
        if row is not None:
            row.expires_at = self._clock.monotonic()

    async def publish_snapshot(self, lease: Lease, snapshot: Snapshot) -> bool:
        row = self._owned(lease)
        if row is None or snapshot.shard != lease.shard or snapshot.fence != lease.fence:
            return False
        if row.snapshot is not None and snapshot.order <= row.snapshot.order:
            return False
        row.snapshot = snapshot
        self._tell(snapshot)
        return True

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[StoreEvent]]:
        subscription = Subscription()
        self._subscribers.add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers.discard(subscription)

    async def close(self) -> None:
        self._subscribers.clear()

    def _is_live(self, membership: Membership) -> bool:
        """Whether this incarnation's lease goes on."""
        member = self._members.get(membership.replica)
        return (
            member is not None
            and member.incarnation == membership.incarnation
            and member.expires_at > self._clock.monotonic()
        )

    def _owned(self, lease: Lease) -> Shard | None:
        row = self._shards.get(lease.shard)
        if row is None or row.lease != lease or row.expires_at <= self._clock.monotonic():
            return None
        return row

    def _lease_end(self) -> float:
        return self._clock.monotonic() + self._lease_seconds

    def _reap(self) -> None:
        now = self._clock.monotonic()
        for replica in [r for r, m in self._members.items() if m.expires_at <= now]:
            del self._members[replica]
            self._tell(replica)

    def _tell(self, event: StoreEvent) -> None:
        for subscription in self._subscribers:
            subscription.put(event)


class Subscription:
    """One subscriber's bounded backlog; when full the oldest event goes."""

    def __init__(self) -> None:
        self._events: deque[StoreEvent] = deque(maxlen=LONGEST_BACKLOG)
        self._arrived = asyncio.Event()

    def put(self, event: StoreEvent) -> None:
        self._events.append(event)
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[StoreEvent]:
        return self

    async def __anext__(self) -> StoreEvent:
        while not self._events:
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()
