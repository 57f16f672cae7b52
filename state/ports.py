"""What the core asks of a store and of discovery. Backends fit without inheriting."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Protocol

import msgspec

from state.model import Endpoint, EndpointUid, Gauge, Membership, ReplicaId, ShardId, Snapshot


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


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that a reservation may go to, as its caller's view sees it."""

    uid: EndpointUid
    cost: float
    """Delay expected in seconds, with all that the caller's view holds."""
    known_tokens: int = 0
    """Reserved tokens that the cost has in it already; only what is beyond them is added."""
    seconds_per_token: float = 0.0
    """What each further reserved token adds to the cost."""
    cap: int | None = None
    """Most requests reserved on it at once, over all replicas. None: any number."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What all replicas together have reserved on an endpoint."""

    requests: int
    tokens: int


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """One request's place on an endpoint."""

    request: str
    uid: EndpointUid
    tokens: int
    """Prompt tokens that are still to be processed."""


class Refusal(Enum):
    """Why nothing was reserved."""

    FULL = "full"
    """Every candidate is at its cap."""
    FENCED = "fenced"
    """The replica is not live with this incarnation."""
    RELEASED = "released"
    """The request's release came first: its caller has given up."""


class Reserver(Protocol):
    """Bookings in the store, for bursts and for caps that must hold over all replicas.

    Reservations belong to an incarnation and end with it. Each call is atomic. Raises
    StoreUnavailable when no answer came in time: then it happened or not, and a caller that goes on
    without must release, which is safe in any order and any number of times.
    """

    async def reserve(
        self,
        membership: Membership,
        request: str,
        candidates: Sequence[Candidate],
        *,
        tokens: int,
    ) -> EndpointUid | Refusal:
        """Book the request on the candidate of least cost that is below its cap, within 3 ms.

        The first of equals wins. Asking again for the same request returns the same endpoint.
        """

    async def settle(self, membership: Membership, requests: Sequence[str]) -> None:
        """The prompts have been processed: their tokens stop counting, the requests do not."""

    async def release(self, membership: Membership, requests: Sequence[str]) -> None:
        """End reservations. One that is not there yet is refused when it comes."""

    async def restore(self, membership: Membership, held: Sequence[Reservation]) -> bool:
        """Book again what a replica holds after it joined anew, caps aside. False: fenced.

        What is booked already is left as it is.
        """

    async def reap(self) -> int:
        """End reservations of incarnations that are not live, some at a time; return how many.

        Zero: none are left.
        """

    async def load(self) -> Mapping[EndpointUid, Load]:
        """Return what is reserved on each endpoint."""


EndpointListener = Callable[[Sequence[Endpoint]], None]
"""Called with the whole desired set whenever it may have changed."""


class EndpointSource(Protocol):
    """Discovery: says which endpoints exist."""

    async def run(self, listener: EndpointListener) -> None:
        """Call the listener with the first complete set, then after every change, until cancelled.

        Raises InvalidEndpoints if the first set is unusable; later faults keep the last good set.
        """
