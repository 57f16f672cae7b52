"""What the core asks of a store and of discovery. Backends fit without inheriting."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from state.model import Endpoint, Gauge, Membership, ReplicaId, ShardId, Snapshot


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A collector's claim on a shard; `fence` grows with every new owner."""

    shard: ShardId
    owner: str
    fence: int


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a newcomer needs, read in one round: the start of a view."""

    gauges: tuple[Gauge, ...]
    snapshots: tuple[Snapshot, ...]


StoreEvent = Gauge | Snapshot | ReplicaId
"""A peer's new gauge, a shard's new snapshot, or the id of a replica that left."""


class Store(Protocol):
    """Shared state of one pool: membership, gauges, snapshots, shard leases.

    "Lost" is a return value (False, None), "unknown" is StoreUnavailable. Every call has a deadline
    of its own. Leases run on the store's clock.
    """

    async def join(self, replica: ReplicaId) -> Membership:
        """Raise the replica's incarnation, atomically; older ones are fenced from here on."""

    async def renew(self, membership: Membership) -> frozenset[ReplicaId] | None:
        """Extend the lease and return the live replicas; None: this incarnation is fenced."""

    async def publish_gauge(self, gauge: Gauge) -> bool:
        """Replace the replica's gauge and tell the others. False: fenced, nothing was written."""

    async def leave(self, membership: Membership) -> None:
        """Drop the replica and its gauge, and tell the others. A fenced one drops nothing."""

    async def read(self) -> Contents:
        """Return the gauges of live replicas and the newest snapshot of every shard."""

    async def acquire_shard(self, shard: ShardId, owner: str) -> Lease | None:
        """Take a free or expired shard with a higher fence, atomically. None: somebody holds it."""

    async def renew_shard(self, lease: Lease) -> bool:
        """Extend a shard lease. False: another owner took over."""

    async def release_shard(self, lease: Lease) -> None:
        """Give a shard back at once. Nothing happens if another owner took over."""

    async def publish_snapshot(self, lease: Lease, snapshot: Snapshot) -> bool:
        """Replace the shard's snapshot, whole. False: not the owner, or not newer."""

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[StoreEvent]]:
        """Subscribe. Within the context each later event arrives once, in order of writing.

        A subscriber that falls behind loses the oldest events; since each carries whole state, the
        next one heals.
        """

    async def close(self) -> None:
        """Let go of connections. Safe to call twice."""


EndpointListener = Callable[[Sequence[Endpoint]], None]
"""Called with the whole desired set whenever it may have changed."""


class EndpointSource(Protocol):
    """Discovery: says which endpoints exist."""

    async def run(self, listener: EndpointListener) -> None:
        """Call the listener with the first complete set, then after every change, until cancelled.

        Raises InvalidEndpoints if the first set is unusable; later faults keep the last good set.
        """
